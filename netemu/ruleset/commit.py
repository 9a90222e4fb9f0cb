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

from collections.abc import Callable
from typing import TypeAlias

from netemu.errors import RulesetError
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.kit import Extension, Settings
from netemu.netfilter.xtables.model import BoundMatch, BoundTarget, Chain, Invert, Rule, Table
from netemu.netfilter.xtables.names import protocol_name
from netemu.ruleset import nft

_PROTO = int(Invert.PROTO)

Passed: TypeAlias = tuple[int, int, int, frozenset[Hook]]
"""Extension, protocol, its inversion and the hooks that reach the rule."""

FindColumn: TypeAlias = Callable[[Rule, str], int]
"""Returns the column of an extension's or chain's name in the line of a rule."""


def check_table(table: Table, find_column: FindColumn, *, as_nft: bool = False) -> None:
    """Raise RulesetError for what the kernel refuses at COMMIT."""
    if as_nft:
        _check_depth(table, find_column)
    reached = reaching_hooks(table, find_column, every_rule=as_nft)
    nowhere: frozenset[Hook] = frozenset()
    passed: set[Passed] = set()
    for chain in table.chains.values():
        hooks = reached.get(chain.name, nowhere)
        told = hooks
        if as_nft:
            told = nowhere if chain.policy is None else frozenset({Hook[chain.name]})
        walked = len(chain.rules) if as_nft else _walked(chain)
        for number, rule in enumerate(chain.rules):
            if number == walked:
                hooks = told = nowhere
            for match in rule.matches:
                if match.restricted:
                    _check(match, table, rule, hooks, told, find_column, passed)
            target = rule.target
            if target is not None and target.restricted:
                _check(target, table, rule, hooks, told, find_column, passed)


def _check_depth(table: Table, find_column: FindColumn) -> None:
    """Refuse what leads back to itself or too deep for nftables."""
    found = nft.too_deep(table)
    if found is None:
        return
    chain, rule = found
    raise RulesetError(
        f"Too many links: in nftables no way may lead through more than {nft.JUMP_STACK_SIZE} "
        f"chains, and one leads on from `{chain.name}'",
        line=rule.line or 0,
        column=find_column(rule, rule.jump),
    )


def reaching_hooks(
    table: Table, find_column: FindColumn, *, every_rule: bool = False
) -> dict[str, frozenset[Hook]]:
    """Return the hooks that reach each chain; refuse loops (mark_source_chains).

    With `every_rule` also those that stand behind an unconditional verdict, as in nftables.
    """
    jumps = {
        chain.name: tuple(
            dict.fromkeys(
                [
                    rule.jump
                    for rule in chain.rules[: None if every_rule else _walked(chain)]
                    if rule.jump
                ]
            )
        )
        for chain in table.chains.values()
    }
    reached: dict[str, set[Hook]] = {}
    for chain in table.chains.values():
        if chain.policy is not None:
            loop = _walk(jumps, chain.name, Hook[chain.name], reached)
            if loop is not None:
                raise _loop(table, loop, find_column)
    return {name: frozenset(hooks) for name, hooks in reached.items()}


def _walked(chain: Chain) -> int:
    """Return how many rules of a chain a walk can get to."""
    for number, rule in enumerate(chain.rules, 1):
        target = rule.target
        if target is None or target.standard is None or rule.matches:
            continue
        if rule.generic.unconditional:
            return number
    return len(chain.rules)


def _walk(
    jumps: dict[str, tuple[str, ...]], start: str, hook: Hook, reached: dict[str, set[Hook]]
) -> list[str] | None:
    """Visit every chain that a hook reaches, depth first; return the chains of a loop."""
    path = {start: iter(jumps[start])}
    reached.setdefault(start, set()).add(hook)
    while path:
        name = next(reversed(path))
        following = next(path[name], None)
        if following is None:
            del path[name]
            continue
        if following in path:
            way = list(path)
            return [*way[way.index(following) :], following]
        hooks = reached.setdefault(following, set())
        if hook not in hooks:
            hooks.add(hook)
            path[following] = iter(jumps[following])
    return None


def _loop(table: Table, way: list[str], find_column: FindColumn) -> RulesetError:
    """Say which chains lead back to themselves, at the rule that closes the loop."""
    *_, last, back_to = way
    rule = next(rule for rule in table.chains[last].rules if rule.jump == back_to)
    return RulesetError(
        f"Too many levels of symbolic links: chain `{back_to}' leads back to itself: "
        f"{' -> '.join(way)}",
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
        if extension.check_rule is not None:
            extension.check_rule(settings, rule)
    except RulesetError as error:
        raise RulesetError(
            f"{bound.name}: {error.message}",
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
    raise RulesetError(f"Invalid argument: the rule needs {names}")
