"""`netemu lint`: findings about rule files and nodes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

import netemu
from netemu.cli.common import color_option, ipset_option, wants_colour, write_output
from netemu.errors import InputError, UsageError

if TYPE_CHECKING:
    from netemu.lint.engine import Report
    from netemu.lint.settings import LintSettings
    from netemu.lint.subject import Subject
    from netemu.snapshot.subjects import Reading

FORMATS = {
    "full": "full",
    "concise": "concise",
    "json": "json_form",
    "sarif": "sarif",
    "github": "github",
    "gitlab": "gitlab",
    "junit": "junit",
}
"""Format -> its module in netemu.lint.formats."""


@click.command("lint")
@click.argument("nodes", metavar="FILE|NODE...", nargs=-1)
@click.option(
    "--output-format",
    type=click.Choice([*FORMATS]),
    help="How findings are told; full on a terminal, else concise.",
)
@click.option("--select", multiple=True, metavar="CODES", help="Only these: NE101,NE2 or ALL.")
@click.option("--extend-select", multiple=True, metavar="CODES", help="These rules besides.")
@click.option("--ignore", multiple=True, metavar="CODES", help="Not these rules.")
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "info", "style"]),
    help="Lowest level that makes the exit code 1; default warning.",
)
@click.option("--fix", is_flag=True, help="Write fixes that are proved to keep what rules do.")
@click.option("--unsafe-fixes", is_flag=True, help="Make fixes that change what rules do, too.")
@click.option("--diff", "show_diff", is_flag=True, help="Print fixes as a diff, write nothing.")
@click.option("--owned-chains", is_flag=True, help="Style in chains that programs own, too.")
@click.option("--config", metavar="FILE", help="Settings; else the nearest netemu.toml.")
@click.option("-o", "--output", metavar="FILE", help="Write the report there.")
@click.option("--rules", "list_rules", is_flag=True, help="Print the table of rules.")
@click.option(
    "--as",
    "as_kind",
    type=click.Choice(["snapshot", "sosreport", "rules"]),
    help="What NODE is, if its content does not tell.",
)
@click.option(
    "--backend",
    type=click.Choice(["legacy", "nft"]),
    help="Which tool loads the rules; of a node, which rules are looked at.",
)
@click.option("-4", "family", flag_value=4, type=int, help="FILE holds IPv4 rules.")
@click.option("-6", "family", flag_value=6, type=int, help="FILE holds IPv6 rules.")
@click.option(
    "--addr", "addresses", multiple=True, metavar="DEV=IP/LEN", help="Give a device an address."
)
@click.option(
    "--route", "routes", multiple=True, metavar="PREFIX[,via=IP][,dev=DEV]", help="Add a route."
)
@click.option("--sysctl", "sysctls", multiple=True, metavar="K=V", help="Set a parameter.")
@ipset_option
@click.option(
    "--objects",
    metavar="FILE",
    multiple=True,
    help="Kubernetes objects that NODE's rules come from, for NE320 to NE338; repeatable.",
)
@click.option("--node", "node_name", metavar="NAME", default="", help="Which of their Nodes it is.")
@color_option
def command(
    *,
    nodes: tuple[str, ...],
    output_format: str | None,
    select: tuple[str, ...],
    extend_select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str | None,
    fix: bool,
    unsafe_fixes: bool,
    show_diff: bool,
    owned_chains: bool,
    config: str | None,
    output: str | None,
    list_rules: bool,
    as_kind: str | None,
    backend: str | None,
    family: int | None,
    addresses: tuple[str, ...],
    routes: tuple[str, ...],
    sysctls: tuple[str, ...],
    ipset: str | None,
    objects: tuple[str, ...],
    node_name: str,
    color: str,
) -> int:
    """Look for faults in rule files and nodes.

    FILE is iptables-save text (`-`: standard input); of two that belong together (rules.v4
    rules.v6), ports that are open in IPv6 alone are told. Lines that would not load are findings,
    too, and the rest is read on. The exit code is 1 if there is a finding of level --fail-on or
    above. A line `# netemu: ignore=NE101 REASON` above a rule suppresses a finding, as does the
    same in the rule's --comment. `netemu explain NE101` explains a rule.

    Settings come from netemu.toml ([lint]) or pyproject.toml ([tool.netemu.lint]), the nearest
    upwards: select, extend-select, ignore, per-file-ignores, fail-on, require-reason,
    owned-chains.
    """
    if list_rules:
        write_output(output, _rule_table())
        return 0
    if not nodes:
        raise UsageError("lint needs a FILE or NODE; - is standard input")
    from netemu.cli.lint_config import find_config, read_config, settings_of
    from netemu.lint.engine import Report, look
    from netemu.snapshot.change import Changes
    from netemu.snapshot.subjects import Reading

    file, table = (config, read_config(config)) if config else find_config(Path.cwd())
    if table is None:
        raise InputError("has no table for lint; [lint] would be it", file=config or "")
    settings = settings_of(
        table,
        file,
        select=_codes(select),
        extend_select=_codes(extend_select),
        ignore=_codes(ignore),
        fail_on=fail_on,
        owned_chains=owned_chains,
    )
    reading = Reading(
        as_kind=as_kind,
        backend=backend,
        family=family,
        changes=Changes(addresses=addresses, routes=routes, sysctls=sysctls),
        ipset=ipset,
    )
    subjects = _subjects(nodes, reading)
    _tell_trace(subjects, reading)
    if objects:
        _tell_objects(subjects, objects, node_name)
    if show_diff:
        return _show_diff(subjects, settings, output, unsafe=unsafe_fixes)
    if fix or unsafe_fixes:
        subjects = _fixed(subjects, settings, unsafe=unsafe_fixes)
    report = Report(
        looked=[look(subject, settings) for subject in subjects],
        settings=settings,
        directory=str(Path.cwd()),
        version=netemu.__version__,
    )
    chosen = output_format or ("full" if output is None and sys.stdout.isatty() else "concise")
    text = _rendered(report, chosen, colour=output is None and wants_colour(color))
    if _writes_to_stdout(subjects, fix=fix or unsafe_fixes) and output is None:
        click.echo(text, nl=False, err=True)
    else:
        write_output(output, text.encode("utf-8", "surrogateescape"))
    return int(report.fails)


def _codes(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(word for value in values for word in value.replace(",", " ").split())


def _subjects(paths: Iterable[str], reading: Reading) -> list[Subject]:
    from netemu.snapshot.subjects import pair_files, read_subjects

    found = [subject for path in paths for subject in read_subjects(path, reading)]
    pair_files(found)
    return found


def _tell_trace(subjects: Iterable[Subject], reading: Reading) -> None:
    """Let a witness's command read the node as this one did."""
    words: list[str] = []
    for option, value in (
        ("--as", reading.as_kind),
        ("--backend", reading.backend),
        ("--ipset", reading.ipset),
    ):
        words += [option, value] if value is not None else []
    for option, values in (
        ("--addr", reading.changes.addresses),
        ("--route", reading.changes.routes),
        ("--sysctl", reading.changes.sysctls),
    ):
        words += [word for value in values for word in (option, value)]
    if reading.family is not None:
        words.append(f"-{reading.family}")
    for subject in subjects:
        subject.trace_words = tuple(words)
        if reading.backend is None and (len(subject.backends) > 1 or subject.native_tables):
            subject.trace_words += ("--backend", subject.backend)


