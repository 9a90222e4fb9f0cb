"""Whether a local socket would take the packet: match `socket`.

Kernel: net/netfilter/xt_socket.c (socket_match), net/ipv4/netfilter/nf_socket_ipv4.c
(nf_sk_lookup_slow_v4, extract_icmp4_fields).

TCP and UDP are looked up by their addresses and ports, ICMP errors by those of the packet they
quote. Of an answer to a connection that was SNATed, the address before SNAT counts.

Differs from Linux: no socket here is transparent or has a mark, so --transparent never matches and
--restore-skmark sets the mark to 0; and IPv6 packets find no socket.
"""

from __future__ import annotations

from typing import NamedTuple

from netemu.events import MarkChanged
from netemu.ip.sockets import Sockets
from netemu.ip.tcp_listen import TcpConnections
from netemu.net import Net
from netemu.netfilter.conntrack.connection import IPS_SRC_NAT_DONE, CtInfo, nf_ct_get
from netemu.netfilter.hook import Family, Hook
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb
from netemu.wire.icmp import ERROR_TYPES
from netemu.wire.ipv4 import IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP

_PROTOCOLS = {IPPROTO_TCP: "tcp", IPPROTO_UDP: "udp"}
_HEADER_LENS = {IPPROTO_TCP: 20, IPPROTO_UDP: 8}
_ICMP_HEADER_LEN = 8


class Ends(NamedTuple):
    """Who talks with whom, seen from here."""

    protocol: int
    remote: bytes
    remote_port: int
    local: bytes
    local_port: int


class SocketMatch:
    """struct xt_socket_mtinfo3."""

    __slots__ = ("family", "nowildcard", "restore_skmark", "transparent")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.family = settings.family
        self.transparent = "transparent" in settings
        self.nowildcard = "nowildcard" in settings
        self.restore_skmark = "restore-skmark" in settings


def socket_mt(info: SocketMatch, skb: Skb, param: XtParam) -> bool:
    """Look for a socket that is good enough."""
    if info.family == Family.IPV6 or info.transparent:
        return False
    bound = _find(param.net, skb, param)
    if bound is None or not (bound or info.nowildcard):
        return False
    if info.restore_skmark and skb.mark:
        if param.net.sink is not None:
            param.net.tell(skb, MarkChanged(what="mark", before=skb.mark, after=0))
        skb.mark = 0
    return True


def _find(net: Net, skb: Skb, param: XtParam) -> bool | None:
    """Return whether the socket is bound to an address; None when there is no socket."""
    if skb.sk is not None:
        return True
    ends = _ends(skb)
    if ends is None:
        return None
    if ends.protocol == IPPROTO_TCP:
        key = ends.remote, ends.remote_port, ends.local, ends.local_port
        if key in net.generic(TcpConnections).socks:
            return True
    device = param.in_device
    if device is None:
        return None
    return net.generic(Sockets).bound(
        _PROTOCOLS[ends.protocol], ends.local, ends.local_port, device
    )


def _ends(skb: Skb) -> Ends | None:
    """Return what to look for (nf_sk_lookup_slow_v4)."""
    data = skb.data
    protocol = data[9]
    start = skb.transport_offset
    if protocol == IPPROTO_ICMP:
        ends = _quoted_ends(data, start)
    elif protocol in _PROTOCOLS and len(data) >= start + _HEADER_LENS[protocol]:
        ports = data[start : start + 4]
        ends = Ends(
            protocol,
            bytes(data[12:16]),
            ports[0] << 8 | ports[1],
            bytes(data[16:20]),
            ports[2] << 8 | ports[3],
        )
    else:
        ends = None
    if ends is None:
        return None
    connection, ctinfo = nf_ct_get(skb)
    answer = CtInfo.RELATED_REPLY if protocol == IPPROTO_ICMP else CtInfo.ESTABLISHED_REPLY
    if connection is not None and ctinfo == answer and connection.status & IPS_SRC_NAT_DONE:
        original = connection.original
        ends = ends._replace(local=original.src, local_port=original.src_part)
    return ends


def _quoted_ends(data: bytearray, start: int) -> Ends | None:
    """Take apart the packet that an ICMP error quotes (extract_icmp4_fields)."""
    inner = start + _ICMP_HEADER_LEN
    if len(data) < inner + 20 or data[start] not in ERROR_TYPES:
        return None
    protocol = data[inner + 9]
    at = inner + (data[inner] & 0x0F) * 4
    if protocol not in _PROTOCOLS or len(data) < at + 4:
        return None
    return Ends(
        protocol,
        bytes(data[inner + 16 : inner + 20]),
        data[at + 2] << 8 | data[at + 3],
        bytes(data[inner + 12 : inner + 16]),
        data[at] << 8 | data[at + 1],
    )


def describe_socket(info: SocketMatch, skb: Skb, param: XtParam) -> str:
    """Say what socket there is."""
    bound = _find(param.net, skb, param) if info.family == Family.IPV4 else None
    if bound is None:
        return "no socket"
    return "a socket bound to an address" if bound else "a socket bound to any address"


MATCHES = (
    Match(
        name="socket",
        kernel="xt_socket.c",
        duty="Looks for a local socket that would take the packet.",
        options=(
            Option("transparent", help="Only transparent sockets; there are none here."),
            Option("nowildcard", help="Sockets bound to any address count, too."),
            Option("restore-skmark", help="Gives the packet the socket's mark, which is 0 here."),
        ),
        hooks=(Hook.PREROUTING, Hook.INPUT),
        shares=always,
        build=SocketMatch,
        evaluate=socket_mt,
        packets=own_answer,
        describe=describe_socket,
    ),
)
