"""How many routers a packet may still pass: targets `TTL` (IPv4) and `HL` (IPv6).

Kernel: net/netfilter/xt_HL.c (ttl_tg, hl_tg6).

The result stays within 0 and 255. A packet whose TTL becomes 0 here is not dropped here: forwarding
drops it when it finds nothing left to take away.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.kinds import U8
from netemu.netfilter.xtables.kit import CheckFunction, Option, Settings, Target, always
from netemu.netfilter.xtables.mangle import tell_rewritten
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.skb import Skb
from netemu.wire.checksum import csum_replace2
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import CHECK, TTL

HOP_LIMIT = 7
"""Offset in the IPv6 header."""

_OPERATIONS = ("set", "dec", "inc")


class HopLimit(Struct, frozen=True):
    """struct ipt_TTL_info and ip6t_HL_info."""

    operation: str
    """`set`, `inc` or `dec`."""
    value: int

    def result(self, before: int) -> int:
        """Return the new value, kept within an octet."""
        if self.operation == "set":
            return self.value
        if self.operation == "inc":
            return min(before + self.value, 0xFF)
        return max(before - self.value, 0)


def build_hop_limit(settings: Settings) -> HopLimit:
    """Take the one option."""
    name = next(iter(settings.given))
    return HopLimit(name.partition("-")[2], settings.need(name, int))


def hop_limit_effect(info: HopLimit, packet: Rewriting) -> None:
    """Set the octet, or let what it is be open."""
    if info.operation == "set":
        packet.assign(Field.TTL, info.value)
    else:
        packet.forget(Field.TTL)


def ttl_tg(info: HopLimit, skb: Skb, param: XtParam) -> Verdict | None:
    """Change the TTL and the header checksum."""
    data = skb.data
    before = data[TTL]
    after = info.result(before)
    if after != before:
        set16(data, CHECK, csum_replace2(get16(data, CHECK), before << 8, after << 8))
        data[TTL] = after
        tell_rewritten(skb, param, "ttl", str(before), str(after))
    return None


def hl_tg6(info: HopLimit, skb: Skb, param: XtParam) -> Verdict | None:
    """Change the hop limit; IPv6 headers have no checksum."""
    before = skb.data[HOP_LIMIT]
    skb.data[HOP_LIMIT] = info.result(before)
    tell_rewritten(skb, param, "hop limit", str(before), str(skb.data[HOP_LIMIT]))
    return None


def _check(name: str) -> CheckFunction:
    def check(settings: Settings) -> None:
        if not settings.given:
            raise RulesetError(
                f"{name}: You must specify an action: "
                + ", ".join(f"--{name.lower()}-{operation}" for operation in _OPERATIONS)
            )

    return check


def _options(prefix: str, what: str) -> tuple[Option, ...]:
    names = {operation: f"{prefix}-{operation}" for operation in _OPERATIONS}
    helps = {"set": "Sets", "dec": "Takes this off", "inc": "Adds this to"}
    return tuple(
        Option(
            name,
            U8(low=0 if operation == "set" else 1),
            excludes=tuple(other for other in names.values() if other != name),
            help=f"{helps[operation]} the {what}.",
        )
        for operation, name in names.items()
    )


TARGETS = (
    Target(
        name="TTL",
        kernel="xt_HL.c",
        duty="Sets or changes the IPv4 time to live.",
        tables=("mangle",),
        families=(Family.IPV4,),
        options=_options("ttl", "time to live"),
        check=_check("TTL"),
        shares=always,
        build=build_hop_limit,
        apply=ttl_tg,
        effect=hop_limit_effect,
        told=True,
    ),
    Target(
        name="HL",
        kernel="xt_HL.c",
        duty="Sets or changes the IPv6 hop limit.",
        tables=("mangle",),
        families=(Family.IPV6,),
        options=_options("hl", "hop limit"),
        check=_check("HL"),
        shares=always,
        build=build_hop_limit,
        apply=hl_tg6,
        effect=hop_limit_effect,
        told=True,
    ),
)
