"""The ICMP header (RFC 792), read and written in place."""

from __future__ import annotations

from enum import IntEnum

from netemu.wire.checksum import internet_checksum
from netemu.wire.fields import Octets, get16, get32, set16, set32

TYPE, CODE, CHECK, REST = 0, 1, 2, 4
"""Offsets of the fields."""

HEADER_LEN = 8


class IcmpType(IntEnum):
    """ICMP message types (include/uapi/linux/icmp.h)."""

    ECHO_REPLY = 0
    DEST_UNREACH = 3
    SOURCE_QUENCH = 4
    REDIRECT = 5
    ECHO = 8
    TIME_EXCEEDED = 11
    PARAMETER_PROBLEM = 12
    TIMESTAMP = 13
    TIMESTAMP_REPLY = 14
    INFO_REQUEST = 15
    INFO_REPLY = 16
    ADDRESS = 17
    ADDRESS_REPLY = 18


NR_ICMP_TYPES = 18
"""Highest type that the kernel knows (include/uapi/linux/icmp.h)."""

ERROR_TYPES = frozenset(
    {
        IcmpType.DEST_UNREACH,
        IcmpType.SOURCE_QUENCH,
        IcmpType.REDIRECT,
        IcmpType.TIME_EXCEEDED,
        IcmpType.PARAMETER_PROBLEM,
    }
)
"""Types that quote the packet that caused them (icmp_is_err)."""


_UNREACHABLE = {
    0: "ENETUNREACH",
    1: "EHOSTUNREACH",
    2: "ENOPROTOOPT",
    3: "ECONNREFUSED",
    5: "EOPNOTSUPP",
    6: "ENETUNREACH",
    7: "EHOSTDOWN",
    8: "ENONET",
    9: "ENETUNREACH",
    10: "EHOSTUNREACH",
    11: "ENETUNREACH",
    12: "EHOSTUNREACH",
    13: "EHOSTUNREACH",
    14: "EHOSTUNREACH",
    15: "EHOSTUNREACH",
}


def icmp_errno(message: Octets) -> str:
    """Return what an error means to the program that sent the packet (icmp_err_convert).

    It is empty for what says nothing to a program: a path MTU, a redirect, a source quench.
    """
    icmp_type, code = message[TYPE], message[CODE]
    if icmp_type == IcmpType.DEST_UNREACH:
        return _UNREACHABLE.get(code, "")
    if icmp_type == IcmpType.TIME_EXCEEDED:
        return "EHOSTUNREACH"
    return "EPROTO" if icmp_type == IcmpType.PARAMETER_PROBLEM else ""


class ICMP:
    """A view of an ICMP header at `offset` of `data`."""

    __slots__ = ("data", "offset")

    def __init__(self, data: bytearray, offset: int = 0) -> None:
        """Look at `data`; nothing is copied or checked."""
        self.data = data
        self.offset = offset

    @property
    def type(self) -> int:
        """Message type; see `IcmpType`."""
        return self.data[self.offset + TYPE]

    @property
    def code(self) -> int:
        """Code within the type."""
        return self.data[self.offset + CODE]

    @property
    def check(self) -> int:
        """Checksum."""
        return get16(self.data, self.offset + CHECK)

    @check.setter
    def check(self, value: int) -> None:
        set16(self.data, self.offset + CHECK, value)

    @property
    def identifier(self) -> int:
        """Identifier of a query."""
        return get16(self.data, self.offset + REST)

    @property
    def sequence(self) -> int:
        """Sequence number of a query."""
        return get16(self.data, self.offset + REST + 2)

    @property
    def rest(self) -> int:
        """Return the last 32 bits of the header: gateway, pointer, MTU."""
        return get32(self.data, self.offset + REST)


def build_icmp(*, icmp_type: int, code: int = 0, rest: int = 0, payload: bytes = b"") -> bytearray:
    """Return a message with a right checksum; an echo's `rest` is `id << 16 | sequence`."""
    message = bytearray(HEADER_LEN) + payload
    message[TYPE] = icmp_type
    message[CODE] = code
    set32(message, REST, rest)
    set16(message, CHECK, internet_checksum(message))
    return message
