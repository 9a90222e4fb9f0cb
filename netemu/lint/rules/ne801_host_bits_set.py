"""A network whose address has bits behind the mask.

Kernel: none.

What it does: Finds `-s` and `-d` values such as 10.1.2.3/8, of which the kernel keeps 10.0.0.0/8.

Why it matters: The rule matches the whole network, not the address that one reads; often /32 was
meant, or the mask is a slip.

Example:
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -s 10.1.2.3/8 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -s 10.0.0.0/8 -j ACCEPT
    COMMIT

References: iptables(8), --source; xtables_ipparse_multiple in libxtables.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from netemu.errors import RulesetError
from netemu.lint.edits import replace_span
from netemu.lint.finding import Finding, Level, Span
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.xtables.addresses import read_network, show_network
from netemu.wire.address import parse_address

_OPTIONS = frozenset({"-s", "-d", "--source", "--destination", "--src", "--dst"})


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each value of which the kernel keeps less than is written."""
    done: set[int] = set()
    for site in subject.sites:
        line = site.rule.line
        if line is None or line in done or "/" not in subject.lines[line - 1]:
            continue
        done.add(line)
        words = subject.words(line)
        for option, value in pairwise(words):
            if option.text not in _OPTIONS:
                continue
            for text, column in _parts(value.text, value.column):
                kept = _kept(subject, text)
                if kept and kept != text:
                    span = Span(
                        line=line, column=column, end_line=line, end_column=column + len(text)
                    )
                    yield subject.about(
                        site,
                        f"{text} has bits behind its mask: the kernel keeps {kept}",
                        span=span,
                        fix=replace_span(span, kept),
                    )


def _parts(value: str, column: int) -> Iterator[tuple[str, int]]:
    """Yield the addresses of a list with their columns."""
    for part in value.split(","):
        yield part, column
        column += len(part) + 1


def _kept(subject: Subject, text: str) -> str:
    """Return what the kernel keeps of `ADDRESS/MASK`; empty if no bit is lost."""
    address, slash, _ = text.partition("/")
    try:
        network = read_network(text, subject.family)
        written = parse_address(address)
    except (RulesetError, ValueError):
        return ""
    if not slash or written == network.address:
        return ""
    return show_network(network.address, network.mask)


RULE = LintRule(
    code="NE801",
    name="host-bits-set",
    level=Level.INFO,
    summary="A network whose address has bits behind the mask",
    check=check,
    stylistic=True,
)
