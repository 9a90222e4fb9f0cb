"""`netemu diff`: what two rule sets do differently."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from fractions import Fraction

import click

from netemu.cli.ask import by_sets
from netemu.cli.common import color_option, say_notes, wants_colour, write_output
from netemu.questions.diff import Difference, DiffResult, diff
from netemu.questions.fates import Answer, Ending
from netemu.questions.subject import BY_SETS, Subject, on_one_node
from netemu.snapshot.read import read_node
from netemu.trace.text import Paint


@click.command("diff")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--bisect", is_flag=True, help="Name the changed lines responsible for each.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; the exit code says it.")
@click.option("--ipset", metavar="FILE", help="IP sets for the rules of both.")
@color_option
def command(
    *, old: str, new: str, as_json: bool, bisect: bool, quiet: bool, ipset: str | None, color: str
) -> int:
    """Say which packets OLD and NEW treat differently: behaviour, not text.

    OLD and NEW are iptables-save texts or node snapshots. Each class of packets comes with an
    example that went through both. Exit 0 if the rules do the same, 1 if not, or if it could not
    be decided.
    """
    subjects = on_one_node(*(Subject(read_node(path, ipset=ipset)) for path in (old, new)))
    result = diff(*subjects)
    if bisect:
        subjects[0].need_walk("--bisect")
        from netemu.questions.bisect import blame

        blame(result, *subjects)
    if as_json:
        write_output(None, json.dumps(diff_object(result), indent=1, ensure_ascii=False) + "\n")
    elif not quiet:
        lines = report(result, old, new, Paint(on=wants_colour(color)))
        write_output(None, "".join(f"{line}\n" for line in lines))
        say_notes([] if subjects[0].walks else [BY_SETS])
    return int(result.equal is not True)


def diff_object(result: DiffResult) -> dict[str, object]:
    """Return the result as plain values."""
    return {
        "equal": result.equal,
        "differences": [_record(found) for found in result.differences],
        "unknown": result.unknown,
    }


def _record(found: Difference) -> dict[str, object]:
    example = found.example
    return {
        "class": found.packets,
        "given": list(found.given),
        "witness": {
            "packet": example.text,
            "in": example.device or None,
            "local": not example.device,
            "setup": [example.first] if example.first else [],
            "options": list(example.options),
            "replayed": example.replayed,
        },
        "old": _fate(found.old),
        "new": _fate(found.new),
        "lines": list(found.lines),
    }


def _fate(answer: Answer) -> dict[str, object]:
    place = answer.decided_by
    return {
        "text": answer.text,
        "verdict": answer.verdict,
        "outcomes": [
            {
                "probability": f"{share.numerator}/{share.denominator}",
                "verdict": ending.verdict,
                "reason": ending.detail,
                "dnat": ending.dnat or None,
                "snat": ending.snat.removeprefix("from ") or None,
                "mark": ending.mark,
                "effects": list(ending.effects),
            }
            for ending, share in sorted(answer.shares.items(), key=lambda item: (-item[1], item[0]))
        ],
        "decided_by": None
        if place is None
        else {"table": place.table, "chain": place.chain, "rule": place.rule, "line": place.line},
    }


def report(result: DiffResult, old: str, new: str, paint: Paint) -> Iterator[str]:
    """Yield the result for eyes."""
    count = len(result.differences)
    if result.equal:
        yield (
            f"equal: {old} and {new} do the same with every packet (verdict, NAT, marks, TOS, "
            "logs, TTL, MSS)"
        )
    elif count:
        classes = "one class of packets fares" if count == 1 else f"{count} classes of packets fare"
        yield f"{classes} differently"
    for found in result.differences:
        yield from _difference_lines(found, old, new, paint)
    if result.unknown:
        yield ""
        yield "not decided:"
    for text in result.unknown:
        yield f"  {text}"


def _difference_lines(found: Difference, old: str, new: str, paint: Paint) -> Iterator[str]:
    yield ""
    sign, tone = _sign(found)
    yield paint(f"{sign} {found.packets}", tone)
    for text in found.given:
        yield f"    where it matters: {text}"
    if len(found.old.shares) == len(found.new.shares) == 1:
        yield f"    {_side(found.old)}  ->  {_side(found.new)}"
    else:
        yield from _share_lines(found.old.shares, found.new.shares)
    for line in found.lines:
        yield f"    {line}"
    if found.example.first:
        yield f"    after: {found.example.first}, which is answered"
    if found.example.replayed:
        yield f"    try: {_try(found, new)}"
    else:
        yield f"    such as {by_sets(found.example)}"


def _share_lines(old: Mapping[Ending, Fraction], new: Mapping[Ending, Fraction]) -> Iterator[str]:
    """Yield what chance may do, with the share of each before and after."""
    endings = sorted({**old, **new}, key=lambda ending: (-old.get(ending, 0), ending))
    for ending in endings:
        before, after = old.get(ending, Fraction(0)), new.get(ending, Fraction(0))
        changed = f"{before}" if before == after else f"{before}  ->  {after}"
        yield f"    {ending.text}  {changed}"


def _sign(found: Difference) -> tuple[str, str]:
    """Return `+` for what is let through now, `-` for what is not any more, else `~`."""
    old, new = found.old.verdict, found.new.verdict
    if new == "ACCEPT" and old in {"DROP", "REJECT"}:
        return "+", "good"
    if old == "ACCEPT" and new in {"DROP", "REJECT"}:
        return "-", "bad"
    return "~", "change"


def _side(answer: Answer) -> str:
    place = answer.decided_by
    if place is None or answer.verdict == "MIXED":
        return answer.text
    where = f":{place.line}" if place.line is not None else f" {place.table}/{place.chain}"
    return f"{answer.text} ({place.table}/{place.chain}{where if place.line is not None else ''})"


def _try(found: Difference, node: str) -> str:
    example = found.example
    words = ["netemu", "trace", node, *example.options]
    words += ["--in", example.device] if example.device else ["--local"]
    return shlex.join([*words, *example.after, example.text])
