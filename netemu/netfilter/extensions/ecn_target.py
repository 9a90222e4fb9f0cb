"""Congestion notification bits: target `ECN`.

Kernel: net/ipv4/netfilter/ipt_ECN.c (ecn_tg, set_ect_ip, set_ect_tcp). RFC 3168.

The TCP header is taken to be behind the IP header even in a later fragment, as in the kernel. A
packet too short for it is dropped.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.kinds import U8
from netemu.netfilter.xtables.kit import Given, Option, Settings, Target, always, printed
from netemu.netfilter.xtables.mangle import proto_csum_replace, tell_rewritten
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.skb import Skb
from netemu.wire import tcp
from netemu.wire.checksum import csum_replace2
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import CHECK, IPPROTO_TCP, PROTOCOL, TOS

ECN_BITS = 0x03
ECE = int(tcp.Flag.ECE)
CWR = int(tcp.Flag.CWR)

_ECE = Option("ecn-tcp-ece", U8(high=1), excludes=("ecn-tcp-remove",), help="Sets or clears ECE.")
_CWR = Option("ecn-tcp-cwr", U8(high=1), excludes=("ecn-tcp-remove",), help="Sets or clears CWR.")


class Ecn:
    """struct ipt_ECN_info."""

    __slots__ = ("clear", "ip_ect", "set")

    def __init__(self, settings: Settings) -> None:
        """Turn the options into the flags to clear and those to set."""
        self.ip_ect = settings.get("ecn-ip-ect", int)
        """None when the IP header stays as it is."""
        self.clear = 0
        self.set = 0
        for name, flag in ((_ECE.name, ECE), (_CWR.name, CWR)):
            if name in settings:
                self.clear |= flag
                self.set |= flag if settings.need(name, int) else 0


def ecn_effect(info: Ecn, packet: Rewriting) -> None:
    """Let octet and flags be open."""
    packet.forget(Field.TOS)
    packet.forget(Field.TCP_FLAGS)


def ecn_tg(info: Ecn, skb: Skb, param: XtParam) -> Verdict | None:
    """Set the bits of the IP header, then those of the TCP header."""
    if info.ip_ect is not None:
        _set_ect_ip(info.ip_ect, skb, param)
    if info.clear and skb.data[PROTOCOL] == IPPROTO_TCP and not _set_ect_tcp(info, skb, param):
        return Verdict.DROP
    return None


def _set_ect_ip(ip_ect: int, skb: Skb, param: XtParam) -> None:
    data = skb.data
    before = data[TOS]
    after = before & ~ECN_BITS | ip_ect
    if after != before:
        set16(data, CHECK, csum_replace2(get16(data, CHECK), before, after))
        data[TOS] = after
        tell_rewritten(skb, param, "tos", f"0x{before:02x}", f"0x{after:02x}")


def _set_ect_tcp(info: Ecn, skb: Skb, param: XtParam) -> bool:
    """Change ECE and CWR; False when there is no whole TCP header."""
    data = skb.data
    start = skb.transport_offset
    if len(data) < start + tcp.MIN_HEADER_LEN:
        return False
    at = start + tcp.DATA_OFFSET
    before = bytes(data[at : at + 2])
    flags = before[1] & ~info.clear | info.set
    if flags != before[1]:
        data[at + 1] = flags
        proto_csum_replace(skb, start + tcp.CHECK, before, data[at : at + 2])
        tell_rewritten(skb, param, "tcp flags", f"0x{before[1]:02x}", f"0x{flags:02x}")
    return True


def _check_ecn(settings: Settings) -> None:
    """Take `--ecn-tcp-remove` apart, then test what ecn_tg_check tests.

    iptables forgets an `--ecn-ip-ect` that stands before it.
    """
    removed = settings.given.pop("ecn-tcp-remove", None)
    if removed is not None:
        if settings.order[-1].option.name == "ecn-tcp-remove":
            settings.given.clear()
        for option in (_ECE, _CWR):
            settings.given[option.name] = Given(option, 0)
    if not settings.given:
        raise RulesetError("ECN target: An operation is required; --ecn-tcp-remove would be one")
    if (_ECE.name in settings or _CWR.name in settings) and (
        settings.protocol != IPPROTO_TCP or settings.protocol_inverted
    ):
        raise RulesetError("ECN: cannot use operation on non-tcp rule; the rule needs -p tcp")


def _save_ecn(settings: Settings) -> str:
    """Print both TCP options as one if they clear their flags and nothing else is changed."""
    if {name: given.value for name, given in settings.given.items()} == {
        _ECE.name: 0,
        _CWR.name: 0,
    }:
        return "--ecn-tcp-remove"
    return printed(settings, _ECE.name, _CWR.name, "ecn-ip-ect")


TARGETS = (
    Target(
        name="ECN",
        kernel="ipt_ECN.c",
        duty="Changes the congestion notification bits of IPv4 and TCP headers.",
        tables=("mangle",),
        families=(Family.IPV4,),
        options=(
            Option(
                "ecn-tcp-remove",
                excludes=(_ECE.name, _CWR.name),
                help="Clears ECE and CWR of the TCP header.",
            ),
            _ECE,
            _CWR,
            Option("ecn-ip-ect", U8(high=3), help="Sets the two ECN bits of the IPv4 header."),
        ),
        check=_check_ecn,
        save=_save_ecn,
        shares=always,
        build=Ecn,
        apply=ecn_tg,
        effect=ecn_effect,
        told=True,
        may_end=Verdict.DROP,
    ),
)
