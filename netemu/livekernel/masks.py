"""What the kernel draws at random, and how it is left out of a comparison.

Kernel: net/ipv4/route.c (__ip_select_ident), net/core/secure_seq.c.

`MASKS` is the whole list. Nothing else is masked: a value is only left out where the kernel's own
choice cannot be foreseen, and where it is left out the rest (checksums included) must be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from netemu.wire.checksum import csum_replace, csum_replace2
from netemu.wire.fields import get16, set16

MASKS = {
    "ip-id": "identification of packets without DF that the node makes itself",
    "tcp-isn": "first sequence number and time stamp of a SYN+ACK that a listening socket sends",
    "nat-port": "port numbers and ICMP ids that NAT draws (see draws.py): they may differ, but one"
    " number of one run must stand for one number of the other everywhere",
    "use": "reference count of a connection",
    "order": "rows of conntrack, neighbours and FDB stand in order of random hashes",
    "time": "timeouts of connections may differ by a second, since real time passes",
}
"""Name of each mask, and what it leaves out."""

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_8021Q = 0x8100
PROTO_ICMP = 1
PROTO_TCP = 6
PROTO_UDP = 17
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
DF = 0x4000
SYN_ACK = 0x12
OPTION_TIMESTAMP = 8

_LOG_ID = re.compile(r"(TTL=\d+ ID=)(\d+)( (?!DF|CE DF))")


def network_offset(frame: bytes) -> int | None:
    """Return where the IPv4 header of an Ethernet frame begins, None when there is none."""
    offset = 12
    while len(frame) >= offset + 2 and get16(frame, offset) == ETHERTYPE_8021Q:
        offset += 4
    if len(frame) < offset + 22 or get16(frame, offset) != ETHERTYPE_IPV4:
        return None
    return offset + 2


def known_ids(frames: Iterable[bytes]) -> set[int]:
    """Return the identifications that came in: those are not random."""
    starts = ((frame, network_offset(frame)) for frame in frames)
    return {get16(frame, start + 4) for frame, start in starts if start is not None}


class Masks:
    """The masks of one case."""

    def __init__(self, inputs: Iterable[bytes], listeners: Iterable[tuple[bytes, int]]) -> None:
        """Take what came in, and address (zero for any) and port of TCP listeners."""
        self._known = known_ids(inputs)
        self._listeners = {port for _, port in listeners}

    def frame(self, frame: bytes) -> bytes:
        """Return `frame` with what is random set to zero, checksums as if it had been zero."""
        start = network_offset(frame)
        if start is None:
            return frame
        data = bytearray(frame)
        self._mask_packet(data, start)
        return bytes(data)

    def _mask_packet(self, data: bytearray, start: int) -> None:
        identification = get16(data, start + 4)
        fragment = get16(data, start + 6)
        if not fragment & DF and identification not in self._known:
            set16(data, start + 4, 0)
            check = csum_replace2(get16(data, start + 10), identification, 0)
            set16(data, start + 10, check)
        header = (data[start] & 15) * 4
        segment = start + header
        if data[start + 9] != PROTO_TCP or fragment & 0x1FFF or len(data) < segment + 20:
            return
        if data[segment + 13] & 0x3F == SYN_ACK and get16(data, segment) in self._listeners:
            self._mask_syn_ack(data, segment)

    @staticmethod
    def _mask_syn_ack(data: bytearray, segment: int) -> None:
        spans = [(segment + 4, segment + 8)]
        end = min(len(data), segment + (data[segment + 12] >> 4) * 4)
        place = segment + 20
        while place + 1 < end and data[place]:
            if data[place] == 1:
                place += 1
                continue
            if data[place] == OPTION_TIMESTAMP:
                spans.append((place + 2, place + 6))
            place += max(2, data[place + 1])
        for begin, stop in spans:
            # The checksum sums words from the segment's start: keep an odd span in its word.
            low, high = begin - (begin - segment) % 2, stop + (stop - segment) % 2
            before = bytes(data[low:high])
            data[begin:stop] = bytes(stop - begin)
            check = csum_replace(get16(data, segment + 16), before, bytes(data[low:high]))
            set16(data, segment + 16, check)

    def log_line(self, line: str) -> str:
        """Return a kernel log line with what is random set to zero."""
        line = _LOG_ID.sub(self._log_id, line)
        if " PROTO=TCP " in line and " ACK SYN " in line:
            port = re.search(r" SPT=(\d+) ", line)
            if port and int(port[1]) in self._listeners:
                line = re.sub(r" SEQ=\d+ ", " SEQ=0 ", line)
                line = re.sub(r" OPT \([0-9A-F]*\)", " OPT ()", line)
        return line

    def _log_id(self, found: re.Match[str]) -> str:
        if int(found[2]) in self._known:
            return found[0]
        return f"{found[1]}0{found[3]}"
