"""ICMP: errors that the node sends, and messages that it receives.

Kernel: net/ipv4/icmp.c. RFC 792, RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.

Differs from Linux: errors about packets of sockets whose programs are not emulated are taken and
change nothing, and a connection does not learn a path's MTU while it sends. An echo reply is taken,
where the kernel has it dropped (NO_SOCKET) unless a program waits for it. PROBE messages (RFC 8335)
are discarded in silence, which is the kernel's default, too.
"""

from __future__ import annotations

from netemu.ip.devinet import RT_SCOPE_LINK, inet_select_addr
from netemu.ip.fib import inet_addr_type
from netemu.ip.fib_table import Errno, Flowi4, RouteType
from netemu.ip.inetpeer import InetPeers
from netemu.ip.learn import ipv4_redirect, ipv4_update_pmtu
from netemu.ip.options import inet_current_timestamp
from netemu.ip.options_echo import EchoedOptions, ip_options_build, ip_options_echo
from netemu.ip.output import ip_local_out, ip_select_ident, ip_select_ttl
from netemu.ip.route import fib_compute_spec_dst, ip_route_input, ip_route_output_key
from netemu.ip.rtable import Rtable, Rtcf, ip_dst_mtu_maybe_forward, skb_rtable
from netemu.ip.upcall import Upcalls
from netemu.net import Net, consume_skb, kfree_skb_reason, skb_made
from netemu.skb import ETH_P_IP, Checksum, PacketType, Skb
from netemu.wire.address import IPV4_ANY
from netemu.wire.checksum import internet_checksum
from netemu.wire.fields import get16, set16, set32
from netemu.wire.icmp import (
    CHECK,
    ERROR_TYPES,
    HEADER_LEN,
    NR_ICMP_TYPES,
    IcmpType,
    icmp_errno,
)
from netemu.wire.ipv4 import (
    IPPROTO_DCCP,
    IPPROTO_ICMP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
    MIN_HEADER_LEN,
    IPv4,
    build_ipv4,
)

RT_TOS_MASK = 0x1E
"""IPTOS_TOS_MASK: the bits of an offender's TOS that an error keeps."""

IPTOS_PREC_INTERNETCONTROL = 0xC0
"""Precedence of ICMP errors (RFC 1812 section 4.3.2.5)."""

INADDR_DUMMY = bytes((192, 0, 0, 8))
"""Source of an error when the node has no address at all (RFC 7600)."""

ICMP_QUOTE_LIMIT = 576
"""An error is at most so long (RFC 1812 section 4.3.2.3)."""

PORT_PROTOCOLS = frozenset((IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE, IPPROTO_SCTP, IPPROTO_DCCP))
"""Protocols whose ports a route may hang on (__skb_flow_dissect)."""

ICMP_FRAG_NEEDED = 4
ICMP_EXC_FRAGTIME = 1

TAG_VALIDATING = frozenset((IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_DCCP))
"""Protocols whose errors prove that they come from the path (icmp_strict_tag_validation)."""

REDIRECT_CODES = frozenset((0, 1, 2, 3))
"""Network, host, and both for a type of service."""

ICMP_EXT_ECHO = 42
ICMP_EXT_ECHOREPLY = 43
"""PROBE messages (RFC 8335)."""


_NEVER_ANSWERED = ERROR_TYPES | {1, 2, 6, 7, 9, 10}
"""Types that count as errors (icmp_pointers[].error): router discovery and unassigned ones, too."""


def icmp_is_err(icmp_type: int) -> bool:
    """Return whether no error may be sent about a message of this type."""
    return icmp_type in _NEVER_ANSWERED


def ip4_reply_mark(net: Net, skb: Skb) -> int:
    """Return the mark of an answer to `skb` (IP4_REPLY_MARK)."""
    return skb.mark if net.sysctl.get("net.ipv4.fwmark_reflect") else 0


