"""Text of `ip route show table all` and `ip rule` into records.

Tool: iproute2 ip/iproute.c, ip/iprule.c. A multipath route goes on in lines that begin with a tab
and `nexthop`.
"""

from __future__ import annotations

import re

from netemu.snapshot.document import Document
from netemu.snapshot.records import NexthopRecord, RouteRecord, RuleRecord, Via
from netemu.snapshot.text_neigh import word_after

KINDS = frozenset(
    {
        "unicast",
        "local",
        "broadcast",
        "multicast",
        "anycast",
        "blackhole",
        "unreachable",
        "prohibit",
        "throw",
        "nat",
    }
)
"""First words of routes that say their type; unicast is not printed."""

ACTIONS = frozenset({"blackhole", "unreachable", "prohibit"})

_RULE = re.compile(r"^(?P<priority>\d+):\s+(?P<rest>.*)$")


def route_records(document: Document) -> list[RouteRecord]:
    """Return the routes."""
    found: list[RouteRecord] = []
    for number, line in enumerate(document.text.splitlines(), 1):
        words = line.split()
        if not words:
            continue
        if words[0] == "nexthop":
            if not found:
                raise document.line_error(number, "a nexthop stands before any route")
            found[-1].nexthops.append(_nexthop(document, number, words))
        else:
            found.append(_route(document, number, words))
    return found


def _route(document: Document, number: int, words: list[str]) -> RouteRecord:
    kind = words.pop(0) if words[0] in KINDS else "unicast"
    if not words:
        raise document.line_error(number, "a route without destination", kind)
    way = _nexthop(document, number, words)
    mtu = word_after([word for word in words if word != "lock"], "mtu")
    return RouteRecord(
        dst=words[0],
        type=kind,
        gateway=way.gateway,
        via=way.via,
        dev=way.dev,
        flags=way.flags,
        table=word_after(words, "table") or "main",
        protocol=word_after(words, "proto"),
        scope=word_after(words, "scope") or "global",
        prefsrc=word_after(words, "src"),
        metric=document.whole_number(number, word_after(words, "metric")),
        tos=word_after(words, "tos") or "0",
        metrics=[{"mtu": document.whole_number(number, mtu)}] if mtu else [],
        encap=word_after(words, "encap"),
    )


def _nexthop(document: Document, number: int, words: list[str]) -> NexthopRecord:
    gateway = word_after(words, "via")
    via = None
    if gateway in {"inet", "inet6"}:
        via = Via(host=word_after(words, gateway))
        gateway = ""
    return NexthopRecord(
        gateway=gateway,
        via=via,
        dev=word_after(words, "dev"),
        weight=document.whole_number(number, word_after(words, "weight"), 1),
        flags=["onlink"] if "onlink" in words else [],
    )


def rule_records(document: Document) -> list[RuleRecord]:
    """Return the policy rules."""
    found: list[RuleRecord] = []
    for number, line in enumerate(document.text.splitlines(), 1):
        if not line.strip():
            continue
        match = _RULE.match(line)
        if not match:
            raise document.line_error(number, "this is no line of `ip rule`")
        found.append(_rule(document, number, int(match["priority"]), match["rest"].split()))
    return found


def _rule(document: Document, number: int, priority: int, words: list[str]) -> RuleRecord:
    record = RuleRecord(priority=priority)

    def whole(name: str) -> int | None:
        text = word_after(words, name)
        return document.whole_number(number, text) if text else None

    def ports(name: str) -> tuple[int | None, int | None]:
        low, dash, high = word_after(words, name).partition("-")
        if not low:
            return None, None
        first = document.whole_number(number, low)
        return first, document.whole_number(number, high) if dash else first

    if words[:1] == ["not"]:
        record.inverted = None
    record.src, _, source_length = (word_after(words, "from") or "all").partition("/")
    record.dst, _, destination_length = (word_after(words, "to") or "all").partition("/")
    record.srclen = document.whole_number(number, source_length) if source_length else None
    record.dstlen = (
        document.whole_number(number, destination_length) if destination_length else None
    )
    record.iif, record.oif = word_after(words, "iif"), word_after(words, "oif")
    if mark := word_after(words, "fwmark"):
        record.fwmark, _, mask = mark.partition("/")
        record.fwmask = mask or None
    record.tos = word_after(words, "tos") or word_after(words, "dsfield") or "0"
    record.ipproto = word_after(words, "ipproto")
    record.sport_start, record.sport_end = ports("sport")
    record.dport_start, record.dport_end = ports("dport")
    record.table = word_after(words, "lookup") or None
    record.action = next((word for word in words if word in ACTIONS), "")
    record.goto = whole("goto")
    record.suppress_prefixlen = whole("suppress_prefixlength")
    _foreign(record, words)
    return record


def _foreign(record: RuleRecord, words: list[str]) -> None:
    if "nop" in words:
        record.nop = None
    if "uidrange" in words:
        record.uid_start = 0
    if "l3mdev" in words or "[l3mdev-table]" in words:
        record.l3mdev = None
    if "suppress_ifgroup" in words:
        record.suppress_ifgroup = word_after(words, "suppress_ifgroup")
    record.tun_id = word_after(words, "tun_id") or None
