"""`iptables -nvL` listings into iptables-save text: what a sosreport has of a host's rules.

Tool: iptables iptables/iptables.c (print_firewall, print_header). A listing is lossy: counters are
rounded without `-x`, and the order of the options is lost, which means nothing to the kernel. A
phrase that is not known raises: a rule is never left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netemu.errors import SnapshotError
from netemu.snapshot.document import Document
from netemu.snapshot.listing_words import MATCHES, TARGETS, Phrase
from netemu.snapshot.values import PROTOCOL_NAMES

_CHAIN = re.compile(
    r"^Chain (?P<name>\S+) \((?:policy (?P<policy>\S+) (?P<packets>\S+) packets, "
    r"(?P<octets>\S+) bytes|\d+ references)\)"
)
_RULE = re.compile(
    r"^ *(?P<packets>\d+[KMGT]?) +(?P<octets>\d+[KMGT]?) (?:(?P<target>\S+)| {10}) +"
    r"(?P<protocol>!?\w[\w-]*) +(?P<fragment>--|-f|!f) +(?P<in>\S+) +(?P<out>\S+) +"
    r"(?P<source>\S+) +(?P<destination>\S+) *(?P<rest>.*?) *$"
)
_UNITS = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_ANYWHERE = frozenset({"0.0.0.0/0", "::/0", "anywhere"})
_ALL_PROTOCOLS = frozenset({"0", "all"})


def table_text(document: Document, table: str) -> str:
    """Return a listing of one table as iptables-save prints that table."""
    chains: list[str] = []
    rules: list[str] = []
    current = ""
    for number, line in enumerate(document.text.splitlines(), 1):
        if chain := _CHAIN.match(line):
            current = chain["name"]
            counters = f"[{_count(chain['packets'])}:{_count(chain['octets'])}]"
            chains.append(f":{current} {chain['policy'] or '-'} {counters}")
        elif not line.strip() or line.split()[:2] == ["pkts", "bytes"]:
            continue
        elif (rule := _RULE.match(line)) and current:
            rules.append(" ".join(_words(document, number, line, rule, current)))
        else:
            raise document.line_error(number, "this is no line of `iptables -nvL`")
    return "\n".join([f"*{table}", *chains, *rules, "COMMIT", ""])


def _count(text: str | None) -> int:
    """Return a counter; K, M, G and T are powers of ten, as iptables rounds them."""
    if not text:
        return 0
    unit = _UNITS.get(text[-1])
    return int(text[:-1]) * unit if unit else int(text)


def _words(
    document: Document, number: int, line: str, rule: re.Match[str], chain: str
) -> Iterator[str]:
    yield f"[{_count(rule['packets'])}:{_count(rule['octets'])}] -A {chain}"
    for option, group in (("-s", "source"), ("-d", "destination")):
        if rule[group] not in _ANYWHERE:
            yield _inverted(option, rule[group])
    for option, group in (("-i", "in"), ("-o", "out")):
        if rule[group] not in {"*", "any"}:
            yield _inverted(option, rule[group])
    yield from _protocol(rule["protocol"])
    if rule["fragment"] != "--":
        yield "! -f" if rule["fragment"] == "!f" else "-f"
    target = rule["target"] or ""
    matches, options, goto = _phrases(document, number, line, rule["rest"], target)
    yield from matches
    if target:
        yield f"{'-g' if goto else '-j'} {target}"
        yield from filter(None, options)


def _inverted(option: str, value: str) -> str:
    return f"! {option} {value[1:]}" if value.startswith("!") else f"{option} {value}"


def _protocol(text: str) -> Iterator[str]:
    inverted, name = text.startswith("!"), text.removeprefix("!")
    if name in _ALL_PROTOCOLS:
        return
    known = PROTOCOL_NAMES.get(int(name), name) if name.isdecimal() else name
    yield _inverted("-p", f"!{known}" if inverted else known)


def _phrases(
    document: Document, number: int, line: str, rest: str, target: str
) -> tuple[list[str], list[str], bool]:
    """Return the options of matches, those of the target, and whether it is a goto."""
    matches: list[str] = []
    options: list[str] = []
    goto = False
    while rest:
        if rest.startswith("[goto]"):
            goto, rest = True, rest[6:].lstrip()
            continue
        # Matches come first: after the first phrase of the target there are only its own.
        found = None if options else _eat(rest, MATCHES, matches)
        found = found or _eat(rest, TARGETS.get(target, ()), options)
        if not found:
            raise _unknown(document, number, line, rest)
        rest = rest[found:].lstrip()
    return matches, options, goto


def _eat(text: str, phrases: tuple[Phrase, ...], into: list[str]) -> int:
    """Append what the first fitting phrase stands for; return how many characters it took."""
    for phrase in phrases:
        found = phrase.pattern.match(text)
        if found and found.end():
            into.append(phrase.convert(found))
            return found.end()
    return 0


def _unknown(document: Document, number: int, line: str, rest: str) -> SnapshotError:
    return SnapshotError(
        "netemu cannot read this part of a listing; `iptables-save -c` is needed",
        file=document.name,
        line=number,
        column=line.rfind(rest) + 1,
        context=line,
    )
