"""Rules made from what their words said.

Kernel: none; the end of do_parse and generate_entry of iptables (iptables.c).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import Network, read_network, show_network
from netemu.netfilter.xtables.kit import Match, Settings, Target
from netemu.netfilter.xtables.model import BoundMatch, BoundTarget, Chain, Generic, Invert, Rule
from netemu.netfilter.xtables.names import protocol_name
from netemu.netfilter.xtables.registry import Registry
from netemu.ruleset.draft import Draft, Loaded

INPUT_ONLY = frozenset({"PREROUTING", "INPUT"})
_VIA_IN, _VIA_OUT = int(Invert.VIA_IN), int(Invert.VIA_OUT)
_SRCIP, _DSTIP = int(Invert.SRCIP), int(Invert.DSTIP)
_FRAG, _PROTO = int(Invert.FRAG), int(Invert.PROTO)
"""As plain integers, since an IntFlag is slow to and."""

OUTPUT_ONLY = frozenset({"POSTROUTING", "OUTPUT"})


@functools.lru_cache(maxsize=1 << 16)
def networks(text: str, family: Family) -> tuple[Network, ...]:
    """Read `ADDRESS[/MASK][,...]` (xtables_ipparse_multiple)."""
    return tuple(read_network(part.lstrip(" \t\n\v\f\r"), family) for part in text.split(","))


def check_command(draft: Draft) -> None:
    """Refuse what getopt let pass (the end of do_parse)."""
    if draft.command in "AIDRC":
        _check_devices(draft)
        return
    extra = next((letter for letter in draft.options if letter != "c"), "")
    if extra or draft.matches:
        column = draft.options.get(extra, 1)
        raise RulesetError(f"Illegal option `-{extra or 'm'}' with this command", column=column)


def _check_devices(draft: Draft) -> None:
    if "o" in draft.options and draft.chain in INPUT_ONLY:
        raise RulesetError(f"Can't use -o with {draft.chain}", column=draft.options["o"])
    if "i" in draft.options and draft.chain in OUTPUT_ONLY:
        raise RulesetError(f"Can't use -i with {draft.chain}", column=draft.options["i"])


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
                column=draft.jump_column,
            )
        draft.target = None
        return
    if draft.target is not None:
        return
    if draft.goto:
        raise RulesetError(
            f"goto '{draft.jump}' is not a chain; declare it with `:{draft.jump} - [0:0]`",
            column=draft.jump_column,
        )
    raise RulesetError(
        f"Couldn't load target `{draft.jump}':No such file or directory; a chain needs a line "
        f"`:{draft.jump} - [0:0]` first, and known targets are {registry.target_names(family)}",
        column=draft.jump_column,
    )


def make_rules(draft: Draft, family: Family, table: str, line: int | None) -> list[Rule]:
    """Make one rule for each pair of source and destination."""
    sources = _placed_networks(draft, "s", draft.sources, family)
    destinations = _placed_networks(draft, "d", draft.destinations, family)
    if (len(sources) > 1 or len(destinations) > 1) and draft.invert & (Invert.SRCIP | Invert.DSTIP):
        letter = "s" if len(sources) > 1 else "d"
        raise RulesetError(
            "! not allowed with multiple source or destination IP addresses",
            column=draft.options[letter],
        )
    return [
        _make_rule(draft, source, destination, family, table, line)
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
    family: Family,
    table: str,
    line: int | None,
) -> Rule:
    generic = make_generic(
        source,
        destination,
        draft.in_device,
        draft.out_device,
        draft.protocol,
        fragment=draft.fragment,
        invert=draft.invert,
    )
    matches = tuple(
        bind_match(item, _finished(draft, item, family, table)) for item in draft.matches
    )
    target = None
    if draft.target is not None:
        target = bind_target(draft.target, _finished(draft, draft.target, family, table))
    return assemble(
        generic,
        matches,
        target,
        jump=draft.jump if target is None else "",
        goto=draft.goto,
        counters=draft.counters,
        line=line,
    )


def _finished(draft: Draft, loaded: Loaded, family: Family, table: str) -> Settings:
    """Return the settings once they are checked; rules of a product have settings of their own."""
    settings = Settings(
        loaded.extension.name,
        dict(loaded.given),
        tuple(loaded.order),
        family=family,
        protocol=draft.protocol,
        protocol_inverted=bool(draft.invert & Invert.PROTO),
        table=table,
    )
    try:
        loaded.extension.finish(settings)
    except RulesetError as error:
        if not error.column:
            error.column = loaded.column
        raise
    return settings


def bind_match(loaded: Loaded, settings: Settings) -> BoundMatch:
    """Make the match of one rule."""
    assert isinstance(loaded.extension, Match)
    return loaded.extension.bind(settings)


def bind_target(loaded: Loaded, settings: Settings) -> BoundTarget:
    """Make the target of one rule."""
    assert isinstance(loaded.extension, Target)
    return loaded.extension.bind(settings)


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


def assemble(  # noqa: PLR0913 - the parts of struct ipt_entry
    generic: Generic,
    matches: tuple[BoundMatch, ...],
    target: BoundTarget | None,
    *,
    jump: str,
    goto: bool,
    counters: tuple[int, int] | None,
    line: int | None,
) -> Rule:
    """Put a rule together and print it."""
    packets, octets = counters or (0, 0)
    return Rule(
        generic=generic,
        matches=matches,
        target=target,
        jump=jump,
        goto=goto,
        packets=packets,
        octets=octets,
        line=line,
        text=rule_text(generic, matches, target, jump, goto=goto),
    )


def rule_text(
    generic: Generic,
    matches: Iterable[BoundMatch],
    target: BoundTarget | None,
    jump: str,
    *,
    goto: bool,
) -> str:
    """Return a rule as iptables-save prints it, without `-A CHAIN`."""
    parts = generic_words(generic)
    parts += [match.text for match in matches]
    if target is not None:
        parts.append(target.text)
    elif jump:
        parts.append(f"-g {jump}" if goto else f"-j {jump}")
    return " ".join(parts)


def generic_words(generic: Generic) -> list[str]:
    """Print -s, -d, -i, -o, -p and -f, in that order (save_rule4)."""
    invert = int(generic.invert)
    parts: list[str] = []
    if generic.source_mask:
        flag = "! -s" if invert & _SRCIP else "-s"
        parts.append(f"{flag} {show_network(generic.source, generic.source_mask)}")
    if generic.destination_mask:
        flag = "! -d" if invert & _DSTIP else "-d"
        parts.append(f"{flag} {show_network(generic.destination, generic.destination_mask)}")
    if generic.in_device not in {"", "+"}:
        parts.append(("! -i " if invert & _VIA_IN else "-i ") + generic.in_device)
    if generic.out_device not in {"", "+"}:
        parts.append(("! -o " if invert & _VIA_OUT else "-o ") + generic.out_device)
    if generic.protocol:
        name = protocol_name(generic.protocol)
        parts.append(("! -p " if invert & _PROTO else "-p ") + name)
    if generic.fragment:
        parts.append("! -f" if invert & _FRAG else "-f")
    return parts
