"""Where addresses and ports of a packet stand, also of one quoted by an ICMP error.

Kernel: include/net/ip_vs.h (struct ip_vs_iphdr, ip_vs_fill_iph_skb).
"""

from __future__ import annotations

from netemu.skb import Skb
from netemu.wire.fields import get16


class IpvsHeader:
    """Addresses, protocol and offsets of one IP header (struct ip_vs_iphdr)."""

    __slots__ = ("daddr", "icmp", "inverse", "l4_offset", "offset", "protocol", "saddr")

    def __init__(
        self, data: bytearray, offset: int = 0, *, icmp: bool = False, inverse: bool = False
    ) -> None:
        """Read the IPv4 header at `offset`, which must be whole.

        `icmp` says that an ICMP error quotes it; `inverse` that source and destination change
        places, since the quoted packet went the other way.
        """
        self.offset = offset
        self.l4_offset = offset + (data[offset] & 0x0F) * 4
        self.protocol = data[offset + 9]
        self.saddr = bytes(data[offset + 12 : offset + 16])
        self.daddr = bytes(data[offset + 16 : offset + 20])
        self.icmp = icmp
        self.inverse = inverse

    @property
    def client(self) -> bytes:
        """Address of the side that asks."""
        return self.daddr if self.inverse else self.saddr

    @property
    def virtual(self) -> bytes:
        """Address that is asked."""
        return self.saddr if self.inverse else self.daddr

    def ports(self, data: bytearray) -> tuple[int, int] | None:
        """Return the ports of the side that asks and of the one asked; None when cut short."""
        at = self.l4_offset
        if len(data) < at + 4:
            return None
        source, destination = get16(data, at), get16(data, at + 2)
        return (destination, source) if self.inverse else (source, destination)


def fill_iph_skb(skb: Skb, *, inverse: bool = False) -> IpvsHeader:
    """Read a packet's own header (ip_vs_fill_iph_skb)."""
    return IpvsHeader(skb.data, inverse=inverse)


def fill_iph_skb_icmp(skb: Skb, offset: int, *, inverse: bool) -> IpvsHeader | None:
    """Read the header that an ICMP error quotes at `offset`; None when it is cut short."""
    if len(skb.data) < offset + 20:
        return None
    return IpvsHeader(skb.data, offset, icmp=True, inverse=inverse)
