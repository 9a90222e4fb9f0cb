"""The largest segment that a new TCP connection asks for: target `TCPMSS`.

Kernel: net/netfilter/xt_TCPMSS.c (tcpmss_mangle_packet, tcpmss_reverse_mtu, tcpmss_tg4_check).

An MSS option is only ever lowered. A segment without one gets it, at most 536 (1220 for IPv6),
unless it carries data or its header is full. A packet with a broken TCP header is dropped. Of an
option at an odd offset the checksum comes out wrong, as on Linux, which adds the value up as if it
stood at an even one.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import ip_dst_mtu_maybe_forward, ip_skb_dst_mtu
from netemu.link.ratelimit import net_ratelimit
from netemu.netfilter.extensions.tcpudp import TcpInfo
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.kinds import U16, Kind, OptionCall
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.mangle import proto_csum_replace, tell_rewritten
from netemu.netfilter.xtables.model import Rule
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.netfilter.xtables.tcp_options import optlen, whole_header_len
from netemu.skb import Skb
from netemu.wire.checksum import csum_replace2
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import CHECK, IPPROTO_TCP, SRC, TOTAL_LENGTH
from netemu.wire.tcp import CHECK as TCP_CHECK
from netemu.wire.tcp import DATA_OFFSET, MIN_HEADER_LEN, TCPOPT_MSS, Flag

IPV4_HEADER_LEN = 20
IPV6_HEADER_LEN = 40
OPTION_LEN = 4
"""TCPOLEN_MSS."""

DEFAULT_MSS = 536
"""What a peer without the option is taken to ask for (RFC 1122 section 4.2.2.6)."""

FULL_HEADER_LEN = 60
CLAMP_HOOKS = frozenset({Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING})


class Mss(Kind[int]):
    """An MSS that a packet of 65535 octets can hold."""

    form = "NUMBER"
    terminal = "NUMBER"

    def _limited(self, call: OptionCall) -> Kind[int]:
        header = IPV6_HEADER_LEN if call.family == Family.IPV6 else IPV4_HEADER_LEN
        return U16(high=0xFFFF - header)

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtopt_parse_int does."""
        return self._limited(call).refusal(text, call)

    def read(self, text: str, call: OptionCall) -> int:
        """Convert and compare with the family's limit."""
        return self._limited(call).read(text, call)

    def show(self, value: int) -> str:
        """Print in decimal."""
        return str(value)


def build_mss(settings: Settings) -> int | None:
    """Return the MSS, or None for the path MTU (XT_TCPMSS_CLAMP_PMTU)."""
    return settings.get("set-mss", int)


def tcpmss_tg4(mss: int | None, skb: Skb, param: XtParam) -> Verdict | None:
    """Lower the option or add it."""
    if param.fragoff:
        return None
    data = skb.data
    skb.ensure_writable(len(data))
    start = param.thoff
    header_len = whole_header_len(data, start)
    if header_len is None:
        return Verdict.DROP
    if mss is None:
        mss = _clamped(skb, param)
        if mss is None:
            return Verdict.DROP
    at = start + MIN_HEADER_LEN
    while at <= start + header_len - OPTION_LEN:
        if data[at] == TCPOPT_MSS and data[at + 1] == OPTION_LEN:
            _lower(skb, param, at + 2, mss)
            return None
        at += optlen(data, at)
    if len(data) - start == header_len < FULL_HEADER_LEN:
        _insert(skb, param, min(mss, DEFAULT_MSS))
    return None


def _clamped(skb: Skb, param: XtParam) -> int | None:
    """Return what fits the way there and the way back; None if that is nothing."""
    headers = IPV4_HEADER_LEN + MIN_HEADER_LEN
    mtu = min(ip_skb_dst_mtu(skb), _reverse_mtu(skb, param))
    if mtu > headers:
        return mtu - headers
    if net_ratelimit(param.net, skb):
        param.net.printk(skb, f"xt_TCPMSS: unknown or invalid path-MTU ({mtu})")
    return None


