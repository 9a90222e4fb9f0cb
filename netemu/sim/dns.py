"""Just enough of DNS for a lab: one question about an address, and its answer. RFC 1035."""

from __future__ import annotations

from collections.abc import Sequence

from netemu.wire.address import format_address, parse_address
from netemu.wire.fields import get16

HEADER_LEN = 12
TYPE_A = 1
TYPE_CNAME = 5
POINTER = 0xC0
"""A length octet with these bits leads to labels elsewhere."""
CLASS_IN = 1
RESPONSE = 0x8180
"""QR, RD and RA set."""
RCODE_NXDOMAIN = 3
NXDOMAIN = "NXDOMAIN"
TTL_S = 30


def dns_query(name: str, identifier: int) -> bytes:
    """Return a query for the address of `name`.

    >>> dns_query("a.b", 7).hex()
    '000701000001000000000000016101620000010001'
    """
    header = identifier.to_bytes(2, "big") + bytes.fromhex("01000001000000000000")
    return header + _labels(name) + bytes((0, TYPE_A, 0, CLASS_IN))


def _labels(name: str) -> bytes:
    parts = [part.encode() for part in name.rstrip(".").split(".") if part]
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def dns_answer(text: str, query: bytes) -> bytes | None:
    """Return the answer to a query from `NAME=ADDRESS ...`, None for what is no query.

    A name that is not listed does not exist (NXDOMAIN).
    """
    name = question_of(query)
    if name is None:
        return None
    address = dict(pair.partition("=")[::2] for pair in text.split()).get(name)
    return dns_message(query, [(TYPE_A, address)] if address else None)


def dns_message(query: bytes, records: Sequence[tuple[int, str]] | None) -> bytes | None:
    """Return an answer with records of the name asked for: A or CNAME, and an address or a name.

    None for `records`: the name does not exist (NXDOMAIN).
    """
    found = _question(query)
    if found is None:
        return None
    _, end = found
    flags = RESPONSE | (RCODE_NXDOMAIN if records is None else 0)
    records = records or ()
    message = query[:2] + flags.to_bytes(2, "big") + b"\0\1" + len(records).to_bytes(2, "big")
    message += bytes(4) + query[HEADER_LEN:end]
    for kind, text in records:
        data = parse_address(text) if kind == TYPE_A else _labels(text)
        message += b"\xc0\x0c" + bytes((0, kind, 0, CLASS_IN)) + TTL_S.to_bytes(4, "big")
        message += len(data).to_bytes(2, "big") + data
    return message


def question_of(query: bytes) -> str | None:
    """Return the name that a query asks for; None for what is no query."""
    found = _question(query)
    return None if found is None else found[0]


def _question(query: bytes) -> tuple[str, int] | None:
    """Return the name asked for and where the question ends."""
    if len(query) < HEADER_LEN or query[2] & 0x80 or get16(query, 4) != 1:
        return None
    labels, at = [], HEADER_LEN
    while at < len(query) and query[at]:
        size = query[at]
        labels.append(query[at + 1 : at + 1 + size].decode("latin-1"))
        at += 1 + size
    end = at + 5
    return (".".join(labels), end) if end <= len(query) else None


def dns_result(answer: bytes) -> str:
    """Return the addresses in an answer, the name that it is an alias of, or why there is none."""
    if len(answer) < HEADER_LEN:
        return "no DNS message"
    if answer[3] & 15 == RCODE_NXDOMAIN:
        return NXDOMAIN
    found = []
    at = _behind_name(answer, HEADER_LEN) + 4
    for _ in range(get16(answer, 6)):
        at = _behind_name(answer, at)
        if at + 10 > len(answer):
            break
        kind, size = get16(answer, at), get16(answer, at + 8)
        data = answer[at + 10 : at + 10 + size]
        at += 10 + size
        if kind == TYPE_A and size == 4:
            found.append(format_address(data))
        elif kind == TYPE_CNAME:
            found.append(f"an alias of {_name(data)}")
    return " ".join(found) or "no address"


def _behind_name(message: bytes, at: int) -> int:
    """Return where a name ends: after its labels, or after a pointer to others."""
    while at < len(message) and message[at]:
        if message[at] >= POINTER:
            return at + 2
        at += 1 + message[at]
    return at + 1


def _name(data: bytes) -> str:
    """Return a name of labels alone."""
    labels, at = [], 0
    while at < len(data) and data[at]:
        labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
        at += 1 + data[at]
    return ".".join(labels)