class IcmpSocket:
    """The socket that ICMP messages leave by; it sends one at a time (icmp_xmit_lock).

    So a message that a REJECT rule meets on its way out is not answered by another.
    """

    __slots__ = ("locked",)

    def __init__(self, net: Net) -> None:
        """Start unlocked; found by `net.generic(IcmpSocket)`."""
        del net
        self.locked = False


def icmp_send(net: Net, skb: Skb, icmp_type: int, code: int, info: int) -> None:
    """Send an ICMP error about `skb`, unless the rules of RFC 1122 or a rate limit forbid it.

    `info` is the last word of the ICMP header: gateway, MTU, or pointer << 24.
    """
    route = skb_rtable(skb)
    if route is None or not _may_complain(skb, route, icmp_type):
        return
    from_loopback = skb.device is not None and skb.device.loopback
    limited = False
    if not from_loopback and not _mask_allow(net, icmp_type, code):
        if not net.generic(InetPeers).global_allow():
            return
        limited = True
    if net.generic(IcmpSocket).locked:
        return
    header = IPv4(skb.data)
    tos = header.tos
    if icmp_is_err(icmp_type):
        tos = (tos & RT_TOS_MASK) | IPTOS_PREC_INTERNETCONTROL
    mark = ip4_reply_mark(net, skb)
    options = ip_options_echo(net, skb)
    if options is None:
        return
    flow = Flowi4(
        daddr=options.first_hop or header.src,
        saddr=_error_source(net, skb, route, header),
        mark=mark,
        tos=tos,
        protocol=IPPROTO_ICMP,
    )
    out = ip_route_output_key(net, flow, skb)
    if isinstance(out, Errno):
        return
    if inet_addr_type(net, flow.daddr) != RouteType.LOCAL:
        _relookup(net, skb, tos)
    if not _xrlim_allow(net, out, flow.daddr, limited=limited):
        return
    room = min(ip_dst_mtu_maybe_forward(out), ICMP_QUOTE_LIMIT)
    room -= MIN_HEADER_LEN + len(options.octets) + HEADER_LEN
    if room <= MIN_HEADER_LEN:
        return
    if flow.saddr == IPV4_ANY:
        flow.saddr = INADDR_DUMMY
    message = bytearray(HEADER_LEN) + skb.data[:room]
    message[0], message[1] = icmp_type, code
    set32(message, 4, info)
    what = f"icmp {_type_name(icmp_type)} code {code}"
    _push_reply(net, skb, message, flow, out, options, header.src, tos, what)


def _may_complain(skb: Skb, route: Rtable, icmp_type: int) -> bool:
    """Return whether `skb` is a packet about which errors may be sent at all."""
    if skb.pkt_type != PacketType.HOST:
        return False
    if route.flags & (Rtcf.BROADCAST | Rtcf.MULTICAST):
        return False
    header = IPv4(skb.data)
    if header.fragment_offset:
        return False
    if icmp_is_err(icmp_type) and header.protocol == IPPROTO_ICMP:
        start = header.header_len
        if len(skb.data) <= start:
            return False
        inner = skb.data[start]
        return inner <= NR_ICMP_TYPES and not icmp_is_err(inner)
    return True


def _relookup(net: Net, skb: Skb, tos: int) -> None:
    """Route the offender backwards, as if its destination had sent it (icmp_route_lookup).

    It is received where the offender itself would be sent to, if the node sent it. IPsec wants to
    know, and without policies nothing comes of it but a martian in the log.
    """
    header = IPv4(skb.data)
    if inet_addr_type(net, header.dst) == RouteType.LOCAL:
        return
    at, ports = header.header_len, (0, 0)
    if header.protocol in PORT_PROTOCOLS and len(skb.data) >= at + 4:
        ports = get16(skb.data, at), get16(skb.data, at + 2)
    flow = Flowi4(
        daddr=header.dst,
        saddr=header.src,
        mark=skb.mark,
        tos=header.tos,
        protocol=header.protocol,
        src_port=ports[0],
        dst_port=ports[1],
        any_source=True,
    )
    route = ip_route_output_key(net, flow)
    if isinstance(route, Errno) or route.kind != RouteType.UNICAST:
        return
    if not net.sysctl.conf_or(route.device.name, "log_martians"):
        return
    sink, net.sink = net.sink, None
    ip_route_input(net, skb.clone(), header.src, header.dst, tos, route.device)
    net.sink = sink


