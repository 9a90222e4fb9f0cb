"""Whether the packet is in an IP set: match `set`.

Kernel: net/netfilter/xt_set.c (set_match_v4).

The sets are those of the namespace (see netfilter/ipset). A direction is given for each dimension
of the set; a set of the other family or with more dimensions never matches. The lookup counts the
packet in the element that it hits, whatever the rule's later matches say.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.events import SetLookedUp
from netemu.net import Net
from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.core import ip_set_test
from netemu.netfilter.ipset.extension import Wanted
from netemu.netfilter.ipset.ip_set import AdtOptions
from netemu.netfilter.xtables.kinds import U64, OptionCall, Unsigned
from netemu.netfilter.xtables.kit import Given, Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.set_asking import (
    key_of,
    misfit,
    packet_of,
    refer_to,
    set_of,
    sources_of,
)
from netemu.netfilter.xtables.set_names import SetAndDirections, SetReference
from netemu.netfilter.xtables.set_packets import NotToldError, packets_in
from netemu.netfilter.xtables.space import PacketSpace
from netemu.skb import Skb

COUNTERS = ("packets", "bytes")
_COMPARISONS = ("eq", "lt", "gt")


class Counter(Unsigned):
    """A counter of 64 bits."""

    def __init__(self) -> None:
        """Accept what U64 does."""
        super().__init__(0, U64().high)

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as parse_counter does."""
        return f"Cannot parse {text} as a counter value; 0-{self.high} would do"


