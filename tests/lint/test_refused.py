"""Every line that would not load is a finding, with the place that iptables could not go past."""

from __future__ import annotations

import pytest

from tests.lint.cases import Case, catches, check, expand, findings_of, passes

CASES = [
    passes("NE001", "-A INPUT -p tcp --dport 22 -j ACCEPT"),
    catches("NE001", "-A INPUT -p tcp dport 22 -j ACCEPT"),
    catches("NE001", "-A INPUT ! ! -p tcp -j ACCEPT"),
    catches("NE001", "-A INPUT -p"),
    catches("NE001", ":INPUT ACCEPT [00]"),
    passes("NE002", "-A INPUT -m comment --comment '-m' -j ACCEPT"),
    catches("NE002", "-A INPUT -m contrack --ctstate NEW -j ACCEPT"),
    catches("NE002", "-A INPUT -m geoip --src-cc DE -j ACCEPT"),
    catches("NE002", "-A INPUT -m TCP --dport 22 -j ACCEPT"),
    passes("NE003", "-A INPUT -p tcp --dport 22 -j ACCEPT"),
    passes("NE003", "-A INPUT -p tcp --destination-port 22 -j ACCEPT"),
    catches("NE003", "-A INPUT --dport 22 -p tcp -j ACCEPT"),
    catches("NE003", "-A INPUT -p icmp --dport 22 -j ACCEPT"),
    catches("NE003", "-A INPUT -p tcp --ctstate NEW -j ACCEPT"),
    passes("NE004", "-A INPUT -p tcp --dport 65535 -j ACCEPT"),
    catches("NE004", "-A INPUT -p tcp --dport 65536 -j ACCEPT"),
    catches("NE004", "-A INPUT -s 10.0.0.0/33 -j ACCEPT"),
    catches("NE004", "-A INPUT -s 10.0.0.256 -j ACCEPT"),
    catches("NE004", "-A INPUT -p tpc -j ACCEPT"),
    passes("NE005", "-A INPUT -p tcp -m tcp --dport 1 -m multiport --sports 1,2 -j ACCEPT"),
    catches("NE005", "-A INPUT -p udp -m tcp --dport 22 -j ACCEPT"),
    catches("NE005", "-A INPUT -m conntrack -j ACCEPT"),
    catches("NE005", "-A INPUT -s 10.0.0.1 -s 10.0.0.2 -j ACCEPT"),
    catches("NE005", "-A INPUT ! -s 10.0.0.1,10.0.0.2 -j ACCEPT"),
    passes("NE006", "*security; -A INPUT -j ACCEPT"),
    catches("NE006", "*filter\r\n:INPUT ACCEPT [0:0]\r\nCOMMIT\r\n"),
    catches("NE006", "\ufeff*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"),
    catches("NE006", "*fliter; -A INPUT -j ACCEPT"),
    catches("NE006", "*FILTER; -A INPUT -j ACCEPT"),
    catches("NE006", "-A INPUT -j ACCEPT\nCOMMIT\n"),
    passes("NE007", ":web; -A web -j ACCEPT"),
    catches("NE007", "-A web -j ACCEPT"),
    catches("NE007", "-A PREROUTING -j ACCEPT"),
    catches("NE007", ":web; *nat; -A web -j ACCEPT"),
    passes("NE008", ":web; -A INPUT -j web"),
    catches("NE008", "-A INPUT -j web"),
    catches("NE008", "-A INPUT -j Accept"),
    catches("NE008", "-A INPUT -g web"),
    catches("NE008", "-A INPUT -j OUTPUT"),
    passes("NE009", ":web; *nat; :web", "chains belong to their table"),
    passes("NE009", ":INPUT ACCEPT; :INPUT DROP", "a built-in chain may be declared again"),
    catches("NE009", ":web; :web"),
    catches("NE009", ":web; -N web"),
    catches("NE009", ":web; :a; :web"),
    passes("NE010", ":a234567890123456789012345678"),
    catches("NE010", ":a2345678901234567890123456789"),
    catches("NE010", ":DROP"),
    catches("NE010", "-N LOG"),
    passes("NE011", ":INPUT DROP"),
    catches("NE011", ":INPUT REJECT"),
    catches("NE011", ":INPUT drop"),
    catches("NE011", ":web DROP"),
    passes("NE012", "*nat; -A PREROUTING -j REDIRECT"),
    catches("NE012", "-A FORWARD -j REDIRECT"),
    catches("NE012", "*nat; -A POSTROUTING -j REDIRECT"),
    catches("NE012", "-A INPUT -o eth0 -j ACCEPT"),
    catches("NE012", "*nat; :a; -A OUTPUT -j a; -A a -o eth0 -j MASQUERADE"),
    passes("NE013", ":a; :b; -A a -j b; -A b -j a", "no hook gets there"),
    passes("NE013", ":a; :b; -A INPUT -j a; -A INPUT -j b; -A a -j b"),
    catches("NE013", ":a; :b; -A INPUT -j a; -A a -j b; -A b -j a", 6),
    catches("NE013", ":a; -A INPUT -j a; -A a -j a", 4),
    catches("NE013", ":a; :b; -A OUTPUT -g a; -A a -p tcp -g b; -A b -j a", 6),
    passes("NE014", "*filter\nCOMMIT\n# end\n"),
    catches("NE014", "*filter\n-A INPUT -j ACCEPT\n"),
    catches("NE014", "*filter\n*nat\nCOMMIT\n"),
    catches("NE014", "*filter\nCOMMIT \n"),
    passes("NE015", '-A INPUT -m comment --comment "a # b" -j ACCEPT'),
    passes("NE015", "*filter\n# a comment\nCOMMIT\n"),
    catches("NE015", "-A INPUT -j ACCEPT # all"),
    catches("NE015", "*filter\n # indented\nCOMMIT\n"),
    catches("NE015", "-A INPUT -j ACCEPT #all"),
    passes("NE016", "-A INPUT -j ACCEPT; -D INPUT 1"),
    catches("NE016", "-A INPUT -j ACCEPT; -D INPUT 2"),
    catches("NE016", "-t nat -A INPUT -j ACCEPT"),
    catches("NE016", ":web; -A INPUT -j web; -X web"),
]


