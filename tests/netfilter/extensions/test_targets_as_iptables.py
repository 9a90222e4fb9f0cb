"""Targets as iptables and ip6tables take, refuse and print them: a table recorded from 1.8.9."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.ruleset import parse_ruleset, print_ruleset

RECORDED = Path(__file__).parents[2] / "oracle" / "iptables_restore_targets_1_8_9.txt"
FAMILIES = {"4": Family.IPV4, "6": Family.IPV6}


def rows(outcome: str) -> list[tuple[str, ...]]:
    lines = RECORDED.read_text(encoding="utf-8").splitlines()
    cells = [tuple(line.split(";")) for line in lines if not line.startswith("#")]
    return [row[:4] for row in cells if row[4] == outcome]


def printed(family: str, table: str, rule: str, before: str = "") -> list[str]:
    text = f"*{table}\n{before}{rule}\nCOMMIT\n"
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
    r"--(oif|label|rateest-name|add-set) a b|--rateest-name  |--ewmalog 0|:5-6/0|(5-9|80-90)/0|1073\.7s"
)
"""Texts that iptables-save prints and iptables-restore refuses or takes for something else."""


@pytest.mark.parametrize(
    "family, table, printed_rule",
    [(row[0], row[1], row[3]) for row in rows("OK") if not NO_WAY_BACK.search(row[3])],
)
def test_what_is_printed_reads_back(family: str, table: str, printed_rule: str) -> None:
    assert printed(family, table, printed_rule) == [printed_rule]


ESTIMATORS = "".join(
    f"-A INPUT -j RATEEST --rateest-name {name} --rateest-interval 250ms --rateest-ewmalog 500ms\n"
    for name in ("RE1", "RE2")
)

RATEEST = (
    """
--rateest RE1 --rateest-lt --rateest-bps 8bit
--rateest RE1 --rateest-gt --rateest-bps 5kbit|--rateest RE1 --rateest-gt --rateest-bps 5000bit
--rateest1 RE1 --rateest-gt --rateest-pps1 7|--rateest RE1 --rateest-gt --rateest-pps 0
--rateest RE1 ! --rateest-gt --rateest-pps 5
--rateest RE1 ! --rateest-lt --rateest-bps 1mbit|\
--rateest RE1 ! --rateest-lt --rateest-bps 1000Kbit
--rateest RE1 ! --rateest-eq --rateest-bps 1gbit|\
--rateest RE1 ! --rateest-eq --rateest-bps 1000Mbit
--rateest1 RE1 --rateest-lt --rateest2 RE2 --rateest-bps|\
--rateest1 RE1 --rateest-lt --rateest-bps --rateest2 RE2
--rateest1 RE1 --rateest-bps --rateest-gt --rateest2 RE2|\
--rateest1 RE1 --rateest-gt --rateest-bps --rateest2 RE2
--rateest1 RE1 --rateest-lt --rateest2 RE2 --rateest-pps --rateest-bps|\
--rateest1 RE1 --rateest-lt --rateest-bps --rateest-lt --rateest-pps --rateest2 RE2
--rateest-delta --rateest1 RE1 --rateest-lt --rateest-bps1 5mbit --rateest2 RE2 --rateest-pps2 7|\
--rateest-delta --rateest1 RE1 --rateest-bps1 5000Kbit --rateest-lt --rateest-bps2 0bit \
--rateest-pps1 0 --rateest-lt --rateest-pps2 7 --rateest2 RE2
--rateest-delta --rateest1 RE1 --rateest-gt --rateest-pps1 5|\
--rateest-delta --rateest RE1 --rateest-pps1 5 --rateest-gt --rateest-pps2 0
--rateest1 RE1 --rateest-lt --rateest-bps|--rateest RE1 --rateest-lt --rateest-bps 0bit
--rateest1 RE1 --rateest-lt --rateest-bps 5kbps|\
--rateest RE1 --rateest-lt --rateest-bps 40000bit
--rateest1 RE1 --rateest-lt --rateest-bps 5Mibit|\
--rateest RE1 --rateest-lt --rateest-bps 5243Kbit
--rateest1 RE1 --rateest-lt --rateest-bps 5gbps|\
--rateest RE1 --rateest-lt --rateest-bps 5640Mbit
--rateest1 RE1 --rateest-lt --rateest-bps 5tbit|\
--rateest RE1 --rateest-lt --rateest-bps 17838Mbit
--rateest1 RE1 --rateest-lt --rateest-bps 1500|--rateest RE1 --rateest-lt --rateest-bps 1496bit
--rateest1 RE1 --rateest-lt --rateest-bps 999999999|\
--rateest RE1 --rateest-lt --rateest-bps 1000000Kbit
--rateest1 RE1 --rateest-lt --rateest-pps 4294967295|\
--rateest RE1 --rateest-lt --rateest-pps 4294967295
--rateest1 RE1 --rateest-lt --rateest-gt --rateest-pps 7|\
--rateest RE1 --rateest-gt --rateest-pps 7
--rateest-bps1 5 --rateest1 RE1 --rateest-lt|--rateest RE1 --rateest-lt --rateest-bps 0bit
--rateest-delta --rateest1 RE1 --rateest-gt --rateest2 RE2|FAIL
--rateest1 RE1 --rateest-lt|FAIL
--rateest1 RE1 --rateest-bps 5|FAIL
--rateest-lt --rateest-bps 5|FAIL
--rateest1 RE1 --rateest-lt --rateest-bps x|FAIL
--rateest1 RE1 --rateest-lt --rateest-bps 5foo|FAIL
--rateest1 RE1 --rateest-lt --rateest-bps -5|FAIL
--rateest1 RE1 --rateest-lt --rateest-bps=5|FAIL
--rateest1 RE1 --rateest-lt --rateest-pps 4294967296|FAIL
--rateest1 RE1 --rateest RE2 --rateest-lt --rateest-bps 5|FAIL
! --rateest1 RE1 --rateest-lt --rateest-bps 5|FAIL
--rateest1 RE1 --rateest-lt ! --rateest-bps 5|FAIL
! --rateest-delta --rateest1 RE1 --rateest-lt --rateest-bps 5|FAIL
""".replace("\\\n", "")
    .strip()
    .splitlines()
)
"""Options of the match, and how iptables-save prints them (if it does not print the same)."""


@pytest.mark.parametrize("row", RATEEST)
@pytest.mark.parametrize("family", FAMILIES)
def test_rateest(family: str, row: str) -> None:
    words, _, expected = row.partition("|")
    rule = f"-A INPUT -m rateest {words}"
    if expected == "FAIL":
        with pytest.raises(RulesetError):
            printed(family, "filter", rule, before=ESTIMATORS)
    else:
        saved = printed(family, "filter", rule, before=ESTIMATORS)[-1]
        assert saved == f"-A INPUT -m rateest {expected or words}"
