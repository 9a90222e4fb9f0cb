"""NE8xx: what loads and could be written better."""

from __future__ import annotations

import pytest

from netemu.lint.repair import repair
from netemu.lint.settings import LintSettings
from netemu.lint.subject import Subject
from tests.lint.cases import Case, catches, check, expand, passes

CASES = [
    passes("NE801", "-A INPUT -s 10.0.0.0/8 -j ACCEPT"),
    passes("NE801", "-A INPUT -s 10.1.2.3/32 -j ACCEPT"),
    passes("NE801", "-A INPUT -s 10.1.2.3 -j ACCEPT"),
    passes("NE801", "-A INPUT -s 10.0.0.0/255.0.0.0 -j ACCEPT", "a mask written out"),
    passes("NE801", '-A INPUT -m comment --comment "-s 10.1.2.3/8" -j ACCEPT'),
    passes("NE801", "-A INPUT -s 2001:db8::/32 -j ACCEPT"),
    passes("NE801", ":KUBE-X; -A KUBE-X -s 10.1.2.3/8 -j ACCEPT", "kube-proxy writes that"),
    catches("NE801", "-A INPUT -s 10.1.2.3/8 -j ACCEPT"),
    catches("NE801", "-A INPUT ! -d 10.1.2.3/255.0.0.0 -j ACCEPT"),
    catches("NE801", "-A INPUT -s 10.0.0.0/8,10.1.2.3/24 -j ACCEPT"),
    catches("NE801", "-A INPUT -s 2001:db8::1/64 -j ACCEPT"),
    passes("NE802", "-A INPUT -m conntrack --ctstate NEW -j ACCEPT"),
    passes("NE802", ":state; -A INPUT -j state"),
    passes("NE802", "*raw; -A PREROUTING -j CT --notrack"),
    catches("NE802", "-A INPUT -m state --state NEW -j ACCEPT"),
    catches("NE802", "-A INPUT -m state ! --state INVALID -j ACCEPT"),
    catches("NE802", "*raw; -A PREROUTING -j NOTRACK"),
    passes("NE803", "-A INPUT -p tcp -m tcp --dport 22 -m tcp --sport 22 -j ACCEPT"),
    passes("NE803", "-A INPUT -p tcp -m multiport --dports 1 -m multiport --sports 1"),
    passes("NE803", "-A INPUT -m recent --set -m recent --set", "each counts"),
    passes(
        "NE803",
        "-A INPUT -m statistic --mode random --probability 0.5 -m statistic --mode "
        "random --probability 0.5 -j DROP",
        "a quarter",
    ),
    catches("NE803", "-A INPUT -p tcp -m tcp --dport 22 -m tcp --dport 22 -j ACCEPT"),
    catches("NE803", "-A INPUT -p tcp -m tcp --dport 22 -m tcp --dport ssh -j ACCEPT"),
    catches("NE803", "-A INPUT -m conntrack --ctstate NEW -m conntrack --ctstate NEW"),
    passes("NE804", "-A INPUT ! -s 0.0.0.0/0 -j ACCEPT", "matches nothing"),
    passes("NE804", "-A INPUT -s 0.0.0.0/1 -j ACCEPT"),
    passes("NE804", "-A INPUT -p tcp --dport 1:65535 -j ACCEPT"),
    passes("NE804", "-A INPUT -i eth+ -j ACCEPT"),
    passes("NE804", '-A INPUT -m comment --comment "-s 0.0.0.0/0" -j ACCEPT'),
    catches("NE804", "-A INPUT -s 0.0.0.0/0 -j ACCEPT"),
    catches("NE804", "-A INPUT -d ::/0 -j ACCEPT"),
    catches("NE804", "-A INPUT -i + -j ACCEPT"),
    catches("NE804", "-A INPUT -p all -j ACCEPT"),
    catches("NE804", "-A INPUT -p tcp --dport 0:65535 -j ACCEPT"),
    passes("NE805", "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
    passes("NE805", "-A INPUT -p tcp -m multiport --dports 443,80 -j ACCEPT", "printed as given"),
    passes("NE805", "-A INPUT -p tcp --tcp-flags SYN,RST SYN -j ACCEPT"),
    catches("NE805", "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
    catches("NE805", "-A INPUT -p tcp --tcp-flags RST,SYN SYN -j ACCEPT"),
    catches("NE805", "-A INPUT -m conntrack --ctstate NEW,NEW -j ACCEPT"),
]


@pytest.mark.parametrize("case", CASES)
def test_cases(case: Case) -> None:
    check(case)


@pytest.mark.parametrize(
    "code, before, after",
    [
        ("NE801", "-A INPUT -s 10.1.2.3/8  -j ACCEPT", "-A INPUT -s 10.0.0.0/8  -j ACCEPT"),
        (
            "NE803",
            "-A INPUT -p tcp -m tcp --dport 22 -m tcp --dport 22 -j ACCEPT",
            "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
        ),
        ("NE804", "-A INPUT -s 0.0.0.0/0 -p all -j ACCEPT", "-A INPUT -j ACCEPT"),
        ("NE802", "-A INPUT -m state --state NEW", "-A INPUT -m conntrack --ctstate NEW"),
        (
            "NE805",
            "-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
            "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ),
    ],
)
def test_safe_fixes(code: str, before: str, after: str) -> None:
    subject = Subject(expand(before), "x.rules")
    done = repair(subject, LintSettings(select=(code,)), unsafe=False)
    assert done.subject.text == expand(after)
    assert done.unproved == 0
