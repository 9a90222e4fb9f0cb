"""The page is whole, escaped, and loads nothing."""

from __future__ import annotations

import json
import re

import pytest
from msgspec import structs

from netemu import events
from netemu.errors import UsageError
from netemu.trace.html import render_html

pytest.importorskip("jinja2")


def test_the_page_holds_rows_and_events(trace):
    page = render_html(trace)
    assert "<title>#1 tcp 192.0.2.9:40000 &gt; 10.96.0.10:80 S  in eth0</title>" in page
    assert "mark 0x0 -&gt; 0x4000" in page
    data = re.search(r'<script type="application/json" id="trace">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["verdict"] == "ACCEPT"


def test_nothing_is_loaded_from_elsewhere(trace):
    assert not re.search(r"\b(src|href)=[\"']|https?:|@import|url\(", render_html(trace))


def test_rules_that_did_not_match_are_there_but_hidden(trace):
    page = render_html(trace)
    assert 'class="miss extra"' in page
    assert '<body class="all">' in render_html(trace, everything=True)


def test_text_is_escaped(trace, passage):
    evil = events.KernelLogged(text="</script><script>alert(1)</script>")
    told = [*passage.told, (passage.told[0][0], evil)]
    trace.passage = structs.replace(passage, told=told)
    assert "<script>alert" not in render_html(trace)


def test_without_jinja2_the_extra_is_named(trace, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(UsageError, match="netemu\\[html\\]"):
        render_html(trace)
