"""Packets that change an IP set or take values from it: target `SET`.

Kernel: net/netfilter/xt_set.c (set_target_v3, set_target_v3_checkentry).

The sets are those of the namespace (see netfilter/ipset). An added element begins with the packet's
counters; a full set, or a bucket of its table that is full, takes nothing. Devices have one queue
here, so --map-queue changes nothing.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.events import MarkChanged, SetChanged
from netemu.net import Net
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.ipset.core import ip_set_add, ip_set_del, ip_set_test
from netemu.netfilter.ipset.errcode import SetError
from netemu.netfilter.ipset.extension import IPSET_MAX_TIMEOUT
from netemu.netfilter.ipset.ip_set import AdtOptions, IpSet
from netemu.netfilter.ipset.packet import Packet
from netemu.netfilter.xtables.kinds import U32, OptionCall, Unsigned
from netemu.netfilter.xtables.kit import Option, Settings, Target, always, printed
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
from netemu.netfilter.xtables.space import Field, Rewriting
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


class SetTarget:
    """struct xt_set_info_target_v3."""

    __slots__ = ("exist", "mapped", "references", "timeout_s")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.references = {
            option: settings.need(option, SetReference)
            for option in REFERENCES
            if option in settings
        }
        self.exist = "exist" in settings
        self.timeout_s = settings.get("timeout", int)
        if self.timeout_s is not None:
            self.timeout_s = min(self.timeout_s, IPSET_MAX_TIMEOUT)
        self.mapped = frozenset(name for name in MAPPED if name in settings)


def set_effect(info: SetTarget, packet: Rewriting) -> None:
    """Change the sets, and take over what an element says."""
    for option, reference in info.references.items():
        if option != "map-set":
            packet.change_set(reference.name)
    if "map-mark" in info.mapped:
        packet.forget(Field.MARK)


def set_target(info: SetTarget, skb: Skb, param: XtParam) -> Verdict | None:
    """Add, delete, then map; whatever comes of it, the next rule is tried (set_target_v3)."""
    packet = packet_of(skb, param)
    for option, reference in info.references.items():
        asked = set_of(param.net, reference.name)
        options = AdtOptions(family=param.family, sources=sources_of(reference))
        if option == "map-set":
            _map(info, asked, packet, options, param)
            continue
        if option == "add-set":
            options.exist = info.exist
            options.timeout_s = info.timeout_s
        why = misfit(asked, options)
        key = key_of(asked, packet, options) if param.net.sink is not None else ""
        try:
            _ACTIONS[option](asked, packet, options)
        except SetError as error:
            why = why or str(error)
        if param.net.sink is not None:
            change = SetChanged(set=asked.name, change=option[:3], key=key, why=why)
            param.net.tell(skb, change)
    return None


_ACTIONS = {"add-set": ip_set_add, "del-set": ip_set_del}


def _map(
    info: SetTarget, asked: IpSet, packet: Packet, options: AdtOptions, param: XtParam
) -> None:
    """Take mark and priority of the element that the packet hits; there is one queue only."""
    skb = packet.skb
    if not ip_set_test(asked, packet, options):
        return
    wanted = options.wanted
    if "map-mark" in info.mapped:
        mark = skb.mark & ~wanted.skbmarkmask ^ wanted.skbmark
        _change(param, skb, "mark", skb.mark, mark)
        skb.mark = mark
    if "map-prio" in info.mapped:
        _change(param, skb, "priority", skb.priority, wanted.skbprio)
        skb.priority = wanted.skbprio


def _change(param: XtParam, skb: Skb, what: str, before: int, after: int) -> None:
    if param.net.sink is not None and before != after:
        param.net.tell(skb, MarkChanged(what=what, before=before, after=after))


def attach_set_target(net: Net, info: SetTarget) -> None:
    """Hold on to the sets (set_target_v3_checkentry)."""
    for option, reference in info.references.items():
        refer_to(net, option, reference.name)


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
        build=SetTarget,
        apply=set_target,
        effect=set_effect,
        attach=attach_set_target,
    ),
)
