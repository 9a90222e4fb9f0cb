"""How a finding about a dead or needless rule is told, and the fix that deletes its line.

Kernel: none.
"""

from __future__ import annotations

from netemu.analysis.reach import RuleReach
from netemu.lint.dead import Dead, witness_of
from netemu.lint.finding import Edit, Finding, Fix, Related, Span
from netemu.lint.subject import Site, Subject


def finding_of(subject: Subject, dead: Dead, message: str) -> Finding | None:
    """Return the finding about a dead rule; None where no packet shows it.

    In a chain that a program owns it is a fault only if another verdict takes its packets: programs
    write rules that say again what was said.
    """
    if subject.owner(dead.rule.chain.name) and not _contradicts(dead):
        return None
    witness = witness_of(subject.prover, dead)
    if witness is None and subject.prover.walks:
        return None
    rule = dead.rule
    assert rule.rule is not None
    site = Site(rule.table, rule.chain, rule.number, rule.rule)
    related: tuple[Related, ...] = ()
    for one in dead.by[:MOST_RELATED]:
        if one.rule is not None:
            related += subject.related(one.rule, "takes its packets")
    return subject.about(
        site,
        message,
        witness=witness,
        related=related,
        fix=deletion(rule.line, "no packet matches it"),
    )


def _contradicts(dead: Dead) -> bool:
    """Return whether one rule takes the packets of a dead one, and does something else."""
    rules = [one.rule for one in (dead.rule, *dead.by)]
    if len(dead.by) != 1 or rules[0] is None or rules[1] is None:
        return False
    words = [rule.jump or (rule.target.text if rule.target else "") for rule in rules if rule]
    return words[0] != words[1]


MOST_RELATED = 5


def deletion(line: int | None, why: str) -> Fix | None:
    """Return the fix that deletes a line."""
    if line is None:
        return None
    span = Span(line=line, column=1, end_line=line + 1, end_column=1)
    return Fix(message=f"delete line {line}: {why}", edits=(Edit(span=span, text=""),), safe=True)


def lines_text(rules: tuple[RuleReach, ...]) -> str:
    """Name rules by their lines.

    >>> lines_text(())
    'earlier rules'
    """
    lines = [str(rule.line) for rule in rules if rule.line is not None]
    if not lines:
        return "earlier rules"
    if len(lines) == 1:
        return f"line {lines[0]}"
    if len(lines) > MOST_RELATED:
        return f"lines {', '.join(lines[:MOST_RELATED])} and {len(lines) - MOST_RELATED} more"
    return f"lines {', '.join(lines[:-1])} and {lines[-1]}"
