"""The SCTP common header, its CRC32c, and an INIT (RFC 9260).

Kernel: include/linux/sctp.h, include/net/sctp/checksum.h.
"""

from __future__ import annotations

import struct

SRC_PORT, DST_PORT, VTAG, CHECK = 0, 2, 4, 8
"""Offsets of the fields of the common header."""

HEADER_LEN = 12
CHUNK_INIT = 1
INIT_LEN = 20
ADVERTISED_WINDOW = 106496
"""a_rwnd of a fresh Linux socket."""

_CRC32C = 0x82F63B78
"""The Castagnoli polynomial, bits reversed (RFC 9260 appendix A)."""


def _table_entry(octet: int) -> int:
    for _ in range(8):
        octet = octet >> 1 ^ (_CRC32C if octet & 1 else 0)
    return octet


_TABLE = tuple(_table_entry(octet) for octet in range(256))


def crc32c(data: bytes | bytearray) -> int:
    """Return the CRC of `data`.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


def build_sctp_init(*, src_port: int, dst_port: int, parameters: bytes = b"") -> bytes:
    """Return a packet with one INIT chunk; `parameters` follow its fixed part."""
    chunk = struct.pack(
        ">BBHIIHHI", CHUNK_INIT, 0, INIT_LEN + len(parameters), 1, ADVERTISED_WINDOW, 1, 1, 1
    )
    padding = bytes(-len(parameters) % 4)
    packet = bytearray(
        struct.pack(">HHII", src_port, dst_port, 0, 0) + chunk + parameters + padding
    )
    struct.pack_into("<I", packet, CHECK, crc32c(packet))
    return bytes(packet)
