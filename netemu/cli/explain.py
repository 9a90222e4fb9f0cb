"""`netemu explain`: an extension or lint rule from its declaration, or a rule of a file."""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable, Iterator
from types import ModuleType

import click

from netemu.cli.rule_text import chosen_family, family_options, read_rule_text, shown_name
from netemu.errors import RulesetError, UsageError
from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.ipvs.scheduler import PLAIN_FLAGS, Scheduler
from netemu.netfilter.ipvs.schedulers import BY_NAME
from netemu.netfilter.xtables.kit import Extension
from netemu.netfilter.xtables.model import Ruleset
from netemu.ruleset import parse_ruleset
from netemu.ruleset.wording import chain_lines, extension_lines, rule_lines

WIDTH = 100

_PLACE = re.compile(r"(.+):([0-9]+)")
_LINT = re.compile(r"NE[0-9]{3}", re.IGNORECASE)


@click.command("explain")
@click.argument("subject", metavar="NAME|FILE:LINE")
@family_options
def command(*, subject: str, family: int | None, nft: bool) -> None:
    """Explain a match, target, scheduler or lint rule, or say a rule of a file in words.

    NAME is what stands behind -m or -j (`statistic`, `DNAT`), or behind ipvsadm's -s (`wlc`), or
    a lint rule's code (`NE101`).
    FILE:LINE is a line of a rule file that holds a rule, or declares a chain.
    """
    place = _PLACE.fullmatch(subject)
    if _LINT.fullmatch(subject):
        lines = _lint_lines(subject)
    elif place is None:
        lines = _pages(subject)
    else:
        lines = _place_lines(place[1], int(place[2]), family, backend="nft" if nft else "legacy")
    for line in lines:
        for row in _wrapped(line):
            click.echo(row)


def _lint_lines(code: str) -> Iterator[str]:
    from netemu.lint.page import find_rule, page_lines

    rule = find_rule(code)
    if rule is None:
        raise UsageError(f"{code} is no lint rule; `netemu lint --rules` lists them")
    return page_lines(rule)


def _wrapped(line: str) -> Iterable[str]:
    """Break what is longer than a row, below where its text begins."""
    indent = len(line) - len(line.lstrip())
    columns = [found.end() for found in re.finditer(r"  +(?=\S)", line)]
    if line[indent:].startswith(("- ", "=> ")):
        columns = [line.index(" ", indent) + 1]
    hang = " " * (columns[-1] if columns else indent)
    if not indent or line.startswith("  -A "):
        return [line]
    return textwrap.wrap(line, WIDTH, subsequent_indent=hang, break_on_hyphens=False) or [""]


def _pages(name: str) -> Iterator[str]:
    """Yield a page for each match and target of a name; small letters will do for capitals."""
    known = [*EXTENSIONS.matches, *EXTENSIONS.targets]
    found = [one for one in known if one.name == name]
    found = found or [one for one in known if one.name.lower() == name.lower()]
    scheduler = BY_NAME.get(name)
    if not found and scheduler is None:
        names = sorted({one.name for one in known} | BY_NAME.keys())
        near = difflib.get_close_matches(name, names)
        hint = f"; near are {', '.join(near)}" if near else ""
        raise UsageError(f"{name!r} is no match, target or scheduler, and no FILE:LINE{hint}")
    for number, extension in enumerate(found):
        if number:
            yield ""
        yield from extension_lines(extension, _module_of(extension))
    if scheduler is not None:
        if found:
            yield ""
        yield from _scheduler_lines(scheduler)


def _scheduler_lines(scheduler: Scheduler) -> Iterator[str]:
    yield f"{scheduler.name}  scheduler of IPVS, net/netfilter/ipvs/{scheduler.kernel}"
    yield f"  {scheduler.duty}"
    if scheduler.flags != PLAIN_FLAGS:
        fallback, port = scheduler.flags
        yield f"  ipvsadm -b {fallback}: another server when that one takes no connections"
        yield f"  ipvsadm -b {port}: the client's port counts, too"


def _module_of(extension: Extension) -> ModuleType | None:
    for module in EXTENSIONS.modules:
        if extension in (*getattr(module, "MATCHES", ()), *getattr(module, "TARGETS", ())):
            return module
    return None


def _place_lines(path: str, line: int, family: int | None, *, backend: str) -> Iterator[str]:
    text = read_rule_text(path)
    name = shown_name(path)
    ruleset = parse_ruleset(text, name, family=chosen_family(text, family), backend=backend)
    found = list(_line_of(ruleset, line))
    if not found:
        raise RulesetError(
            "no rule and no chain stands here; a line with -A, or one like `:CHAIN - [0:0]`, would "
            "do",
            file=name,
            line=line,
        )
    yield f"{name}:{line}: {found[0]}"
    yield from found[1:]


def _line_of(ruleset: Ruleset, line: int) -> Iterator[str]:
    for table in ruleset.tables:
        for chain in table.chains.values():
            for rule in chain.rules:
                if rule.line == line:
                    yield from rule_lines(table, chain, rule)
            if chain.line == line and table.line != line:
                yield from chain_lines(table, chain)