@pytest.mark.parametrize("case", CASES)
def test_cases(case: Case) -> None:
    check(case)


def test_reading_goes_on_behind_every_line_that_would_not_load() -> None:
    text = expand(
        "-A INPUT -j A; -A INPUT -j ACCEPT; -A INPUT -m foo; *nat; -A X -j Y; -A INPUT -q"
    )
    found = [(one.span.line, one.code) for one in findings_of(text) if one.span]
    assert found == [(2, "NE008"), (4, "NE002"), (7, "NE008"), (8, "NE003")]


def test_a_missing_commit_hides_nothing_of_the_next_table() -> None:
    found = [
        (one.span.line, one.code, one.table)
        for one in findings_of("*filter\n-A INPUT -j X\n*nat\n-A PREROUTING -j Y\n")
        if one.span
    ]
    assert found == [
        (2, "NE008", "filter"),
        (3, "NE014", "filter"),
        (4, "NE008", "nat"),
        (5, "NE014", "nat"),
    ]


def test_every_rule_refused_at_commit_is_told() -> None:
    text = expand(
        "-A INPUT -j MASQUERADE; -A OUTPUT -j SNAT --to 1.2.3.4; :a; -A INPUT -j a; -A a -j a"
    )
    found = [(one.span.line, one.code) for one in findings_of(text) if one.span]
    assert found == [(2, "NE012"), (3, "NE012"), (6, "NE013")]


def test_nothing_else_is_said_of_lines_in_a_table_that_does_not_exist() -> None:
    found = [one.code for one in findings_of("*foo\n:a - [0:0]\n-A a -j b\nCOMMIT\n-A x\n")]
    assert found == ["NE006"]


def test_the_word_at_fault_is_marked() -> None:
    (found,) = findings_of(expand("-A INPUT -p tcp --dport 70000 -j ACCEPT"))
    assert found.span is not None
    assert (found.span.column, found.span.end_column) == (25, 30)
    assert (found.table, found.chain, found.rule) == ("filter", "INPUT", None)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("*filter\r\nCOMMIT\r\n", "the line ends as in DOS (CR LF)"),
        ("\ufeff*filter\nCOMMIT\n", "the byte order mark"),
    ],
)
def test_what_an_editor_of_windows_adds_is_named(text, why):
    assert why in findings_of(text, "NE006")[0].message
