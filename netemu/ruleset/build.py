"""Rules made from what their words said.

Kernel: none; the end of do_parse and generate_entry of iptables (iptables.c).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from msgspec import Struct

from netemu.errors import Refusal, RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import Network, read_network
from netemu.netfilter.xtables.kit import Extension, Given, Match, Settings, Target
from netemu.netfilter.xtables.model import BoundMatch, BoundTarget, Chain, Generic, Invert, Rule
from netemu.netfilter.xtables.registry import Registry
from netemu.ruleset import nft
from netemu.ruleset.draft import Draft, Loaded

INPUT_ONLY = frozenset({"PREROUTING", "INPUT"})
_SRCIP, _DSTIP, _PROTO = int(Invert.SRCIP), int(Invert.DSTIP), int(Invert.PROTO)
"""As plain integers, since an IntFlag is slow to and."""

COUNTED = "AIRP"
"""Commands that take counters."""

OUTPUT_ONLY = frozenset({"POSTROUTING", "OUTPUT"})


@functools.lru_cache(maxsize=1 << 16)
def networks(text: str, family: Family) -> tuple[Network, ...]:
    """Read `ADDRESS[/MASK][,...]` (xtables_ipparse_multiple)."""
    return tuple(read_network(part.lstrip(" \t\n\v\f\r"), family) for part in text.split(","))


def check_command(draft: Draft) -> None:
    """Refuse what getopt let pass (the end of do_parse)."""
    if "c" in draft.options and draft.command not in COUNTED:
        raise RulesetError(
            "Illegal option `-c' with this command", Refusal.COMMAND, column=draft.options["c"]
        )
    if draft.command in "AIDRC":
        _check_devices(draft)
        return
    extra = next((letter for letter in draft.options if letter != "c"), "")
    if extra or draft.matches:
        column = draft.options.get(extra, 1)
        raise RulesetError(
            f"Illegal option `-{extra or 'm'}' with this command", Refusal.COMMAND, column=column
        )


def _check_devices(draft: Draft) -> None:
    if "o" in draft.options and draft.chain in INPUT_ONLY:
        raise RulesetError(
            f"Can't use -o with {draft.chain}", Refusal.PLACE, column=draft.options["o"]
        )
    if "i" in draft.options and draft.chain in OUTPUT_ONLY:
        raise RulesetError(
            f"Can't use -i with {draft.chain}", Refusal.PLACE, column=draft.options["i"]
        )


def resolve_jump(
    draft: Draft, chains: Mapping[str, Chain], registry: Registry, family: Family
) -> None:
    """Decide whether -j names a chain; a chain of an extension's name hides the extension."""
    if not draft.jump:
        return
    if draft.jump in chains:
        if chains[draft.jump].policy is not None:
            raise RulesetError(
                f"Invalid argument: nothing can jump to the built-in chain `{draft.jump}'",
                Refusal.JUMP,
                column=draft.jump_column,
            )
        draft.target = None
        return
    if draft.target is not None:
        return
    if draft.goto:
        raise RulesetError(
            f"goto '{draft.jump}' is not a chain; declare it with `:{draft.jump} - [0:0]`",
            Refusal.JUMP,
            column=draft.jump_column,
        )
    raise RulesetError(
        f"Couldn't load target `{draft.jump}':No such file or directory; a chain needs a line "
        f"`:{draft.jump} - [0:0]` first, and known targets are {registry.target_names(family)}",
        Refusal.JUMP,
        column=draft.jump_column,
    )


class Circumstances(Struct, frozen=True, kw_only=True):
    """What all rules of a table have in common."""

    family: Family = Family.IPV4
    table: str = "filter"
    nft: bool = False
    """iptables-nft reads the rules."""

    def settings(
        self, extension: Extension, given: dict[str, Given], order: Iterable[Given], draft: Draft
    ) -> Settings:
        """Return settings that are not yet checked."""
        return Settings(
            extension.name,
            given,
            tuple(order),
            family=self.family,
            protocol=draft.protocol,
            protocol_inverted=bool(int(draft.invert) & _PROTO),
            table=self.table,
            nft=self.nft,
        )


