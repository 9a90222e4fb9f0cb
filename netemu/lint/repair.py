"""Fixes made: again and again until nothing is left to fix, and only what is proved to keep.

Kernel: none.

A safe fix claims that the rules do the same without it and with it. That is proved before anything
is written: by the text (only comments differ), by what iptables-save would print, else by the fate
of every packet. What cannot be proved is not written.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netemu.lint.edits import apply_edits, touched_lines
from netemu.lint.engine import look
from netemu.lint.finding import Finding, Fix
from netemu.lint.settings import LintSettings
from netemu.lint.subject import Subject
from netemu.ruleset.printer import print_ruleset

MOST_ROUNDS = 20
"""A fix may bring another finding to light; no text needs as many rounds."""


class Repaired(Struct, kw_only=True):
    """A text after its fixes."""

    subject: Subject
    fixed: int = 0
    unproved: int = 0
    """Safe fixes that were not made, since it was not proved that they keep what the rules do."""


def repair(subject: Subject, settings: LintSettings, *, unsafe: bool) -> Repaired:
    """Make every fix that may be made."""
    done = Repaired(subject=subject)
    refused: set[Fix] = set()
    for _ in range(MOST_ROUNDS):
        fixes = _together(look(done.subject, settings).findings, refused, unsafe=unsafe)
        if not fixes:
            break
        for batch in ([fix for fix in fixes if fix.safe], [fix for fix in fixes if not fix.safe]):
            if batch:
                _make(batch, done, refused)
                break
    done.unproved = len(refused)
    return done


def _together(findings: Iterable[Finding], refused: set[Fix], *, unsafe: bool) -> list[Fix]:
    """Return fixes that may be made in one go: of two that change one line, the first."""
    chosen: list[Fix] = []
    taken: set[int] = set()
    for finding in findings:
        fix = finding.fix
        if fix is None or fix in refused or not (fix.safe or unsafe):
            continue
        lines = touched_lines(fix)
        if not lines & taken:
            chosen.append(fix)
            taken |= lines
    return chosen


def _make(batch: list[Fix], done: Repaired, refused: set[Fix]) -> None:
    """Make fixes of one kind; if they are not proved together, one by one from the end."""
    after = _edited(done.subject, batch)
    if not batch[0].safe or same_rules(done.subject, after):
        done.subject, done.fixed = after, done.fixed + len(batch)
        return
    for fix in sorted(batch, key=lambda fix: -min(touched_lines(fix))):
        after = _edited(done.subject, [fix])
        if same_rules(done.subject, after):
            done.subject, done.fixed = after, done.fixed + 1
        else:
            refused.add(fix)


def _edited(subject: Subject, fixes: Iterable[Fix]) -> Subject:
    return subject.rewritten(
        apply_edits(subject.text, [edit for fix in fixes for edit in fix.edits])
    )


def same_rules(before: Subject, after: Subject) -> bool:
    """Return whether it is proved that two texts do the same."""
    if _without_comments(before) == _without_comments(after):
        return True
    if not before.loads or not after.loads:
        return False
    return _printed(before) == _printed(after) or _same_behaviour(before, after)


def _same_behaviour(before: Subject, after: Subject) -> bool:
    """Return whether every packet, whatever the node, ends in the same way."""
    from netemu.analysis.behaviour import behaviour  # noqa: PLC0415 - spelling needs no analysis
    from netemu.analysis.node import space_of  # noqa: PLC0415 - as above
    from netemu.analysis.reach import Reach  # noqa: PLC0415 - as above

    space = space_of([before.ruleset, after.ruleset])
    old, new = (behaviour(Reach(one.ruleset, space), effects=True) for one in (before, after))
    return old == new


def _without_comments(subject: Subject) -> list[str]:
    return [line for line in subject.lines if line and not line.startswith("#")]


def _printed(subject: Subject) -> str:
    return print_ruleset(subject.ruleset, counters=True, backend=subject.backend)
