"""Loaded chains made ready to run: one linked entry per rule, the table as the hooks see it.

Kernel: net/ipv4/netfilter/ip_tables.c (translate_table, struct ipt_entry),
include/linux/netfilter/x_tables.h (struct xt_table_info).

Theory of operation: the kernel keeps all entries of a table in one block and speaks of offsets;
here an entry holds a reference to the next one of its chain and to the first one of the chain it
jumps to. Every chain ends with an entry that no file names: a built-in chain with its policy, a
user chain with an implicit RETURN. Counters stay where the model has them: in the rule, or in the
chain for a policy.
"""

from __future__ import annotations

from typing import Protocol

from netemu.netfilter.hook import Hook, Verdict
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
        self.jump: Entry | None = None
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
        invert = generic.invert
        self.saddr = int.from_bytes(generic.source, "big")
        self.smsk = int.from_bytes(generic.source_mask, "big")
        self.inv_saddr = bool(invert & Invert.SRCIP)
        self.test_saddr = bool(self.smsk) or self.inv_saddr
        self.daddr = int.from_bytes(generic.destination, "big")
        self.dmsk = int.from_bytes(generic.destination_mask, "big")
        self.inv_daddr = bool(invert & Invert.DSTIP)
        self.test_daddr = bool(self.dmsk) or self.inv_daddr
        self.inv_in = bool(invert & Invert.VIA_IN)
        self.in_name, self.in_prefix = _interface(generic.in_device)
        self.test_in = self.in_name != "" or self.inv_in
        self.inv_out = bool(invert & Invert.VIA_OUT)
        self.out_name, self.out_prefix = _interface(generic.out_device)
        self.test_out = self.out_name != "" or self.inv_out
        self.proto = generic.protocol
        self.inv_proto = bool(invert & Invert.PROTO)
        self.frag = generic.fragment
        self.inv_frag = bool(invert & Invert.FRAG)

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


def translate_table(table: Table) -> dict[str, Entry]:
    """Link the rules of a table; return the first entry of each chain."""
    heads: dict[str, Entry] = {}
    jumps: list[tuple[Entry, str]] = []
    for chain in table.chains.values():
        entry = Entry(table.name, chain, len(chain.rules) + 1, None)
        for number in range(len(chain.rules), 0, -1):
            rule = chain.rules[number - 1]
            follower = entry
            entry = Entry(table.name, chain, number, rule)
            entry.next = follower
            if rule.jump:
                jumps.append((entry, rule.jump))
        heads[chain.name] = entry
    for entry, name in jumps:
        entry.jump = heads[name]
    return heads


def underflow(head: Entry) -> Entry:
    """Return the tail of a chain: for a built-in one its policy."""
    entry = head
    while not entry.tail:
        entry = entry.next
    return entry


class XtTable:
    """A table that runs in a namespace (struct xt_table with its xt_table_info)."""

    __slots__ = ("heads", "hook_entry", "model", "name", "underflow")

    def __init__(self, model: Table) -> None:
        """Link the rules of `model`; their counters move as packets pass."""
        self.replace(model)

    def replace(self, model: Table) -> None:
        """Run the rules of `model` from now on (xt_replace_table)."""
        self.model = model
        self.name = model.name
        self.heads = translate_table(model)
        self.hook_entry: dict[Hook, Entry] = {
            hook: self.heads[hook.name] for hook in Hook if hook.name in self.heads
        }
        self.underflow: dict[Hook, Entry] = {
            hook: underflow(head) for hook, head in self.hook_entry.items()
        }


def note_verdict(table: XtTable, skb: Skb, entry: Entry, verdict: Verdict) -> None:
    """Keep in the packet's fate which rule decided; an ACCEPT counts in filter only."""
    if verdict == Verdict.ACCEPT and table.name != "filter":
        return
    fate = skb.fate
    fate.decided_by = entry.place
    if verdict == Verdict.QUEUE and fate.queue_number is None:
        fate.queue_number = 0
