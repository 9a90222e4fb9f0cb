"""AH and ESP: they follow the ISAKMP connection (UDP port 500) of the same ends.

Kernel: net/netfilter/ipvs/ip_vs_proto_ah_esp.c.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.ipvs.header import IpvsHeader
from netemu.netfilter.ipvs.protocol import Protocol, Wish
from netemu.skb import Skb

IPPROTO_ESP = 50
IPPROTO_AH = 51

PORT_ISAKMP = 500


def wish(net: Net, skb: Skb, header: IpvsHeader) -> Wish:
    """Ask for no server: only related packets are balanced (ah_esp_conn_schedule)."""
    return Wish.NOTHING


def _protocol(number: int, name: str) -> Protocol:
    return Protocol(
        number=number,
        name=name,
        kernel="ip_vs_proto_ah_esp.c",
        states=("NONE",),
        timeouts_s=(0,),
        wish=wish,
        begins=lambda skb, header: False,
        has_ports=False,
    )


ESP = _protocol(IPPROTO_ESP, "ESP")
AH = _protocol(IPPROTO_AH, "AH")
