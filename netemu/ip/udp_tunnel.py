"""UDP as the carrier of a tunnel: who takes what comes in, and how a packet is sent.

Kernel: net/ipv4/udp_tunnel_core.c, include/net/udp.h (udp_flow_src_port), net/ipv4/ip_tunnel_core.c
(iptunnel_xmit).
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from netemu.hashing import jhash2
from netemu.ip.output import ip_local_out
from netemu.ip.rtable import Rtable
from netemu.link.veth import skb_scrub_packet
from netemu.net import Net
from netemu.skb import ETH_P_8021AD, ETH_P_8021Q, ETH_P_IP, ETH_P_IPV6, Checksum, Skb
from netemu.wire.checksum import l4_checksum
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import IP_DF, IP_MF, IP_OFFSET, IPPROTO_UDP, build_ipv4
from netemu.wire.udp import CHECK, HEADER_LEN

LOCAL_PORTS = (32768, 60999)
"""net.ipv4.ip_local_port_range of a fresh namespace."""

INET_ECN_MASK = 3
INET_ECN_ECT_1 = 1
INET_ECN_ECT_0 = 2
INET_ECN_CE = 3
"""Congestion bits of TOS (RFC 3168)."""

_PORTED = frozenset({6, 17, 33, 132, 136})


class UdpTunnels:
    """The kernel's own sockets of a namespace, by port (udp_sk(sk)->encap_rcv)."""

    __slots__ = ("_hash_key", "_net", "receivers")

    def __init__(self, net: Net) -> None:
        """Start without tunnels."""
        self._net = net
        self._hash_key: int | None = None
        self.receivers: dict[int, Callable[[Skb], None]] = {}

    @property
    def hash_key(self) -> int:
        """Key of the flow hash, drawn when it is first needed."""
        if self._hash_key is None:
            self._hash_key = self._net.entropy.stream("flow").u32()
        return self._hash_key


class UdpCarrier(Struct, frozen=True, kw_only=True):
    """What the outer headers of one packet say."""

    saddr: bytes
    daddr: bytes
    src_port: int
    dst_port: int
    tos: int
    ttl: int
    dont_fragment: bool
    checksum: bool


def udp_tunnel_xmit_skb(
    net: Net, route: Rtable, skb: Skb, carrier: UdpCarrier, *, crosses_namespace: bool
) -> None:
    """Put UDP and IPv4 before `skb.data` and send it as a packet of the node `net` itself."""
    datagram = bytearray(HEADER_LEN) + skb.data
    set16(datagram, 0, carrier.src_port)
    set16(datagram, 2, carrier.dst_port)
    set16(datagram, 4, len(datagram))
    if carrier.checksum:
        sum16 = l4_checksum(carrier.saddr, carrier.daddr, IPPROTO_UDP, datagram)
        set16(datagram, CHECK, sum16 or 0xFFFF)
    skb_scrub_packet(skb, crosses_namespace=crosses_namespace)
    skb.data = build_ipv4(
        src=carrier.saddr,
        dst=carrier.daddr,
        protocol=IPPROTO_UDP,
        payload=datagram,
        identification=net.entropy.stream("ipid").u16(),
        ttl=carrier.ttl,
        tos=carrier.tos,
        dont_fragment=carrier.dont_fragment,
    )
    skb.protocol = ETH_P_IP
    skb.vlan_tci = None
    skb.ip_summed = Checksum.NONE
    skb.gso = False
    skb.dst = route
    skb.ip_flags = 0
    skb.options = None
    skb.frag_max_size = 0
    skb.frag_list = None
    ip_local_out(net, skb)


def udp_flow_src_port(net: Net, skb: Skb, low: int, high: int) -> int:
    """Return the source port that tells the flow inside, so that routers spread flows.

    Differs from Linux: the hash is another one, as the kernel's has a key drawn at boot.
    """
    if low >= high:
        low, high = LOCAL_PORTS
    flow = _flow_of(skb)
    words = [int.from_bytes(flow[at : at + 4], "little") for at in range(0, len(flow), 4)]
    value = jhash2(words, net.generic(UdpTunnels).hash_key)
    value ^= (value << 16) & 0xFFFFFFFF
    return ((value * (high - low)) >> 32) + low


def _flow_of(skb: Skb) -> bytes:
    """Return what makes a flow: tag, ethertype, addresses, protocol and ports, in both directions.

    ARP and all else that is no IP is one flow each; fragments have no ports (skb_flow_dissect).
    """
    data, protocol = bytes(skb.data), skb.protocol
    flow = b""
    while protocol in {ETH_P_8021Q, ETH_P_8021AD} and len(data) >= 4:
        flow += protocol.to_bytes(2, "big") + data[:2]
        data, protocol = data[4:], get16(data, 2)
    flow += protocol.to_bytes(2, "big")
    if protocol == ETH_P_IP and len(data) >= 20:
        fragment = get16(data, 6) & (IP_MF | IP_OFFSET)
        ports = b"" if fragment else _ports(data, data[9], (data[0] & 15) * 4)
        flow += data[9:10] + _sorted(data[12:20]) + _sorted(ports)
    elif protocol == ETH_P_IPV6 and len(data) >= 40:
        flow += data[6:7] + _sorted(data[8:40]) + _sorted(_ports(data, data[6], 40))
    return flow + bytes(-len(flow) % 4)


def _ports(data: bytes, protocol: int, start: int) -> bytes:
    return data[start : start + 4] if protocol in _PORTED else b""


def _sorted(ends: bytes) -> bytes:
    """Return two ends with the lesser one first (__flow_hash_consistentify)."""
    half = len(ends) // 2
    return b"".join(sorted((ends[:half], ends[half:])))


def ip_tunnel_get_dsfield(skb: Skb) -> int:
    """Return TOS or traffic class of the packet inside, 0 of what is no IP."""
    data = skb.data
    if skb.protocol == ETH_P_IP and len(data) >= 20:
        return data[1]
    if skb.protocol == ETH_P_IPV6 and len(data) >= 40:
        return (data[0] << 4 | data[1] >> 4) & 0xFF
    return 0


def ecn_encapsulate(tos: int, inner: int) -> int:
    """Return the outer TOS with the congestion bits of the inner one (RFC 6040)."""
    bits = INET_ECN_ECT_0 if inner & INET_ECN_MASK == INET_ECN_CE else inner & INET_ECN_MASK
    return tos & ~INET_ECN_MASK | bits


def ip_dont_fragment(skb: Skb) -> bool:
    """Return whether the packet inside must not be cut: DF, and every IPv6 packet."""
    if skb.protocol == ETH_P_IPV6:
        return True
    data = skb.data
    return skb.protocol == ETH_P_IP and len(data) >= 20 and bool(data[6] << 8 & IP_DF)
