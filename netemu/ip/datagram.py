"""Datagrams and echo requests that programs send, and the sockets that wait for what comes back.

Kernel: net/ipv4/udp.c (udp_sendmsg, __udp4_lib_err), net/ipv4/raw.c, net/ipv4/ip_output.c
(__ip_make_skb).
"""

from __future__ import annotations

from typing import Protocol

from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.output import ip_local_out, ip_select_ident, ip_select_ttl
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import ip_dst_mtu_maybe_forward
from netemu.ip.sockets import ProgramSocket
from netemu.link.device import skb_leave_checksum
from netemu.net import Net, skb_made
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import IPV4_ANY
from netemu.wire.fields import get16
from netemu.wire.icmp import IcmpType, build_icmp
from netemu.wire.ipv4 import IPPROTO_ICMP, IPPROTO_UDP, MIN_HEADER_LEN, IPv4, build_ipv4
from netemu.wire.udp import HEADER_LEN, build_udp

LONGEST_PAYLOAD = 0xFFFF - MIN_HEADER_LEN - HEADER_LEN
"""What fits into an IPv4 packet behind both headers."""


class Waiter(Protocol):
    """A program that waits for an answer."""

    @property
    def peer(self) -> tuple[bytes, int] | None:
        """Whom a connected socket hears, None for everybody."""

    def answered(self, source: bytes, port_or_seq: int, payload: bytes) -> None:
        """Take a datagram or an echo reply."""

    def failed(self, errno: str) -> None:
        """Take an ICMP error about what was sent."""


class Waiters:
    """Sockets of a namespace's programs, by protocol and by UDP port or echo id."""

    __slots__ = ("_waiting",)

    def __init__(self, net: Net) -> None:
        """Start without any."""
        del net
        self._waiting: dict[tuple[int, int], Waiter] = {}

    def add(self, protocol: int, port_or_id: int, waiter: Waiter) -> None:
        """Let a program wait."""
        self._waiting[protocol, port_or_id] = waiter

    def remove(self, protocol: int, port_or_id: int) -> None:
        """Close a program's socket."""
        self._waiting.pop((protocol, port_or_id), None)

    def find(self, protocol: int, port_or_id: int) -> Waiter | None:
        """Return who waits there."""
        return self._waiting.get((protocol, port_or_id))

    def find_udp(self, port: int, source: bytes, source_port: int) -> Waiter | None:
        """Return who takes a datagram; a connected socket hears its peer only."""
        found = self._waiting.get((IPPROTO_UDP, port))
        heard = found is not None and found.peer in {None, (source, source_port)}
        return found if heard else None


def udp_sendmsg(
    net: Net,
    payload: bytes,
    *,
    remote: bytes,
    port: int,
    local: bytes = IPV4_ANY,
    local_port: int,
) -> str:
    """Send a datagram; an errno's name when that fails at once, else empty."""
    if len(payload) > LONGEST_PAYLOAD:
        return "EMSGSIZE"
    flow = Flowi4(
        daddr=remote, saddr=local, protocol=IPPROTO_UDP, src_port=local_port, dst_port=port
    )
    route = ip_route_output_key(net, flow)
    if isinstance(route, Errno):
        return str(route)
    datagram = build_udp(
        src=flow.saddr, dst=remote, src_port=local_port, dst_port=port, payload=payload
    )
    fits = MIN_HEADER_LEN + len(datagram) <= ip_dst_mtu_maybe_forward(route)
    packet = build_ipv4(
        src=flow.saddr,
        dst=remote,
        protocol=IPPROTO_UDP,
        payload=datagram,
        ttl=ip_select_ttl(net, route),
        dont_fragment=fits,
    )
    skb = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate())
    skb.dst = route
    if fits:
        skb_leave_checksum(skb)
    _send(net, skb, "udp datagram")
    return ""


def ping_sendmsg(net: Net, remote: bytes, identifier: int, sequence: int, payload: bytes) -> str:
    """Send an echo request; an errno's name when that fails at once, else empty."""
    flow = Flowi4(daddr=remote, saddr=IPV4_ANY, protocol=IPPROTO_ICMP)
    route = ip_route_output_key(net, flow)
    if isinstance(route, Errno):
        return str(route)
    packet = build_ipv4(
        src=flow.saddr,
        dst=remote,
        protocol=IPPROTO_ICMP,
        payload=build_icmp(
            icmp_type=IcmpType.ECHO, rest=identifier << 16 | sequence, payload=payload
        ),
        ttl=ip_select_ttl(net, route),
        dont_fragment=True,
    )
    skb = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate())
    skb.dst = route
    _send(net, skb, "icmp echo")
    return ""


def _send(net: Net, skb: Skb, what: str) -> None:
    skb.sk = ProgramSocket()
    # Path MTU discovery is wanted, not demanded, so the packet may be cut here.
    skb.ignore_df = True
    ip_select_ident(net, skb)
    IPv4(skb.data).update_check()
    skb_made(net, skb, what)
    ip_local_out(net, skb)
    # A program sends: the softirqs that this sets off run before it goes on (local_bh_enable).
    net.clock.run_soon()


def ping_rcv(net: Net, skb: Skb) -> bool:
    """Give an echo reply to the program that waits for it; False when none does."""
    start = skb.transport_offset
    waiter = net.generic(Waiters).find(IPPROTO_ICMP, get16(skb.data, start + 4))
    if waiter is None:
        return False
    source, sequence = IPv4(skb.data).src, get16(skb.data, start + 6)
    payload = bytes(skb.data[start + 8 :])
    net.clock.call_later(0, lambda: waiter.answered(source, sequence, payload))
    return True


def udp_err(net: Net, quoted: bytes, errno: str) -> None:
    """Take an ICMP error about a datagram of ours."""
    start = (quoted[0] & 15) * 4
    if len(quoted) >= start + HEADER_LEN:
        _tell(net, IPPROTO_UDP, get16(quoted, start), errno)


def ping_err(net: Net, quoted: bytes, errno: str) -> None:
    """Take an ICMP error about an echo request of ours."""
    start = (quoted[0] & 15) * 4
    if len(quoted) >= start + 8 and quoted[start] == IcmpType.ECHO:
        _tell(net, IPPROTO_ICMP, get16(quoted, start + 4), errno)


def _tell(net: Net, protocol: int, port_or_id: int, errno: str) -> None:
    waiter = net.generic(Waiters).find(protocol, port_or_id)
    if waiter is not None:
        net.clock.call_later(0, lambda: waiter.failed(errno))
