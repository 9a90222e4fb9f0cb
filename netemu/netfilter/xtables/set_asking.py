"""What rules about IP sets share: a packet as sets see it, and what is told of a lookup.

Kernel: net/netfilter/xt_set.c (set_match_v4, set_target_v3), ip_set_getport.c
(ip_set_get_ip6_port).
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.attributes import describe
from netemu.netfilter.ipset.core import IpSets, fits
from netemu.netfilter.ipset.ip_set import AdtOptions, IpSet
from netemu.netfilter.ipset.packet import Packet, Transport
from netemu.netfilter.xtables.ip6 import ipv6_skip_exthdr
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.set_names import SRC, SetReference
from netemu.skb import Skb


def packet_of(skb: Skb, param: XtParam) -> Packet:
    """Return the packet of a rule as sets see it."""

    def transport() -> Transport | None:
        if param.family == Family.IPV6:
            found = ipv6_skip_exthdr(skb.data)
            if found is None or _later_fragment6(skb, found.protocol):
                return None
            return Transport(found.protocol, found.offset)
        data = skb.data
        later = bool((data[6] << 8 | data[7]) & 0x1FFF)
        return Transport(data[9], (data[0] & 15) * 4, later)

    return Packet(
        skb,
        param.family,
        param.in_device.name if param.in_device is not None else "",
        param.out_device.name if param.out_device is not None else "",
        transport,
    )


NEXTHDR_FRAGMENT = 44


def _later_fragment6(skb: Skb, protocol: int) -> bool:
    """Return whether the walk over headers ended in a later fragment."""
    return protocol == NEXTHDR_FRAGMENT


def sources_of(reference: SetReference) -> tuple[bool, ...]:
    """Return for each direction whether it is the source side."""
    return tuple(direction == SRC for direction in reference.directions)


def set_of(net: Net, name: str) -> IpSet:
    """Return the set that a loaded rule names."""
    found = net.generic(IpSets).find(name)
    assert found is not None, name
    return found


def refer_to(net: Net, option: str, name: str) -> None:
    """Hold on to a set, so that it is not destroyed; refuse when there is none."""
    found = net.generic(IpSets).find(name)
    if found is None:
        sets = net.generic(IpSets).all()
        known = ", ".join(one.name for one in sets[:5]) + (", ..." if len(sets) > 5 else "")
        there = f"there are {known}" if sets else "there are no sets: give them with --ipset FILE"
        raise RulesetError(f"--{option} {name}: Set {name} doesn't exist; {there}")
    found.references += 1


def key_of(asked: IpSet, packet: Packet, options: AdtOptions) -> str:
    """Return what of a packet is looked up in a set, in a few words."""
    if not fits(asked, options):
        return ""
    said = asked.content.looked_up(packet, options)
    return describe(said) if said is not None else ""


def misfit(asked: IpSet, options: AdtOptions) -> str:
    """Say why a rule cannot ask a set; empty when it can."""
    if fits(asked, options):
        return ""
    given, needed = len(options.sources), asked.type.dimension
    if given < needed:
        return f"{asked.type.name} needs {needed} directions, the rule gives {given}"
    return "the set is of the other family"
