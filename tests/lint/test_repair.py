"""Fixes are written only where it is proved that the rules do the same."""

from __future__ import annotations

import pytest

from netemu.lint.repair import same_rules
from netemu.lint.subject import Subject
from tests.lint.cases import expand

OPEN = "-A INPUT -p tcp --dport 22 -j ACCEPT"


@pytest.mark.parametrize(
    "before, after, same",
    [
        (OPEN, f"*filter; # a comment; {OPEN}", True),
        (OPEN, "-A INPUT -p tcp --destination-port ssh -j ACCEPT", True),
        (f"{OPEN}; {OPEN}", OPEN, True),
        (f"{OPEN}; -A INPUT -s 192.0.2.0/24 -p tcp --dport 22 -j DROP", OPEN, True),
        (f"-A INPUT -j RETURN; {OPEN}", "-A INPUT -j RETURN", True),
        (f"{OPEN}; {OPEN.replace('22', '23')}", f"{OPEN.replace('22', '23')}; {OPEN}", True),
        (f":INPUT DROP; {OPEN}", f":INPUT DROP; {OPEN.replace('22', '23')}", False),
        (f":INPUT DROP; {OPEN}", ":INPUT DROP", False),
        (f"-A INPUT -s 192.0.2.0/24 -j DROP; {OPEN}", OPEN, False),
        (OPEN, f"{OPEN}; -A INPUT -m limit --limit 1/sec -j DROP", False),
        (OPEN, "-A INPUT -q", False),
    ],
)
def test_proofs(before: str, after: str, same: bool) -> None:
    first = Subject(expand(before), "x")
    assert same_rules(first, first.rewritten(expand(after))) is same
