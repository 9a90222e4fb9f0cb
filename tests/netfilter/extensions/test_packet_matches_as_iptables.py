"""Matches on headers, octets, time, devices and sets: a table recorded from iptables 1.8.9."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.ruleset import parse_ruleset, print_ruleset

RECORDED = Path(__file__).parents[2] / "oracle" / "iptables_restore_packet_matches_1_8_9.txt"
FAMILIES = {"4": Family.IPV4, "6": Family.IPV6}


def rows(outcome: str) -> list[tuple[str, ...]]:
    lines = RECORDED.read_text(encoding="utf-8").splitlines()
    cells = [tuple(line.split(";")) for line in lines if not line.startswith("#")]
    return [row[:4] for row in cells if row[4] == outcome]


def printed(family: str, table: str, rule: str) -> list[str]:
    text = f"*{table}\n{rule}\nCOMMIT\n"
    ruleset = parse_ruleset(text, "rules", family=FAMILIES[family])
    lines = print_ruleset(ruleset, counters=False).splitlines()
    return [line for line in lines if line.startswith("-A")]


@pytest.mark.parametrize("family, table, rule, expected", rows("OK"))
def test_prints_as_iptables_save(family: str, table: str, rule: str, expected: str) -> None:
    assert printed(family, table, rule) == [expected]


@pytest.mark.parametrize("family, table, rule, message", rows("FAIL"))
def test_refuses_what_iptables_restore_refuses(
    family: str, table: str, rule: str, message: str
) -> None:
    """The kernel's own refusals say only `line 3 failed`, so messages are not compared."""
    with pytest.raises(RulesetError):
        printed(family, table, rule)


NO_WAY_BACK = re.compile(
    r"days  --|--dccp-types $|--match-set a b |-m (ipcomp|time)$|--monthdays 1,2,.*,31 "
)
"""Texts that iptables-save prints and iptables-restore refuses or takes for something else: empty
lists, a name without quotes, any CPI, the last date 1970-01-01, every day and day 0."""


def reads_back(text: str) -> bool:
    return NO_WAY_BACK.search(text) is None


@pytest.mark.parametrize(
    "family, table, printed_rule",
    [(row[0], row[1], row[3]) for row in rows("OK") if reads_back(row[3])],
)
def test_what_is_printed_reads_back(family: str, table: str, printed_rule: str) -> None:
    assert printed(family, table, printed_rule) == [printed_rule]
