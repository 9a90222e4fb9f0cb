"""What iptables-nft-restore and -save do otherwise than their legacy namesakes.

Kernel: net/netfilter/nf_tables_api.c (nft_chain_validate), net/netfilter/nft_compat.c; nft.c,
nft-shared.c and xtables-restore.c of iptables 1.8.9.

Theory of operation: iptables-nft turns a rule into expressions of nftables. Most matches and
targets stay xt_ modules inside them (nft_compat), but some are said in nftables' own words and read
back from those (`kit.Native`). Commands are sent in one batch, so what a command sees of the
chains is what iptables-nft remembers, not what the kernel holds; its slips with that (a rule of
the same text cannot be replaced, -F without a chain forgets the rules before it) are kept, for a
file that the real tool refuses must be refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import overload

from netemu.errors import Refusal, RulesetError
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget, Extension, Match, Settings
from netemu.netfilter.xtables.model import (
    BoundMatch,
    BoundTarget,
    Generic,
    Invert,
    Rule,
    Ruleset,
    Table,
    rule_text,
)
from netemu.ruleset import tables
from netemu.ruleset.draft import Draft

JUMP_STACK_SIZE = 16
"""NFT_JUMP_STACK_SIZE: chains on a way, the built-in one included."""

_SRCIP, _DSTIP = int(Invert.SRCIP), int(Invert.DSTIP)
_VIA_IN, _VIA_OUT = int(Invert.VIA_IN), int(Invert.VIA_OUT)
"""As plain integers, since an IntFlag is slow to and."""

# -- rules -------------------------------------------------------------------------------------


def protocol_of(number: int) -> int:
    """Return what the one octet of `meta l4proto` keeps of a protocol.

    >>> protocol_of(6), protocol_of(262)
    (6, 6)
    """
    return number & 0xFF


def refuse(generic: Generic, draft: Draft | None = None) -> None:
    """Refuse what no expression can say, or a target that nftables takes for a chain."""
    invert = int(generic.invert)
    for mask, flag, letter in (
        (generic.source_mask, _SRCIP, "s"),
        (generic.destination_mask, _DSTIP, "d"),
    ):
        if invert & flag and not any(mask):
            raise RulesetError(
                f"Invalid argument: nftables cannot compare no bits at all, so ! -{letter} with a "
                "prefix length of 0 is refused",
                column=draft.options.get(letter, 0) if draft is not None else 0,
            )
    if draft is None or draft.target is None:
        return
    target = draft.target.extension
    if getattr(target, "standard", None) == Verdict.QUEUE:
        raise RulesetError(
            "No such file or directory: iptables-nft takes QUEUE for a chain; "
            "NFQUEUE --queue-num 0 would do",
            Refusal.JUMP,
            column=draft.jump_column,
        )


def odd_text(
    generic: Generic, matches: tuple[BoundMatch, ...], target: BoundTarget | None, draft: Draft
) -> str | None:
    """Return the text of a rule with `! -i +`, which iptables-nft-save prints; else None."""
    invert = int(generic.invert)
    if not (
        (generic.in_device == "+" and invert & _VIA_IN)
        or (generic.out_device == "+" and invert & _VIA_OUT)
    ):
        return None
    rule = Rule(generic, matches, target, draft.jump if target is None else "", draft.goto)
    return rule_text(rule, bare_plus=True)


@overload
def bound(extension: AnyMatch, settings: Settings, *, as_nft: bool) -> BoundMatch: ...
@overload
def bound(extension: AnyTarget, settings: Settings, *, as_nft: bool) -> BoundTarget: ...
def bound(
    extension: AnyMatch | AnyTarget, settings: Settings, *, as_nft: bool
) -> BoundMatch | BoundTarget:
    """Bind an extension of one rule, in nftables' own words if it has them."""
    native = extension.nft.read_back(settings, None) if as_nft and extension.nft else None
    made = extension.bind(settings if native is None else native)
    made.native = native is not None
    made.restricted &= native is None
    return made


def merge(extension: Extension, settings: Settings, found: list[BoundMatch]) -> None:
    """Add a match to those of its rule, or join it to an earlier one."""
    assert isinstance(extension, Match)
    assert extension.nft is not None
    place = next(
        (
            place
            for place, match in enumerate(found)
            if match.native and match.declaration is extension
        ),
        None,
    )
    if place is None:
        found.append(bound(extension, settings, as_nft=True))
        return
    before = found[place].given
    assert isinstance(before, Settings)
    native = extension.nft.read_back(settings, before)
    if native is None:
        found.append(bound(extension, settings, as_nft=False))
        return
    joined = found[place] = extension.bind(native)
    joined.native, joined.restricted = True, False


def is_gone(bound: BoundMatch | BoundTarget) -> bool:
    """Return whether no expression is left of a match."""
    if not bound.native or isinstance(bound, BoundTarget):
        return False
    return isinstance(bound.given, Settings) and not bound.given.given


def joins(draft: Draft) -> bool:
    """Return whether two matches of a rule may become one."""
    native = [
        item.extension for item in draft.matches if item.extension.nft and item.extension.nft.merges
    ]
    return len(native) > len({extension.name for extension in native})


