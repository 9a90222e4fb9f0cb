"""A match or target that another one has replaced.

Kernel: none.

What it does: Finds -m state (use -m conntrack), -j NOTRACK (use -j CT --notrack) and -j ULOG (use
-j NFLOG).

Why it matters: They still load, as aliases or old modules, and may be gone from the next kernel;
ULOG is gone from Linux since 3.17.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    COMMIT

References: iptables-extensions(8), state, NOTRACK, ULOG.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netemu.lint.finding import Edit, Finding, Fix, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject

_MATCHES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "state": ("conntrack", {"state": "conntrack", "--state": "--ctstate"}),
}
"""Old match -> the new one, and which words take the place of which."""

_TARGETS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "NOTRACK": ("CT --notrack", {"NOTRACK": "CT --notrack"}),
    "ULOG": ("NFLOG", {}),
}


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each old name."""
    for site in subject.sites:
        names = {match.name for match in site.rule.matches}
        for name in names & _MATCHES.keys():
            new, words = _MATCHES[name]
            yield _finding(subject, site, f"-m {name}", f"-m {new}", words)
        target = site.rule.target
        if target is not None and target.name in _TARGETS:
            new, words = _TARGETS[target.name]
            yield _finding(subject, site, f"-j {target.name}", f"-j {new}", words)


def _finding(subject: Subject, site: Site, old: str, new: str, words: Mapping[str, str]) -> Finding:
    rule = site.rule
    span = None
    edits: list[Edit] = []
    if rule.line is not None:
        said = subject.words(rule.line)
        for before, word in zip([None, *said], said, strict=False):
            named = before is not None and before.text in {"-m", "-j", "--match", "--jump"}
            if named and word.text == old[3:]:
                span = span or subject.word_span(rule.line, word.column)
            if word.text in words and (named or word.text.startswith("--")):
                place = subject.word_span(rule.line, word.column)
                edits.append(Edit(span=place, text=words[word.text]))
    fix = Fix(message=f"write `{new}`", edits=tuple(edits), safe=True) if edits else None
    return subject.about(site, f"{old} is deprecated; {new} takes its place", span=span, fix=fix)


RULE = LintRule(
    code="NE802",
    name="deprecated-form",
    level=Level.STYLE,
    summary="A match or target that another one has replaced",
    check=check,
    stylistic=True,
)
