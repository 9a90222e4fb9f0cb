"""Big-endian integers inside a bytearray."""

from __future__ import annotations

Octets = bytes | bytearray | memoryview


def get16(data: Octets, offset: int) -> int:
    """Read 16 bits at `offset`."""
    return (data[offset] << 8) | data[offset + 1]


def set16(data: bytearray, offset: int, value: int) -> None:
    """Write 16 bits at `offset`."""
    data[offset] = value >> 8
    data[offset + 1] = value & 0xFF


def get32(data: Octets, offset: int) -> int:
    """Read 32 bits at `offset`."""
    return (
        (data[offset] << 24) | (data[offset + 1] << 16) | (data[offset + 2] << 8) | data[offset + 3]
    )


def set32(data: bytearray, offset: int, value: int) -> None:
    """Write 32 bits at `offset`."""
    data[offset : offset + 4] = value.to_bytes(4, "big")
