"""Options as iptables takes, refuses and prints them: a table recorded from iptables 1.8.9."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.ruleset import parse_ruleset, print_ruleset

RECORDED = Path(__file__).parents[2] / "oracle" / "iptables_restore_1_8_9.txt"


def rows(outcome: str) -> list[tuple[str, ...]]:
    lines = RECORDED.read_text().splitlines()
    cells = [tuple(line.split(";")) for line in lines if not line.startswith("#")]
    return [row[:3] for row in cells if row[3] == outcome]


def printed(table: str, rule: str) -> list[str]:
    ruleset = parse_ruleset(f"*{table}\n{rule}\nCOMMIT\n", "rules", family=Family.IPV4)
    lines = print_ruleset(ruleset, counters=False).splitlines()
    return [line for line in lines if line.startswith("-A")]


@pytest.mark.parametrize("table, rule, expected", rows("OK"))
def test_prints_as_iptables_save(table: str, rule: str, expected: str) -> None:
    assert printed(table, rule) == [expected]


@pytest.mark.parametrize("table, rule, message", rows("FAIL"))
def test_refuses_what_iptables_restore_refuses(table: str, rule: str, message: str) -> None:
    """The kernel's own refusals say only `line 3 failed`, so messages are not compared."""
    with pytest.raises(RulesetError):
        printed(table, rule)


NO_WAY_BACK = ("--name a b", "--physdev-in a b", ":5-6/0", "80-90/0")
"""Texts that iptables-save prints and iptables-restore refuses: no quotes, base port 0."""


@pytest.mark.parametrize(
    "table, printed_rule",
    [(row[0], row[2]) for row in rows("OK") if not any(text in row[2] for text in NO_WAY_BACK)],
)
def test_what_is_printed_reads_back(table: str, printed_rule: str) -> None:
    assert printed(table, printed_rule) == [printed_rule]
