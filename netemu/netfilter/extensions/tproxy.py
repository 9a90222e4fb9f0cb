"""Packets for others, given to a local socket unchanged: target `TPROXY`.

Kernel: net/netfilter/xt_TPROXY.c (tproxy_tg4, tproxy_tg_init), net/ipv4/netfilter/nf_tproxy_ipv4.c.

A connection that stands already takes the packet, else the listener on the rule's address and port:
without --on-ip that is the first address of the device that the packet came by, without a port the
packet's own. The packet gets the mark, by which a policy rule must route it to this node. Without a
socket it is dropped.

Differs from Linux: every listening socket counts as transparent, since `ss` does not tell; and
IPv6 packets find no socket.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.events import MarkChanged
from netemu.ip.devinet import Addresses
from netemu.ip.sockets import AssignedProgramSocket, AssignedSocket, Sockets
from netemu.ip.tcp_listen import TcpConnections
from netemu.ip.tcp_sock import TcpState
from netemu.net import Net
from netemu.netfilter.conntrack.core import nf_defrag_ipv4_enable
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.addresses import octets_in
from netemu.netfilter.xtables.hosts import LooseHost
from netemu.netfilter.xtables.kinds import Kind, Masked, MaskedU32, OptionCall
from netemu.netfilter.xtables.kit import Given, Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import resolve_port
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_TCP, IPPROTO_UDP, IPv4

UDP_HEADER_LEN = 8
TCP_HEADER_LEN = 20


class Port(Kind[int]):
    """A port by number or service name (XTTYPE_PORT)."""

    form = "PORT"
    terminal = "TEXT"

    def read(self, text: str, call: OptionCall) -> int:
        """Resolve it as getaddrinfo does."""
        return resolve_port(text)

    def show(self, value: int) -> str:
        """Print in decimal."""
        return str(value)


class TProxy(Struct, frozen=True):
    """struct xt_tproxy_target_info_v1."""

    port: int
    address: bytes
    mark: Masked


def build_tproxy(settings: Settings) -> TProxy:
    """Take the options apart."""
    return TProxy(
        settings.need("on-port", int),
        settings.need("on-ip", bytes),
        settings.need("tproxy-mark", Masked),
    )


def tproxy_tg4(info: TProxy, skb: Skb, param: XtParam) -> Verdict | None:
    """Find a socket, mark the packet and keep the socket with it."""
    header = IPv4(skb.data)
    if param.family != Family.IPV4 or len(skb.data) < header.header_len + UDP_HEADER_LEN:
        return Verdict.DROP
    socket = _established(param.net, skb) or _listener(param.net, info, skb)
    if socket is None:
        return Verdict.DROP
    before = skb.mark
    skb.mark = before & ~info.mark.mask ^ info.mark.value
    if param.net.sink is not None and skb.mark != before:
        param.net.tell(skb, MarkChanged(what="mark", before=before, after=skb.mark))
    skb.sk = socket
    return Verdict.ACCEPT


def tproxy_effect(info: TProxy, packet: Rewriting) -> None:
    """Mark the packets that find a socket."""
    kept = ~info.mark.mask & 0xFFFFFFFF
    packet.assign(Field.MARK, info.mark.value, info.mark.mask)
    packet.flip(Field.MARK, info.mark.value & kept)


def _established(net: Net, skb: Skb) -> AssignedSocket | None:
    """Return the socket of the packet's connection (NF_TPROXY_LOOKUP_ESTABLISHED)."""
    header = IPv4(skb.data)
    start = header.header_len
    if header.protocol != IPPROTO_TCP or len(skb.data) < start + TCP_HEADER_LEN:
        return None
    found = net.generic(TcpConnections).find(skb)
    if found is None:
        return None
    half_open = found.state == TcpState.SYN_RECV
    return AssignedSocket() if half_open else AssignedProgramSocket()


def _listener(net: Net, info: TProxy, skb: Skb) -> AssignedSocket | None:
    """Return the socket that listens where the rule says (NF_TPROXY_LOOKUP_LISTENER)."""
    header = IPv4(skb.data)
    start = header.header_len
    protocol = "tcp" if header.protocol == IPPROTO_TCP else "udp"
    if protocol == "tcp" and len(skb.data) < start + TCP_HEADER_LEN:
        return None
    device = skb.device
    assert device is not None
    address = info.address
    if not any(address):
        # Without addresses on the device it is the packet's own (nf_tproxy_laddr4).
        entries = net.generic(Addresses).of(device)
        address = entries[0].local if entries else header.dst
    port = info.port or get16(skb.data, start + 2)
    if net.generic(Sockets).lookup(protocol, address, port, device):
        return AssignedProgramSocket()
    return None


def attach_tproxy(net: Net, info: TProxy) -> None:
    """Put fragments together from now on (tproxy_tg4_check)."""
    nf_defrag_ipv4_enable(net)


def _check_tproxy(settings: Settings) -> None:
    """Fill in the unspecified address, whose length depends on the family."""
    settings.given.setdefault("on-ip", Given(_ON_IP, bytes(octets_in(settings.family))))


_ON_IP = Option("on-ip", LooseHost(), help="Where the socket listens.", says="of {value}")

TARGETS = (
    Target(
        name="TPROXY",
        kernel="xt_TPROXY.c",
        duty="Gives the packet to a local socket without changing its addresses.",
        tables=("mangle",),
        hooks=(Hook.PREROUTING,),
        protocols=(IPPROTO_TCP, IPPROTO_UDP),
        options=(
            Option(
                "on-port",
                Port(),
                mandatory=True,
                help="The socket's port; 0: the packet's.",
                says="to port {value}",
            ),
            _ON_IP,
            Option(
                "tproxy-mark",
                MaskedU32(always_mask=True),
                default=Masked(0, 0),
                help="Clears the bits of the mask, then exclusive-ors the value in.",
            ),
        ),
        check=_check_tproxy,
        shares=always,
        build=build_tproxy,
        apply=tproxy_tg4,
        effect=tproxy_effect,
        ends=Verdict.ACCEPT,
        may_end=Verdict.DROP,
        attach=attach_tproxy,
    ),
)
