"""IGMP snooping: what a bridge reads in multicast frames.

Kernel: net/bridge/br_multicast.c (br_multicast_ipv4_rcv), net/ipv4/igmp.c (ip_mc_check_igmp);
RFC 2236, RFC 3376, RFC 4541.

A malformed IPv4 or IGMP packet is dropped. Reports, leaves and queries are noted in the bridge's
multicast database (bridge_mdb.py). Link-local groups (224.0.0.x) are everybody's.
"""

from __future__ import annotations

from netemu.link.bridge_mdb import Mdb
from netemu.link.bridge_port import BridgePort
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.checksum import internet_checksum
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_IGMP, IPv4

IGMP_QUERY = 0x11
IGMP_REPORT = 0x12
IGMPV2_REPORT = 0x16
IGMP_LEAVE = 0x17
IGMPV3_REPORT = 0x22
"""Message types (include/uapi/linux/igmp.h)."""

IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK = range(1, 7)
"""Record types of a version 3 report (RFC 3376 section 4.2.12)."""

TENTH_NS = 100_000_000
"""Unit of a query's maximum response time."""

DEFAULT_DELAY_TENTHS = 100
"""Maximum response time of a version 1 query, which tells none: 10 s."""

_ALL_HOSTS = bytes((224, 0, 0, 1))
_LINK_LOCAL = bytes((224, 0, 0))


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
    if ip.protocol != IPPROTO_IGMP:
        return False
    message = _igmp(ip)
    return not _igmp_is_good(message, ip.dst)


def _igmp(ip: IPv4) -> bytes:
    return bytes(ip.data[ip.header_len : ip.total_length])


def _igmp_is_good(message: bytes, destination: bytes) -> bool:
    if len(message) < 8 or internet_checksum(message):
        return False
    if message[0] == IGMP_QUERY:
        # A version 3 query has 12 octets; a general one must go to all hosts (RFC 3376 4.1.12).
        if len(message) != 8 and len(message) < 12:
            return False
        return message[4:8] != bytes(4) or destination == _ALL_HOSTS
    return message[0] != IGMPV3_REPORT or _records_fit(message)


def _records_fit(message: bytes) -> bool:
    """Return whether a version 3 report holds as many records as it says."""
    place = 8
    for _ in range(get16(message, 6)):
        if len(message) < place + 8:
            return False
        place += 8 + get16(message, place + 2) * 4
        if len(message) < place:
            return False
    return True


def br_multicast_rcv(mdb: Mdb, port: BridgePort | None, skb: Skb, vlan: int) -> bytes | None:
    """Note what a well-formed multicast frame says; return its group.

    The group is empty for a report, which only routers get, and None where everybody gets the frame
    (br_multicast_ipv4_rcv, and what BR_INPUT_SKB_CB(skb)->igmp and ->mrouters_only say then).
    """
    if skb.protocol != ETH_P_IP:
        return None
    ip = IPv4(skb.data)
    if ip.protocol != IPPROTO_IGMP:
        return None if ip.dst[:3] == _LINK_LOCAL else ip.dst
    message = _igmp(ip)
    kind, group = message[0], message[4:8]
    if kind in {IGMP_REPORT, IGMPV2_REPORT}:
        _join(mdb, group, vlan, port)
        return b""
    if kind == IGMP_LEAVE:
        _leave(mdb, group, vlan, port)
    elif kind == IGMPV3_REPORT:
        _igmp3_report(mdb, message, vlan, port)
    elif kind == IGMP_QUERY and port is not None:
        _query(mdb, message, ip.src, vlan, port)
    return None


def _join(mdb: Mdb, group: bytes, vlan: int, port: BridgePort | None) -> None:
    if group[:3] != _LINK_LOCAL:
        mdb.join(group, vlan, port)


def _leave(mdb: Mdb, group: bytes, vlan: int, port: BridgePort | None) -> None:
    if group[:3] != _LINK_LOCAL:
        mdb.leave(group, vlan, port)


def _igmp3_report(mdb: Mdb, message: bytes, vlan: int, port: BridgePort | None) -> None:
    """Take each record as a version 2 bridge does: any interest is one in the whole group."""
    place = 8
    for _ in range(get16(message, 6)):
        kind, sources = message[place], get16(message, place + 2)
        group = message[place + 4 : place + 8]
        place += 8 + sources * 4
        if kind in {TO_IN, IS_IN} and not sources:
            _leave(mdb, group, vlan, port)
        elif kind in {IS_IN, IS_EX, TO_IN, TO_EX, ALLOW, BLOCK}:
            _join(mdb, group, vlan, port)


def _query(mdb: Mdb, message: bytes, source: bytes, vlan: int, port: BridgePort) -> None:
    group = message[4:8]
    if len(message) == 8:
        tenths = message[1]
        if not tenths:
            tenths, group = DEFAULT_DELAY_TENTHS, bytes(4)
    else:
        if get16(message, 10):
            return  # asks for sources only
        tenths = _float(message[1])
    delay_ns = tenths * TENTH_NS if tenths else 1
    if any(group):
        mdb.hear_group_query(group, vlan, delay_ns)
    else:
        mdb.hear_query(port, source, delay_ns)


def _float(code: int) -> int:
    """Return the value of a version 3 response code (RFC 3376 section 4.1.1).

    >>> _float(100), _float(0x8F), _float(0xFF)
    (100, 248, 31744)
    """
    if code < 0x80:
        return code
    return (code & 0x0F | 0x10) << ((code >> 4 & 7) + 3)
