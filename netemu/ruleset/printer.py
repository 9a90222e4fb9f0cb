"""Rulesets printed as iptables-save prints them.

Kernel: none; iptables-save.c and print_rule4 of iptables.c.

Built-in chains come first in hook order, user chains behind them in the order of their octets.
Tables keep the order of the file, and there are no comment lines: iptables-save's own order is
that of the kernel's list of tables, which says nothing about the rules.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.netfilter.xtables.kinds import octets_of
from netemu.netfilter.xtables.model import Chain, Rule, Ruleset, Table


def print_ruleset(ruleset: Ruleset, *, counters: bool = True, backend: str = "legacy") -> str:
    """Return what `iptables-save -c` prints (without `-c` when `counters` is off)."""
    return "".join(
        print_table(table, counters=counters, backend=backend) for table in ruleset.tables
    )


def print_table(table: Table, *, counters: bool = True, backend: str = "legacy") -> str:
    """Return one table, from `*NAME` to `COMMIT`; nothing if iptables-nft made no chain of it."""
    assert backend in {"legacy", "nft"}, backend
    if backend == "nft" and not table.touched:
        return ""
    chains = list(sorted_chains(table))
    lines = [f"*{table.name}"]
    lines += [_chain_line(chain) for chain in chains]
    for chain in chains:
        lines += _rule_lines(chain, counters=counters)
    return "\n".join([*lines, "COMMIT", ""])


def print_chain(chain: Chain, *, counters: bool = True) -> str:
    """Return the rules of one chain, a line each."""
    return "".join(f"{line}\n" for line in _rule_lines(chain, counters=counters))


def print_rule(rule: Rule) -> str:
    """Return a rule without its counters and `-A CHAIN`."""
    return rule.text


def sorted_chains(table: Table) -> Iterator[Chain]:
    """Yield the built-in chains in hook order, then the user chains by name."""
    yield from (chain for chain in table.chains.values() if chain.policy is not None)
    yield from sorted(
        (chain for chain in table.chains.values() if chain.policy is None),
        key=lambda chain: octets_of(chain.name),
    )


def _chain_line(chain: Chain) -> str:
    policy = "-" if chain.policy is None else chain.policy.name
    return f":{chain.name} {policy} [{chain.packets}:{chain.octets}]"


def _rule_lines(chain: Chain, *, counters: bool) -> Iterator[str]:
    for rule in chain.rules:
        head = f"[{rule.packets}:{rule.octets}] " if counters else ""
        text = f" {rule.text}" if rule.text else ""
        yield f"{head}-A {chain.name}{text}"