def _tell_objects(subjects: Iterable[Subject], paths: Iterable[str], node_name: str) -> None:
    """Compare the rules of nodes' main namespaces with objects, before rules look at them."""
    from netemu.cli.common import say_notes
    from netemu.lint.kube_objects import KubeObjects
    from netemu.snapshot.objects import object_files, read_cluster

    cluster = read_cluster(file for path in paths for file in object_files(path))
    notes = [*cluster.notes]
    for subject in subjects:
        if subject.loads and subject.node is not None and not subject.node.main.name:
            told = KubeObjects(cluster=cluster, node_name=node_name)
            subject.objects = told
            told.compare(subject)
            notes += told.notes
    say_notes(list(dict.fromkeys(notes)))


def _rendered(report: Report, chosen: str, *, colour: bool) -> str:
    """Return the report in a format."""
    module = importlib.import_module(f"netemu.lint.formats.{FORMATS[chosen]}")
    text: str = module.render(report, colour=colour) if chosen == "full" else module.render(report)
    return text


# -- fixes -------------------------------------------------------------------------------------


def _writes_to_stdout(subjects: Iterable[Subject], *, fix: bool) -> bool:
    """Return whether the fixed text of standard input takes the place of the report."""
    return fix and any(subject.path == "-" for subject in subjects)


def _fixed(subjects: list[Subject], settings: LintSettings, *, unsafe: bool) -> list[Subject]:
    """Fix every rule file and write those that changed; a node's files are evidence and stay."""
    from netemu.lint.repair import repair

    found: list[Subject] = []
    for subject in subjects:
        if not subject.path:
            click.echo(f"note: {subject.file} is part of a node: not fixed", err=True)
            found.append(subject)
            continue
        done = repair(subject, settings, unsafe=unsafe)
        if done.unproved:
            click.echo(
                f"note: {subject.file}: {done.unproved} fixes were not made, since it is not "
                "proved that the rules then do the same",
                err=True,
            )
        if done.fixed:
            click.echo(f"{subject.file}: {done.fixed} fixed", err=True)
        if subject.path == "-" or done.subject.text != subject.text:
            write_output(subject.path, done.subject.text.encode("utf-8", "surrogateescape"))
        found.append(done.subject)
    return found


def _show_diff(
    subjects: list[Subject], settings: LintSettings, output: str | None, *, unsafe: bool
) -> int:
    import difflib

    from netemu.lint.repair import repair

    lines: list[str] = []
    for subject in subjects:
        if not subject.path:
            continue
        after = repair(subject, settings, unsafe=unsafe).subject.text
        lines += difflib.unified_diff(
            subject.text.splitlines(keepends=True),
            after.splitlines(keepends=True),
            subject.file,
            subject.file,
        )
    write_output(output, "".join(lines).encode("utf-8", "surrogateescape"))
    return int(bool(lines))


def _rule_table() -> str:
    """Return the code table."""
    from netemu.lint.codes import RULES

    width = max(len(rule.name) for rule in RULES)
    return "".join(
        f"{rule.code}  {rule.level.word:7}  {rule.name:{width}}  {rule.summary}"
        f"{'' if rule.default else ' (only when selected)'}\n"
        for rule in RULES
    )
