"""Matches and targets built from rule text, and packets to try them on."""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.model import BoundMatch, Rule
from netemu.netfilter.xtables.param import XtParam
from netemu.ruleset import parse_ruleset
from netemu.skb import ETH_P_IP, Device, Skb
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4

SOURCE = parse_address("10.0.0.1")
DESTINATION = parse_address("10.0.0.2")


def rule(words: str, *, chain: str = "INPUT", table: str = "filter") -> Rule:
    """Read one rule."""
    text = f"*{table}\n-A {chain} {words}\nCOMMIT\n"
    return parse_ruleset(text).tables[0].chains[chain].rules[0]


def match(words: str, net: Net | None = None, **place: str) -> BoundMatch:
    """Read one rule and return its last match, attached when a namespace is given."""
    found = rule(words, **place).matches[-1]
    if net is not None and found.attach is not None:
        found.attach(net, found.settings)
    return found


def packet(payload: bytes, protocol: int, *, offset: int = 0, net: Net | None = None) -> Skb:
    """Make an IPv4 packet; `offset` in 8-octet units makes a later fragment of it."""
    data = build_ipv4(
        src=SOURCE,
        dst=DESTINATION,
        protocol=protocol,
        payload=payload,
        fragment_offset=offset,
    )
    return Skb(data, protocol=ETH_P_IP, fate=(net or Net()).new_fate())


def param(skb: Skb, net: Net | None = None, device: Device | None = None) -> XtParam:
    """Say where the packet stands: in INPUT, with its offsets."""
    made = XtParam(
        net=net or Net(),
        family=Family.IPV4,
        hook=Hook.INPUT,
        in_device=device,
        out_device=None,
    )
    made.fragoff = (skb.data[6] << 8 | skb.data[7]) & 0x1FFF
    made.thoff = skb.transport_offset
    return made


def answer(words: str, skb: Skb) -> str:
    """Return `yes`, `no` or `hotdrop`."""
    bound = match(words)
    told = param(skb)
    result = bound.evaluate(bound.settings, skb, told)
    assert not (result and told.hotdrop)
    return "hotdrop" if told.hotdrop else "yes" if result else "no"


def described(words: str, skb: Skb) -> str:
    """Return what a trace says the packet had."""
    bound = match(words)
    assert bound.describe is not None
    return bound.describe(bound.settings, skb, param(skb))
