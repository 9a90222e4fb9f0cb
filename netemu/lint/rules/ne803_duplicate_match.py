"""The same match twice in one rule.

Kernel: none.

What it does: Finds rules that ask the same thing twice: two instances of a match with the same
options.

Why it matters: It costs time for every packet, and whoever changes one of the two changes nothing.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp -m tcp --dport 22 -m tcp --dport 22 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
    COMMIT

References: iptables-extensions(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.finding import Edit, Finding, Fix, Level, Span
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.xtables.kit import Match, Settings

_DRAWS = frozenset({"statistic"})
"""Matches of which each instance draws for itself."""

_ENDS = frozenset({"-m", "--match", "-j", "--jump", "-g", "--goto"})


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each match that an earlier one of its rule repeats."""
    for site in subject.sites:
        matches = site.rule.matches
        if len(matches) < 2 or len({match.name for match in matches}) == len(matches):
            continue
        seen: set[str] = set()
        for match in matches:
            declared, settings = match.declaration, match.given
            if not isinstance(declared, Match) or not isinstance(settings, Settings):
                continue
            if match.text in seen and declared.shares(settings) and match.name not in _DRAWS:
                yield _finding(subject, site, match.name, match.text)
            seen.add(match.text)


def _finding(subject: Subject, site: Site, name: str, text: str) -> Finding:
    span = _second(subject, site, name)
    fix = None
    if span is not None:
        written = subject.lines[span.line - 1][span.column - 1 : span.end_column - 1]
        if sorted(written.split()) == sorted(text.split()):
            whole = Span(
                line=span.line,
                column=span.column,
                end_line=span.line,
                end_column=span.end_column + 1,
            )
            edit = Edit(span=whole, text="")
            fix = Fix(message=f"leave out the second `{text}`", edits=(edit,), safe=True)
    return subject.about(site, f"`{text}` stands twice in the rule", span=span, fix=fix)


def _second(subject: Subject, site: Site, name: str) -> Span | None:
    """Return where the last instance of a match is written, up to the next match or target."""
    line = site.rule.line
    if line is None:
        return None
    words = subject.words(line)
    starts = [
        number
        for number, word in enumerate(words[:-1])
        if word.text in {"-m", "--match"} and words[number + 1].text == name
    ]
    if len(starts) < 2:
        return None
    first = starts[-1]
    last = first + 1
    while last + 1 < len(words) and words[last + 1].text not in _ENDS:
        last += 1
    end = subject.word_span(line, words[last].column).end_column
    return Span(line=line, column=words[first].column, end_line=line, end_column=end)


RULE = LintRule(
    code="NE803",
    name="duplicate-match",
    level=Level.STYLE,
    summary="The same match twice in one rule",
    check=check,
    stylistic=True,
)
