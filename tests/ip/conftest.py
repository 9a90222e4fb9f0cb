"""A router with two ports, the world of the scripts beside this file.

10.1.0.2 --- a0 [10.1.0.1, 10.1.0.9 | 10.2.0.1] b0 --- 10.2.0.2, gateway 10.2.0.254
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from netemu.clock import Clock
from netemu.entropy import Entropy
from netemu.events import PacketDropped
from netemu.ip.fib import Fib
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.output import ip_send_packet
from netemu.ip.reject import nf_send_reset, nf_send_unreach
from netemu.ip.sockets import Sockets
from netemu.ip.stack import inet_init
from netemu.link.device import receive_frame
from netemu.link.loopback import Loopback
from netemu.link.port import Port
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, HookState, Verdict
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    PolicyRuleSpec,
    RouteSpec,
    SocketSpec,
    TextFile,
)
from netemu.skb import Fate, Skb
from netemu.sysctl import Sysctl
from netemu.wire.address import parse_address, parse_mac

A0, B0 = parse_mac("02:00:00:00:0a:00"), parse_mac("02:00:00:00:0b:00")
A_HOST, B_HOST = parse_mac("02:00:00:00:0a:01"), parse_mac("02:00:00:00:0b:01")
"""MACs of the two ports and of the hosts behind them."""

SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv4.icmp_msgs_per_sec": "100000",
    "net.ipv4.icmp_msgs_burst": "10000",
    "net.ipv4.ipfrag_time": "1",
}
"""Rate limits are tested by themselves."""

TRACKING = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m conntrack --ctstate NEW\nCOMMIT\n"
"""A rule that makes the kernel track connections, and so reassemble."""


def route(
    prefix: str,
    *,
    dev: str = "",
    via: str = "",
    src: str = "",
    kind: str = "unicast",
    table: int = 254,
    mtu: int = 0,
) -> RouteSpec:
    """A route of the world."""
    address, length = prefix.split("/")
    way = NexthopSpec(device=dev, gateway=parse_address(via) if via else b"")
    scope = "host" if kind == "local" else "global" if via or not dev else "link"
    return RouteSpec(
        prefix=parse_address(address),
        prefix_len=int(length),
        kind=kind,
        table=table,
        nexthops=(way,) if dev else (),
        source=parse_address(src) if src else b"",
        scope=scope,
        mtu=mtu,
    )


def reject_rules(kind: str) -> str:
    """Rules that refuse all that is forwarded or for the router, in one way."""
    protocol = "-p tcp " if kind == "tcp-reset" else ""
    rule = f"{protocol}-i a0 -j REJECT --reject-with {kind}"
    head = ":INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n"
    return f"*filter\n{head}-A INPUT {rule}\n-A FORWARD {rule}\nCOMMIT\n"


def world(
    sysctls: dict[str, str] | None = None,
    *,
    rules: str = "",
    sockets: list[SocketSpec] | None = None,
) -> NamespaceSpec:
    """The router, as a snapshot would tell it."""
    neighbours = [("a0", f"10.1.0.{n}", A_HOST) for n in (0, 2, 3, *range(10, 60))]
    neighbours += [("b0", f"10.2.0.{n}", B_HOST) for n in (2, 254)]
    neighbours += [("b0", f"10.7{n}.0.2", B_HOST) for n in (2, 3, 4)]
    neighbours += [("a0", "10.75.0.1", A_HOST)]
    return NamespaceSpec(
        links=[
            LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
            LinkSpec(name="a0", ifindex=2, mac=A0),
            LinkSpec(name="b0", ifindex=3, mac=B0),
        ],
        addresses=[
            AddressSpec(
                device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host"
            ),
            AddressSpec(device="a0", address=parse_address("10.1.0.1"), prefix_len=24),
            AddressSpec(
                device="a0", address=parse_address("10.1.0.9"), prefix_len=24, secondary=True
            ),
            AddressSpec(device="b0", address=parse_address("10.2.0.1"), prefix_len=24),
        ],
        routes=[
            route("10.1.0.0/24", dev="a0", src="10.1.0.1"),
            route("10.2.0.0/24", dev="b0", src="10.2.0.1"),
            route("10.9.0.0/16", via="10.2.0.254", dev="b0"),
            route("10.66.0.0/16", kind="blackhole"),
            route("10.67.0.0/16", kind="unreachable"),
            route("10.68.0.0/16", kind="prohibit"),
            route("10.69.0.0/16", kind="throw"),
            route("10.70.0.0/16", via="10.1.0.3", dev="a0"),
            route("10.71.0.0/16", kind="local", dev="lo"),
            route("10.72.0.0/16", dev="b0", mtu=140),
            route("10.73.0.0/16", dev="b0", mtu=200),
            route("10.74.0.0/16", dev="b0", mtu=112),
            route("10.75.0.0/16", dev="a0", src="10.2.0.1"),
            route("10.9.0.0/16", via="10.1.0.2", dev="a0", table=5),
        ],
        policy_rules=[
            PolicyRuleSpec(priority=0, table=255),
            PolicyRuleSpec(
                priority=100,
                source=parse_address("10.1.0.9"),
                source_len=32,
                destination=parse_address("10.9.0.0"),
                destination_len=16,
                table=5,
            ),
            PolicyRuleSpec(priority=101, tos=0x10, table=5),
            PolicyRuleSpec(priority=32766, table=254),
            PolicyRuleSpec(priority=32767, table=253),
        ],
        neighbours=[
            NeighbourSpec(device=device, address=parse_address(text), mac=mac, state="PERMANENT")
            for device, text, mac in neighbours
        ],
        sysctls={**SYSCTLS, **(sysctls or {})},
        rules4=TextFile(name="rules", text=rules) if rules else None,
        sockets=sockets,
    )


class Lab:
    """The router in netemu."""

    def __init__(
        self,
        spec: NamespaceSpec | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Build it; `spec` is `world()` if left out."""
        spec = world() if spec is None else spec
        self.net = Net(clock=Clock(), entropy=Entropy(seed), sysctl=Sysctl(spec.sysctls))
        self.out: list[tuple[str, bytes]] = []
        """Frames that left, as (port, frame)."""
        self.drops: list[str] = []
        """Reasons of dropped packets."""
        for link in spec.links:
            if link.kind == "loopback":
                Loopback(self.net)
            else:
                self._add_port(link)
        inet_init(self.net)
        self.net.generic(Fib).load(spec)
        self.net.generic(NeighbourTable).load(spec.neighbours)
        self.net.generic(Sockets).load(spec.sockets)
        self.net.sink = lambda _, event: (
            self.drops.append(event.reason) if isinstance(event, PacketDropped) else None
        )

    def _add_port(self, link: LinkSpec) -> None:
        Port(
            self.net,
            name=link.name,
            ifindex=link.ifindex,
            mac=link.mac,
            mtu=link.mtu,
            up=link.up,
            on_frame=lambda _, frame: self.out.append((link.name, frame)),
        )

    def send(self, port: str, frame: bytes) -> Fate:
        """Let a frame enter."""
        fate = self.net.new_fate()
        receive_frame(self.net, self.net.devices[port], frame, fate=fate)
        self.net.clock.run_soon()
        return fate

    def packet(self, packet: bytes | bytearray, port: str = "a0") -> list[bytes]:
        """Let a packet enter in a frame to the router; return the packets that left."""
        self.out.clear()
        self.drops.clear()
        mac, host = (A0, A_HOST) if port == "a0" else (B0, B_HOST)
        self.send(port, mac + host + b"\x08\x00" + packet)
        return [frame[14:] for _, frame in self.out]

    def send_local(self, packet: bytes) -> Fate:
        """Let the router itself send a packet."""
        fate = ip_send_packet(self.net, packet)
        self.net.clock.run_soon()
        return fate

    def refuse(self, kind: str) -> None:
        """Refuse as `reject_rules` do, without tables."""
        codes = {"icmp-port-unreachable": 3, "icmp-admin-prohibited": 13}

        def hook(skb: Skb, state: HookState) -> Verdict:
            if state.in_device is not self.net.devices["a0"]:
                return Verdict.ACCEPT
            if kind in codes:
                nf_send_unreach(self.net, skb, codes[kind], state.hook)
            elif skb.data[9] != 6:
                return Verdict.ACCEPT
            else:
                nf_send_reset(self.net, skb, state.hook)
            return Verdict.DROP

        for place in (Hook.INPUT, Hook.FORWARD):
            self.net.hooks.register(Family.IPV4, place, 0, hook)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.net.clock.run_until(self.net.clock.now_ns + round(seconds * 1e9))


