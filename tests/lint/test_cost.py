"""NE6xx: rules that cost more than they need to."""

from __future__ import annotations

import pytest

from tests.lint.cases import Case, catches, check, passes


def row(template: str, count: int) -> str:
    return "; ".join(template.format(n=number) for number in range(1, count + 1))


ESTABLISHED = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
OPEN = row("[10:600] -A INPUT -p tcp -m tcp --dport {n} -j ACCEPT", 8)

CASES = [
    passes("NE601", row("-A INPUT -s 192.0.2.{n} -j DROP", 19)),
    passes("NE601", row("-A INPUT ! -s 192.0.2.{n} -j DROP", 30), "every one of them drops"),
    passes("NE601", row("-A INPUT -s 192.0.2.{n} -p tcp --dport {n} -j DROP", 30)),
    passes("NE601", ":KUBE-X; " + row("-A KUBE-X -s 192.0.2.{n} -j DROP", 30)),
    catches("NE601", row("-A INPUT -s 192.0.2.{n} -j DROP", 20), 2),
    catches("NE601", row("-A INPUT -d 192.0.{n}.0/24 -p tcp --dport 22 -j ACCEPT", 25)),
    catches("NE601", row('-A INPUT -s 192.0.2.{n} -m comment --comment "no {n}" -j DROP', 20)),
    passes("NE602", row("-A INPUT -p tcp --dport {n} -j ACCEPT", 3)),
    passes("NE602", row("-A INPUT -s 192.0.2.{n} -p tcp --dport {n} -j ACCEPT", 8)),
    passes("NE602", row("-A INPUT -p tcp --sport {n} -j ACCEPT", 8)),
    catches("NE602", row("-A INPUT -p tcp --dport {n} -j ACCEPT", 4), 2),
    catches("NE602", row("-A INPUT -s 192.0.2.1 -p udp --dport {n}:9 -j DROP", 5)),
    catches(
        "NE602", "-A INPUT -i lo -j ACCEPT; " + row("-A INPUT -p tcp --dport {n} -j DROP", 4), 3
    ),
    passes("NE603", f"[90000:900000] {ESTABLISHED}; {OPEN}"),
    passes("NE603", f"{OPEN}; [90:900] {ESTABLISHED}", "too few packets to tell"),
    passes("NE603", f"{OPEN}; -A INPUT -s 192.0.2.1 -j DROP; [90000:900000] {ESTABLISHED}"),
    passes("NE603", f"{OPEN.replace('ACCEPT', 'DROP')}; [90000:900000] {ESTABLISHED}"),
    catches("NE603", f"{OPEN}; [90000:900000] {ESTABLISHED}", 10),
    catches("NE603", f"-A INPUT -i lo -j DROP; {OPEN}; [90000:900000] {ESTABLISHED}", 11),
    catches("NE603", f"{OPEN}; [20000:900000] -A INPUT -p udp --dport 53 -j ACCEPT", 10),
]


@pytest.mark.parametrize("case", CASES)
def test_cases(case: Case) -> None:
    check(case)
