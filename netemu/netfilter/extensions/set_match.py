"""Whether the packet is in an IP set: match `set`.

Kernel: net/netfilter/xt_set.c (set_match_v4).

Differs from Linux: netemu has no IP sets yet, so that a rule with this match is read and printed,
but a node refuses to run it.
"""

from __future__ import annotations

from typing import NoReturn

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.xtables.kinds import U64, OptionCall, Unsigned
from netemu.netfilter.xtables.kit import Given, Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.set_names import SetAndDirections, SetReference
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

    __slots__ = ("invert", "reference")

    def __init__(self, settings: Settings) -> None:
        """Take what must be there."""
        self.reference = settings.need("match-set", SetReference)
        self.invert = settings.inverted("match-set")


def set_match(info: SetMatch, skb: Skb, param: XtParam) -> bool:
    """Be always false: `attach_set` lets no such rule come here."""
    return False


def attach_set(net: Net, info: SetMatch) -> NoReturn:
    """Refuse to run the rule."""
    raise RulesetError(
        f"set: the rule asks for IP set `{info.reference.name}', and netemu has no IP sets yet; "
        "the rule can be read and printed, but not run"
    )


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
        duty="Looks the packet up in an IP set; netemu has none yet and refuses to run the rule.",
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
        attach=attach_set,
    ),
)
