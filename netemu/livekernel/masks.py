"""What the kernel draws at random, and how it is left out of a comparison.

Kernel: net/ipv4/route.c (__ip_select_ident), net/core/secure_seq.c.

`MASKS` is the whole list. Nothing else is masked: a value is only left out where the kernel's own
choice cannot be foreseen, and where it is left out the rest (checksums included) must be right.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence

from netemu.wire.checksum import csum_replace, csum_replace2
from netemu.wire.fields import get16, get32, set16

MASKS = {
    "ip-id": "identification of packets that the node makes itself: those without DF, and segments"
    " of a listening socket's connection",
    "tcp-isn": "first sequence number of a listening socket's connection, and its time stamps",
    "tunnel-port": "source port of VXLAN packets, a hash with a key drawn at boot",
    "nat-port": "port numbers and ICMP ids that NAT draws (see draws.py): they may differ, but one"
    " number of one run must stand for one number of the other everywhere",
    "icmp-time": "time of day in an ICMP timestamp reply",
    "use": "reference count of a connection",
    "order": "rows of conntrack, neighbours and FDB stand in order of random hashes",
    "time": "timeouts of connections and of elements of IP sets may differ by a second, since real"
    " time passes",
    "initval": "hash seeds of IP sets whose text names none, and the order that they give",
}
"""Name of each mask, and what it leaves out."""

ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_8021Q = 0x8100
PROTO_ICMP = 1
PROTO_TCP = 6
PROTO_UDP = 17
ICMP_TIMESTAMP_REPLY = 14
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
DF = 0x4000
RST, ACK, SYN_ACK = 4, 0x10, 0x12
FLAG_WORDS = {"SYN": 2, "RST": RST, "ACK": ACK}
OPTION_TIMESTAMP = 8

VXLAN_HLEN = 8

LARGEST_OFFSET = 1 << 16
"""Sequence numbers so far behind a random first one belong to its connection."""

_LOG_SEQ = re.compile(r" PROTO=TCP SPT=\d+ DPT=\d+ (?:SEQ=(\d+) )?")
_LOG_NUMBERS = re.compile(
    r" ID=(\d+) ((?:CE )?DF )?((?:OPT \(\w+\) )?PROTO=TCP SPT=\d+ DPT=\d+) SEQ=(\d+) ACK=(\d+) "
)
LOG_FLAGS = re.compile(r" SEQ=(\d+) ACK=(\d+) WINDOW=\d+ RES=\S+ ((?:[A-Z]{3} )*)")
"""Numbers and flags of a segment in a log line."""
_LOG_BOUND = re.compile(r" bound (\d+) ")
_LOG_TIMESTAMP = re.compile(r"080A([0-9A-F]{8})")
_LOG_TUNNEL = re.compile(r" SPT=(\d+) DPT=(\d+) ")
_LOG_ANY_ID = re.compile(r"\bID=\d+ ")
_LOG_SEGMENT_ID = re.compile(r"(TTL=\d+ ID=)(\d+)( (?:CE )?DF (?:OPT \(\w+\) )?PROTO=TCP)")
_LOG_ID = re.compile(r"(TTL=\d+ ID=)(\d+)( (?!DF|CE DF))")


def network_offset(frame: bytes | bytearray) -> int | None:
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
    """The masks of one run of a case; frames go through them before log lines do."""

    def __init__(
        self,
        inputs: Iterable[bytes],
        listeners: Sequence[tuple[bytes, int]],
        tunnels: Iterable[int] = (),
    ) -> None:
        """Take what came in, address (zero for any) and port of TCP listeners, ports of tunnels.

        Where anything listens, a SYN+ACK whose number did not come in was made by the node (its
        port may have been translated since).
        """
        inputs = list(inputs)
        self._known = known_ids(inputs)
        self._known_seqs = {seq for frame in inputs for seq in sequence_numbers(frame)}
        self._known_stamps = {stamp for frame in inputs for stamp in _time_stamps(frame)}
        self._listening = bool(listeners)
        self._isns: set[int] = set()
        self._tunnels = frozenset(tunnels)
        """Destination ports of VXLAN packets."""

    def frame(self, frame: bytes) -> bytes:
        """Return `frame` with what is random set to zero, checksums as if it had been zero."""
        start = network_offset(frame)
        if start is None:
            return frame
        data = bytearray(frame)
        self._mask_packet(data, start)
        return bytes(data)

    def _mask_packet(self, data: bytearray, start: int) -> None:
        if self._mask_tunnel(data, start):
            return
        self._mask_id(data, start)
        fragment = get16(data, start + 6)
        segment = start + (data[start] & 15) * 4
        if data[start + 9] == PROTO_ICMP and not fragment & 0x1FFF and len(data) > segment + 8:
            if data[segment] in ICMP_ERRORS and len(data) >= segment + 8 + 20:
                # The quoted packet may be the node's own. Identification and header checksum
                # cancel each other out in the checksum around them.
                self._mask_id(data, segment + 8, own_segment=self._quotes_own(data, segment + 8))
            whole = not fragment & 0x3FFF and len(data) >= segment + 20
            if data[segment] == ICMP_TIMESTAMP_REPLY and whole:
                replace_octets(data, segment, segment + 12, bytes(8), check_at=2)
            return
        if data[start + 9] != PROTO_TCP or fragment & 0x1FFF or len(data) < segment + 20:
            return
        seq = get32(data, segment + 4)
        self._learn_isn(seq, get32(data, segment + 8), data[segment + 13])
        offset = self._offset(seq)
        if offset is not None:
            _mask_segment(data, segment, offset)
            self._mask_id(data, start, own_segment=True)
        elif self._stamped_here(data, segment):
            _mask_stamps(data, segment)
            self._mask_id(data, start, own_segment=True)

    def _stamped_here(self, data: bytearray, segment: int) -> bool:
        """Return whether a segment's time stamp is a listener's: it did not come in.

        So a listener's segment is known where nothing left that would tell its first number.
        """
        stamps = [get32(data, at) for at in _stamp_offsets(data, segment) if len(data) >= at + 4]
        return self._listening and bool(stamps) and self._known_stamps.isdisjoint(stamps)

    def _quotes_own(self, data: bytearray, start: int) -> bool:
        """Return whether a quoted packet is a segment of a listener's connection."""
        segment = start + (data[start] & 15) * 4
        if data[start + 9] != PROTO_TCP or len(data) < segment + 8:
            return False
        return self._offset(get32(data, segment + 4)) is not None

    def _mask_tunnel(self, data: bytearray, start: int) -> bool:
        """Mask the outer headers of a tunnelled frame; even with DF it has a random id."""
        segment = start + (data[start] & 15) * 4
        first = not get16(data, start + 6) & 0x1FFF
        if data[start + 9] != PROTO_UDP or not first or len(data) < segment + 8:
            return False
        if get16(data, segment + 2) not in self._tunnels:
            return False
        check = csum_replace2(get16(data, start + 10), get16(data, start + 4), 0)
        set16(data, start + 4, 0)
        set16(data, start + 10, check)
        if get16(data, segment + 6):
            check = csum_replace2(get16(data, segment + 6), get16(data, segment), 0)
            set16(data, segment + 6, check)
        set16(data, segment, 0)
        # What is masked inside leaves the sum as it was: the checksums there follow.
        inner = segment + 8 + VXLAN_HLEN
        network = network_offset(data[inner:])
        if network is not None:
            self._mask_packet(data, inner + network)
        return True

    def _mask_id(self, data: bytearray, start: int, *, own_segment: bool = False) -> None:
        identification = get16(data, start + 4)
        word = get16(data, start + 6)
        # The parts of what was cut with DF have the identification that the whole got without it.
        drawn = own_segment or not word & DF or word & 0x3FFF
        if drawn and identification not in self._known:
            set16(data, start + 4, 0)
            check = csum_replace2(get16(data, start + 10), identification, 0)
            set16(data, start + 10, check)

    def _learn_isn(self, seq: int, ack: int, flags: int) -> None:
        isn = drawn_number(self._known_seqs, seq, ack, flags)
        if self._listening and isn is not None:
            self._isns.add(isn)

    def _offset(self, seq: int) -> int | None:
        """Return how far a number is from a random first one, None when it is not."""
        offset = min(((seq - isn) & 0xFFFFFFFF for isn in self._isns), default=LARGEST_OFFSET)
        return offset if offset < LARGEST_OFFSET else None

    def log_line(self, line: str) -> str:
        """Return a kernel log line with what is random set to zero."""
        if (port := _LOG_TUNNEL.search(line)) and int(port[2]) in self._tunnels:
            line = _LOG_ANY_ID.sub("ID=0 ", line).replace(port[0], f" SPT=0 DPT={port[2]} ")
        line = _LOG_BOUND.sub(self._log_bound, _LOG_ID.sub(self._log_id, line))
        found = _LOG_SEQ.search(line)
        if found is None:
            return line
        if found[1] is None:  # LOG without --log-tcp-sequence
            if self._listening:
                line = _LOG_SEGMENT_ID.sub(self._log_id, line, count=1)
                line = _LOG_TIMESTAMP.sub(self._log_stamp, line)
            return line
        if outer := LOG_FLAGS.search(line):
            self._learn_isn(int(outer[1]), int(outer[2]), log_flags(outer[3]))
        line, own = _LOG_NUMBERS.subn(self._log_numbers, line)
        if own and self._offset(int(found[1])) is not None:
            return _LOG_TIMESTAMP.sub("080A00000000", line)
        stamped = _LOG_TIMESTAMP.sub(self._log_stamp, line) if self._listening else line
        return line if stamped == line else _LOG_SEGMENT_ID.sub(self._log_id, stamped, count=1)

    def _log_numbers(self, found: re.Match[str]) -> str:
        """Mask a segment's numbers, wherever in the line it is quoted."""
        number, df, between, seq, ack = found.groups(default="")
        own, theirs = self._offset(int(seq)), self._offset(int(ack))
        if own is not None and df and int(number) not in self._known:
            number = "0"
        return (
            f" ID={number} {df}{between} SEQ={seq if own is None else own}"
            f" ACK={ack if theirs is None else theirs} "
        )

    def _log_stamp(self, found: re.Match[str]) -> str:
        return found[0] if int(found[1], 16) in self._known_stamps else "080A00000000"

    def _log_bound(self, found: re.Match[str]) -> str:
        bound = int(found[1])
        offset = self._offset(bound)
        if offset is not None:
            return f" bound {offset} "
        # A SYN+ACK that nobody saw, since it waits for a neighbour, has a number of its own.
        near = any((bound - seq + LARGEST_OFFSET * 4) & 0xFFFFFFFF < LARGEST_OFFSET * 8
                   for seq in self._known_seqs)  # fmt: skip
        return " bound 0 " if self._listening and not near else found[0]

    def _log_id(self, found: re.Match[str]) -> str:
        if int(found[2]) in self._known:
            return found[0]
        return f"{found[1]}0{found[3]}"


