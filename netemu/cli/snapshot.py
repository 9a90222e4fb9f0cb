"""`netemu snapshot`: take a node's snapshot, print the script that does, or check one."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import click

from netemu.errors import UsageError
from netemu.snapshot.check import Report, check
from netemu.snapshot.read_rules import BACKENDS
from netemu.snapshot.redact import Redactor
from netemu.snapshot.script import script
from netemu.snapshot.source import open_tree
from netemu.snapshot.take import Taken, save, take


@click.command(name="snapshot")
@click.option("--all-netns", is_flag=True, help="Take every other network namespace too.")
@click.option("--redact", is_flag=True, help="Replace public addresses, host names and comments.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Directory to write; HOST.snap by default.",
)
@click.option("--script", "print_script", is_flag=True, help="Print a POSIX sh script instead.")
@click.option("--check", "checked", metavar="NODE", help="Say what a snapshot has and lacks.")
@click.option("--backend", type=click.Choice(BACKENDS), help="Rules to evaluate, for --check.")
@click.option("--from", "origin", metavar="NODE", help="Redact this snapshot; take none.")
def command(
    *,
    all_netns: bool,
    redact: bool,
    output: Path | None,
    print_script: bool,
    checked: str | None,
    backend: str | None,
    origin: str | None,
) -> None:
    """Take a snapshot of this node: a directory with the output of ip, iptables-save and others.

    Nothing is changed on the node. With --script, a POSIX sh script that does the same is printed,
    for nodes without netemu. With --check NODE, the doctor says what a snapshot has, what it lacks
    and what that disables; it exits 1 when something lacks or contradicts.
    """
    _refuse_mixed(all_netns=all_netns, redact=redact, print_script=print_script, checked=checked)
    if print_script:
        click.echo(script(), nl=False)
    elif checked is not None:
        report = check(checked, backend=backend)
        _show(report)
        sys.exit(report.exit_code)
    else:
        host = socket.gethostname()
        taken = _stored(origin) if origin else take(all_netns=all_netns)
        if redact:
            names = (host, host.partition(".")[0])
            taken.files = Redactor(names=names).files(taken.files)
        directory = output or Path(f"{'redacted' if redact else host}.snap")
        save(taken, directory)
        click.echo(f"{directory}: {len(taken.files)} files", err=True)


def _refuse_mixed(
    *, all_netns: bool, redact: bool, print_script: bool, checked: str | None
) -> None:
    if print_script and checked is not None:
        message = "--script and --check exclude each other"
        raise UsageError(message)
    if (print_script or checked is not None) and (all_netns or redact):
        message = (
            "--all-netns and --redact are for taking a snapshot; the script takes --all-netns "
            "itself, and --redact --from DIRECTORY redacts what it took"
        )
        raise UsageError(message)


def _stored(origin: str) -> Taken:
    tree = open_tree(origin)
    files = {
        f"netns/{namespace}/{name}" if namespace else name: file.text()
        for namespace, held in tree.files.items()
        for name, file in held.items()
    }
    return Taken(files=files)


def _show(report: Report) -> None:
    several = any(row.namespace for row in report.rows)
    width = max((len(row.file) for row in report.rows), default=0)
    current: str | None = None
    for row in report.rows:
        if several and row.namespace != current:
            current = row.namespace
            click.echo(f"netns/{current}" if current else "main namespace")
        if row.file:
            click.echo(f"  {row.file:<{width}}  {row.content}")
    sections = {
        "Cannot be read": report.unreadable,
        "Lacks": report.lacks,
        "Contradicts itself": report.contradictions,
        "Notes": report.notes,
    }
    for title, sentences in sections.items():
        if sentences:
            click.echo(f"\n{title}:")
            for sentence in sentences:
                click.echo(f"  - {sentence}")
    if not (report.unreadable or report.lacks or report.contradictions):
        click.echo("\nNothing lacks, nothing contradicts.")
