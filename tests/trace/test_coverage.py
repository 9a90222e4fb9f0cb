"""Hits beside the rules: text, lcov and JSON say the same; the page escapes and loads nothing."""

from __future__ import annotations

import json
import re

import pytest

from netemu.trace.coverage import (
    ChainHits,
    RuleHits,
    TableHits,
    render_coverage,
    render_coverage_json,
    render_lcov,
)
from netemu.trace.coverage_html import render_coverage_html

SOURCE = """\
*filter
:INPUT DROP [0:0]
:LATE - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m comment --comment "<b>" -j LATE
COMMIT
"""


def table(*, first: int, second: int, policy: int, namespace: str = "") -> TableHits:
    rules = (
        RuleHits(number=1, line=4, hits=first, text="-i lo -j ACCEPT"),
        RuleHits(number=2, line=5, hits=second, text='-m comment --comment "<b>" -j LATE'),
    )
    chains = (
        ChainHits(name="INPUT", policy="DROP", line=2, hits=policy, rules=rules),
        ChainHits(name="LATE", policy="", line=3, hits=0, rules=()),
    )
    return TableHits(namespace=namespace, name="filter", file="r", source=SOURCE, chains=chains)


def test_rules_never_hit_are_marked():
    assert render_coverage([table(first=0, second=7, policy=6)]) == (
        "coverage: 1 of 2 (50 %) rules hit\n"
        "\n"
        "r\n"
        "*filter  1 of 2 (50 %) rules hit\n"
        "  INPUT  1 of 2 (50 %)\n"
        "      never  :4     -i lo -j ACCEPT\n"
        '          7  :5     -m comment --comment "<b>" -j LATE\n'
        "          6  :2     policy DROP\n"
        "  LATE  empty\n"
    )


def test_namespaces_that_share_a_file_add_up_in_lcov():
    tables = [
        table(first=0, second=7, policy=6),
        table(first=0, second=1, policy=0, namespace="pod"),
    ]
    assert render_lcov(tables).splitlines() == [
        "TN:netemu",
        "SF:r",
        "DA:2,6",
        "DA:4,0",
        "DA:5,8",
        "LF:3",
        "LH:2",
        "end_of_record",
    ]


def test_json_has_every_rule():
    found = json.loads(render_coverage_json([table(first=0, second=7, policy=6)]))
    assert (found["rules"], found["hit"]) == (2, 1)
    chain = found["tables"][0]["chains"][0]
    assert chain["policy"] == {"verdict": "DROP", "line": 2, "hits": 6}
    assert [rule["hits"] for rule in chain["rules"]] == [0, 7]


def test_the_page_shows_hits_beside_the_lines():
    pytest.importorskip("jinja2")
    page = render_coverage_html([table(first=0, second=7, policy=6)])
    assert '<tr class="never"><td>4</td><td>never</td><td>-A INPUT -i lo' in page
    assert '<tr class="hit"><td>5</td><td>7</td>' in page
    assert "&lt;b&gt;" in page
    assert '<tr class="other"><td>6</td><td></td><td>COMMIT</td></tr>' in page
    assert not re.search(r"\b(src|href)=[\"']|https?:|@import|url\(", page)
