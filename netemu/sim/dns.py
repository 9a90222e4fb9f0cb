"""Just enough of DNS for a lab: one question about an address, and its answer. RFC 1035."""

from __future__ import annotations

from netemu.wire.address import parse_address
from netemu.wire.fields import get16

HEADER_LEN = 12
TYPE_A = 1
CLASS_IN = 1
RESPONSE = 0x8180
"""QR, RD and RA set."""
RCODE_NXDOMAIN = 3
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
    found = _question(query)
    if found is None:
        return None
    name, end = found
    names = dict(pair.partition("=")[::2] for pair in text.split())
    address = names.get(name)
    flags = RESPONSE | (0 if address else RCODE_NXDOMAIN)
    head = query[:2] + flags.to_bytes(2, "big") + b"\0\1" + (b"\0\1" if address else b"\0\0")
    answer = b""
    if address:
        data = parse_address(address)
        answer = b"\xc0\x0c" + bytes((0, TYPE_A, 0, CLASS_IN)) + TTL_S.to_bytes(4, "big")
        answer += len(data).to_bytes(2, "big") + data
    return head + bytes(4) + query[HEADER_LEN:end] + answer


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
    """Return the address in an answer, or why there is none."""
    if len(answer) < HEADER_LEN:
        return "no DNS message"
    if answer[3] & 15 == RCODE_NXDOMAIN:
        return "NXDOMAIN"
    if not get16(answer, 6) or len(answer) < 4:
        return "no address"
    return ".".join(str(octet) for octet in answer[-4:])
