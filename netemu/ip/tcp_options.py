"""TCP options: read from a segment, written into our own.

Kernel: net/ipv4/tcp_input.c (tcp_parse_options), net/ipv4/tcp_output.c (tcp_options_write).
"""

from __future__ import annotations

from msgspec import Struct

from netemu.wire.fields import get16, get32
from netemu.wire.tcp import (
    TCPOPT_EOL,
    TCPOPT_MSS,
    TCPOPT_NOP,
    TCPOPT_SACK,
    TCPOPT_SACK_PERM,
    TCPOPT_TIMESTAMP,
    TCPOPT_WINDOW,
)

TCP_MAX_WSCALE = 14
"""Largest window scale (RFC 7323 section 2.3)."""


class TcpOptions(Struct, kw_only=True):
    """What a segment offers or carries; None for what is absent."""

    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    timestamp: tuple[int, int] | None = None
    """Value and echo."""


def parse_tcp_options(octets: bytes) -> TcpOptions:
    """Read the options of a segment as far as they make sense (tcp_parse_options)."""
    found = TcpOptions()
    position = 0
    while position < len(octets):
        kind = octets[position]
        if kind == TCPOPT_EOL:
            break
        if kind == TCPOPT_NOP:
            position += 1
            continue
        if position + 1 >= len(octets):
            break
        size = octets[position + 1]
        if size < 2 or position + size > len(octets):
            break
        _take(found, kind, octets[position + 2 : position + size])
        position += size
    return found


def _take(found: TcpOptions, kind: int, body: bytes) -> None:
    if kind == TCPOPT_MSS and len(body) == 2:
        found.mss = get16(body, 0)
    elif kind == TCPOPT_WINDOW and len(body) == 1:
        found.window_scale = min(body[0], TCP_MAX_WSCALE)
    elif kind == TCPOPT_SACK_PERM and not body:
        found.sack_permitted = True
    elif kind == TCPOPT_TIMESTAMP and len(body) == 8:
        found.timestamp = get32(body, 0), get32(body, 4)


def synack_options(
    *, mss: int, sack: bool, timestamp: tuple[int, int] | None, window_scale: int | None
) -> bytes:
    """Return the options of a SYN/ACK, in the kernel's order.

    >>> synack_options(mss=1460, sack=True, timestamp=None, window_scale=None).hex()
    '020405b401010402'
    """
    out = bytes((TCPOPT_MSS, 4)) + mss.to_bytes(2, "big")
    if timestamp is not None:
        out += bytes((TCPOPT_SACK_PERM, 2)) if sack else bytes((TCPOPT_NOP, TCPOPT_NOP))
        out += _timestamp(timestamp)
    elif sack:
        out += bytes((TCPOPT_NOP, TCPOPT_NOP, TCPOPT_SACK_PERM, 2))
    if window_scale is not None:
        out += bytes((TCPOPT_NOP, TCPOPT_WINDOW, 3, window_scale))
    return out


def ack_options(*, timestamp: tuple[int, int] | None, sack_blocks: list[tuple[int, int]]) -> bytes:
    """Return the options of an established connection's ACK."""
    out = b""
    if timestamp is not None:
        out += bytes((TCPOPT_NOP, TCPOPT_NOP)) + _timestamp(timestamp)
    if sack_blocks:
        most = 4 if timestamp is None else 3
        blocks = sack_blocks[:most]
        out += bytes((TCPOPT_NOP, TCPOPT_NOP, TCPOPT_SACK, 2 + 8 * len(blocks)))
        for start, end in blocks:
            out += start.to_bytes(4, "big") + end.to_bytes(4, "big")
    return out


def _timestamp(timestamp: tuple[int, int]) -> bytes:
    value, echo = timestamp
    return bytes((TCPOPT_TIMESTAMP, 10)) + value.to_bytes(4, "big") + echo.to_bytes(4, "big")