def _reverse_mtu(skb: Skb, param: XtParam) -> int:
    """Return the MTU of the route to the sender; without one there is no limit."""
    route = ip_route_output_key(param.net, Flowi4(daddr=bytes(skb.data[SRC : SRC + 4])))
    return 0xFFFFFFFF if isinstance(route, Errno) else ip_dst_mtu_maybe_forward(route)


def _lower(skb: Skb, param: XtParam, at: int, mss: int) -> None:
    data = skb.data
    before = get16(data, at)
    if before <= mss:
        return
    old = data[at : at + 2]
    set16(data, at, mss)
    proto_csum_replace(skb, param.thoff + TCP_CHECK, old, data[at : at + 2])
    tell_rewritten(skb, param, "mss", str(before), str(mss))


def _insert(skb: Skb, param: XtParam, mss: int) -> None:
    """Put the option before all others."""
    data = skb.data
    start = param.thoff
    check_at = start + TCP_CHECK
    length = len(data) - start
    option = bytes((TCPOPT_MSS, OPTION_LEN)) + mss.to_bytes(2, "big")
    longer = length + OPTION_LEN
    proto_csum_replace(
        skb, check_at, length.to_bytes(2, "big"), longer.to_bytes(2, "big"), pseudo=True
    )
    proto_csum_replace(skb, check_at, bytes(OPTION_LEN), option)
    at = start + DATA_OFFSET
    before = bytes(data[at : at + 2])
    data[at] += OPTION_LEN // 4 << 4
    proto_csum_replace(skb, check_at, before, data[at : at + 2])
    data[start + MIN_HEADER_LEN : start + MIN_HEADER_LEN] = option
    total = get16(data, TOTAL_LENGTH)
    set16(data, CHECK, csum_replace2(get16(data, CHECK), total, total + OPTION_LEN))
    set16(data, TOTAL_LENGTH, total + OPTION_LEN)
    tell_rewritten(skb, param, "mss", "none", str(mss))


def _check_tcpmss(settings: Settings) -> None:
    """Test what TCPMSS_check tests; the two options write one field, so the later one counts."""
    if not settings.given:
        raise RulesetError(
            "TCPMSS target: At least one parameter is required: --set-mss or --clamp-mss-to-pmtu"
        )
    for given in settings.order[:-1]:
        if given.option.name != settings.order[-1].option.name:
            settings.given.pop(given.option.name, None)


def _check_hooks(settings: Settings, hooks: frozenset[Hook]) -> None:
    """Test what tcpmss_tg4_check tests: elsewhere a packet has no route yet."""
    if "clamp-mss-to-pmtu" in settings and not hooks <= CLAMP_HOOKS:
        raise RulesetError(
            "path-MTU clamping only supported in FORWARD, OUTPUT and POSTROUTING hooks"
        )


def _check_rule(settings: Settings, rule: Rule) -> None:
    """Ask for a match that lets only segments with SYN through (find_syn_match)."""
    for match in rule.matches:
        info = match.settings
        if match.name == "tcp" and isinstance(info, TcpInfo):
            if info.flags_comp & Flag.SYN and not info.invert_flags:
                return
    raise RulesetError("Only works on TCP SYN packets; the rule needs --syn or --tcp-flags")


def tcpmss_effect(info: object, packet: Rewriting) -> None:
    """Change the options; what was asked of them before is asked anew."""
    packet.forget(Field.LENGTH)


TARGETS = (
    Target(
        name="TCPMSS",
        kernel="xt_TCPMSS.c",
        duty="Lowers the MSS option of TCP segments with SYN, so that packets fit the path.",
        protocols=(IPPROTO_TCP,),
        options=(
            Option("set-mss", Mss(), help="The largest segment, octets.", says="to {value}"),
            Option("clamp-mss-to-pmtu", help="What fits the MTUs of the routes both ways."),
        ),
        check=_check_tcpmss,
        check_hooks=_check_hooks,
        check_rule=_check_rule,
        shares=always,
        build=build_mss,
        apply=tcpmss_tg4,
        effect=tcpmss_effect,
        told=True,
    ),
)