class SetMatch:
    """struct xt_set_info_match_v4."""

    __slots__ = (
        "counts",
        "counts_below",
        "invert",
        "name",
        "octets",
        "octets_op",
        "packets",
        "packets_op",
        "return_nomatch",
        "sources",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        reference = settings.need("match-set", SetReference)
        self.name = reference.name
        self.sources = sources_of(reference)
        self.invert = settings.inverted("match-set")
        self.return_nomatch = "return-nomatch" in settings
        self.counts = not _is_off(settings, "update-counters")
        self.counts_below = not _is_off(settings, "update-subcounters")
        self.packets_op, self.packets = _comparison(settings, "packets")
        self.octets_op, self.octets = _comparison(settings, "bytes")

    def options(self, family: Family) -> AdtOptions:
        """Return what is asked of the set for one packet."""
        return AdtOptions(
            family=family,
            sources=self.sources,
            return_nomatch=self.return_nomatch,
            skip_counters=not self.counts,
            skip_subcounters=not self.counts_below,
            match_counters=bool(self.packets_op or self.octets_op),
            wanted=Wanted(
                packets_op=self.packets_op,
                packets=self.packets,
                octets_op=self.octets_op,
                octets=self.octets,
            ),
        )


def _is_off(settings: Settings, name: str) -> bool:
    return any(given.inverted for given in _uses(settings, name))


def _comparison(settings: Settings, counter: str) -> tuple[str, int]:
    """Return how a counter is compared, `eq` behind a `!` being `ne`, and with what."""
    for comparison in _COMPARISONS:
        name = f"{counter}-{comparison}"
        if name in settings:
            operation = "ne" if settings.inverted(name) else comparison
            return operation, settings.need(name, int)
    return "", 0


def set_match(info: SetMatch, skb: Skb, param: XtParam) -> bool:
    """Look the packet up in the set (set_match_v4)."""
    asked = set_of(param.net, info.name)
    packet = packet_of(skb, param)
    options = info.options(param.family)
    matched = ip_set_test(asked, packet, options)
    if param.net.sink is not None:
        param.net.tell(
            skb,
            SetLookedUp(
                set=asked.name,
                type=asked.type.name,
                key=key_of(asked, packet, options),
                matched=matched,
                why=misfit(asked, options) or options.wanted.note,
            ),
        )
    return matched != info.invert


def set_packets(info: SetMatch, space: PacketSpace) -> int:
    """Return the packets that are in the set, where it is there and stays as it is."""
    asked = None if space.sets is None else space.sets.find(info.name)
    options = info.options(space.family)
    if asked is None or options.match_counters:
        return space.unknown(space.text)
    try:
        return space.when(info.invert, packets_in(asked, options, space))
    except NotToldError:
        return space.unknown(space.text)


def describe_set(info: SetMatch, skb: Skb, param: XtParam) -> str:
    """Say what was looked up, and what came of it."""
    asked = set_of(param.net, info.name)
    options = info.options(param.family)
    why = misfit(asked, options)
    if why:
        return why
    key = key_of(asked, packet_of(skb, param), options) or "the packet"
    return f"{key}, {'in' if info.invert else 'not in'} {info.name}"


def attach_set(net: Net, info: SetMatch) -> None:
    """Hold on to the set (set_match_v4_checkentry)."""
    refer_to(net, "match-set", info.name)


def _uses(settings: Settings, *names: str) -> list[Given]:
    return [given for given in settings.order if given.option.name in names]


def _check_set(settings: Settings) -> None:
    """Test what set_parse_v4 and set_check test."""
    if len(_uses(settings, "match-set", "set")) > 1:
        raise RulesetError("--match-set can be specified only once")
    for counter in COUNTERS:
        used = _uses(settings, *(f"{counter}-{comparison}" for comparison in _COMPARISONS))
        if len(used) > 1:
            raise RulesetError(f"only one of the --{counter}-[eq|lt|gt] is allowed")
    if "match-set" not in settings:
        raise RulesetError("You must specify `--match-set' with proper arguments: NAME src[,dst]")


def _save_set(settings: Settings) -> str:
    """Print the set first, and of the updates only those that are off."""
    bang = "! " if settings.inverted("match-set") else ""
    reference = settings.need("match-set", SetReference)
    words = [f"{bang}--match-set {SetAndDirections().show(reference)}"]
    if "return-nomatch" in settings:
        words.append("--return-nomatch")
    words += [
        f"! --{name}"
        for name in ("update-counters", "update-subcounters")
        if any(given.inverted for given in _uses(settings, name))
    ]
    for counter in COUNTERS:
        for comparison in _COMPARISONS:
            name = f"{counter}-{comparison}"
            if name in settings:
                bang = "! " if settings.inverted(name) else ""
                words.append(f"{bang}--{name} {settings.need(name, int)}")
    return " ".join(words)


def _counter_options(counter: str) -> tuple[Option, ...]:
    what = f"Counted {counter} of the element"
    return (
        Option(
            f"{counter}-eq", Counter(), invertible=True, multiple=True, help=f"{what} are so many."
        ),
        Option(f"{counter}-lt", Counter(), multiple=True, help=f"{what} are less."),
        Option(f"{counter}-gt", Counter(), multiple=True, help=f"{what} are more."),
    )


MATCHES = (
    Match(
        name="set",
        kernel="xt_set.c",
        duty="Looks the packet up in an IP set.",
        options=(
            Option(
                "match-set",
                SetAndDirections(),
                invertible=True,
                multiple=True,
                help="The set, and for each dimension src or dst.",
                says="its {second} {is} in the set {first}",
            ),
            Option(
                "set",
                SetAndDirections(),
                into="match-set",
                invertible=True,
                multiple=True,
                help="Old name of --match-set.",
            ),
            Option("return-nomatch", multiple=True, help="Holds for nomatch elements only."),
            Option(
                "update-counters",
                multiple=True,
                invertible=True,
                help="Counts the packet in the element, unless inverted.",
            ),
            Option(
                "update-subcounters",
                multiple=True,
                invertible=True,
                help="Counts it in the element of a member of a list, unless inverted.",
            ),
            *_counter_options("packets"),
            *_counter_options("bytes"),
        ),
        check=_check_set,
        save=_save_set,
        shares=always,
        build=SetMatch,
        evaluate=set_match,
        packets=set_packets,
        attach=attach_set,
        describe=describe_set,
    ),
)
