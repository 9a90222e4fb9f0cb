"""Translated packets as a live kernel sent them on.

The `.script` files beside this one were recorded by tests/kernel/test_nat_scripts.py on Linux
6.18.44: a router with one kind of rule in its nat table, and hosts on both sides of it.

    = name
    @ dnat udp 10.3.0.5-10.3.0.9:53-60 [persistent]    the rule: dnat or snat, protocol, range
    > o udp c=1000 len=3             a packet from 10.1.0.2; `src=10.1.0.9` for another client
    > r answer 1                     what the receiver of packet 1 (as it left) answers
    > r error 1 type=3 code=3        the ICMP error of a router about packet 1
    * 4500...                        the packet that left
    + udp 17 29 src=...              conntrack -L afterwards
"""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from netemu.clock import NSEC_PER_SEC, Clock
from netemu.entropy import Entropy, Stream
from netemu.net import Net, nf_hook
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.hook import Family, Hook, HookState, Priority, Verdict
from netemu.netfilter.nat.core import nf_nat_setup_info
from netemu.netfilter.nat.hooks import register
from netemu.netfilter.nat.range import (
    MAP_IPS,
    PERSISTENT,
    PROTO_OFFSET,
    PROTO_SPECIFIED,
    Manip,
    NatRange,
)
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import parse_address
from netemu.wire.checksum import csum_replace2
from netemu.wire.crc32c import crc32c
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import IPv4, build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "sctp": 132, "all": 0}


def load_conntrack_scripts() -> ModuleType:
    """Import the module that builds packets."""
    if "scripts" in sys.modules:
        return sys.modules["scripts"]
    path = Path(__file__).parent.parent / "conntrack" / "test_scripts.py"
    spec = importlib.util.spec_from_file_location("scripts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scripts"] = module
    spec.loader.exec_module(module)
    return module


scripts = load_conntrack_scripts()


@dataclass
class Rule:
    """A NAT rule."""

    text: str

    @property
    def words(self) -> list[str]:
        return self.text.split()

    @property
    def manip(self) -> Manip:
        return Manip.DST if self.words[0] == "dnat" else Manip.SRC

    @property
    def protocol(self) -> int:
        return PROTOCOLS[self.words[1]]

    @property
    def range(self) -> NatRange:
        addresses, _, ports = self.words[2].partition(":")
        flags = PERSISTENT if "persistent" in self.words else 0
        low, _, high = addresses.partition("-")
        if low:
            flags |= MAP_IPS
        ports, _, base = ports.partition("/")
        first, _, last = ports.partition("-")
        if first:
            flags |= PROTO_SPECIFIED
        if base:
            flags |= PROTO_OFFSET
        return NatRange(
            flags=flags,
            min_address=parse_address(low) if low else b"",
            max_address=parse_address(high or low) if low else b"",
            min_part=int(first or 0),
            max_part=int(last or first or 0),
            base_part=int(base or 0),
        )


@dataclass
class Step:
    """A packet and what left."""

    text: str
    out: str = ""
    entries: list[str] = field(default_factory=list)


@dataclass
class Case:
    """A named sequence under some rules."""

    name: str
    rules: list[Rule] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)


def read_cases(text: str) -> list[Case]:
    """Read a script file."""
    cases: list[Case] = []
    for line in text.splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "=":
            cases.append(Case(rest))
        elif mark == "@":
            cases[-1].rules.append(Rule(rest))
        elif mark == ">":
            cases[-1].steps.append(Step(rest))
        elif mark == "*":
            cases[-1].steps[-1].out = rest
        elif mark == "+":
            cases[-1].steps[-1].entries.append(rest)
    return cases


def write_cases(cases: list[Case]) -> str:
    """Write a script file."""
    out = []
    for case in cases:
        out.append(f"= {case.name}")
        out += [f"@ {rule.text}" for rule in case.rules]
        for step in case.steps:
            out.append(f"> {step.text}")
            out += [f"* {step.out}"] if step.out else []
            out += [f"+ {entry}" for entry in step.entries]
        out.append("")
    return "\n".join(out)


def build_packet(text: str, outs: list[str]) -> tuple[str, bytes]:
    """Return side and packet of a step; `outs` is what left so far."""
    side, word, *rest = text.split()
    if word not in {"answer", "error"}:
        return scripts.build_packet(text)
    quoted = bytearray.fromhex(outs[int(rest[0]) - 1])
    if not quoted:
        quoted = bytearray(scripts.build_packet("o udp")[1])
    header = IPv4(quoted)
    if word == "error":
        options = dict(item.split("=") for item in rest[1:])
        cut = int(options.get("cut", len(quoted)))
        message = build_icmp(
            icmp_type=int(options["type"]), code=int(options.get("code", 0)), payload=quoted[:cut]
        )
        src = parse_address(options["src"]) if "src" in options else header.dst
        return side, bytes(build_ipv4(src=src, dst=header.src, protocol=1, payload=bytes(message)))
    return side, _answer(quoted, header)