def _error_source(net: Net, skb: Skb, route: Rtable, header: IPv4) -> bytes:
    """Return the source of an error; 0.0.0.0 leaves the choice to the route."""
    if route.flags & Rtcf.LOCAL:
        return header.dst
    if route.is_input and net.sysctl.get("net.ipv4.icmp_errors_use_inbound_ifaddr"):
        # A packet on its way through a bridge counts as received by the port.
        if skb.iif is not None:
            return inet_select_addr(net, skb.iif, header.src, RT_SCOPE_LINK)
    return IPV4_ANY


def _mask_allow(net: Net, icmp_type: int, code: int) -> bool:
    """Return whether the type is free of rate limits (icmpv4_mask_allow)."""
    if icmp_type > NR_ICMP_TYPES:
        return True
    if icmp_type == IcmpType.DEST_UNREACH and code == ICMP_FRAG_NEEDED:
        return True
    return not (1 << icmp_type) & net.sysctl.get("net.ipv4.icmp_ratemask")


def _xrlim_allow(net: Net, route: Rtable, daddr: bytes, *, limited: bool) -> bool:
    """Return whether the destination may get one more (icmpv4_xrlim_allow)."""
    if not limited:
        return True
    peers = net.generic(InetPeers)
    clock = net.clock
    timeout = net.sysctl.get("net.ipv4.icmp_ratelimit") * clock.hz // 1000
    if not route.device.loopback:
        if not peers.get(daddr).xrlim_allow(clock.jiffies, timeout):
            return False
    peers.global_consume()
    return True


def _push_reply(  # noqa: PLR0913 - the parts of a packet
    net: Net,
    cause: Skb,
    message: bytearray,
    flow: Flowi4,
    route: Rtable,
    options: EchoedOptions,
    daddr: bytes,
    tos: int,
    what: str,
) -> None:
    """Put headers before an ICMP message and send it (icmp_push_reply)."""
    set16(message, CHECK, 0)
    # The kernel adds up from ~0, so a message of zeros gets 0 and not 0xffff.
    set16(message, CHECK, internet_checksum(message) % 0xFFFF)
    packet = build_ipv4(
        src=flow.saddr,
        dst=flow.daddr,
        protocol=IPPROTO_ICMP,
        payload=message,
        ttl=ip_select_ttl(net, route),
        tos=tos,
        options=bytes(options.octets),
    )
    reply = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate(parent=cause.fate))
    if options.octets:
        ip_options_build(net, reply, options, daddr)
    reply.mark = flow.mark
    reply.ignore_df = True
    reply.dst = route
    ip_select_ident(net, reply)
    IPv4(reply.data).update_check()
    if icmp_is_err(message[0]) and net.nf_ct_attach is not None:
        net.nf_ct_attach(reply, cause)
    skb_made(net, reply, what)
    socket = net.generic(IcmpSocket)
    reply.sk = socket
    socket.locked = True
    ip_local_out(net, reply)
    socket.locked = False


def _type_name(icmp_type: int) -> str:
    try:
        return IcmpType(icmp_type).name.lower().replace("_", " ")
    except ValueError:
        return f"type {icmp_type}"


