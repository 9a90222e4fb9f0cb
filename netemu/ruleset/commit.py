"""What the kernel tests when a whole table is handed over.

Kernel: net/ipv4/netfilter/ip_tables.c (translate_table, mark_source_chains, check_match,
check_target), net/netfilter/x_tables.c (xt_check_match, xt_check_target).

Theory of operation: from every hook the chains are walked; a rule collects the hooks that reach it
(`comefrom`). A jump back into a chain that is being walked is a loop (ELOOP). Then each extension
must allow the table, all hooks that reach its rule, and the rule's protocol. A chain that nothing
jumps to has no hooks, so only table and protocol are tested there, as in the kernel.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.kit import Extension, Settings
from netemu.netfilter.xtables.model import Invert, Rule, Table
from netemu.netfilter.xtables.names import protocol_name


def check_table(table: Table) -> None:
    """Raise RulesetError for what the kernel refuses at COMMIT."""
    reached = reaching_hooks(table)
    nowhere: frozenset[Hook] = frozenset()
    for chain in table.chains.values():
        hooks = reached.get(chain.name, nowhere)
        for rule in chain.rules:
            for match in rule.matches:
                declaration = match.declaration
                assert isinstance(declaration, Extension)
                if declaration.restricted:
                    _check(declaration, match.given, f"-m {match.name}", table, rule, hooks)
            target = rule.target
            if target is not None:
                declaration = target.declaration
                assert isinstance(declaration, Extension)
                if declaration.restricted:
                    _check(declaration, target.given, f"-j {target.name}", table, rule, hooks)


def reaching_hooks(table: Table) -> dict[str, frozenset[Hook]]:
    """Return the hooks that reach each chain; refuse loops (mark_source_chains)."""
    jumps = {
        chain.name: tuple(dict.fromkeys(rule.jump for rule in chain.rules if rule.jump))
        for chain in table.chains.values()
    }
    reached: dict[str, set[Hook]] = {}
    for chain in table.chains.values():
        if chain.policy is not None:
            _walk(table, jumps, chain.name, Hook[chain.name], reached)
    return {name: frozenset(hooks) for name, hooks in reached.items()}


def _walk(
    table: Table,
    jumps: dict[str, tuple[str, ...]],
    start: str,
    hook: Hook,
    reached: dict[str, set[Hook]],
) -> None:
    """Visit every chain that a hook reaches, depth first, without recursion."""
    path = {start: iter(jumps[start])}
    reached.setdefault(start, set()).add(hook)
    while path:
        name = next(reversed(path))
        following = next(path[name], None)
        if following is None:
            del path[name]
            continue
        if following in path:
            raise _loop(table, list(path), name, following)
        hooks = reached.setdefault(following, set())
        if hook not in hooks:
            hooks.add(hook)
            path[following] = iter(jumps[following])


def _loop(table: Table, path: list[str], name: str, back_to: str) -> RulesetError:
    """Say which chains lead back to themselves, at the rule that closes the loop."""
    way = " -> ".join([*path[path.index(back_to) :], back_to])
    rule = next(rule for rule in table.chains[name].rules if rule.jump == back_to)
    return RulesetError(
        f"Too many levels of symbolic links: chain `{back_to}' leads back to itself: {way}",
        line=rule.line or 0,
    )


def _check(
    declaration: Extension,
    settings: object,
    what: str,
    table: Table,
    rule: Rule,
    hooks: frozenset[Hook],
) -> None:
    assert isinstance(settings, Settings)
    try:
        _check_extension(declaration, table, rule, hooks)
        if declaration.check_hooks is not None:
            declaration.check_hooks(settings, hooks)
    except RulesetError as error:
        raise RulesetError(
            f"{what}: {error.message}", line=rule.line or 0, column=error.column
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