def drawn_number(known: Container[int], seq: int, ack: int, flags: int) -> int | None:
    """Return the first number that a listener drew, if a segment tells it; None if not.

    A SYN+ACK does whose number did not come in. If nobody saw that, the first ACK does, which
    acknowledges no more than the SYN.

    >>> drawn_number({7, 8}, 500, 8, 18), drawn_number({7, 8}, 501, 8, 16)
    (500, 500)
    """
    if flags & SYN_ACK == SYN_ACK:
        return None if seq in known else seq
    isn, asked = (seq - 1) & 0xFFFFFFFF, (ack - 1) & 0xFFFFFFFF
    plain = flags & (SYN_ACK | RST) == ACK and asked in known
    return isn if plain and seq not in known and isn not in known else None


def log_flags(words: str) -> int:
    """Return the flags octet of those that a log line names, as far as they count here.

    >>> log_flags("ACK SYN "), log_flags("CWR ECE ")
    (18, 0)
    """
    return sum(FLAG_WORDS.get(word, 0) for word in words.split())


def sequence_numbers(frame: bytes) -> list[int]:
    """Return the sequence number of a segment, an empty list of other frames."""
    start = network_offset(frame)
    if start is None or frame[start + 9] != PROTO_TCP or get16(frame, start + 6) & 0x1FFF:
        return []
    segment = start + (frame[start] & 15) * 4
    return [get32(frame, segment + 4)] if len(frame) >= segment + 8 else []


