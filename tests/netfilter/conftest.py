"""Bricks for tests of matches and targets: bind options to an extension, make packets."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from netemu.events import Event, Stamp
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo, nf_ct_set
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.model import BoundMatch, BoundTarget
from netemu.netfilter.xtables.param import XtParam
from netemu.ruleset import parse_ruleset
from netemu.skb import ETH_P_IP, Device, Fate, Skb
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4


class Port(Device):
    """A device that only has a name."""

    def xmit(self, skb: Skb) -> None:
        raise AssertionError


@dataclass
class Bench:
    """A namespace, a hook and one rule's match or target."""

    net: Net = field(default_factory=Net)
    hook: Hook = Hook.FORWARD
    in_device: Device | None = None
    out_device: Device | None = None
    events: list[Event] = field(default_factory=list)

    def listen(self) -> None:
        self.net.sink = self._sink

    def _sink(self, stamp: Stamp, event: Event) -> None:
        self.events.append(event)

    def rule(self, text: str, table: str = "filter", chain: str = "FORWARD"):
        """Parse one rule and attach its parts to the namespace."""
        ruleset = parse_ruleset(f"*{table}\n-A {chain} {text}\nCOMMIT\n", "r", family=Family.IPV4)
        (rule,) = ruleset.tables[0].chains[chain].rules
        for part in (*rule.matches, rule.target):
            if part is not None and part.attach is not None:
                part.attach(self.net, part.settings)
        return rule

    def match(self, text: str, **more: str) -> Callable[[Skb], bool]:
        """Return the match of a rule as a function of the packet."""
        bound: BoundMatch = self.rule(text, **more).matches[-1]

        def evaluate(skb: Skb) -> bool:
            if bound.describe is not None:
                assert isinstance(bound.describe(bound.settings, skb, self.param()), str)
            return bound.evaluate(bound.settings, skb, self.param())

        return evaluate

    def target(self, text: str, **more: str) -> Callable[[Skb], Verdict | None]:
        """Return the target of a rule as a function of the packet."""
        bound: BoundTarget = self.rule(text, **more).target
        return lambda skb: bound.apply(bound.settings, skb, self.param())

    def param(self) -> XtParam:
        param = XtParam(
            net=self.net,
            family=Family.IPV4,
            hook=self.hook,
            in_device=self.in_device,
            out_device=self.out_device,
        )
        param.thoff = 20
        return param


@pytest.fixture
def bench() -> Bench:
    return Bench()


def make_device(name: str, ifindex: int = 1) -> Device:
    return Port(name=name, ifindex=ifindex, mac=bytes(6))


def make_skb(src: str = "10.0.0.1", dst: str = "10.0.0.2", **header: int) -> Skb:
    header.setdefault("protocol", 17)
    data = build_ipv4(src=parse_address(src), dst=parse_address(dst), payload=bytes(20), **header)
    return Skb(data, protocol=ETH_P_IP, fate=Fate(packet_id=1))


def make_connection(
    text: str = "tcp 10.0.0.1:1000 10.96.0.1:80 10.244.0.5:8080 10.0.0.1:1000", **more: int
) -> Connection:
    """Protocol, then source and destination of the original and of the reply direction."""
    protocol, *ends = shlex.split(text)
    numbers = {"tcp": 6, "udp": 17, "icmp": 1}
    parts = [(parse_address(end.split(":")[0]), int(end.split(":")[1])) for end in ends]
    (src, sport), (dst, dport) = parts[:2]
    original = Tuple(src, dst, numbers[protocol], sport, dport)
    reply = inverse(original)
    if parts[2:]:
        (rsrc, rsport), (rdst, rdport) = parts[2:]
        reply = Tuple(rsrc, rdst, numbers[protocol], rsport, rdport)
    connection = Connection(original, reply)
    for name, value in more.items():
        setattr(connection, name, value)
    return connection


def make_tracked(connection: Connection, ctinfo: CtInfo = CtInfo.NEW) -> Skb:
    skb = make_skb()
    nf_ct_set(skb, connection, ctinfo)
    return skb


@pytest.fixture
def device() -> Callable[..., Device]:
    return make_device


@pytest.fixture
def skb() -> Callable[..., Skb]:
    return make_skb


@pytest.fixture
def connection() -> Callable[..., Connection]:
    return make_connection


@pytest.fixture
def tracked() -> Callable[..., Skb]:
    return make_tracked