def forget_counters(ruleset: Ruleset) -> None:
    """Set the counters of all IPv6 rules to 0, as ip6tables-nft-restore 1.8.9 leaves them.

    Reading itself keeps them, since a node holds what was counted, not what a tool forgets.
    """
    if ruleset.family != Family.IPV6:
        return
    for table in ruleset.tables:
        for chain in table.chains.values():
            for rule in chain.rules:
                rule.packets = rule.octets = 0


# -- chains and commands -------------------------------------------------------------------------


def declare(table: Table, fields: list[str], line: int, *, counted: bool) -> None:
    """Take a line `:NAME POLICY [p:b]`: a second one empties the chain."""
    name, policy, *rest = fields
    tables.check_new_name(name)
    tables.check_word(name)
    table.touched = True
    chain = table.chains.get(name)
    if chain is None:
        tables.add_chain(table, name, line)
        return
    if chain.policy is None:
        chain.rules.clear()
        return
    chain.line = line
    kept = chain.policy.name if policy == "-" else policy
    if not counted:
        tables.set_policy(table, name, kept, None)
        return
    counters = tables.policy_counters(name, rest[0] if rest else "")
    tables.set_policy(table, name, kept, counters)


def make_chains(table: Table, draft: Draft) -> None:
    """Note whether a command makes iptables-nft create the built-in chains of its table."""
    if draft.command in "AINP" or (draft.command == "F" and draft.chain):
        table.touched = True


def set_policy(table: Table, name: str, policy: str) -> None:
    """Carry out -P, which sets the counters to 0, whatever -c says."""
    tables.set_policy(table, name, policy, (0, 0))


def flush(table: Table, name: str) -> None:
    """Carry out -F; without a chain it empties what the kernel holds, not what was just said."""
    if name:
        tables.flush(table, name)


def zero(table: Table, draft: Draft, made: set[str]) -> None:
    """Carry out -Z, which sends counted rules again, and policies as ACCEPT.

    The kernel knows none of these rules yet, so it refuses.
    """
    name = draft.chain
    if name and (name not in table.chains or name not in made):
        raise RulesetError(
            f"No chain/target/match by that name: `{name}' is not yet made", Refusal.CHAIN
        )
    chains = [table.chains[name]] if name else list(table.chains.values())
    if draft.number is not None:
        if draft.number <= len(chains[0].rules):
            raise RulesetError(
                "iptables-nft-restore 1.8.9 cannot zero one rule of a new table", Refusal.COMMAND
            )
        return
    for chain in chains:
        if any(rule.packets or rule.octets for rule in chain.rules):
            raise RulesetError(
                "Invalid argument: iptables-nft-restore 1.8.9 cannot zero rules of a new table",
                Refusal.COMMAND,
            )
        if chain.policy is not None and chain.name in made:
            chain.policy, chain.packets, chain.octets = Verdict.ACCEPT, 0, 0


def refuse_command(table: Table, draft: Draft) -> None:
    """Refuse commands that iptables-nft-restore 1.8.9 cannot carry out on a new table."""
    if draft.command == "R":
        raise RulesetError(
            "iptables-nft-restore 1.8.9 cannot replace a rule of a new table", Refusal.COMMAND
        )
    if draft.command == "E":
        raise RulesetError(
            "No such file or directory: iptables-nft-restore 1.8.9 cannot rename a chain of a "
            "new table",
            Refusal.COMMAND,
        )
    if draft.command in "LS" and draft.chain and draft.chain not in table.chains:
        raise RulesetError(
            f"chain `{draft.chain}' in table `{table.name}' is incompatible", Refusal.CHAIN
        )


def delete_chain(table: Table, name: str, made: set[str]) -> None:
    """Carry out -X, which takes built-in chains without rules, too: they come back with ACCEPT."""
    chain = table.chains.get(name)
    if chain is None or chain.policy is None:
        tables.delete_chain(table, name, partial(tables.is_used, table))
    elif name not in made:
        raise RulesetError(
            f"No chain/target/match by that name: `{name}' is not yet made", Refusal.CHAIN
        )
    elif chain.rules:
        raise RulesetError(f"Directory not empty: `{name}'; flush it first", Refusal.COMMAND)
    for built_in in table.chains.values():
        if built_in.policy is None or name not in {"", built_in.name}:
            continue
        made.discard(built_in.name)
        if not built_in.rules:
            built_in.policy, built_in.packets, built_in.octets = Verdict.ACCEPT, 0, 0


def too_deep(jumps: Mapping[str, tuple[str, ...]], built_in: Iterable[str]) -> str | None:
    """Return the chain from which a way leads on too deep or back to itself.

    `jumps` are the chains that each chain jumps to (nft_chain_validate).
    """
    depth: dict[str, int] = {}

    def walk(name: str, level: int) -> str | None:
        following = jumps[name]
        if following and level >= JUMP_STACK_SIZE:
            return name
        for other in following:
            if depth.get(other, 0) > level:
                continue
            depth[other] = level + 1
            if jumps[other] or level + 1 > JUMP_STACK_SIZE:
                found = walk(other, level + 1)
                if found is not None:
                    return found
        return None

    return next((found for name in built_in if (found := walk(name, 1)) is not None), None)
