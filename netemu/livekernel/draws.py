"""Ports and ICMP ids that NAT drew at random: which of one run stands for which of another.

Kernel: net/netfilter/nf_nat_core.c (nf_nat_l4proto_unique_tuple).

Theory of operation: two runs of one case are played side by side. When the n-th frames of a port
are equal but for one port number (or ICMP id) that no frame brought along, the two numbers stand
for each other from then on, one for one. Frames that answer a drawn number are translated before
they enter the second run; results are translated before they are compared.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from msgspec import Struct

from netemu.livekernel.masks import (
    ICMP_ERRORS,
    PROTO_ICMP,
    PROTO_TCP,
    PROTO_UDP,
    network_offset,
)
from netemu.wire.checksum import csum_replace2
from netemu.wire.crc32c import crc32c
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import IPPROTO_SCTP

CHECKSUM_AT = {PROTO_TCP: 16, PROTO_UDP: 6, PROTO_ICMP: 2}
SCTP_CRC_AT, SCTP_HEADER_LEN = 8, 12
REQUESTS = frozenset({8, 13, 15, 17})
ECHO_TYPES = frozenset({0, 8, 13, 14, 15, 16, 17, 18})


_NAMES = {PROTO_TCP: "TCP", PROTO_UDP: "UDP", IPPROTO_SCTP: "SCTP"}
_PROTOCOLS = {"tcp": PROTO_TCP, "udp": PROTO_UDP, "icmp": PROTO_ICMP, "sctp": IPPROTO_SCTP}
_DRAWN = re.compile(r"(?<=port=|. id=)(\d+)")
_DRAWN_IN_LOG = re.compile(r"(?<=SPT=|DPT=)(\d+)|(?<=CODE=\d ID=)(\d+)")
_LOG_PROTOCOL = re.compile(r"PROTO=(TCP|UDP|SCTP|ICMP) (?!.*PROTO=)")


class _Place(Struct, frozen=True):
    """Where a number that NAT may have drawn stands in a frame."""

    protocol: int
    offset: int
    checks: tuple[int, ...]
    """Offsets of the checksums that cover it."""


def _places(frame: bytes) -> list[_Place]:
    start = network_offset(frame)
    if start is None or get16(frame, start + 6) & 0x1FFF:
        return []
    frame = frame[: start + get16(frame, start + 2)]  # the kernel trims what lies behind
    segment = start + (frame[start] & 15) * 4
    found = _of_segment(frame, frame[start + 9], segment, ())
    inner = segment + 8
    if (
        frame[start + 9] == PROTO_ICMP
        and len(frame) >= inner + 28
        and frame[segment] in ICMP_ERRORS
        and frame[inner] >> 4 == 4
    ):
        inner_segment = inner + (frame[inner] & 15) * 4
        found += _of_segment(frame, frame[inner + 9], inner_segment, (segment + 2,))
    return found


def _of_segment(frame: bytes, protocol: int, segment: int, outer: tuple[int, ...]) -> list[_Place]:
    if protocol == IPPROTO_SCTP and len(frame) >= segment + 8:
        # Its CRC is computed anew when all is translated.
        return [_Place(protocol, at, outer) for at in (segment, segment + 2)]
    if protocol not in CHECKSUM_AT or len(frame) < segment + 8:
        return []
    check = segment + CHECKSUM_AT[protocol]
    covered = (check, *outer) if len(frame) >= check + 2 else outer
    if protocol == PROTO_UDP and not get16(frame, check):
        covered = outer
    if protocol == PROTO_ICMP:
        if frame[segment] not in ECHO_TYPES:
            return []
        return [_Place(protocol, segment + 4, covered)]
    return [_Place(protocol, segment, covered), _Place(protocol, segment + 2, covered)]


def _brought_along(frame: bytes) -> set[tuple[int, int]]:
    """Return the source port of a frame, or the id of a request: it was not drawn by NAT."""
    start = network_offset(frame)
    places = _places(frame)[:1]
    if start is None or not places:
        return set()
    segment = start + (frame[start] & 15) * 4
    if frame[start + 9] == PROTO_ICMP and frame[segment] not in REQUESTS:
        return set()
    return {(place.protocol, get16(frame, place.offset)) for place in places}


class Draws:
    """What stands for what: numbers of the first run and of the second."""

    def __init__(self, inputs: Iterable[bytes]) -> None:
        """Take the frames that enter: the numbers that they come from are not drawn."""
        self._second: dict[tuple[int, int], int] = {}
        self._taken: set[tuple[int, int]] = set()
        self._known: set[tuple[int, int]] = set()
        for frame in inputs:
            self._known |= _brought_along(frame)

    def learn(self, first: bytes, second: bytes) -> None:
        """Look at the frames that the two runs sent at the same place."""
        if len(first) != len(second) or first == second:
            return
        for place in _places(first):
            one, other = get16(first, place.offset), get16(second, place.offset)
            key = (place.protocol, one)
            if one == other or key in self._second:
                continue
            if {key, (place.protocol, other)} & self._known or (
                place.protocol,
                other,
            ) in self._taken:
                continue
            self._second[key] = other
            self._taken.add((place.protocol, other))

    def learn_row(self, first: str, second: str) -> bool:
        """Look at two connections; True when they differ in nothing but a drawn number."""
        one, other = _DRAWN.split(first), _DRAWN.split(second)
        if len(one) != len(other) or one[::2] != other[::2]:
            return False
        protocol = _PROTOCOLS.get(first.split(maxsplit=1)[0], 0)
        unequal = {(int(a), int(b)) for a, b in zip(one[1::2], other[1::2], strict=True) if a != b}
        if len(unequal) != 1:
            return False
        old, new = unequal.pop()
        return not self._fixed(protocol, old, new)

    def learn_line(self, first: str, second: str) -> None:
        """Look at the log lines of the two runs at the same place: a packet may leave no frame."""
        named = _LOG_PROTOCOL.search(first)
        if (
            first == second
            or named is None
            or _DRAWN_IN_LOG.sub("", first) != _DRAWN_IN_LOG.sub("", second)
        ):
            return
        pairs = zip(_DRAWN_IN_LOG.finditer(first), _DRAWN_IN_LOG.finditer(second), strict=False)
        unequal = {(int(a[0]), int(b[0])) for a, b in pairs if a[0] != b[0]}
        if len(unequal) != 1:
            return
        protocol = _PROTOCOLS[named[1].lower()]
        one, other = unequal.pop()
        if (protocol, one) not in self._second and not self._fixed(protocol, one, other):
            self._second[protocol, one] = other
            self._taken.add((protocol, other))

    def _fixed(self, protocol: int, one: int, other: int) -> bool:
        """Return whether the numbers came along with a frame, or are spoken for."""
        return bool({(protocol, one), (protocol, other)} & (self._known | self._taken))

    def translate(self, frame: bytes) -> bytes:
        """Return a frame of the first run as it would be in the second."""
        if not self._second:
            return frame
        data = bytearray(frame)
        for place in _places(frame):
            old = get16(frame, place.offset)
            new = self._second.get((place.protocol, old))
            if new is None:
                continue
            set16(data, place.offset, new)
            self._fix(data, place, old, new)
        if data != frame:
            _fix_crc(data)
        return bytes(data)

    @staticmethod
    def _fix(data: bytearray, place: _Place, old: int, new: int) -> None:
        if not place.checks:
            return
        before = get16(data, place.checks[0])
        after = csum_replace2(before, old, new)
        set16(data, place.checks[0], after)
        for outer in place.checks[1:]:
            # The quoted checksum and the quoted number cancel each other out in the outer one,
            # but for which of the two zeros is written: compute it, so as not to depend on that.
            check = csum_replace2(get16(data, outer), old, new)
            set16(data, outer, csum_replace2(check, before, after))

    def text(self, line: str) -> str:
        """Return a log line or a connection of the first run as it would be in the second."""
        for (protocol, one), other in self._second.items():
            if protocol == PROTO_ICMP:
                names = r"(CODE=\d+ ID|code=\d+ id)"
            elif line.startswith(_NAMES[protocol].lower()):
                names = r"([sd]port)"
            else:
                name = _NAMES[protocol]
                names = rf"(PROTO={name} SPT|PROTO={name} SPT=\x00?\d+ DPT)"
            line = re.sub(rf"{names}={one}\b", f"\\1=\x00{other}", line)
        return line.replace("\x00", "")

    def element(self, line: str) -> str:
        """Return an element of an IP set of the first run as it would be in the second."""
        for (protocol, one), other in self._second.items():
            if protocol in _NAMES:
                name = _NAMES[protocol].lower()
                line = re.sub(rf"\b{name}:{one}\b", f"{name}:\x00{other}", line)
        return line.replace("\x00", "")


def _fix_crc(data: bytearray) -> None:
    """Compute the CRC of an SCTP packet; a quoted one is left alone, as it may be cut."""
    start = network_offset(data)
    if start is None or data[start + 9] != IPPROTO_SCTP or get16(data, start + 6) & 0x3FFF:
        return
    segment = start + (data[start] & 15) * 4
    end = start + get16(data, start + 2)
    if end < segment + SCTP_HEADER_LEN:
        return
    crc = slice(segment + SCTP_CRC_AT, segment + SCTP_CRC_AT + 4)
    data[crc] = bytes(4)
    data[crc] = crc32c(data[segment:end]).to_bytes(4, "little")