def icmp_rcv(net: Net, skb: Skb) -> None:
    """Take an ICMP message that is for us."""
    start = skb.transport_offset
    message = skb.data[start:]
    if skb.ip_summed != Checksum.UNNECESSARY and internet_checksum(message):
        kfree_skb_reason(net, skb, "ICMP_CSUM")
        return
    if len(message) < HEADER_LEN:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "shorter than an ICMP header")
        return
    icmp_type = message[0]
    if icmp_type in {ICMP_EXT_ECHO, ICMP_EXT_ECHOREPLY}:
        consume_skb(net, skb, "icmp probe")
        return
    if icmp_type > NR_ICMP_TYPES:
        kfree_skb_reason(net, skb, "UNHANDLED_PROTO", f"ICMP type {icmp_type}")
        return
    route = skb_rtable(skb)
    assert route is not None
    if route.flags & (Rtcf.BROADCAST | Rtcf.MULTICAST) and not _broadcast_ok(net, skb, icmp_type):
        return
    reason = _handle(net, skb, message)
    if reason:
        kfree_skb_reason(net, skb, reason)
    else:
        consume_skb(net, skb, f"icmp {_type_name(icmp_type)}")


def _broadcast_ok(net: Net, skb: Skb, icmp_type: int) -> bool:
    """Refuse what nobody may broadcast (RFC 1122 sections 3.2.2.6 to 3.2.2.9)."""
    asks = icmp_type in {IcmpType.ECHO, IcmpType.TIMESTAMP}
    if asks and net.sysctl.get("net.ipv4.icmp_echo_ignore_broadcasts"):
        kfree_skb_reason(net, skb, "INVALID_PROTO", "an echo request to everybody")
        return False
    if icmp_type not in {
        IcmpType.ECHO,
        IcmpType.TIMESTAMP,
        IcmpType.ADDRESS,
        IcmpType.ADDRESS_REPLY,
    }:
        kfree_skb_reason(net, skb, "INVALID_PROTO", "no message for everybody")
        return False
    return True


def _handle(net: Net, skb: Skb, message: bytearray) -> str:
    """Act on a message; a drop reason, or empty (icmp_pointers[].handler)."""
    icmp_type = message[0]
    if icmp_type == IcmpType.ECHO:
        return _icmp_echo(net, skb, message)
    if icmp_type == IcmpType.ECHO_REPLY:
        take = net.generic(Upcalls).ping_rcv
        if take is not None:
            take(net, skb)
        return ""
    if icmp_type == IcmpType.TIMESTAMP:
        return _icmp_timestamp(net, skb, message)
    if icmp_type in {
        IcmpType.DEST_UNREACH,
        IcmpType.SOURCE_QUENCH,
        IcmpType.TIME_EXCEEDED,
        IcmpType.PARAMETER_PROBLEM,
    }:
        return _icmp_unreach(net, skb, message)
    if icmp_type == IcmpType.REDIRECT:
        if len(message) < HEADER_LEN + MIN_HEADER_LEN:
            return "PKT_TOO_SMALL"
        if message[1] & 7 in REDIRECT_CODES:
            _socket_deliver(net, skb, message, 0)
    return ""


def _icmp_unreach(net: Net, skb: Skb, message: bytearray) -> str:
    if len(message) < HEADER_LEN + MIN_HEADER_LEN:
        return "NOT_SPECIFIED"
    if message[HEADER_LEN] & 0x0F < 5:
        return "IP_INHDR"
    mtu = 0
    if message[0] == IcmpType.DEST_UNREACH and message[1] == ICMP_FRAG_NEEDED:
        discovery = net.sysctl.get("net.ipv4.ip_no_pmtu_disc")
        protocol = message[HEADER_LEN + 9]
        if discovery == 2 or (discovery == 3 and protocol not in TAG_VALIDATING):
            return "NOT_SPECIFIED"
        mtu = 0 if discovery == 1 else get16(message, 6)
    elif message[0] == IcmpType.TIME_EXCEEDED and message[1] == ICMP_EXC_FRAGTIME:
        return "NOT_SPECIFIED"
    _socket_deliver(net, skb, message, mtu)
    return ""


