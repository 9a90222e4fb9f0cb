"""`netemu fmt`: a rule file as iptables-save prints it once iptables-restore has loaded it."""

from __future__ import annotations

import difflib
import re

import click

from netemu.cli.common import write_output
from netemu.cli.rule_text import chosen_family, family_options, read_rule_text, shown_name
from netemu.ruleset import parse_ruleset, print_ruleset
from netemu.ruleset.nft import forget_counters

_RULE_COUNTERS = re.compile(r"^\[[0-9]+:[0-9]+\] ?(?=-)")
_POLICY_COUNTERS = re.compile(r"^(:\S+ \S+ )\[[0-9]+:[0-9]+\]")


@click.command("fmt")
@click.argument("file", metavar="FILE")
@click.option("--check", is_flag=True, help="Print what would change; exit 1 if anything would.")
@click.option("-c", "--counters", is_flag=True, help="Keep counters, as -c of both tools does.")
@family_options
def command(*, file: str, check: bool, counters: bool, family: int | None, nft: bool) -> int:
    """Print FILE as iptables-save would print it after iptables-restore has loaded it.

    Tables keep the order of the file; lines with dates are left out, as are comments. It stops at
    the first line that would not load (exit 3). The family is that of the header or of the
    addresses, unless -4 or -6 says it. With --check nothing is printed but the difference, and
    comments are not compared, nor, without -c, counters.
    """
    text = read_rule_text(file)
    backend = "nft" if nft else "legacy"
    ruleset = parse_ruleset(
        text,
        shown_name(file),
        family=chosen_family(text, family),
        backend=backend,
        counters=counters,
    )
    if nft:
        forget_counters(ruleset)
    printed = print_ruleset(ruleset, counters=counters, backend=backend)
    if not check:
        write_output(None, printed.encode("utf-8", "surrogateescape"))
        return 0
    before = _compared(text, counters=counters)
    after = [f"{line}\n" for line in printed.split("\n")[:-1]]
    changes = list(difflib.unified_diff(before, after, shown_name(file), "as iptables-save prints"))
    write_output(None, "".join(changes).encode("utf-8", "surrogateescape"))
    return int(bool(changes))


def _compared(text: str, *, counters: bool) -> list[str]:
    """Return the lines of a file that --check compares."""
    lines = [f"{line}\n" for line in text.split("\n") if not line.startswith("#")]
    if lines and lines[-1] == "\n":
        lines.pop()
    if counters:
        return lines
    return [_POLICY_COUNTERS.sub(r"\1[0:0]", _RULE_COUNTERS.sub("", line)) for line in lines]
