"""`netemu lint`: findings about rule files and nodes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from netemu.cli.common import color_option, wants_colour, write_output
from netemu.errors import UsageError

if TYPE_CHECKING:
    from netemu.lint.engine import Report
    from netemu.lint.subject import Subject

FORMATS = ("full", "concise", "json")


@click.command("lint")
@click.argument("nodes", metavar="FILE|NODE...", nargs=-1)
@click.option(
    "--output-format",
    type=click.Choice(FORMATS),
    help="How findings are told; full on a terminal, else concise.",
)
@click.option(
    "--select", multiple=True, metavar="CODES", help="Only these rules: NE101,NE2 or ALL."
)
@click.option("--extend-select", multiple=True, metavar="CODES", help="These rules besides.")
@click.option("--ignore", multiple=True, metavar="CODES", help="Not these rules.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "info", "style"]),
    help="Lowest level that makes the exit code 1; default warning.",
)
@click.option("--owned-chains", is_flag=True, help="Style in chains that programs own, too.")
@click.option("-o", "--output", metavar="FILE", help="Write the report there.")
@click.option("--rules", "list_rules", is_flag=True, help="Print the table of rules.")
@click.option("--as", "as_kind", type=click.Choice(["snapshot", "sosreport", "rules"]), hidden=True)
@click.option(
    "--backend",
    type=click.Choice(["legacy", "nft"]),
    help="Which tool loads the rules; of a node: which rules are looked at.",
)
@click.option("-4", "family", flag_value=4, type=int, help="FILE holds IPv4 rules.")
@click.option("-6", "family", flag_value=6, type=int, help="FILE holds IPv6 rules.")
@color_option
def command(
    *,
    nodes: tuple[str, ...],
    output_format: str | None,
    select: tuple[str, ...],
    extend_select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str | None,
    owned_chains: bool,
    output: str | None,
    list_rules: bool,
    as_kind: str | None,
    backend: str | None,
    family: int | None,
    color: str,
) -> int:
    """Look for faults in rule files and nodes; every finding about packets names one.

    FILE is iptables-save text (`-`: standard input). Lines that would not load are findings, too,
    and the rest is read on. The exit code is 1 if there is a finding of level --fail-on or above.
    A comment line `# netemu: ignore=NE101 reason` above a rule, or in its --comment, suppresses.
    `netemu explain NE101` explains a rule.
    """
    if list_rules:
        write_output(output, _rule_table())
        return 0
    if not nodes:
        raise UsageError("lint needs a FILE or NODE; - is standard input")
    from netemu.lint.engine import Report, look
    from netemu.lint.settings import LintSettings, level_of

    settings = LintSettings(
        select=_codes(select),
        extend_select=_codes(extend_select),
        ignore=_codes(ignore),
        fail_on=level_of(fail_on or "warning"),
        owned_chains=owned_chains,
    )
    subjects = [
        subject
        for node in nodes
        for subject in _subjects(node, as_kind=as_kind, backend=backend, family=family)
    ]
    report = Report(
        looked=[look(subject, settings) for subject in subjects],
        settings=settings,
        directory=str(Path.cwd()),
    )
    chosen = output_format or ("full" if output is None and sys.stdout.isatty() else "concise")
    text = _rendered(report, chosen, colour=output is None and wants_colour(color))
    write_output(output, text.encode("utf-8", "surrogateescape"))
    return int(report.fails)


def _codes(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in value.replace(",", " ").split())


def _subjects(
    path: str, *, as_kind: str | None, backend: str | None, family: int | None
) -> list[Subject]:
    """Return the rule files of one FILE or NODE."""
    from netemu.cli.rule_text import chosen_family, read_rule_text, shown_name
    from netemu.lint.subject import Subject
    from netemu.snapshot.read_rules import backend_of

    text = read_rule_text(path)
    return [
        Subject(
            text,
            shown_name(path),
            family=chosen_family(text, family),
            backend=backend or backend_of(text),
        )
    ]


def _rendered(report: Report, chosen: str, *, colour: bool) -> str:
    """Return the report in a format."""
    if chosen == "full":
        from netemu.lint.formats import full

        return full.render(report, colour=colour)
    if chosen == "json":
        from netemu.lint.formats import json_form

        return json_form.render(report)
    from netemu.lint.formats import concise

    return concise.render(report)


def _rule_table() -> str:
    """Return the code table."""
    from netemu.lint.codes import RULES

    width = max(len(rule.name) for rule in RULES)
    return "".join(
        f"{rule.code}  {rule.level.word:7}  {rule.name:{width}}  {rule.summary}"
        f"{'' if rule.default else ' (only when selected)'}\n"
        for rule in RULES
    )
