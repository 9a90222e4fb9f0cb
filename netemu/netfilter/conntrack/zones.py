"""Which zone a packet is looked up in.

Kernel: include/net/netfilter/nf_conntrack_zones.h.
"""

from __future__ import annotations

from netemu.netfilter.conntrack.connection import DEFAULT_ZONE, Connection, Zone
from netemu.skb import Skb


def nf_ct_zone_tmpl(template: Connection | None, skb: Skb) -> Zone:
    """Return the zone that a template (CT --zone) asks for, else the default one."""
    if template is None:
        return DEFAULT_ZONE
    zone = template.zone
    if zone.from_mark:
        return Zone(skb.mark & 0xFFFF, zone.directions)
    return zone
