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
from netemu.netfilter.xtables.model import Chain, Invert, Rule, Table
from netemu.netfilter.xtables.names import protocol_name


def check_table(table: Table) -> None:
    """Raise RulesetError for what the kernel refuses at COMMIT."""
    reached = reaching_hooks(table)
    for chain in table.chains.values():
        hooks = reached.get(chain.name, frozenset())
        for rule in chain.rules:
            for match in rule.matches:
                _check(match.declaration, match.given, f"-m {match.name}", table, rule, hooks)
            if rule.target is not None:
                target = rule.target
                _check(target.declaration, target.given, f"-j {target.name}", table, rule, hooks)


def reaching_hooks(table: Table) -> dict[str, frozenset[Hook]]:
    """Return the hooks that reach each chain; refuse loops (mark_source_chains)."""
    reached: dict[str, set[Hook]] = {}
    for chain in table.chains.values():
        if chain.policy is not None:
            _walk(table, chain, Hook[chain.name], reached)
    return {name: frozenset(hooks) for name, hooks in reached.items()}


def _walk(table: Table, start: Chain, hook: Hook, reached: dict[str, set[Hook]]) -> None:
    """Visit every chain that a hook reaches, depth first, without recursion."""
    path = [start.name]
    position = [0]
    reached.setdefault(start.name, set()).add(hook)
    while path:
        rules = table.chains[path[-1]].rules
        if position[-1] >= len(rules):
            path.pop()
            position.pop()
            continue
        rule = rules[position[-1]]
        position[-1] += 1
        if not rule.jump:
            continue
        if rule.jump in path:
            raise RulesetError(
                f"Too many levels of symbolic links: chain `{rule.jump}' leads back to itself "
                f"through {' -> '.join([*path[path.index(rule.jump) :], rule.jump])}",
                line=rule.line or 0,
            )
        hooks = reached.setdefault(rule.jump, set())
        if hook not in hooks:
            hooks.add(hook)
            path.append(rule.jump)
            position.append(0)


def _check(
    declaration: object,
    settings: object,
    what: str,
    table: Table,
    rule: Rule,
    hooks: frozenset[Hook],
) -> None:
    assert isinstance(declaration, Extension)
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
