"""Loaded chains made ready to run: one linked entry per rule, the table as the hooks see it.

Kernel: net/ipv4/netfilter/ip_tables.c (translate_table, struct ipt_entry),
include/linux/netfilter/x_tables.h (struct xt_table_info).

Theory of operation: the kernel keeps all entries of a table in one block and speaks of offsets;
here an entry holds a reference to the next one of its chain. A chain is made ready when a packet
first gets there, since most chains of a large table never see one; a long chain gets an index.
Every chain ends with an entry that no file names: a built-in chain with its policy, a user chain
with an implicit RETURN. Counters stay where the model has them: in the rule, or in the chain for a
policy.
"""

from __future__ import annotations

from typing import Protocol

from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.xtables.index import LOOKUP_COST, ChainIndex, index_chain
from netemu.netfilter.xtables.model import (
    RETURN,
    BoundMatch,
    Chain,
    Generic,
    Invert,
    MatchFunction,
    Rule,
    Table,
    TargetFunction,
)
from netemu.skb import RulePlace, Skb

IP_OFFSET = 0x1FFF
"""Fragment offset in the IPv4 header's fragment word (include/net/ip.h)."""


_VIA_IN, _VIA_OUT = int(Invert.VIA_IN), int(Invert.VIA_OUT)
_SRCIP, _DSTIP = int(Invert.SRCIP), int(Invert.DSTIP)
_FRAG, _PROTO = int(Invert.FRAG), int(Invert.PROTO)
"""As plain integers, since an IntFlag is slow to and."""


class Counters(Protocol):
    """Where an entry counts (struct xt_counters)."""

    packets: int
    octets: int


class Entry:
    """One rule, policy or implicit RETURN (struct ipt_entry)."""

    __slots__ = (
        "apply",
        "chain",
        "counters",
        "daddr",
        "dmsk",
        "frag",
        "generic",
        "goto",
        "in_name",
        "in_prefix",
        "index",
        "inv_daddr",
        "inv_frag",
        "inv_in",
        "inv_out",
        "inv_proto",
        "inv_saddr",
        "jump",
        "matches",
        "next",
        "number",
        "out_name",
        "out_prefix",
        "place",
        "proto",
        "rule",
        "saddr",
        "settings",
        "smsk",
        "tail",
        "test_daddr",
        "test_in",
        "test_out",
        "test_saddr",
        "trace_comment",
        "verdict",
    )

    def __init__(self, table: str, chain: Chain, number: int, rule: Rule | None) -> None:
        """Take a rule apart; without one, make the tail of `chain`."""
        self.chain = chain
        self.number = number
        self.rule = rule
        self.tail = rule is None
        self.next: Entry = self
        """Follower in the chain; a tail has none and names itself."""
        self.jump = rule.jump if rule is not None else ""
        """Name of the chain that it jumps to."""
        self.index: LinkedIndex | None = None
        self.goto = False
        self.verdict: Verdict | None = None
        """Of a standard target; RETURN is among them."""
        self.apply: TargetFunction | None = None
        self.settings: object = None
        self.matches: tuple[tuple[MatchFunction, object], ...] = ()
        self.counters: Counters = chain if rule is None else rule
        if rule is None:
            self.verdict = chain.policy if chain.policy is not None else RETURN
            self._set_generic(Generic())
            if chain.policy is None:
                self.counters = Rule()
        else:
            self._set_generic(rule.generic)
            self._set_actions(rule)
        line = chain.line if rule is None else rule.line
        self.place = RulePlace(table=table, chain=chain.name, rule=number, line=line)
        self.trace_comment = self._trace_comment()

    def _set_generic(self, generic: Generic) -> None:
        """Turn the generic part into integers and plain flags (struct ipt_ip)."""
        self.generic = generic
        invert = int(generic.invert)
        self.saddr = int.from_bytes(generic.source, "big")
        self.smsk = int.from_bytes(generic.source_mask, "big")
        self.inv_saddr = bool(invert & _SRCIP)
        self.test_saddr = bool(self.smsk) or self.inv_saddr
        self.daddr = int.from_bytes(generic.destination, "big")
        self.dmsk = int.from_bytes(generic.destination_mask, "big")
        self.inv_daddr = bool(invert & _DSTIP)
        self.test_daddr = bool(self.dmsk) or self.inv_daddr
        self.inv_in = bool(invert & _VIA_IN)
        self.in_name, self.in_prefix = _interface(generic.in_device)
        self.test_in = self.in_name != "" or self.inv_in
        self.inv_out = bool(invert & _VIA_OUT)
        self.out_name, self.out_prefix = _interface(generic.out_device)
        self.test_out = self.out_name != "" or self.inv_out
        self.proto = generic.protocol
        self.inv_proto = bool(invert & _PROTO)
        self.frag = generic.fragment
        self.inv_frag = bool(invert & _FRAG)

    def _set_actions(self, rule: Rule) -> None:
        self.matches = tuple((match.evaluate, match.settings) for match in rule.matches)
        self.goto = rule.goto
        target = rule.target
        if target is None:
            return
        self.settings = target.settings
        if target.standard is not None:
            self.verdict = target.standard
        else:
            self.apply = target.apply

    def _trace_comment(self) -> str:
        """Word of TRACE lines: an unconditional standard verdict counts as the chain's tail."""
        if self.verdict is None or self.matches or self.goto or not self.generic.unconditional:
            return "rule"
        return "return" if self.chain.policy is None else "policy"

    def bound_matches(self) -> tuple[BoundMatch, ...]:
        """Return the matches of the rule with their texts."""
        return self.rule.matches if self.rule is not None else ()