def tcp_offset(frame: bytes) -> int | None:
    """Return where a whole TCP header begins, None when there is none."""
    start = network_offset(frame)
    if start is None or not sequence_numbers(frame):
        return None
    segment = start + (frame[start] & 15) * 4
    return segment if len(frame) >= segment + 20 else None


def _time_stamps(frame: bytes) -> list[int]:
    """Return the time stamp value of a segment's options, if it has one."""
    start = network_offset(frame)
    if start is None or not sequence_numbers(frame):
        return []
    segment = start + (frame[start] & 15) * 4
    return [get32(frame, at) for at in _stamp_offsets(frame, segment) if len(frame) >= at + 4]


def _stamp_offsets(frame: bytes | bytearray, segment: int) -> list[int]:
    if len(frame) < segment + 20:
        return []
    found: list[int] = []
    end = min(len(frame), segment + (frame[segment + 12] >> 4) * 4)
    place = segment + 20
    while place + 1 < end and frame[place]:
        if frame[place] == 1:
            place += 1
            continue
        if frame[place] == OPTION_TIMESTAMP:
            found.append(place + 2)
        place += max(2, frame[place + 1])
    return found


def _mask_segment(data: bytearray, segment: int, offset: int) -> None:
    """Count a sequence number from the connection's first one, and zero the time stamp."""
    replace_octets(data, segment, segment + 4, offset.to_bytes(4, "big"))
    _mask_stamps(data, segment)


def _mask_stamps(data: bytearray, segment: int) -> None:
    """Zero a segment's time stamp."""
    for place in _stamp_offsets(data, segment):
        if len(data) >= place + 4:
            replace_octets(data, segment, place, bytes(4))


def replace_octets(
    data: bytearray, segment: int, at: int, value: bytes, *, check_at: int = 16
) -> None:
    """Put other octets into a segment, and correct its checksum by as much."""
    # The checksum sums words from the segment's start: keep an odd span in its words.
    low = at - (at - segment) % 2
    high = at + len(value) + (at + len(value) - segment) % 2
    before = bytes(data[low:high])
    data[at : at + len(value)] = value
    check = csum_replace(get16(data, segment + check_at), before, bytes(data[low:high]))
    set16(data, segment + check_at, check)
