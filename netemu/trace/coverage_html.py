"""Coverage as one HTML page: each rule file with the hits beside its lines.

Needs jinja2, the extra `html`. Nothing is loaded from anywhere.
"""

from __future__ import annotations

from collections.abc import Iterable

from netemu.trace.coverage import TableHits, line_hits
from netemu.trace.html import page_of

TEMPLATE = "coverage.html.jinja2"


def render_coverage_html(tables: list[TableHits]) -> str:
    """Return the page."""
    rules = [rule for table in tables for rule in table.rules]
    return page_of(
        TEMPLATE,
        title=f"{sum(rule.hits > 0 for rule in rules)} of {len(rules)} rules hit",
        totals=[_totals(table) for table in tables],
        files=list(_files(tables)),
    )


def _totals(table: TableHits) -> dict[str, object]:
    return {
        "table": f"{table.namespace}: {table.name}" if table.namespace else table.name,
        "chains": [
            (chain.name, sum(rule.hits > 0 for rule in chain.rules), len(chain.rules))
            for chain in table.chains
            if chain.rules
        ],
    }


def _files(tables: list[TableHits]) -> Iterable[dict[str, object]]:
    """Yield each file with its lines; a line that is no rule and no policy has no hits."""
    sources = {table.file: table.source for table in tables}
    for file, hits in line_hits(tables).items():
        lines = [
            {"number": number, "text": text, "hits": hits.get(number)}
            for number, text in enumerate(sources[file].splitlines(), 1)
        ]
        yield {"file": file, "lines": lines}