def _interface(text: str) -> tuple[str, bool]:
    """Return a device name to compare with, and whether it is only a prefix.

    An empty prefix matches any device: a bare `+` and a missing -i alike.
    """
    if not text:
        return "", True
    return (text[:-1], True) if text.endswith("+") else (text, False)


class LinkedIndex:
    """The index of a chain with the entries that its numbers stand for."""

    __slots__ = ("entries", "index")

    def __init__(self, index: ChainIndex, entries: list[Entry]) -> None:
        """`entries` are those of the rules, then the tail."""
        self.index = index
        self.entries = entries


def translate_chain(table: str, chain: Chain, lookup_cost: int) -> tuple[Entry, Entry]:
    """Link the rules of a chain; return its first entry and its tail."""
    tail = entry = Entry(table, chain, len(chain.rules) + 1, None)
    entries: list[Entry] = [tail]
    for number in range(len(chain.rules), 0, -1):
        follower = entry
        entry = Entry(table, chain, number, chain.rules[number - 1])
        entry.next = follower
        entries.append(entry)
    entries.reverse()
    index = index_chain(entries[:-1], lookup_cost=lookup_cost)
    if index is not None:
        linked = LinkedIndex(index, entries)
        for ready in entries:
            ready.index = linked
    return entry, tail


class XtTable:
    """A table that runs in a namespace (struct xt_table with its xt_table_info)."""

    __slots__ = ("_heads", "_lookup_cost", "hook_entry", "model", "name", "underflow")

    def __init__(self, model: Table, *, lookup_cost: int = LOOKUP_COST) -> None:
        """Link the built-in chains of `model`; its counters move as packets pass."""
        self._lookup_cost = lookup_cost
        self._heads: dict[str, Entry] = {}
        self.replace(model)

    def replace(self, model: Table) -> None:
        """Run the rules of `model` from now on (xt_replace_table)."""
        ready = {
            name: head for name, head in self._heads.items() if head.chain is model.chains.get(name)
        }
        self.model = model
        self.name = model.name
        self._heads = ready
        self.hook_entry: dict[Hook, Entry] = {}
        self.underflow: dict[Hook, Entry] = {}
        """The tail of each built-in chain: its policy."""
        for hook in Hook:
            chain = model.chains.get(hook.name)
            if chain is not None:
                head, tail = translate_chain(self.name, chain, self._lookup_cost)
                self.hook_entry[hook], self.underflow[hook] = head, tail

    def head(self, name: str) -> Entry:
        """Return the first entry of a user chain."""
        found = self._heads.get(name)
        if found is None:
            chain = self.model.chains[name]
            found, _ = translate_chain(self.name, chain, self._lookup_cost)
            self._heads[name] = found
        return found


def note_verdict(table: XtTable, skb: Skb, entry: Entry, verdict: Verdict) -> None:
    """Keep in the packet's fate which rule decided; an ACCEPT counts in filter only."""
    if verdict == Verdict.ACCEPT and table.name != "filter":
        return
    fate = skb.fate
    fate.decided_by = entry.place
    if verdict == Verdict.QUEUE and fate.queue_number is None:
        fate.queue_number = 0
