"""One end of a TCP conversation outside the node: its numbers, windows and options.

Kernel: what net/netfilter/nf_conntrack_proto_tcp.c watches of it. RFC 9293, 7323, 2018.
"""

from __future__ import annotations

from msgspec import Struct, field

from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.packets import ACK, FIN, MSS, RST, SYN
from netemu.wire.fields import get16, get32

MASK32 = 0xFFFFFFFF
SPAN = 1 << 20
"""Numbers so far behind an end's first one are its own."""

WINDOWS = ((6, 64240), (2, 8000), (2, 500), (1, 100), (1, 1), (1, 0))
SCALES = ((4, 7), (2, 0), (1, 1), (1, 14))


def ahead(seq: int, of: int) -> int:
    """Return how far a number is ahead of another, negative when behind.

    >>> ahead(5, 0xFFFFFFFF), ahead(0xFFFFFFFF, 5)
    (6, -6)
    """
    distance = (seq - of) & MASK32
    return distance - (1 << 32) if distance >> 31 else distance


class Heard(Struct, frozen=True, kw_only=True):
    """A segment that reached an end."""

    flags: int
    seq: int
    ack: int
    length: int
    """Octets of payload."""
    sack_permitted: bool
    scaled: bool
    stamp: bytes
    """The time stamp option's value; empty when there is none."""

    @property
    def end_seq(self) -> int:
        """Number behind payload, SYN and FIN."""
        return (self.seq + self.length + bool(self.flags & SYN) + bool(self.flags & FIN)) & MASK32


def read_segment(packet: bytes) -> Heard | None:
    """Take a packet apart, None when it holds no whole TCP header."""
    at = (packet[0] & 15) * 4
    if packet[9] != 6 or get16(packet, 6) & 0x3FFF or len(packet) < at + 20:
        return None
    end = at + (packet[at + 12] >> 4) * 4
    kinds: dict[int, bytes] = {}
    place = at + 20
    while place < min(end, len(packet) - 1) and packet[place]:
        length = 1 if packet[place] == 1 else max(2, packet[place + 1])
        kinds[packet[place]] = packet[place + 2 : place + length]
        place += length
    return Heard(
        flags=packet[at + 13],
        seq=get32(packet, at + 4),
        ack=get32(packet, at + 8),
        length=max(0, get16(packet, 2) - end),
        sack_permitted=4 in kinds,
        scaled=3 in kinds,
        stamp=kinds.get(8, b"")[:4],
    )


class Endpoint(Struct, kw_only=True):
    """What an end has sent and got."""

    isn: int
    nxt: int
    """Next number to send."""
    una: int
    """Oldest number that is not acknowledged."""
    scale: int | None
    sack: bool
    stamps: bool
    rcv: int | None = None
    """Next number expected; None before the other side's SYN."""
    held: list[tuple[int, int]] = field(default_factory=list)
    """What came ahead of it, the latest first."""
    echo: bytes = bytes(4)
    """Latest time stamp of the other side."""
    closed: bool = False
    """Sent its FIN, or a RST came or went."""
    clock: int = 9

    @classmethod
    def drawn(cls, dice: Dice) -> Endpoint:
        """Draw an end."""
        isn = dice.weighted([(4, dice.u32()), (1, MASK32 - dice.between(0, 300))])
        return cls(
            isn=isn,
            nxt=isn,
            una=isn,
            scale=dice.weighted(SCALES) if dice.chance(70) else None,
            sack=dice.chance(70),
            stamps=dice.chance(50),
        )

    def owns(self, seq: int) -> bool:
        """Return whether a number is one of this end's."""
        return (seq - self.isn) & MASK32 < SPAN

    def syn_options(self) -> bytes:
        """Return the options of its SYN."""
        options = MSS
        if self.scale is not None:
            options += bytes((1, 3, 3, self.scale))
        if self.sack:
            options += bytes((1, 1, 4, 2))
        return options + self._stamp()

    def options(self, dice: Dice) -> bytes:
        """Return the options of any other segment."""
        options = self._stamp()
        if self.sack and self.held and dice.chance(85):
            blocks = b"".join(
                start.to_bytes(4, "big") + end.to_bytes(4, "big") for start, end in self.held[:3]
            )
            options += bytes((1, 1, 5, 2 + len(blocks))) + blocks
        return options

    def _stamp(self) -> bytes:
        if not self.stamps:
            return b""
        self.clock += 1
        return bytes((1, 1, 8, 10)) + self.clock.to_bytes(4, "big") + self.echo

    def agree(self, segment: Heard) -> None:
        """Heed what the other side's SYN offers."""
        self.sack &= segment.sack_permitted
        self.stamps &= bool(segment.stamp)
        if not segment.scaled:
            self.scale = None
        self.rcv = segment.end_seq

    def take(self, segment: Heard) -> bool:
        """Take payload and FIN; True when there is something to acknowledge."""
        if segment.stamp:
            self.echo = segment.stamp
        if segment.flags & RST:
            self.closed = True
            return False
        if segment.flags & ACK and ahead(segment.ack, self.una) > 0:
            self.una = segment.ack
        if self.rcv is None or segment.end_seq == segment.seq:
            return False
        if ahead(segment.seq, self.rcv) > 0:
            self.held.insert(0, (segment.seq, segment.end_seq))
        elif ahead(segment.end_seq, self.rcv) > 0:
            self.rcv = segment.end_seq
            for start, end in sorted(self.held, key=lambda block: ahead(block[0], segment.seq)):
                if ahead(start, self.rcv) <= 0 < ahead(end, self.rcv):
                    self.rcv = end
            self.held = [block for block in self.held if ahead(block[1], self.rcv) > 0]
        return True
