"""Wrapping a packet for a real server that is reached by a tunnel: IPIP, GUE or GRE.

Kernel: net/netfilter/ipvs/ip_vs_xmit.c (ip_vs_tunnel_xmit, ipvs_gue_encap, ipvs_gre_encap),
include/net/inet_ecn.h. RFC 2003, RFC 2784, RFC 6040.

    IPIP   IP(4) | packet
    GUE    IP(17) | UDP | 00 04 00 00 | packet
    GRE    IP(47) | 00 00 08 00 | packet, with a checksum 80 00 08 00 CHECKSUM 00 00 | packet
"""

from __future__ import annotations

from netemu.hashing import jhash2, reciprocal_scale
from netemu.netfilter.ipvs.connection import IpvsConnection
from netemu.netfilter.ipvs.service import Tunnel, TunnelType
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import internet_checksum, l4_checksum
from netemu.wire.fields import set16
from netemu.wire.ipv4 import IPPROTO_UDP, IPv4

IPPROTO_IPIP = 4
IPPROTO_GRE = 47
IP_HEADER_LEN = 20
UDP_HEADER_LEN = 8
GUE_HEADER_LEN = 4
ETH_P_IP = 0x0800
IP_DF = 0x4000
ECN_MASK, ECN_ECT_0, ECN_CE = 3, 2, 3


def overhead(tunnel: Tunnel, skb: Skb) -> int:
    """Return how many octets the tunnel adds."""
    if tunnel.kind == TunnelType.GUE:
        return IP_HEADER_LEN + UDP_HEADER_LEN + GUE_HEADER_LEN
    if tunnel.kind == TunnelType.GRE:
        return IP_HEADER_LEN + (8 if tunnel.checksum else 4)
    return IP_HEADER_LEN


def encapsulate(
    skb: Skb, connection: IpvsConnection, tunnel: Tunnel, source: bytes, *, keep_df: bool
) -> int:
    """Put the outer headers before a packet; return how many octets they are.

    Identification, length and checksum are left to others.
    """
    inner = IPv4(skb.data)
    inner.update_check()
    tos, ttl, inner_len = inner.tos, inner.ttl, inner.header_len
    ecn = tos & ECN_MASK
    dsfield = (tos & ~ECN_MASK) | (ECN_ECT_0 if ecn == ECN_CE else ecn)
    df = inner.frag_off & IP_DF if keep_df else 0
    middle, protocol = _middle(skb, connection, tunnel, source)
    outer = bytearray(IP_HEADER_LEN)
    outer[0] = 0x45
    skb.data[:0] = outer + middle
    header = IPv4(skb.data)
    header.tos, header.ttl = dsfield, ttl
    header.frag_off = df
    skb.data[9] = protocol
    header.src, header.dst = source, connection.daddr
    skb.options = None
    skb.ip_summed = Checksum.NONE
    if skb.frag_list is not None:
        # The first part carries the inner header now.
        skb.frag_list = [skb.frag_list[0] + inner_len + len(middle), *skb.frag_list[1:]]
    return IP_HEADER_LEN + len(middle)


def _middle(
    skb: Skb, connection: IpvsConnection, tunnel: Tunnel, source: bytes
) -> tuple[bytearray, int]:
    """Return what stands between outer and inner IP header, and the outer protocol."""
    if tunnel.kind == TunnelType.GRE:
        if not tunnel.checksum:
            return bytearray(b"\x00\x00\x08\x00"), IPPROTO_GRE
        header = bytearray(b"\x80\x00\x08\x00\x00\x00\x00\x00")
        set16(header, 4, internet_checksum(bytes(header) + bytes(skb.data)))
        return header, IPPROTO_GRE
    if tunnel.kind == TunnelType.GUE:
        header = bytearray(UDP_HEADER_LEN) + b"\x00\x04\x00\x00"
        set16(header, 0, gue_source_port(skb))
        set16(header, 2, tunnel.port)
        set16(header, 4, len(header) + len(skb.data))
        if tunnel.checksum or tunnel.remote_checksum:
            whole = bytes(header) + bytes(skb.data)
            check = l4_checksum(source, connection.daddr, IPPROTO_UDP, whole)
            set16(header, 6, check or 0xFFFF)
        return header, IPPROTO_UDP
    return bytearray(), IPPROTO_IPIP


def gue_source_port(skb: Skb) -> int:
    """Return GUE's source port, which tells connections apart (udp_flow_src_port).

    The kernel hashes with a key drawn at boot; here the key is 0.
    """
    data = skb.data
    offset = (data[0] & 0x0F) * 4
    words = [int.from_bytes(data[at : at + 4], "little") for at in (12, 16, offset)]
    low, high = 32768, 60999
    hashed = jhash2(words, 0)
    hashed ^= hashed << 16 & 0xFFFFFFFF
    return low + reciprocal_scale(hashed, high - low)
