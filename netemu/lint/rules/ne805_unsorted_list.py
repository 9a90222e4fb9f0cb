"""A list in another order than it is printed, or with an entry twice.

Kernel: none.

What it does: Finds lists of TCP flags, connection states, address types and the like that name an
entry twice, or stand in another order than iptables-save prints them.

Why it matters: The saved file differs from the written one, and the same rule looks different in
two places.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --tcp-flags RST,SYN SYN -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --tcp-flags SYN,RST SYN -j ACCEPT
    COMMIT

References: iptables-extensions(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.edits import replace_span
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject

_LISTS = frozenset(
    {"--tcp-flags", "--ctstate", "--state", "--ctstatus", "--src-type", "--dst-type"}
)


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each list that is printed otherwise."""
    done: set[int] = set()
    for site in subject.sites:
        line = site.rule.line
        if line is None or line in done or "," not in subject.lines[line - 1]:
            continue
        done.add(line)
        words = subject.words(line)
        lists = [
            word
            for number, word in enumerate(words)
            if "," in word.text
            and number
            and (words[number - 1].text in _LISTS or words[number - 2].text == "--tcp-flags")
        ]
        if not lists:
            continue
        printed = {frozenset(word.split(",")): word for word in site.rule.text.split()}
        for word in lists:
            entries = word.text.split(",")
            shown = printed.get(frozenset(entries))
            if shown is None or shown == word.text:
                continue
            twice = len(set(entries)) < len(entries)
            what = "names an entry twice" if twice else f"is printed {shown}"
            span = subject.word_span(line, word.column)
            yield subject.about(
                site, f"{word.text} {what}", span=span, fix=replace_span(span, shown)
            )


RULE = LintRule(
    code="NE805",
    name="unsorted-list",
    level=Level.STYLE,
    summary="A list in another order than it is printed, or with an entry twice",
    check=check,
    default=False,
    stylistic=True,
)
