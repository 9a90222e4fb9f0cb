"""Which rules a run of packets hit, and which it never did: as text, lcov or JSON.

Counts are those of the run, not the counters that the file came with. A rule is hit when a packet
matches it; a policy when a packet comes to the end of its chain.

lcov: the tracefile of geninfo(1), one `DA:LINE,HITS` per rule and policy, so that genhtml, an
editor or a coverage service shows a rule file as it shows a program.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from msgspec import Struct

from netemu.trace.text import Paint

SCHEMA = "netemu.coverage/1"


class RuleHits(Struct, frozen=True, kw_only=True):
    """One rule."""

    number: int
    line: int | None
    hits: int
    text: str
    """As iptables-save prints it, without `-A CHAIN`."""


class ChainHits(Struct, frozen=True, kw_only=True):
    """One chain with its rules in order."""

    name: str
    policy: str
    """`ACCEPT` or `DROP`; empty for a user chain."""
    line: int | None
    hits: int
    """Packets that the policy decided about."""
    rules: tuple[RuleHits, ...]


class TableHits(Struct, frozen=True, kw_only=True):
    """One table of one namespace, and the file it was read from."""

    namespace: str
    name: str
    file: str
    source: str
    """The file's text."""
    chains: tuple[ChainHits, ...]

    @property
    def rules(self) -> list[RuleHits]:
        """All rules, chain after chain."""
        return [rule for chain in self.chains for rule in chain.rules]


def render_coverage(tables: list[TableHits], *, colour: bool = False) -> str:
    """Return the rules with their hits beside them, and totals."""
    paint = Paint(on=colour)
    rules = [rule for table in tables for rule in table.rules]
    lines = [f"coverage: {_of(rules)} rules hit"]
    shown_file = ""
    for table in tables:
        if table.file != shown_file:
            shown_file = table.file
            lines += ["", shown_file]
        where = f" of {table.namespace}" if table.namespace else ""
        lines.append(f"{paint(f'*{table.name}', 'stage')}{where}  {_of(table.rules)} rules hit")
        for chain in table.chains:
            lines += _chain_lines(chain, paint)
    return "\n".join(lines) + "\n"


def _chain_lines(chain: ChainHits, paint: Paint) -> Iterable[str]:
    if not chain.rules and not chain.policy:
        yield f"  {chain.name}  empty"
        return
    yield f"  {chain.name}" + (f"  {_of(chain.rules)}" if chain.rules else "")
    for rule in chain.rules:
        place = f":{rule.line}" if rule.line is not None else f"#{rule.number}"
        row = f"  {_count(rule.hits)}  {place:<6} {rule.text}"
        yield row if rule.hits else paint(row, "bad")
    if chain.policy:
        place = f":{chain.line}" if chain.line is not None else ""
        yield f"  {_count(chain.hits)}  {place:<6} policy {chain.policy}"


def _count(hits: int) -> str:
    return f"{hits or 'never':>9}"


def _of(rules: Iterable[RuleHits]) -> str:
    """Say how many of the rules were hit."""
    every = list(rules)
    hit = sum(rule.hits > 0 for rule in every)
    share = f" ({100 * hit / len(every):.0f} %)" if every else ""
    return f"{hit} of {len(every)}{share}"


def render_lcov(tables: list[TableHits]) -> str:
    """Return an lcov tracefile: a record per rule file, hits of namespaces that share it added."""
    lines = ["TN:netemu"]
    for file, hits in line_hits(tables).items():
        lines.append(f"SF:{file}")
        lines += [f"DA:{line},{count}" for line, count in sorted(hits.items())]
        lines.append(f"LF:{len(hits)}")
        lines.append(f"LH:{sum(count > 0 for count in hits.values())}")
        lines.append("end_of_record")
    return "\n".join(lines) + "\n"


def line_hits(tables: Iterable[TableHits]) -> dict[str, dict[int, int]]:
    """Return file -> line -> hits of the rule or policy there."""
    files: dict[str, dict[int, int]] = {}
    for table in tables:
        hits = files.setdefault(table.file, {})
        for chain in table.chains:
            if chain.policy and chain.line is not None:
                hits[chain.line] = hits.get(chain.line, 0) + chain.hits
            for rule in chain.rules:
                if rule.line is not None:
                    hits[rule.line] = hits.get(rule.line, 0) + rule.hits
    return files


def coverage_object(tables: list[TableHits]) -> dict[str, object]:
    """Return everything as plain values."""
    rules = [rule for table in tables for rule in table.rules]
    return {
        "schema": SCHEMA,
        "rules": len(rules),
        "hit": sum(rule.hits > 0 for rule in rules),
        "tables": [
            {
                "namespace": table.namespace or None,
                "table": table.name,
                "file": table.file,
                "rules": len(table.rules),
                "hit": sum(rule.hits > 0 for rule in table.rules),
                "chains": [_chain_object(chain) for chain in table.chains],
            }
            for table in tables
        ],
    }


def _chain_object(chain: ChainHits) -> dict[str, object]:
    return {
        "chain": chain.name,
        "policy": {"verdict": chain.policy, "line": chain.line, "hits": chain.hits}
        if chain.policy
        else None,
        "hit": sum(rule.hits > 0 for rule in chain.rules),
        "rules": [
            {"rule": rule.number, "line": rule.line, "hits": rule.hits, "text": rule.text}
            for rule in chain.rules
        ],
    }


def render_coverage_json(tables: list[TableHits]) -> str:
    """Return the object as text."""
    return json.dumps(coverage_object(tables), ensure_ascii=False, indent=1) + "\n"
