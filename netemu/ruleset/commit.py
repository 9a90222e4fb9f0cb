"""What the kernel tests when a whole table is handed over.

Kernel: net/ipv4/netfilter/ip_tables.c (translate_table, mark_source_chains, check_match,
check_target), net/netfilter/x_tables.c (xt_check_match, xt_check_target).

Theory of operation: from every hook the chains are walked; a rule collects the hooks that reach it
(`comefrom`). A jump back into a chain that is being walked is a loop (ELOOP). Then each extension
must allow the table, all hooks that reach its rule, and the rule's protocol. A chain that nothing
jumps to has no hooks, so only table and protocol are tested there, as in the kernel. The same holds
for the rules of a chain behind an unconditional verdict: the walk never gets there. In nftables it
does, and there no way may lead through more than 16 chains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NoReturn, TypeAlias

from netemu.errors import Refusal, RulesetError
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.kit import Extension, Settings
from netemu.netfilter.xtables.model import (
    BoundMatch,
    BoundTarget,
    Chain,
    Invert,
    Rule,
    Shape,
    Table,
)
from netemu.netfilter.xtables.names import protocol_name
from netemu.ruleset import nft

_PROTO = int(Invert.PROTO)

Passed: TypeAlias = tuple[int, int, int, frozenset[Hook]]
"""Extension, protocol, its inversion and the hooks that reach the rule."""

FindColumn: TypeAlias = Callable[[Rule, str], int]
"""Returns the column of an extension's or chain's name in the line of a rule."""


Refuse: TypeAlias = Callable[[RulesetError], None]
"""Is told what the kernel refuses; when it returns, the rest is looked at, too."""


def _stop(error: RulesetError) -> NoReturn:
    raise error


def check_table(
    table: Table,
    find_column: FindColumn,
    *,
    as_nft: bool = False,
    refuse: Refuse = _stop,
    before: Table | None = None,
) -> None:
    """Tell `refuse` what the kernel refuses at COMMIT; by itself it raises the first.

    Chains that `before` had too, where they were tested, are tested again only if other hooks
    reach them now.
    """
    jumps = jumps_of(table, every_rule=as_nft, before=before)
    if as_nft:
        _check_depth(table, jumps, find_column, refuse)
    reached = reaching_hooks(table, jumps, find_column, refuse)
    table.jumps, table.reached = jumps, reached
    old = before.chains if before is not None else {}
    nowhere: frozenset[Hook] = frozenset()
    passed: set[Passed] = set()
    shapes: dict[frozenset[Hook], set[Shape | None]] = {}
    for chain in table.chains.values():
        hooks = reached.get(chain.name, nowhere)
        if before is not None and old.get(chain.name) is chain:
            if before.reached.get(chain.name, nowhere) == hooks:
                continue
        told = hooks
        if as_nft:
            told = nowhere if chain.policy is None else frozenset({Hook[chain.name]})
        good = shapes.setdefault(hooks, set())
        walked = len(chain.rules) if as_nft else _walked(chain)
        for number, rule in enumerate(chain.rules):
            if number == walked:
                hooks = told = nowhere
                good = shapes.setdefault(nowhere, set())
            if rule.shape in good:
                continue
            if rule.shape is not None and _passes(rule.shape, table, rule, hooks):
                good.add(rule.shape)
                continue
            try:
                for match in rule.matches:
                    if match.restricted:
                        _check(match, table, rule, hooks, told, find_column, passed)
                target = rule.target
                if target is not None and target.restricted:
                    _check(target, table, rule, hooks, told, find_column, passed)
            except RulesetError as error:
                refuse(error)


def _passes(shape: Shape, table: Table, rule: Rule, hooks: frozenset[Hook]) -> bool:
    """Return whether all rules of a shape pass, whatever their values are."""
    for extension in shape.restricted:
        assert isinstance(extension, Extension)
        if extension.check_hooks is not None or extension.check_rule is not None:
            return False
        try:
            _check_extension(extension, table, rule, hooks)
        except RulesetError:
            return False
    return True


def _check_depth(
    table: Table, jumps: dict[str, tuple[str, ...]], find_column: FindColumn, refuse: Refuse
) -> None:
    """Refuse what leads back to itself or too deep for nftables."""
    built_in = [chain.name for chain in table.chains.values() if chain.policy is not None]
    while (last := nft.too_deep(jumps, built_in)) is not None:
        rule = next(rule for rule in table.chains[last].rules if rule.jump in jumps[last])
        refuse(
            RulesetError(
                f"Too many links: in nftables no way may lead through more than "
                f"{nft.JUMP_STACK_SIZE} chains, and one leads on from `{last}'",
                Refusal.LOOP,
                line=rule.line or 0,
                column=find_column(rule, rule.jump),
            )
        )
        _cut(jumps, last, rule.jump)


def _cut(jumps: dict[str, tuple[str, ...]], name: str, following: str) -> None:
    """Forget a jump that is already refused."""
    jumps[name] = tuple(other for other in jumps[name] if other != following)


def jumps_of(
    table: Table, *, every_rule: bool = False, before: Table | None = None
) -> dict[str, tuple[str, ...]]:
    """Return the chains that each chain jumps to, in the order of the rules.

    With `every_rule` also behind an unconditional verdict, where nftables looks and ip_tables.c
    does not.
    """
    jumps: dict[str, tuple[str, ...]] = {}
    old = before.chains if before is not None else {}
    for chain in table.chains.values():
        if before is not None and old.get(chain.name) is chain:
            jumps[chain.name] = before.jumps[chain.name]
            continue
        rules = chain.rules
        if not every_rule:
            walked = _walked(chain)
            if walked < len(rules):
                rules = rules[:walked]
        jumps[chain.name] = tuple(dict.fromkeys([rule.jump for rule in rules if rule.jump]))
    return jumps


def reaching_hooks(
    table: Table,
    jumps: dict[str, tuple[str, ...]],
    find_column: FindColumn,
    refuse: Refuse = _stop,
) -> dict[str, frozenset[Hook]]:
    """Return the hooks that reach each chain; refuse loops (mark_source_chains)."""
    reached: dict[str, int] = {}
    for chain in table.chains.values():
        if chain.policy is not None:
            bit = 1 << Hook[chain.name]
            while (loop := _walk(jumps, chain.name, bit, reached)) is not None:
                refuse(_loop(table, loop, find_column))
                _cut(jumps, *loop[-2:])
                reached = {name: bits & ~bit for name, bits in reached.items()}
    hooks_of = {
        bits: frozenset(hook for hook in Hook if bits >> hook & 1) for bits in set(reached.values())
    }
    return {name: hooks_of[bits] for name, bits in reached.items()}


def _walked(chain: Chain) -> int:
    """Return how many rules of a chain a walk can get to."""
    for number, rule in enumerate(chain.rules, 1):
        if rule.shape is not None and not rule.shape.may_end:
            continue
        target = rule.target
        if target is None or target.standard is None or rule.matches:
            continue
        if rule.generic.unconditional:
            return number
    return len(chain.rules)


def _walk(
    jumps: Mapping[str, tuple[str, ...]], start: str, hook: int, reached: dict[str, int]
) -> list[str] | None:
    """Visit every chain that a hook reaches, depth first; return the chains of a loop.

    `hook` is the bit of the hook, `reached` holds the bits of those that reach a chain.
    """
    path = {start: iter(jumps[start])}
    reached[start] = reached.get(start, 0) | hook
    while path:
        name = next(reversed(path))
        for following in path[name]:
            if following in path:
                way = list(path)
                return [*way[way.index(following) :], following]
            before = reached.get(following, 0)
            if before & hook:
                continue
            reached[following] = before | hook
            if jumps[following]:
                path[following] = iter(jumps[following])
                break
        else:
            del path[name]
    return None


def _loop(table: Table, way: list[str], find_column: FindColumn) -> RulesetError:
    """Say which chains lead back to themselves, at the rule that closes the loop."""
    *_, last, back_to = way
    rule = next(rule for rule in table.chains[last].rules if rule.jump == back_to)
    return RulesetError(
        f"Too many levels of symbolic links: chain `{back_to}' leads back to itself: "
        f"{' -> '.join(way)}",
        Refusal.LOOP,
        line=rule.line or 0,
        column=find_column(rule, back_to),
    )


def _check(  # noqa: PLR0913 - what xt_check_match is told
    bound: BoundMatch | BoundTarget,
    table: Table,
    rule: Rule,
    hooks: frozenset[Hook],
    told: frozenset[Hook],
    find_column: FindColumn,
    passed: set[Passed],
) -> None:
    """Test one extension of a rule (xt_check_match, xt_check_target).

    `told` are the hooks that checkentry gets to know. What was tested before for another rule with
    the same answer is in `passed`.
    """
    extension = bound.declaration
    generic = rule.generic
    key = (id(extension), generic.protocol, int(generic.invert) & _PROTO, hooks)
    if key in passed:
        return
    assert isinstance(extension, Extension)
    try:
        _check_extension(extension, table, rule, hooks)
        if extension.check_hooks is None and extension.check_rule is None:
            passed.add(key)
            return
        settings = bound.given
        assert isinstance(settings, Settings)
        if extension.check_hooks is not None:
            extension.check_hooks(settings, told)
        if extension.check_rule is not None and not settings.nft:
            extension.check_rule(settings, rule)
    except RulesetError as error:
        raise RulesetError(
            f"{bound.name}: {error.message}",
            Refusal.PLACE if error.refusal is Refusal.VALUE else error.refusal,
            line=rule.line or 0,
            column=find_column(rule, bound.name),
        ) from None


def _check_extension(
    extension: Extension, table: Table, rule: Rule, hooks: frozenset[Hook]
) -> None:
    """Test table, hooks and protocol (xt_check_match)."""
    if extension.tables and table.name not in extension.tables:
        raise RulesetError(
            f"Invalid argument: only valid in table {' '.join(extension.tables)}, not {table.name}"
        )
    if extension.hooks and not hooks <= set(extension.hooks):
        wrong = " ".join(hook.name for hook in sorted(hooks - set(extension.hooks)))
        raise RulesetError(
            f"Invalid argument: used from hooks {wrong}, but only valid from "
            f"{' '.join(hook.name for hook in extension.hooks)}"
        )
    if extension.protocols:
        _check_protocol(extension, rule)


def _check_protocol(extension: Extension, rule: Rule) -> None:
    generic = rule.generic
    if generic.protocol in extension.protocols and not generic.invert & Invert.PROTO:
        return
    names = " or ".join(f"-p {protocol_name(number)}" for number in extension.protocols)
    raise RulesetError(f"Invalid argument: the rule needs {names}", Refusal.COMBINATION)
