"""NE50x: rules that name IP sets, of which the tests' node has services, blocked6 and blocked."""

from __future__ import annotations

import pytest

from netemu.lint.engine import look
from netemu.lint.settings import LintSettings
from netemu.lint.subject import Subject
from tests.lint.cases import Case, catches, check, expand, passes

S = "-A INPUT -m set --match-set"

CASES = [
    passes("NE501", f"{S} blocked src -j DROP"),
    passes("NE501", "-A INPUT -j SET --add-set blocked src"),
    passes("NE501", '-A INPUT -m comment --comment "--match-set absent src" -j DROP'),
    catches("NE501", f"{S} absent src -j DROP"),
    catches("NE501", f"{S} Blocked src -j DROP"),
    catches("NE501", "-A INPUT -j SET --add-set absent src"),
    passes(
        "NE106",
        "-A INPUT -s 203.0.113.77 -m set --match-set blocked src -j DROP",
        "a set may change at any time",
    ),
    passes("NE502", f"{S} services dst,dst -j ACCEPT"),
    passes("NE502", f"{S} services src,dst -j ACCEPT"),
    passes("NE502", f"{S} blocked src,dst -j ACCEPT", "more than needed is heeded in part"),
    catches("NE502", f"{S} services dst -j ACCEPT"),
    catches("NE502", "-A INPUT -m set ! --match-set services dst -j DROP"),
    catches("NE502", "-A INPUT -j SET --add-set services src"),
    passes("NE503", f"{S} blocked src -j DROP"),
    passes("NE503", "-A INPUT -s 2001:db8::/32 -m set --match-set blocked6 src -j DROP"),
    passes("NE503", "-A INPUT -j SET --add-set blocked src"),
    catches("NE503", f"{S} blocked6 src -j DROP"),
    catches("NE503", "-A INPUT -s 2001:db8::/32 -m set --match-set blocked src -j DROP"),
    catches("NE503", "-A INPUT -m set ! --match-set blocked6 src -j DROP"),
    passes("NE504", f"{S} services dst,dst -j ACCEPT"),
    passes("NE504", f"{S} blocked src -j DROP; -A INPUT -j SET --add-set blocked src"),
    passes("NE504", f"{S} blocked6 src -j DROP"),
    catches("NE504", f"{S} blocked src -j DROP"),
    catches("NE504", "-A INPUT -m set ! --match-set blocked src -j DROP"),
    catches("NE504", f"{S} blocked src -j DROP; -A INPUT -j SET --del-set blocked src"),
]


@pytest.mark.parametrize("case", CASES)
def test_cases(case: Case) -> None:
    check(case)


def test_nothing_is_said_where_nobody_knows_the_sets() -> None:
    subject = Subject(expand(f"{S} absent src -j DROP"), "x")
    assert look(subject, LintSettings(select=("NE5",))).findings == []
