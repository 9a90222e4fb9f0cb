"""What a bridge's IGMP snooping does while no querier is known: check, and flood.

Kernel: net/bridge/br_multicast.c (br_multicast_ipv4_rcv), net/ipv4/igmp.c (ip_mc_check_igmp).

Without a querier all multicast is flooded, whatever memberships were reported; but a malformed
IPv4 or IGMP packet is dropped by the check that comes before.

Differs from Linux: a querier's queries are not noted, so a bridge that hears one goes on flooding.
IPv6 multicast is not checked.
"""

from __future__ import annotations

from netemu.skb import ETH_P_IP, Skb
from netemu.wire.checksum import internet_checksum
from netemu.wire.ipv4 import IPPROTO_IGMP, IPv4

IGMP_QUERY = 0x11
IGMPV3_REPORT = 0x22
"""Message types (include/uapi/linux/igmp.h)."""

_ALL_HOSTS = bytes((224, 0, 0, 1))


def multicast_is_malformed(skb: Skb) -> bool:
    """Return whether snooping drops this multicast packet."""
    if skb.protocol != ETH_P_IP:
        return False
    data = skb.data
    if len(data) < 20:
        return True
    ip = IPv4(data)
    if ip.version != 4 or ip.header_len < 20:
        return True
    if len(data) < ip.total_length or ip.total_length < ip.header_len:
        return True
    return ip.protocol == IPPROTO_IGMP and not _igmp_is_good(ip)


def _igmp_is_good(ip: IPv4) -> bool:
    message = bytes(ip.data[ip.header_len : ip.total_length])
    if len(message) < 8 or internet_checksum(message):
        return False
    if message[0] == IGMP_QUERY:
        # A version 3 query has 12 octets; a general one must go to all hosts (RFC 3376 4.1.12).
        if len(message) != 8 and len(message) < 12:
            return False
        return message[4:8] != bytes(4) or ip.dst == _ALL_HOSTS
    return True