def _socket_deliver(net: Net, skb: Skb, message: bytearray, info: int) -> None:
    """Hand an error to the protocol that it quotes (icmp_socket_deliver)."""
    quoted = message[HEADER_LEN:]
    if len(quoted) < (quoted[0] & 0x0F) * 4 + HEADER_LEN:
        return
    protocol = quoted[9]
    if protocol == IPPROTO_ICMP:
        _icmp_err(net, skb, message, info)
    tcp_err = net.generic(Upcalls).tcp_err
    if protocol == IPPROTO_TCP and tcp_err is not None:
        tcp_err(net, skb, quoted, info)
    tell, errno = net.generic(Upcalls).error_handlers.get(protocol), icmp_errno(message)
    if tell is not None and errno:
        tell(net, bytes(quoted), errno)


def _icmp_err(net: Net, skb: Skb, message: bytearray, info: int) -> None:
    """Learn from an error about an echo reply of the node."""
    if message[HEADER_LEN + (message[HEADER_LEN] & 0x0F) * 4] != IcmpType.ECHO_REPLY:
        return
    flow = _quoted_flow(net, skb, message)
    if message[0] == IcmpType.REDIRECT:
        ipv4_redirect(net, flow, skb, bytes(message[4:8]))
    elif message[0] == IcmpType.DEST_UNREACH and message[1] == ICMP_FRAG_NEEDED:
        ipv4_update_pmtu(net, flow, info)


def _quoted_flow(net: Net, skb: Skb, message: bytearray) -> Flowi4:
    """Return the flow of the quoted packet, which the node sent (__build_flow_key)."""
    return Flowi4(
        daddr=bytes(message[HEADER_LEN + 16 : HEADER_LEN + 20]),
        saddr=bytes(message[HEADER_LEN + 12 : HEADER_LEN + 16]),
        tos=message[HEADER_LEN + 1],
        protocol=message[HEADER_LEN + 9],
        mark=ip4_reply_mark(net, skb),
    )


def _icmp_echo(net: Net, skb: Skb, message: bytearray) -> str:
    if not net.sysctl.get("net.ipv4.icmp_echo_ignore_all"):
        answer = bytearray(message)
        answer[0] = IcmpType.ECHO_REPLY
        _icmp_reply(net, skb, answer)
    return ""


def _icmp_timestamp(net: Net, skb: Skb, message: bytearray) -> str:
    if len(message) < HEADER_LEN + 4:
        return "PKT_TOO_SMALL"
    answer = bytearray(message[: HEADER_LEN + 4]) + bytes(8)
    answer[0], answer[1] = IcmpType.TIMESTAMP_REPLY, 0
    now = inet_current_timestamp(net)
    set32(answer, HEADER_LEN + 4, now)
    set32(answer, HEADER_LEN + 8, now)
    _icmp_reply(net, skb, answer)
    return ""


def _icmp_reply(net: Net, skb: Skb, message: bytearray) -> None:
    """Answer a query from the address that it was sent to (icmp_reply)."""
    options = ip_options_echo(net, skb)
    if options is None:
        return
    limited = False
    if not _mask_allow(net, message[0], message[1]):
        if not net.generic(InetPeers).global_allow():
            return
        limited = True
    header = IPv4(skb.data)
    flow = Flowi4(
        daddr=options.first_hop or header.src,
        saddr=fib_compute_spec_dst(net, skb),
        mark=ip4_reply_mark(net, skb),
        tos=header.tos,
        protocol=IPPROTO_ICMP,
    )
    route = ip_route_output_key(net, flow, skb)
    if isinstance(route, Errno) or not _xrlim_allow(net, route, flow.daddr, limited=limited):
        return
    what = f"icmp {_type_name(message[0])}"
    _push_reply(net, skb, message, flow, route, options, header.src, header.tos, what)


def ipv4_link_failure(net: Net, skb: Skb) -> None:
    """Tell the sender that the next hop does not answer (ipv4_send_dest_unreach)."""
    icmp_send(net, skb, IcmpType.DEST_UNREACH, 1, 0)
