"""Loaded rules, linked."""

from __future__ import annotations

from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.xtables.entry import XtTable, note_verdict
from netemu.netfilter.xtables.model import RETURN
from tests.netfilter.xtables.walks import filter_table, packet, rule


def test_chains_are_linked_and_end_with_a_tail() -> None:
    table = XtTable(filter_table(rule("A"), rule("DROP"), A=[rule()], policy=Verdict.DROP))
    first = table.hook_entry[Hook.FORWARD]
    second, tail = first.next, first.next.next
    assert [entry.number for entry in (first, second, tail)] == [1, 2, 3]
    assert first.jump == "A"
    assert table.head("A") is table.head("A")
    assert (tail.tail, tail.verdict, tail.counters) == (True, Verdict.DROP, tail.chain)
    assert table.underflow[Hook.FORWARD] is tail
    assert set(table.hook_entry) == {Hook.INPUT, Hook.FORWARD, Hook.OUTPUT}


def test_tail_of_a_user_chain_returns_and_counts_nowhere() -> None:
    table = XtTable(filter_table(A=[rule()]))
    tail = table.head("A").next
    assert (tail.verdict, tail.number) == (RETURN, 2)
    assert tail.counters is not tail.chain


def test_only_filter_notes_who_accepted() -> None:
    model = filter_table(rule("ACCEPT"))
    for name, noted in (("filter", True), ("mangle", False)):
        model.name = name
        table = XtTable(model)
        skb = packet()
        note_verdict(table, skb, table.hook_entry[Hook.FORWARD], Verdict.ACCEPT)
        assert (skb.fate.decided_by is not None) is noted


def test_every_table_notes_who_dropped() -> None:
    model = filter_table(rule("DROP"))
    model.name = "mangle"
    table = XtTable(model)
    skb = packet()
    note_verdict(table, skb, table.hook_entry[Hook.FORWARD], Verdict.DROP)
    place = skb.fate.decided_by
    assert place is not None
    assert (place.table, place.chain, place.rule) == ("mangle", "FORWARD", 1)
