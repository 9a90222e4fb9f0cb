"""Packets that change an IP set or take values from it: target `SET`.

Kernel: net/netfilter/xt_set.c (set_target_v3, set_target_v3_checkentry).

Differs from Linux: netemu has no IP sets yet, so that a rule with this target is read and printed,
but a node refuses to run it.
"""

from __future__ import annotations

from typing import NoReturn

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.xtables.kinds import U32, OptionCall, Unsigned
from netemu.netfilter.xtables.kit import Option, Settings, Target, always, printed
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.set_names import SetAndDirections, SetReference
from netemu.skb import Skb

REFERENCES = ("add-set", "del-set", "map-set")
MAPPED = ("map-mark", "map-prio", "map-queue")
_IN_ORDER = ("add-set", "exist", "timeout", "del-set", "map-set", *MAPPED)
PRIORITY_HOOKS = frozenset({Hook.FORWARD, Hook.OUTPUT, Hook.POSTROUTING})


class Timeout(Unsigned):
    """Seconds that an element stays."""

    def __init__(self) -> None:
        """UINT32_MAX stands for no timeout."""
        super().__init__(0, U32().high - 1)

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as parse_target does."""
        return f"Invalid value for option --{call.option} or out of range 0-{self.high}"


def build_set_target(settings: Settings) -> tuple[SetReference, ...]:
    """Return the sets that the rule names."""
    return tuple(settings.need(name, SetReference) for name in REFERENCES if name in settings)


def set_target(info: tuple[SetReference, ...], skb: Skb, param: XtParam) -> Verdict | None:
    """No node runs such a rule: `attach_set_target` refuses it."""
    return None


def attach_set_target(net: Net, info: tuple[SetReference, ...]) -> NoReturn:
    """Say that there are no sets."""
    raise RulesetError(
        f"SET: IP sets are not emulated yet, so there is no set `{info[0].name}' that this rule "
        "could change; without the rule the node runs"
    )


def _check_set_target(settings: Settings) -> None:
    """Test what set_target_check of libxt_SET tests."""
    if not any(name in settings for name in REFERENCES):
        raise RulesetError("You must specify either `--add-set' or `--del-set' or `--map-set'")
    for owner, names in (("add-set", ("exist", "timeout")), ("map-set", MAPPED)):
        wrong = [name for name in names if name in settings and owner not in settings]
        if wrong:
            raise RulesetError(f"Flag `--{wrong[0]}' can be used with `--{owner}' only")
    if "map-set" in settings and not any(name in settings for name in MAPPED):
        raise RulesetError("You must specify flags `--map-mark' or `--map-prio' or `--map-queue'")


def _save_set_target(settings: Settings) -> str:
    """Print without the `!` that means nothing."""
    for name, given in settings.given.items():
        settings.given[name] = given._replace(inverted=False)
    return printed(settings, *_IN_ORDER)


def _check_hooks(settings: Settings, hooks: frozenset[Hook]) -> None:
    """Test what set_target_v3_checkentry tests."""
    if "map-set" not in settings:
        return
    if settings.table != "mangle":
        raise RulesetError("--map-set only usable from mangle table")
    if ("map-prio" in settings or "map-queue" in settings) and not hooks <= PRIORITY_HOOKS:
        raise RulesetError(
            "mapping of prio or/and queue is allowed only from OUTPUT/FORWARD/POSTROUTING chains"
        )


TARGETS = (
    Target(
        name="SET",
        kernel="xt_set.c",
        duty="Adds to or deletes from an IP set, or takes mark and priority from it.",
        options=(
            Option(
                "add-set",
                SetAndDirections(),
                invertible=True,
                help="Adds what the packet has there; a `!` means nothing.",
            ),
            Option(
                "exist",
                invertible=True,
                multiple=True,
                help="Sets the timeout of an element that is there, too.",
            ),
            Option(
                "timeout",
                Timeout(),
                invertible=True,
                multiple=True,
                help="Seconds that the element stays.",
            ),
            Option(
                "del-set",
                SetAndDirections(),
                invertible=True,
                help="Deletes what the packet has there; a `!` means nothing.",
            ),
            Option(
                "map-set",
                SetAndDirections(),
                invertible=True,
                help="Looks the packet up; a `!` means nothing.",
            ),
            Option("map-mark", invertible=True, multiple=True, help="Takes the element's mark."),
            Option(
                "map-prio", invertible=True, multiple=True, help="Takes the element's priority."
            ),
            Option(
                "map-queue",
                invertible=True,
                multiple=True,
                help="Takes the element's queue of the network card.",
            ),
        ),
        check=_check_set_target,
        save=_save_set_target,
        check_hooks=_check_hooks,
        shares=always,
        build=build_set_target,
        apply=set_target,
        attach=attach_set_target,
    ),
)
