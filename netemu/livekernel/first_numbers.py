"""First sequence numbers that the kernel's listeners chose, for netemu's to choose the same.

Kernel: net/core/secure_seq.c.

Theory of operation: conntrack judges a later segment by how far it is from a connection's first
number, so a whole case may hang on that draw. NAT may translate a SYN+ACK, but what it acknowledges
stays: that names the SYN which it answers. What a hook dropped is still in a TRACE line, and an
ACK of a half-open connection tells what its SYN+ACK was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

from netemu.ip.tcp_listen import TcpConnections
from netemu.ip.tcp_segment import Segment
from netemu.livekernel.case import Result
from netemu.livekernel.masks import (
    ACK,
    LARGEST_OFFSET,
    LOG_FLAGS,
    SYN_ACK,
    drawn_number,
    log_flags,
    replace_octets,
    sequence_numbers,
    tcp_offset,
)
from netemu.sim.node import Node
from netemu.wire.fields import get32


def first_numbers(inputs: Iterable[bytes], kernel: Result) -> dict[int, list[int]]:
    """Return what listeners drew, in order, by the first sequence number of the SYN."""
    known = {seq for frame in inputs for seq in sequence_numbers(frame)}
    found: dict[int, list[int]] = {}
    told = [(int(seq), int(ack), log_flags(flags)) for line in kernel.log
            for seq, ack, flags in LOG_FLAGS.findall(line)]  # fmt: skip
    for sent in kernel.frames.values():
        for item in sent:
            at = tcp_offset(item.frame)
            if at is not None:
                seq, ack = get32(item.frame, at + 4), get32(item.frame, at + 8)
                told.append((seq, ack, item.frame[at + 13]))
    told.sort(key=lambda numbers: numbers[2] & SYN_ACK != SYN_ACK)  # stable: those say it surest
    said: set[int] = set()
    for seq, ack, flags in told:
        isn = drawn_number(known, seq, ack, flags)
        drawn = found.setdefault((ack - 1) & 0xFFFFFFFF, [])
        if isn is not None and isn not in said:
            said.add(isn)
            drawn.append(isn)
    return found


class Acknowledgements:
    """Makes frames that acknowledge a listener of one run fit a second run."""

    def __init__(self, inputs: Iterable[bytes], first: Result) -> None:
        """Take what enters, and what the first run sent."""
        self._first = first_numbers(inputs, first)
        self._second: dict[int, list[int]] = {}

    def heard(self, frame: bytes) -> None:
        """Look at a frame that the second run sent."""
        at = tcp_offset(frame)
        if at is None or frame[at + 13] & SYN_ACK != SYN_ACK:
            return
        peer_isn = (get32(frame, at + 8) - 1) & 0xFFFFFFFF
        if peer_isn not in self._first:
            return
        drawn = self._second.setdefault(peer_isn, [])
        if get32(frame, at + 4) not in drawn and len(drawn) < len(self._first[peer_isn]):
            drawn.append(get32(frame, at + 4))

    def translate(self, frame: bytes) -> bytes:
        """Return a frame that enters the first run as the second run needs it."""
        at = tcp_offset(frame)
        if at is None or not frame[at + 13] & ACK:
            return frame
        ack = get32(frame, at + 8)
        for peer_isn, drawn in self._second.items():
            for one, other in zip(self._first[peer_isn], drawn, strict=False):
                offset = (ack - one) & 0xFFFFFFFF
                if one != other and offset < LARGEST_OFFSET:
                    data = bytearray(frame)
                    number = (other + offset) & 0xFFFFFFFF
                    replace_octets(data, at, at + 8, number.to_bytes(4, "big"))
                    return bytes(data)
        return frame


def choose_first_numbers(node: Node, drawn: Mapping[int, list[int]]) -> None:
    """Let listeners of `node` choose the numbers that the kernel's chose, where they are known."""
    left = {peer_isn: list(numbers) for peer_isn, numbers in drawn.items()}
    for space in node.namespaces.values():
        connections = space.net.generic(TcpConnections)
        connections.secure_tcp_seq = partial(_choose, left, connections.secure_tcp_seq)


def _choose(left: Mapping[int, list[int]], draw: Callable[[Segment], int], segment: Segment) -> int:
    numbers = left.get(segment.seq)
    return numbers.pop(0) if numbers else draw(segment)