@dataclass
class Step:
    """Something that happens, what left because of it, and why packets ended."""

    text: str
    """`a0 HEX`, `local HEX` or `wait SECONDS`."""
    frames: list[tuple[str, bytes]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


@dataclass
class ScriptCase:
    """A named sequence of steps."""

    name: str
    settings: list[str]
    """`conntrack`, `reject:TYPE`, or `SYSCTL=VALUE`."""
    steps: list[Step] = field(default_factory=list)

    def spec(self) -> NamespaceSpec:
        """The router that the case asks for."""
        pairs = [item.split("=") for item in self.settings if "=" in item]
        rules = TRACKING if "conntrack" in self.settings else ""
        if self.reject:
            rules = reject_rules(self.reject)
        return world(dict(pairs), rules=rules)

    @property
    def reject(self) -> str:
        """How everything is refused; empty when nothing is."""
        return next((item[7:] for item in self.settings if item.startswith("reject:")), "")


def read_script(text: str) -> list[ScriptCase]:
    """Read a script file.

    = name [conntrack] [reject:TYPE] [SYSCTL=VALUE ...]
    > a0 HEX           a frame that enters at a0
    > local HEX        a packet that the router itself sends
    > wait 1.5         seconds that pass
    < b0 HEX           a frame that the kernel then sent
    ! REASON           a reason for which the kernel dropped a packet
    """
    cases: list[ScriptCase] = []
    for line in text.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "=":
            name, *settings = rest.split()
            cases.append(ScriptCase(name, settings))
        elif mark == ">":
            cases[-1].steps.append(Step(rest))
        elif mark == "<":
            port, digits = rest.split()
            cases[-1].steps[-1].frames.append((port, bytes.fromhex(digits)))
        elif mark == "!":
            cases[-1].steps[-1].reasons.append(rest)
    return cases


def write_script(cases: list[ScriptCase]) -> str:
    """Write a script file."""
    lines: list[str] = []
    for case in cases:
        lines += ["", " ".join(["=", case.name, *case.settings])]
        for step in case.steps:
            lines.append(f"> {step.text}")
            lines += [f"< {port} {frame.hex()}" for port, frame in step.frames]
            lines += [f"! {reason}" for reason in step.reasons]
    return "\n".join(lines).lstrip() + "\n"


@pytest.fixture
def lab() -> Lab:
    """The router."""
    return Lab()


@pytest.fixture
def make_lab() -> type[Lab]:
    """The class, for tests that need another router."""
    return Lab


@pytest.fixture
def router() -> Callable[..., NamespaceSpec]:
    """Tells the router: `router(SYSCTLS, rules=..., sockets=...)`."""
    return world
