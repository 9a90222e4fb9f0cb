"""SYNs answered in a server's stead: target `SYNPROXY`.

Kernel: net/ipv4/netfilter/ipt_SYNPROXY.c (synproxy_tg4), net/netfilter/nf_synproxy_core.c
(synproxy_send_client_synack, synproxy_build_options, synproxy_init_timestamp_cookie).

A SYN is answered with a SYN/ACK that offers what both the client and the rule name, and goes no
further. Options other than the MSS need time stamps, in which they are hidden.

Differs from Linux: the proxy stops there. The client's ACK is dropped, as one with a wrong cookie
is on Linux, so that no connection to the server is opened. IPv6 packets are dropped.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.ip.output import ip_local_out
from netemu.ip.reject import nf_ip_checksum_ok
from netemu.ip.route import ip_route_me_harder
from netemu.ip.tcp_options import TcpOptions, parse_tcp_options, synack_options
from netemu.net import Net, consume_skb, skb_made
from netemu.netfilter.conntrack.connection import CtInfo, nf_ct_get, nf_ct_set
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.kinds import U32, OptionCall, Unsigned
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.netfilter.xtables.tcp_options import whole_header_len
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.ipv4 import IPPROTO_TCP, IPv4, build_ipv4
from netemu.wire.tcp import MIN_HEADER_LEN, TCP, Flag, build_tcp

MSS_OPTION_LEN = 4

NO_SCALE = 0xF
SACK_BIT = 1 << 4
ECN_BIT = 1 << 5
TS_BITS = 0x3F
"""The lowest bits of a time stamp, in which the other options are hidden."""

_JUDGED = Flag.SYN | Flag.ACK | Flag.FIN | Flag.RST


class Truncated(Unsigned):
    """A number of 32 bits of which the kernel keeps fewer."""

    def __init__(self, bits: int) -> None:
        """Keep so many bits."""
        super().__init__(0, U32().high)
        self.kept = (1 << bits) - 1

    def read(self, text: str, call: OptionCall) -> int:
        """Cut without a word."""
        return super().read(text, call) & self.kept


class SynProxy(Struct, frozen=True):
    """struct xt_synproxy_info."""

    mss: int | None
    window_scale: int | None
    sack: bool
    timestamp: bool
    ecn: bool


def build_synproxy(settings: Settings) -> SynProxy:
    """Take the options apart."""
    return SynProxy(
        settings.get("mss", int),
        settings.get("wscale", int),
        "sack-perm" in settings,
        "timestamp" in settings,
        "ecn" in settings,
    )


def synproxy_tg4(info: SynProxy, skb: Skb, param: XtParam) -> Verdict | None:
    """Answer a SYN, drop the ACK behind it, let everything else go on."""
    if param.family != Family.IPV4 or not nf_ip_checksum_ok(skb):
        return Verdict.DROP
    start = param.thoff
    header_len = whole_header_len(skb.data, start)
    if header_len is None:
        return Verdict.DROP
    flags = TCP(skb.data, start).flags & _JUDGED
    if flags == Flag.SYN:
        offer = parse_tcp_options(bytes(skb.data[start + MIN_HEADER_LEN : start + header_len]))
        _send_synack(param.net, info, skb, offer)
        consume_skb(param.net, skb, "synproxy")
        return Verdict.STOLEN
    return Verdict.DROP if flags == Flag.ACK else None


def _send_synack(net: Net, info: SynProxy, skb: Skb, offer: TcpOptions) -> None:
    """Answer with a cookie for a sequence number (synproxy_send_client_synack)."""
    header = IPv4(skb.data)
    segment = TCP(skb.data, header.header_len)
    asked = segment.flags & (Flag.ECE | Flag.CWR) == Flag.ECE | Flag.CWR
    ecn = info.ecn and asked and info.timestamp and offer.timestamp is not None
    answer = build_tcp(
        src=header.dst,
        dst=header.src,
        src_port=segment.dst_port,
        dst_port=segment.src_port,
        seq=net.entropy.stream("syncookie").u32(),
        ack=segment.seq + 1 & 0xFFFFFFFF,
        flags=int(Flag.SYN | Flag.ACK | (Flag.ECE if ecn else 0)),
        window=0,
        options=_options(net, info, offer, ecn=ecn),
    )
    packet = build_ipv4(
        src=header.dst,
        dst=header.src,
        protocol=IPPROTO_TCP,
        payload=answer,
        ttl=net.sysctl.get("net.ipv4.ip_default_ttl"),
        dont_fragment=True,
    )
    reply = Skb(packet, protocol=ETH_P_IP, fate=net.new_fate(parent=skb.fate))
    if ip_route_me_harder(net, reply) is not None:
        return
    connection, _ = nf_ct_get(skb)
    if connection is not None:
        nf_ct_set(reply, connection, CtInfo.ESTABLISHED_REPLY)
    skb_made(net, reply, "synproxy syn/ack")
    ip_local_out(net, reply)


def _options(net: Net, info: SynProxy, offer: TcpOptions, *, ecn: bool) -> bytes:
    """Return what rule and client agree on; without time stamps the MSS alone."""
    scale: int | None = None
    sack = False
    timestamp: tuple[int, int] | None = None
    if info.timestamp and offer.timestamp is not None:
        sack = info.sack and offer.sack_permitted
        hidden = NO_SCALE
        if info.window_scale is not None and offer.window_scale is not None:
            hidden, scale = offer.window_scale, info.window_scale
        hidden |= (SACK_BIT if sack else 0) | (ECN_BIT if ecn else 0)
        milliseconds = net.clock.now_ns // 1_000_000
        timestamp = milliseconds & ~TS_BITS & 0xFFFFFFFF | hidden, offer.timestamp[0]
    with_mss = info.mss is not None and offer.mss is not None
    out = synack_options(mss=info.mss or 0, sack=sack, timestamp=timestamp, window_scale=scale)
    return out if with_mss else out[MSS_OPTION_LEN:]


def attach_synproxy(net: Net, info: SynProxy) -> None:
    """Begin to track connections (synproxy_tg4_check)."""
    nf_ct_netns_get(net)


TARGETS = (
    Target(
        name="SYNPROXY",
        kernel="ipt_SYNPROXY.c",
        duty="Answers SYNs in a server's stead; the way to the server is not emulated.",
        hooks=(Hook.INPUT, Hook.FORWARD),
        protocols=(IPPROTO_TCP,),
        options=(
            Option("sack-perm", help="The server takes selective acknowledgements."),
            Option("timestamp", help="The server takes time stamps."),
            Option("wscale", Truncated(8), help="The server's window scale."),
            Option("mss", Truncated(16), help="The server's MSS."),
            Option("ecn", help="The server takes ECN."),
        ),
        shares=always,
        build=build_synproxy,
        apply=synproxy_tg4,
        effect=changes_nothing,
        may_end=Verdict.DROP,
        attach=attach_synproxy,
    ),
)