def _answer(packet: bytearray, header: IPv4) -> bytes:
    src, dst = header.dst, header.src
    l4 = packet[20:]
    if header.protocol == 1:
        body = build_icmp(
            icmp_type={8: 0, 13: 14, 15: 16, 17: 18}.get(l4[0], 0),
            rest=int.from_bytes(l4[4:8], "big"), payload=l4[8:],
        )  # fmt: skip
    elif header.protocol == 17:
        body = build_udp(
            src=src, dst=dst, src_port=int.from_bytes(l4[2:4], "big"),
            dst_port=int.from_bytes(l4[:2], "big"), payload=b"answer",
        )  # fmt: skip
    elif header.protocol == 132:
        body = l4[2:4] + l4[:2] + l4[16:20] + bytes(4)
        body += bytes.fromhex("02000014000000090000ffff0001000100000001")
        body[8:12] = crc32c(body).to_bytes(4, "little")
    else:
        body = build_tcp(
            src=src, dst=dst, src_port=int.from_bytes(l4[2:4], "big"),
            dst_port=int.from_bytes(l4[:2], "big"), seq=9000,
            ack=int.from_bytes(l4[4:8], "big") + 1, flags=18, window=100,
        )  # fmt: skip
    return bytes(build_ipv4(src=src, dst=dst, protocol=header.protocol, payload=bytes(body)))


class CountingEntropy(Entropy):
    """Says whether a port was drawn at random, which the kernel does in its own way."""

    drawn = False

    def stream(self, use: str) -> Stream:
        self.drawn = True
        return super().stream(use)


class Emulated:
    """A namespace with conntrack, NAT and the rules of a case."""

    def __init__(self, case: Case) -> None:
        self.entropy = CountingEntropy()
        self.net = Net(clock=Clock(0, 250), entropy=self.entropy)
        nf_ct_netns_get(self.net)
        for hook, manip, priority in (
            (Hook.PREROUTING, Manip.DST, Priority.NAT_DST),
            (Hook.POSTROUTING, Manip.SRC, Priority.NAT_SRC),
        ):
            rules = [rule for rule in case.rules if rule.manip == manip]
            register(self.net, hook, priority, partial(self.chain, rules))

    def chain(self, rules: list[Rule], skb: Skb, state: HookState) -> Verdict:
        for rule in rules:
            if rule.protocol in {0, skb.data[9]}:
                connection, _ = nf_ct_get(skb)
                assert connection is not None
                return nf_nat_setup_info(self.net, connection, rule.range, rule.manip)
        return Verdict.ACCEPT

    def forward(self, packet: bytes) -> str:
        net = self.net
        skb = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate())
        left: list[str] = []

        def route(skb: Skb) -> None:
            # ip_decrease_ttl, between the two hooks
            header = IPv4(skb.data)
            old = skb.data[8] << 8 | skb.data[9]
            header.ttl -= 1
            header.check = csum_replace2(header.check, old, old - 0x100)
            nf_hook(net, Family.IPV4, Hook.POSTROUTING, skb, None, None, done)

        def done(skb: Skb) -> None:
            left.append(skb.data.hex())

        nf_hook(net, Family.IPV4, Hook.PREROUTING, skb, None, None, route)
        net.clock.run_until(net.clock.now_ns + NSEC_PER_SEC // 250)
        return left[0] if left else ""


def run_netemu(case: Case) -> tuple[list[Step], bool]:
    """Run a case; the second part says whether a port was drawn."""
    emulated = Emulated(case)
    done: list[Step] = []
    outs: list[str] = []
    for step in case.steps:
        _, packet = build_packet(step.text, outs)
        outs.append(emulated.forward(packet))
        entries = emulated.net.generic(Conntrack).dump().splitlines()
        done.append(Step(step.text, outs[-1], entries))
    return done, emulated.entropy.drawn


SCRIPTS = sorted(Path(__file__).parent.glob("*.script"))
CASES = [(path.stem, case) for path in SCRIPTS for case in read_cases(path.read_text())]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{stem}-{case.name}") for stem, case in CASES]
)
def test_script(case: Case) -> None:
    """Every packet leaves as the kernel sent it, checksums included."""
    steps, _ = run_netemu(case)
    for expected, actual in zip(case.steps, steps, strict=True):
        assert (expected.text, expected.out) == (actual.text, actual.out)
        assert scripts.near(expected.entries, actual.entries), (expected, actual)


def test_marks_are_not_lost() -> None:
    """Writing a script that was read gives the same text."""
    for path in SCRIPTS:
        text = path.read_text()
        assert re.sub(r"\n+$", "\n", write_cases(read_cases(text))) == re.sub(r"\n+$", "\n", text)
