"""A trace as one HTML page that needs nothing else: rows, a stepper, the events as JSON.

Needs jinja2, the extra `html`. Nothing is loaded from anywhere.
"""

from __future__ import annotations

import json
from importlib import resources

from netemu.errors import UsageError
from netemu.trace.jsonform import trace_object
from netemu.trace.model import Passage, Trace
from netemu.trace.rows import rows_of
from netemu.trace.text import headline, what_became

TEMPLATE = "trace.html.jinja2"


def render_html(trace: Trace, *, everything: bool = False) -> str:
    """Return the page; `everything` shows rules that did not match from the start."""
    return page_of(
        TEMPLATE,
        title=headline(trace.passage),
        trace=trace,
        passages=[_passage(passage) for passage in trace.passages()],
        everything=everything,
        events=json.dumps(trace_object(trace)).replace("<", "\\u003c"),
    )


def page_of(template: str, **values: object) -> str:
    """Fill a template of this package.

    Raises UsageError when jinja2 is not there.
    """
    try:
        import jinja2
    except ImportError:
        message = "HTML needs jinja2; install it with: pip install 'netemu[html]'"
        raise UsageError(message) from None
    source = resources.files("netemu.trace").joinpath(template).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page: str = environment.from_string(source).render(**values)
    return page


def _passage(passage: Passage) -> dict[str, object]:
    rows = rows_of(passage.told, everything=True)
    shown = {row.line() for row in rows_of(passage.told)}
    return {
        "verdict": passage.verdict,
        "became": what_became(passage),
        "headline": headline(passage),
        "packet_id": passage.packet_id,
        "shared_by": passage.shared_by,
        "rows": [(row, row.line() not in shown) for row in rows],
    }
