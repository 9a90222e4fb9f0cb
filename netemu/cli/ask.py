"""`netemu ask`: questions about all packets of a class, and who may talk to whom."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator

import click

from netemu.analysis.bdd import ALL
from netemu.analysis.example import Example
from netemu.analysis.question import parse_class, parse_question
from netemu.cli.common import NodeOptions, node_options, say_notes, write_output
from netemu.questions.ask import Found, Known, Reply, ask
from netemu.questions.fates import Answer
from netemu.questions.matrix import Cell, matrix
from netemu.questions.subject import Subject

MATRIX = "matrix"


@click.command("ask")
@node_options
@click.argument("question", metavar="QUESTION", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(question: tuple[str, ...], *, as_json: bool, **node: object) -> int:
    """Ask about all packets of a class at once.

    \b
    reach CLASS [FATE]    is there a packet of the class that comes to this fate?
    never CLASS [FATE]    is there none?
    always CLASS [FATE]   do all of them?
    matrix [CLASS]        who may open connections to whom, on which ports?

    \b
    CLASS   PROTOCOL SOURCE > DESTINATION CONDITION...
            tcp any > 172.17.0.0/16:22     udp !10.0.0.0/8 > any:53,5353 in eth0
            conditions: in DEV  out DEV  local  ct STATE|any  type T[/CODE]
            flags SYN[/SYN,ACK]  mark V[/M]  ttl N  tos N  len N
    FATE    accept (if left out), drop, reject, queue; with dnat A[:PORT], snat A,
            masquerade, by CHAIN[:RULE] or by :LINE

    Classes are of packets that open connections and come in by a device unless they say `ct` or
    `local`. Exit 0 if it is so, 1 if not or if it could not be decided.
    """  # noqa: D301 - \b is a character to click
    options = NodeOptions(**node)  # type: ignore[arg-type]
    spec = options.read()
    subject = Subject(spec, kernel=options.kernel, seed=options.seed)
    text = " ".join(question)
    if question[0].split()[0] == MATRIX:
        return _matrix(subject, text, as_json=as_json)
    reply = ask(subject, parse_question(text))
    if as_json:
        write_output(None, json.dumps(_record(reply), indent=1, ensure_ascii=False) + "\n")
    else:
        lines = _lines(reply, options.node)
        write_output(None, "".join(f"{line}\n" for line in lines))
        say_notes(reply.notes)
    return int(reply.holds is not True)


def _record(reply: Reply) -> dict[str, object]:
    return {
        "question": reply.question.text,
        "answer": reply.holds,
        "classes": [
            {
                "class": found.packets,
                "fate": found.answer.text,
                "witness": witness_object(found.example),
            }
            for found in reply.found
        ],
        "more": reply.more,
        "unknown": reply.unknown,
    }


def witness_object(example: Example) -> dict[str, object]:
    """Return an example as plain values."""
    return {
        "packet": example.text,
        "in": example.device or None,
        "local": not example.device,
        "setup": [example.first] if example.first else [],
        "replayed": example.replayed,
    }


def _lines(reply: Reply, node: str) -> Iterator[str]:
    kind = reply.question.kind
    if reply.holds is None:
        yield "not decided"
    elif reply.found:
        yield "yes" if reply.holds else "no"
    elif kind == "reach":
        yield "no: there is no such packet (proved for all that is modelled)"
    else:
        yield "yes: proved for all packets, as far as the rules are modelled"
    for found in reply.found:
        yield from _found_lines(found, node)
    if reply.more:
        yield "and more classes"
    for text in reply.unknown:
        yield f"  {text}"


def _found_lines(found: Found, node: str) -> Iterable[str]:
    example = found.example
    yield f"  {found.packets}"
    yield f"      {found.answer.text}{decided(found.answer)}"
    if example.first:
        yield f"      after: {example.first}"
    if not example.replayed:
        yield f"      such as {by_sets(example)}"
        return
    way = ["--in", example.device] if example.device else ["--local"]
    yield f"      try: {shlex.join(['netemu', 'trace', node, *way, *example.after, example.text])}"


def by_sets(example: Example) -> str:
    """Write an example that was not sent."""
    by = f"in {example.device}" if example.device else "from the node itself"
    return f"{example.text} {by} (by the analysis; IPv6 packets are not replayed)"


def decided(answer: Answer) -> str:
    """Return the rule that decided, in brackets."""
    place = answer.decided_by
    if place is None or answer.verdict == "MIXED":
        return ""
    line = f":{place.line}" if place.line is not None else ""
    return f" ({place.table}/{place.chain}{line})"


def _matrix(subject: Subject, text: str, *, as_json: bool) -> int:
    subject.need_walk("matrix")
    known = Known(subject)
    asked = ALL
    if text.split() != [MATRIX]:
        asked = parse_class(text, behind=MATRIX).packets(known.read)
    cells = matrix(known, asked)
    if as_json:
        found = [
            {"from": cell.source, "to": cell.destination, "services": list(cell.services)}
            for cell in cells
        ]
        write_output(None, json.dumps({"matrix": found}, indent=1) + "\n")
    else:
        write_output(None, "".join(f"{line}\n" for line in _matrix_lines(cells)))
        say_notes(subject.spec.notes[:1] if subject.spec.assumed else [])
    return 0


def _matrix_lines(cells: list[Cell]) -> Iterator[str]:
    width = max(len(cell.source) for cell in cells)
    other = max(len(cell.destination) for cell in cells)
    for cell in cells:
        what = "; ".join(cell.services) or "-"
        yield f"{cell.source:<{width}}  ->  {cell.destination:<{other}}  {what}"
