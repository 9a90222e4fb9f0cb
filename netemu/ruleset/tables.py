"""The tables of each family: built-in chains, and what may be done to chains.

Kernel: net/ipv4/netfilter/iptable_{filter,nat,mangle,raw,security}.c (packet_*, valid_hooks),
net/netfilter/x_tables.c; libiptc.c of iptables for the errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from netemu.errors import Refusal, RulesetError
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.kinds import octets_of
from netemu.netfilter.xtables.model import Chain, Rule, Table
from netemu.ruleset.rule import MAX_NAME, counter

_COUNTERS = re.compile(r"\[([+-]?[0-9]+):([+-]?[0-9]+)")

VALID_HOOKS = {
    "raw": (Hook.PREROUTING, Hook.OUTPUT),
    "mangle": tuple(Hook),
    "nat": (Hook.PREROUTING, Hook.INPUT, Hook.OUTPUT, Hook.POSTROUTING),
    "filter": (Hook.INPUT, Hook.FORWARD, Hook.OUTPUT),
    "security": (Hook.INPUT, Hook.FORWARD, Hook.OUTPUT),
}
"""Hooks of each table, which name its built-in chains."""


VERDICTS = frozenset({"ACCEPT", "DROP", "QUEUE", "RETURN"})
"""Targets whose names no chain may have."""


def new_table(name: str, family: Family, line: int | None) -> Table:
    """Return an empty table with policy ACCEPT everywhere."""
    hooks = VALID_HOOKS.get(name)
    if hooks is None:
        right = f"the tables are {' '.join(VALID_HOOKS)}"
        if name.endswith("\r"):
            right = "the line ends as in DOS (CR LF), and the CR is taken for part of the name"
        shown = name.rstrip("\r")
        raise RulesetError(
            f"unable to initialize table '{shown}'; {right}",
            Refusal.TABLE,
            column=2,
        )
    chains = {hook.name: Chain(name=hook.name, policy=Verdict.ACCEPT, line=line) for hook in hooks}
    return Table(name=name, family=family, chains=chains, line=line)


def check_new_name(name: str) -> None:
    """Refuse a name that no chain may have."""
    if len(octets_of(name)) > MAX_NAME:
        raise RulesetError(
            f"chain name `{name}' too long (must be under {MAX_NAME + 1} chars)", Refusal.NAME
        )


def check_word(name: str) -> None:
    """Refuse what -N, and iptables-nft everywhere, take for no name (assert_valid_chain_name)."""
    if name[:1] in {"-", "!"}:
        raise RulesetError(f"chain name not allowed to start with `{name[0]}'", Refusal.NAME)
    if any(character in " \t\n\v\f\r" for character in name):
        raise RulesetError(f"Invalid chain name `{name}'", Refusal.NAME)


def _check_no_verdict(name: str) -> None:
    """Refuse the names of the built-in targets (iptc_is_chain)."""
    if name in VERDICTS:
        raise RulesetError(
            f"error creating chain '{name}':File exists; it is a target", Refusal.NAME
        )


def add_chain(table: Table, name: str, line: int | None) -> None:
    """Make a user chain (iptc_create_chain)."""
    if name in table.chains:
        raise RulesetError(
            f"error creating chain '{name}':File exists; declare it once", Refusal.DUPLICATE
        )
    _check_no_verdict(name)
    table.chains[name] = Chain(name=name, line=line)


def need_chain(table: Table, name: str, column: int = 0) -> Chain:
    """Return a chain of the table."""
    chain = table.chains.get(name)
    if chain is None:
        raise RulesetError(
            f"No chain/target/match by that name: `{name}'; a chain needs a line "
            f"`:{name} - [0:0]` first",
            Refusal.CHAIN,
            column=column,
        )
    return chain


def policy_counters(name: str, text: str, column: int = 0) -> tuple[int, int]:
    """Read `[packets:octets]` of a policy; nothing behind the second number is looked at."""
    found = _COUNTERS.match(text)
    if found is None:
        raise RulesetError(
            f"invalid policy counters for chain '{name}'; [0:0] would do",
            Refusal.SYNTAX,
            column=column,
        )
    return counter(found[1]), counter(found[2])


def set_policy(table: Table, name: str, policy: str, counters: tuple[int, int] | None) -> None:
    """Set policy and counters of a built-in chain (iptc_set_policy)."""
    chain = table.chains.get(name)
    if chain is None or chain.policy is None:
        raise RulesetError(
            f"Can't set policy `{policy}' on `{name}': Bad built-in chain name; "
            "a user chain has the policy -",
            Refusal.POLICY,
        )
    if policy not in {"ACCEPT", "DROP"}:
        raise RulesetError(
            f"Can't set policy `{policy}' on `{name}': Bad policy name; ACCEPT or DROP would do",
            Refusal.POLICY,
        )
    chain.policy = Verdict[policy]
    chain.packets, chain.octets = counters or (0, 0)


def flush(table: Table, name: str) -> None:
    """Delete the rules of one chain, or of all."""
    chains = [need_chain(table, name)] if name else list(table.chains.values())
    for chain in chains:
        chain.rules.clear()


def look_for(table: Table, name: str, number: int | None) -> None:
    """Look for what -Z or -L names, which is all that they do here.

    Of the counters that -Z is about, libiptc marks those that the kernel holds; those of rules and
    policies that the same text has just set stay as they were set.
    """
    if name:
        chain = need_chain(table, name)
        if number is not None:
            _numbered(chain, number)


def list_rules(table: Table, name: str, number: int | None) -> None:
    """Look for what -S names; as it prints rules of the same text, it stumbles over their jumps."""
    look_for(table, name, None)
    for chain in table.chains.values():
        rules = chain.rules if number is None else chain.rules[number - 1 : number]
        jump = next((rule.jump for rule in rules if rule.jump), "")
        if jump and name in {"", chain.name}:
            raise RulesetError(
                f"Can't find library for target `{jump}'; -S comes too early", Refusal.COMMAND
            )


def delete_chain(table: Table, name: str, is_used: Callable[[str], bool]) -> None:
    """Delete a user chain, or all of them: they must be empty and unused."""
    chains = (
        [need_chain(table, name)]
        if name
        else [chain for chain in table.chains.values() if chain.policy is None]
    )
    for chain in chains:
        if chain.policy is not None:
            raise RulesetError(
                f"`{chain.name}' is a built-in chain and cannot be deleted", Refusal.COMMAND
            )
        if chain.rules:
            raise RulesetError(
                f"Directory not empty: `{chain.name}'; flush it first", Refusal.COMMAND
            )
        if is_used(chain.name):
            raise RulesetError(f"Too many links: a rule jumps to `{chain.name}'", Refusal.COMMAND)
    for chain in chains:
        del table.chains[chain.name]


def is_used(table: Table, name: str) -> bool:
    """Return whether a rule leads to a chain."""
    return any(rule.jump == name for chain in table.chains.values() for rule in chain.rules)


def rename_chain(table: Table, old: str, new: str) -> None:
    """Give a user chain another name, in the jumps to it too."""
    chain = need_chain(table, old)
    if chain.policy is not None:
        raise RulesetError(f"`{old}' is a built-in chain and cannot be renamed", Refusal.COMMAND)
    if new in table.chains:
        raise RulesetError(f"File exists: there is a chain `{new}'", Refusal.DUPLICATE)
    _check_no_verdict(new)
    table.chains = {(new if name == old else name): found for name, found in table.chains.items()}
    chain.name = new


def insert(chain: Chain, number: int | None, rules: list[Rule]) -> None:
    """Insert at a place from 1; each rule of a product goes before the one inserted last."""
    place = (number or 1) - 1
    if place > len(chain.rules):
        raise RulesetError(
            f"Index of insertion too big; chain `{chain.name}' has {len(chain.rules)} rules",
            Refusal.COMMAND,
        )
    for rule in rules:
        chain.rules.insert(place, rule)


def replace(chain: Chain, number: int, rules: list[Rule]) -> None:
    """Put another rule in the place of one."""
    if len(rules) != 1:
        raise RulesetError("Replacement rule does not specify a unique address", Refusal.COMMAND)
    chain.rules[chain.rules.index(_numbered(chain, number))] = rules[0]


def delete_number(chain: Chain, number: int) -> None:
    """Delete a rule by its number."""
    chain.rules.remove(_numbered(chain, number))


def find_same(chain: Chain, rule: Rule) -> Rule:
    """Return the first rule that says the same."""
    for found in chain.rules:
        if found.text == rule.text:
            return found
    raise RulesetError("Bad rule (does a matching rule exist in that chain?)", Refusal.COMMAND)


def _numbered(chain: Chain, number: int) -> Rule:
    if number > len(chain.rules):
        raise RulesetError(
            f"Index of deletion too big; chain `{chain.name}' has {len(chain.rules)} rules",
            Refusal.COMMAND,
        )
    return chain.rules[number - 1]
