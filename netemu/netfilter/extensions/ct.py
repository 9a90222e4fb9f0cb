"""How conntrack shall treat a packet, before it looks: targets `CT` and `NOTRACK`.

Kernel: net/netfilter/xt_CT.c (xt_ct_tg, xt_ct_tg_check, notrack_tg).

CT attaches a template, which names the zone to look in; NOTRACK and CT --notrack mark the packet
as untracked. Either is too late for a packet that already has a connection, as on the loopback
device. Events go to netlink listeners and change nothing here.

Differs from Linux: of the connection helpers, ftp, irc, netbios-ns, sane, snmp and tftp are
emulated. A rule with another one can be read and printed; loading it into a node is refused.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    Connection,
    CtInfo,
    Zone,
    nf_ct_set,
    nf_ct_set_untracked,
    nf_ct_tmpl_alloc,
)
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.conntrack.helper import Helpers
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.kinds import Kind, OptionCall, Text, c_integer, shape
from netemu.netfilter.xtables.kit import Given, Option, Settings, Target, nothing, printed
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import NameList
from netemu.netfilter.xtables.space import CtState, Field, PacketSpace, Rewriting
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_TCP, IPPROTO_UDP

ZONE_OPTIONS = {"zone": 0, "zone-orig": 1, "zone-reply": 2}
"""Option -> bit of the direction that it names; none or both mean both directions."""

BOTH_DIRECTIONS = 3

FROM_MARK = -1
"""Value of `--zone mark`."""

CT_EVENTS = {
    name: 1 << number
    for name, number in (
        ("new", 0),
        ("related", 1),
        ("destroy", 2),
        ("reply", 3),
        ("assured", 4),
        ("protoinfo", 5),
        ("helper", 6),
        ("mark", 7),
        ("natseqinfo", 8),
        ("secmark", 9),
    )
}
"""IPCT_* as bits, under the names of libxt_CT."""

EXP_EVENTS = {"new": 1}

HELPERS = {
    "ftp": (IPPROTO_TCP,),
    "irc": (IPPROTO_TCP,),
    "pptp": (IPPROTO_TCP,),
    "sane": (IPPROTO_TCP,),
    "Q.931": (IPPROTO_TCP,),
    "sip": (IPPROTO_TCP, IPPROTO_UDP),
    "amanda": (IPPROTO_UDP,),
    "netbios-ns": (IPPROTO_UDP,),
    "RAS": (IPPROTO_UDP,),
    "snmp": (IPPROTO_UDP,),
    "tftp": (IPPROTO_UDP,),
}
"""Helpers of the kernel and the protocols that each is registered for."""

IPV4_HELPERS = frozenset({"irc", "netbios-ns", "pptp", "snmp"})
"""Those that IPv6 has not."""


class ZoneId(Kind[int]):
    """A zone's number, or `mark`."""

    form = "ID|mark"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Return the number, or FROM_MARK."""
        if text == "mark":
            return FROM_MARK
        if shape("NUMBER").fullmatch(text) is None or c_integer(text) > 0xFFFF:
            raise RulesetError(f"Cannot parse {text} as a zone ID; 0-65535 or mark would do")
        return c_integer(text)

    def show(self, value: int) -> str:
        """Print the number or the word."""
        return "mark" if value == FROM_MARK else str(value)


class Ct:
    """struct xt_ct_target_info_v1."""

    __slots__ = ("helper", "notrack", "protocol", "template", "zone")

    def __init__(self, settings: Settings) -> None:
        """Work out the zone; the template is shared by all packets of the rule."""
        self.notrack = "notrack" in settings
        self.helper = settings.get("helper", str, "")
        self.zone = _zone(settings)
        self.protocol = settings.protocol
        self.template: Connection | None = None
        if not self.notrack:
            self.template = nf_ct_tmpl_alloc(self.zone)
            self.template.helper = self.helper


def xt_ct_tg(info: Ct, skb: Skb, param: XtParam) -> Verdict | None:
    """Attach the template, or mark the packet as untracked (xt_ct_target)."""
    if skb.nfct is not None or skb.ctinfo:
        return None
    if info.template is None:
        nf_ct_set_untracked(skb)
    else:
        nf_ct_set(skb, info.template, CtInfo.NEW)
    return None


def notrack_tg(info: None, skb: Skb, param: XtParam) -> Verdict | None:
    """Mark the packet as untracked."""
    if skb.nfct is None and not skb.ctinfo:
        nf_ct_set_untracked(skb)
    return None


def _unseen(space: PacketSpace) -> int:
    """Return the packets that conntrack has not looked at."""
    return space.masked(Field.CT_STATE, CtState.INVALID)


def notrack_effect(info: Ct | None, packet: Rewriting) -> None:
    """Make packets UNTRACKED; a template changes nothing that a match can see."""
    if info is None or info.notrack:
        packet.only(_unseen)
        packet.assign(Field.CT_STATE, CtState.UNTRACKED)


def attach_ct(net: Net, info: Ct) -> None:
    """Begin to track connections, unless the rule is about not tracking (xt_ct_tg_check)."""
    if info.notrack:
        return
    if info.helper and net.generic(Helpers).find(info.helper, info.protocol) is None:
        raise RulesetError(
            f"CT: the connection helper `{info.helper}' is not emulated; "
            "without this rule its data connections count as NEW instead of RELATED"
        )
    nf_ct_netns_get(net)


def _zone_uses(settings: Settings) -> list[Given]:
    return [given for given in settings.order if given.option.name in ZONE_OPTIONS]


def _zone(settings: Settings) -> Zone:
    """Join the zone options: directions add up, of the numbers the last counts."""
    number, directions, from_mark = 0, 0, False
    for given in _zone_uses(settings):
        directions |= ZONE_OPTIONS[given.option.name]
        if given.value == FROM_MARK:
            from_mark = True
        else:
            number = settings_number(given)
    return Zone(number, directions or BOTH_DIRECTIONS, from_mark)


def settings_number(given: Given) -> int:
    """Return the value of an option that holds a number."""
    assert isinstance(given.value, int)
    return given.value


def _check_ct(settings: Settings) -> None:
    """Test what the kernel tests: helpers and timeout policies must exist."""
    if "notrack" in settings:
        return
    if settings.get("timeout", str, ""):
        raise RulesetError(
            f"CT: there is no timeout policy `{settings.need('timeout', str)}'; "
            "a snapshot holds none, so the kernel's timeouts are all there is"
        )
    helper = settings.get("helper", str, "")
    if not helper:
        return
    if not settings.protocol or settings.protocol_inverted:
        raise RulesetError("CT: You must specify a L4 protocol and not use inversions on it")
    known = set(HELPERS)
    if settings.family == Family.IPV6:
        known -= IPV4_HELPERS
    if helper not in known or settings.protocol not in HELPERS[helper]:
        raise RulesetError(
            f'CT: No such helper "{helper}" for this protocol; '
            f"the kernel has {', '.join(sorted(known, key=str.lower))}"
        )


def _save_ct(settings: Settings) -> str:
    """Print in ct_save_v1's order.

    A timeout policy's name can be loaded only beside --notrack, which ignores it; then the kernel
    hands back its first four octets (6.18).
    """
    parts = [printed(settings, "notrack")]
    if settings.get("helper", str, ""):
        parts.append(f"--helper {settings.need('helper', str)[:15]}")
    if settings.get("timeout", str, ""):
        parts.append(f"--timeout {settings.need('timeout', str)[:4]}")
    parts.append(printed(settings, "ctevents", "expevents"))
    zone = _zone(settings)
    if zone.id or zone.from_mark:
        name = {1: "zone-orig", 2: "zone-reply"}.get(zone.directions, "zone")
        parts.append(f"--{name} {'mark' if zone.from_mark else zone.id}")
    return " ".join(part for part in parts if part)


TARGETS = (
    Target(
        name="CT",
        kernel="xt_CT.c",
        duty="Says how conntrack shall treat the packet.",
        tables=("raw",),
        options=(
            Option(
                "notrack", help="Not at all: the packet is UNTRACKED.", says="it is not tracked"
            ),
            Option("helper", Text(), help="Watch the connection for data connections it names."),
            Option("timeout", Text(), help="A timeout policy of nfct(8)."),
            Option(
                "ctevents",
                NameList(CT_EVENTS, fold_case=False, bad="Unknown event type"),
                help="Events of the connection that are told to listening programs.",
            ),
            Option(
                "expevents",
                NameList(EXP_EVENTS, fold_case=False, bad="Unknown event type"),
                help="Events of its expectations that are told.",
            ),
            Option("zone", ZoneId(), help="Zone of both directions.", says="in zone {value}"),
            Option("zone-orig", ZoneId(), help="Zone of the original direction only."),
            Option("zone-reply", ZoneId(), help="Zone of the reply direction only."),
        ),
        check=_check_ct,
        save=_save_ct,
        build=Ct,
        apply=xt_ct_tg,
        effect=notrack_effect,
        attach=attach_ct,
    ),
    Target(
        name="NOTRACK",
        kernel="xt_CT.c",
        duty="Keeps conntrack from looking at the packet.",
        tables=("raw",),
        build=nothing,
        apply=notrack_tg,
        effect=notrack_effect,
    ),
)
