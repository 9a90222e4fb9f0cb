"""A condition that every packet fulfils.

Kernel: none.

What it does: Finds conditions that are written and ask nothing: `-s 0.0.0.0/0`, `-d ::/0`, `-i +`,
`-p all`, ports 0:65535. iptables-save leaves them out.

Why it matters: They look as if they narrowed the rule.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -s 0.0.0.0/0 -p tcp --dport 22 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT

References: iptables(8); save_rule4 in iptables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from netemu.lint.finding import Edit, Finding, Fix, Level, Span
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject

_ADDRESS = re.compile(r"(?:0(?:\.0){0,3}|::)/(?:0|0\.0\.0\.0|::)")
_ANY = {
    "-s": _ADDRESS,
    "--source": _ADDRESS,
    "--src": _ADDRESS,
    "-d": _ADDRESS,
    "--destination": _ADDRESS,
    "--dst": _ADDRESS,
    "-i": re.compile(r"\+"),
    "--in-interface": re.compile(r"\+"),
    "-o": re.compile(r"\+"),
    "--out-interface": re.compile(r"\+"),
    "-p": re.compile(r"all|0"),
    "--protocol": re.compile(r"all|0"),
    "--sport": re.compile(r"0?:65535|0:"),
    "--source-port": re.compile(r"0?:65535|0:"),
    "--dport": re.compile(r"0?:65535|0:"),
    "--destination-port": re.compile(r"0?:65535|0:"),
}
"""Option -> the values that ask nothing."""

_QUICK = re.compile(r"/0|\+|\ball\b|-p 0|:65535|0:")


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each option that asks nothing."""
    done: set[int] = set()
    for site in subject.sites:
        line = site.rule.line
        if line is None or line in done or not _QUICK.search(subject.lines[line - 1]):
            continue
        done.add(line)
        words = subject.words(line)
        for number, (option, value) in enumerate(pairwise(words)):
            asked = _ANY.get(option.text)
            if asked is None or not asked.fullmatch(value.text):
                continue
            if number and words[number - 1].text == "!":
                continue
            end = subject.word_span(line, value.column).end_column
            span = Span(line=line, column=option.column, end_line=line, end_column=end)
            whole = Span(line=line, column=option.column, end_line=line, end_column=end + 1)
            written = f"{option.text} {value.text}"
            fix = Fix(
                message=f"leave out `{written}`", edits=(Edit(span=whole, text=""),), safe=True
            )
            yield subject.about(
                site, f"`{written}` asks nothing: every packet fulfils it", span=span, fix=fix
            )


RULE = LintRule(
    code="NE804",
    name="needless-any",
    level=Level.STYLE,
    summary="A condition that every packet fulfils",
    check=check,
    stylistic=True,
)