def make_rules(draft: Draft, place: Circumstances, line: int | None) -> list[Rule]:
    """Make one rule for each pair of source and destination."""
    sources = _placed_networks(draft, "s", draft.sources, place.family)
    destinations = _placed_networks(draft, "d", draft.destinations, place.family)
    if (len(sources) > 1 or len(destinations) > 1) and draft.invert & (Invert.SRCIP | Invert.DSTIP):
        letter = "s" if len(sources) > 1 else "d"
        raise RulesetError(
            "! not allowed with multiple source or destination IP addresses",
            Refusal.COMBINATION,
            column=draft.options[letter],
        )
    return [
        _make_rule(draft, source, destination, place, line)
        for source in sources or (None,)
        for destination in destinations or (None,)
    ]


def _placed_networks(
    draft: Draft, letter: str, text: str | None, family: Family
) -> tuple[Network, ...]:
    """Read -s or -d; without it there is none."""
    if text is None:
        return ()
    try:
        return networks(text, family)
    except RulesetError as error:
        error.column = draft.options[letter]
        raise


def _make_rule(
    draft: Draft,
    source: Network | None,
    destination: Network | None,
    place: Circumstances,
    line: int | None,
) -> Rule:
    generic = make_generic(
        source,
        destination,
        draft.in_device,
        draft.out_device,
        nft.protocol_of(draft.protocol) if place.nft else draft.protocol,
        fragment=draft.fragment,
        invert=draft.invert,
    )
    if place.nft:
        nft.refuse(generic, draft)
    matches = _bound_matches(draft, place)
    target = None
    if draft.target is not None:
        settings = _finished(draft, draft.target, place)
        target = bind_target(draft.target, settings, place)
    packets, octets = draft.counters or (0, 0)
    return Rule(
        generic,
        matches,
        target,
        draft.jump if target is None else "",
        draft.goto,
        packets,
        octets,
        line,
        nft.odd_text(generic, matches, target, draft) if place.nft else None,
    )


def _bound_matches(draft: Draft, place: Circumstances) -> tuple[BoundMatch, ...]:
    """Make the matches, in nft's way some of them from several."""
    found: list[BoundMatch] = []
    for item in draft.matches:
        settings = _finished(draft, item, place)
        native = item.extension.nft if place.nft else None
        if native is None or not native.merges:
            found.append(bind_match(item, settings, place))
            continue
        try:
            nft.merge(item.extension, settings, found)
        except RulesetError as error:
            error.column = error.column or item.column
            raise
    return tuple(match for match in found if not nft.is_gone(match))


def _finished(draft: Draft, loaded: Loaded, place: Circumstances) -> Settings:
    """Return the settings once they are checked; rules of a product have settings of their own."""
    settings = place.settings(loaded.extension, dict(loaded.given), loaded.order, draft)
    try:
        loaded.extension.finish(settings)
    except RulesetError as error:
        if error.refusal is Refusal.VALUE:
            error.refusal = Refusal.COMBINATION
        if not error.column:
            error.column = loaded.column
        raise
    return settings


def bind_match(loaded: Loaded, settings: Settings, place: Circumstances) -> BoundMatch:
    """Make the match of one rule."""
    assert isinstance(loaded.extension, Match)
    return nft.bound(loaded.extension, settings, as_nft=place.nft)


def bind_target(loaded: Loaded, settings: Settings, place: Circumstances) -> BoundTarget:
    """Make the target of one rule."""
    assert isinstance(loaded.extension, Target)
    return nft.bound(loaded.extension, settings, as_nft=place.nft)


def make_generic(  # noqa: PLR0913 - struct ipt_ip
    source: Network | None,
    destination: Network | None,
    in_device: str,
    out_device: str,
    protocol: int,
    *,
    fragment: bool,
    invert: Invert,
) -> Generic:
    """Make the part that every rule has; what matches anything is left out unless inverted.

    A bare `+` stays: the kernel's TRACE calls such a rule conditional.
    """
    bits = int(invert)
    if source is not None and not any(source.mask) and not bits & _SRCIP:
        source = None
    if destination is not None and not any(destination.mask) and not bits & _DSTIP:
        destination = None
    return Generic(
        source=source.address if source else b"",
        source_mask=source.mask if source else b"",
        destination=destination.address if destination else b"",
        destination_mask=destination.mask if destination else b"",
        in_device=in_device,
        out_device=out_device,
        protocol=protocol,
        fragment=fragment,
        invert=invert,
    )
