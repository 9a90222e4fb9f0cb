"""`netemu replay --coverage`: what the rules counted, handed to the renderers."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from msgspec import Struct

from netemu.cli.common import write_output
from netemu.errors import UsageError
from netemu.netfilter.xtables.model import Chain, Table
from netemu.sim.node import Namespace, Node
from netemu.trace.coverage import (
    ChainHits,
    RuleHits,
    TableHits,
    render_coverage,
    render_coverage_json,
    render_lcov,
)

TEXT, LCOV, JSON, HTML = FORMATS = ("text", "lcov", "json", "html")

SUFFIXES = {".info": LCOV, ".lcov": LCOV, ".json": JSON, ".html": HTML, ".htm": HTML}
"""What `--coverage-out FILE` writes where --coverage does not say it."""


class CoverageWish(Struct, frozen=True, kw_only=True):
    """Whether coverage is wanted, how, and where."""

    form: str
    """Empty when it is not wanted."""
    file: str | None
    in_report: bool
    """It becomes a part of the JSON report."""

    @classmethod
    def of(cls, form: str | None, file: str | None, *, as_json: bool) -> CoverageWish:
        """Make sense of the options.

        Raises UsageError when two formats would meet on standard output.
        """
        chosen = form or (SUFFIXES.get(Path(file).suffix, TEXT) if file is not None else "")
        in_report = bool(as_json and chosen in {TEXT, JSON} and file is None)
        if as_json and chosen and file in {None, "-"} and not in_report:
            raise UsageError(f"--coverage={chosen} beside --json needs --coverage-out FILE")
        return cls(form=chosen, file=file, in_report=in_report)

    @property
    def alone(self) -> bool:
        """Whether standard output is for the coverage only."""
        return bool(self.form) and self.form != TEXT and self.file in {None, "-"}

    def write(self, node: Node, *, colour: bool) -> None:
        """Write what is wanted."""
        if not self.form or self.in_report:
            return
        tables = tables_hit(node)
        if self.form == TEXT:
            text = render_coverage(tables, colour=colour and self.file is None)
            write_output(self.file, text if self.file not in {None, "-"} else f"\n{text}")
        elif self.form == HTML:
            from netemu.trace.coverage_html import render_coverage_html

            write_output(self.file, render_coverage_html(tables))
        else:
            render = render_lcov if self.form == LCOV else render_coverage_json
            write_output(self.file, render(tables))


def tables_hit(node: Node) -> list[TableHits]:
    """Return what the tables of all namespaces counted since they were loaded."""
    return [table for space in node.namespaces.values() for table in _tables(space)]


def _tables(space: Namespace) -> Iterable[TableHits]:
    for table in space.ruleset.tables if space.ruleset is not None else ():
        source = space.sources[table.name]
        yield TableHits(
            namespace=space.spec.name,
            name=table.name,
            file=source.name,
            source=source.text,
            chains=tuple(_chain(space, table, chain) for chain in table.chains.values()),
        )


def _chain(space: Namespace, table: Table, chain: Chain) -> ChainHits:
    return ChainHits(
        name=chain.name,
        policy=chain.policy.name if chain.policy is not None else "",
        line=chain.line if chain.line != table.line else None,
        hits=space.hits(chain),
        rules=tuple(
            RuleHits(number=number, line=rule.line, hits=space.hits(rule), text=rule.text)
            for number, rule in enumerate(chain.rules, 1)
        ),
    )
