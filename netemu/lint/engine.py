"""Runs the selected rules over subjects and keeps what nothing suppresses.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from netemu.lint.codes import BY_CODE
from netemu.lint.finding import Finding, Level
from netemu.lint.owners import maker_of
from netemu.lint.rule import LintRule, Needs
from netemu.lint.settings import LintSettings
from netemu.lint.subject import Subject
from netemu.lint.suppress import read_suppressions, suppressed


class Looked(Struct, kw_only=True):
    """What looking at one subject brought."""

    subject: Subject
    findings: list[Finding] = field(default_factory=list)
    suppressed: int = 0
    """Findings that comments in the file suppress."""


def look(subject: Subject, settings: LintSettings) -> Looked:
    """Run every selected rule over a subject."""
    _ = subject.ruleset
    subject.tells_owned = settings.owned_chains
    ran = [rule for rule in settings.selected(subject.file) if _may_run(rule, subject)]
    suppressions = subject.suppressions = read_suppressions(subject.lines)
    ordinary = [rule for rule in ran if rule.needs is not Needs.SUPPRESSIONS]
    found = [finding for rule in ordinary for finding in _findings(rule, subject)]
    kept = list(suppressed(found, suppressions, subject.file))
    subject.known = frozenset(BY_CODE)
    subject.judged = frozenset(rule.code for rule in ordinary)
    about = [
        finding
        for rule in ran
        if rule.needs is Needs.SUPPRESSIONS
        for finding in _findings(rule, subject)
    ]
    findings = sorted(
        [*kept, *about],
        key=lambda finding: (
            (finding.span.line, finding.span.column) if finding.span else (0, 0),
            finding.code,
        ),
    )
    return Looked(subject=subject, findings=findings, suppressed=len(found) - len(kept))


def _may_run(rule: LintRule, subject: Subject) -> bool:
    """Return whether a subject has what a rule needs."""
    match rule.needs:
        case Needs.TEXT | Needs.SUPPRESSIONS:
            return True
        case Needs.RULESET:
            return subject.loads
        case Needs.NODE:
            return subject.is_snapshot and subject is subject.siblings[0]
        case Needs.PARTNER:
            return subject.loads and subject.partner is not None
        case Needs.OBJECTS:
            return subject.loads and subject.objects is not None
    return False


def _findings(rule: LintRule, subject: Subject) -> Iterator[Finding]:
    for finding in rule.check(subject):
        if rule.stylistic and _spared(subject, finding):
            continue
        yield replace(finding, code=rule.code, level=rule.level, file=finding.file or subject.file)


def _spared(subject: Subject, finding: Finding) -> bool:
    """Return whether a finding is about what a program wrote: its user cannot tidy it up."""
    if finding.chain is None:
        return False
    if finding.span is None or finding.rule is None:
        return not subject.tells_owned and bool(maker_of(finding.chain))
    if subject.spares(finding.chain):
        return True
    return subject.spares_rule(finding.span.line)


class Report(Struct, kw_only=True):
    """What a run brought, for the formats and the exit code."""

    looked: list[Looked]
    settings: LintSettings
    directory: str = ""
    """Where relative names of files begin; empty if nobody knows."""
    version: str = ""
    """Of netemu."""

    @property
    def findings(self) -> list[Finding]:
        """The findings of all subjects, in their order."""
        return [finding for one in self.looked for finding in one.findings]

    @property
    def rules(self) -> int:
        """How many rules were looked at."""
        return sum(len(one.subject.sites) for one in self.looked)

    def lines(self, file: str) -> list[str]:
        """Return the lines of a file that was looked at."""
        return next(
            (one.subject.lines for one in self.looked if one.subject.file == file),
            [],
        )

    @property
    def fails(self) -> bool:
        """Whether a finding is bad enough to end the run with 1."""
        return any(level_of(one) >= self.settings.fail_on for one in self.findings)


def rule_of(finding: Finding) -> LintRule:
    """Return the rule that a finding is of."""
    return BY_CODE[finding.code]


def level_of(finding: Finding) -> Level:
    """Return how bad a finding is."""
    return BY_CODE[finding.code].level
