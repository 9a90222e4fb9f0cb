"""Rows of `conntrack -L` as commands that put such entries into a live kernel.

Kernel: net/netfilter/nf_conntrack_netlink.c (ctnetlink_create_conntrack, ctnetlink_setup_nat).
"""

from __future__ import annotations

import re

from msgspec import Struct, field

_PORT_KEYS = {"sport", "dport", "type", "code", "id"}
_STATES = re.compile(r"^[A-Z_0-9]+$")


class Row(Struct):
    """One entry, taken apart."""

    protocol: str = ""
    timeout_s: int = 0
    state: str = ""
    original: dict[str, str] = field(default_factory=dict)
    reply: dict[str, str] = field(default_factory=dict)
    mark: int = 0
    assured: bool = False
    unreplied: bool = False


def parse_row(line: str) -> Row | None:
    """Take a row of `conntrack -L`, with or without `-o extended`, apart."""
    words = line.split()
    if words and words[0] in {"ipv4", "ipv6"}:
        if words[0] == "ipv6":
            return None
        words = words[2:]
    if len(words) < 4 or not words[1].isdigit():
        return None
    row = Row(protocol=words[0] if words[0] != "unknown" else words[1])
    rest = words[2:]
    if rest[0].isdigit():
        row.timeout_s = int(rest.pop(0))
    if _STATES.match(rest[0]):
        row.state = rest.pop(0)
    side = row.original
    for word in rest:
        key, equals, value = word.partition("=")
        if not equals:
            row.assured |= word == "[ASSURED]"
            row.unreplied |= word == "[UNREPLIED]"
        elif key == "mark":
            row.mark = int(value)
        elif key in {"src", "dst"} | _PORT_KEYS:
            if key in side:
                side = row.reply
            side[key] = value
    return row if row.reply else None


def insert_commands(text: str) -> list[list[str]]:
    """Return one `conntrack -I` per row of a `conntrack -L` text."""
    rows = [parse_row(line) for line in text.splitlines()]
    return [_command(row) for row in rows if row is not None]


def _command(row: Row) -> list[str]:
    original, reply = row.original, row.reply
    words = ["conntrack", "-I", "-p", row.protocol, "-t", str(row.timeout_s)]
    words += ["-s", original["src"], "-d", original["dst"]]
    if row.protocol == "icmp":
        words += ["--icmp-type", original["type"], "--icmp-code", original["code"]]
        words += ["--icmp-id", original["id"]]
    elif "sport" in original:
        words += ["--sport", original["sport"], "--dport", original["dport"]]
    if row.state:
        words += ["--state", row.state]
    statuses = (["ASSURED"] if row.assured else []) + ([] if row.unreplied else ["SEEN_REPLY"])
    if statuses:
        words += ["-u", ",".join(statuses)]
    if row.mark:
        words += ["-m", str(row.mark)]
    if reply["src"] != original["dst"] or reply.get("sport") != original.get("dport"):
        words += ["--dst-nat", _endpoint(reply["src"], reply.get("sport"))]
    if reply["dst"] != original["src"] or reply.get("dport") != original.get("sport"):
        words += ["--src-nat", _endpoint(reply["dst"], reply.get("dport"))]
    return words


def _endpoint(address: str, port: str | None) -> str:
    return f"{address}:{port}" if port is not None else address
