"""A peer of one of the node's listeners, which sends much that makes no sense.

Kernel: what net/ipv4/tcp_input.c and tcp_minisocks.c do about it. RFC 9293, 7323, 2018, 5961.

Theory of operation: it keeps its numbers as a TCP does, but what it sends next hangs on dice alone:
data with holes, data that come again in other pieces, old and future time stamps, windows, flags
and acknowledgements of all sorts. It answers nothing. Before a SYN+ACK came it acknowledges
nothing either: what conntrack makes of that hangs on a number which the kernel drew and nobody saw.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.livekernel.generate import packets
from netemu.livekernel.generate.conversation import CWR, ECE, FAR_OFF, ODD_FLAGS
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.endpoint import MASK32, SPAN, read_segment
from netemu.livekernel.generate.flows import Flow
from netemu.livekernel.generate.packets import ACK, FIN, PSH, RST, SYN, URG, Header
from netemu.livekernel.generate.world import Host

SIZES = ((4, 20), (3, 1), (2, 5), (2, 150), (1, 700), (1, 1300))
"""Octets of payload."""

SEGMENT_SIZES = ((6, 1460), (1, 536), (1, 300), (1, 60))
WINDOWS = ((5, 64240), (2, 8000), (1, 1))
OTHER_WINDOWS = (0, 1, 100, 500, 8000, 64240)

AHEAD = (1, 5, 20, 40, 60, 1000, 30000, 64240, 65000, 65160, 65535, 70000)
BESIDE = (0, 0, 1, -1, 20, 40, 100, 70000)
BACK = (1, 2, 5, 20, 25, 40)
"""How far from the next number a segment begins."""


class Prober:
    """One connection, or the attempt at one, with a listener."""

    def __init__(self, dice: Dice, flow: Flow, next_hop: bytes, turns: int) -> None:
        """Take the dice, who talks to whom, and the MAC that frames go to."""
        self._dice = dice
        self._flow = flow
        self._next_hop = next_hop
        self.turns = turns
        """How often it still is its turn."""
        self._isn = self._next = dice.weighted(
            [(4, dice.u32()), (1, MASK32 - dice.between(0, 300))]
        )
        self._expected: int | None = None
        """The listener's next number, once it is known."""
        self._answered = False
        """A SYN+ACK came: what the listener's numbers are can be told from its frames."""
        self._clock = dice.weighted([(5, 10), (1, 0), (1, MASK32 - 8)]) if dice.chance(50) else None
        self._window = dice.weighted(WINDOWS)
        self._options = self._drawn_options()
        self._sent: list[tuple[int, int, int]] = []
        """Flags, number and length of what was sent."""

    def _drawn_options(self) -> bytes:
        dice = self._dice
        options = b""
        if dice.chance(85):
            options += bytes((2, 4)) + dice.weighted(SEGMENT_SIZES).to_bytes(2, "big")
        if dice.chance(60):
            options += bytes((1, 3, 3, dice.pick((0, 1, 7, 14))))
        if dice.chance(70):
            options += bytes((1, 1, 4, 2))
        return options

    def left_node(self, _frame: bytes, packet: bytes, _host: Host | None) -> bool:
        """Look at a frame that left the node; True when it is an answer to this peer."""
        segment = read_segment(packet)
        if segment is None:
            return False
        opens = segment.flags & (SYN | ACK) == SYN | ACK
        if opens and segment.ack == (self._isn + 1) & MASK32:
            self._answered = True
            if self._dice.chance(95):
                self._expected = (segment.seq + 1) & MASK32
            return True
        return self._expected is not None and (segment.seq - self._expected) & MASK32 < SPAN

    def turn(self) -> tuple[Host, bytes, bytes] | None:
        """Return what it sends next, as (from, MAC, packet)."""
        self.turns -= 1
        return self._flow.host, self._next_hop, self._draw()

    def _draw(self) -> bytes:
        dice = self._dice
        if not self._sent:
            return self._open()
        choices: list[tuple[int, Callable[[], bytes]]] = [
            (8, self._plain),
            (6, self._again),
            (6, self._odd),
        ]
        if self._expected is not None or dice.chance(50):
            choices += [
                (10, self._data),
                (3, self._ahead),
                (2, self._finish),
                (1, self._reset),
                (2, self._syn),
                (2, self._probe),
                (2, self._overlap),
                (1, self._open_anew),
            ]
        return dice.weighted(choices)()

    def _open(self) -> bytes:
        self._sent.append((SYN, self._isn, 0))
        self._next = (self._isn + 1) & MASK32
        return self._segment(SYN | (ECE | CWR) * self._dice.chance(8), self._isn)

    def _open_anew(self) -> bytes:
        """Begin once more from the same port, with a higher first number."""
        self._isn = (self._next + self._dice.pick((1 << 21, 1, 77))) & MASK32
        self._expected = None
        self._answered = False
        self._sent.clear()
        return self._open()

    def _data(self) -> bytes:
        dice = self._dice
        if dice.chance(15):  # a hole
            self._next = (self._next + dice.pick((1, 20, 40))) & MASK32
        return self._stream(ACK | PSH * dice.chance(50) | URG * dice.chance(2), self._size())

    def _finish(self) -> bytes:
        return self._stream(FIN | ACK | PSH * self._dice.chance(50), self._size())

    def _stream(self, flags: int, length: int) -> bytes:
        """Send what comes next, and remember it."""
        seq = self._next
        self._next = (seq + length + bool(flags & FIN)) & MASK32
        self._sent.append((flags, seq, length))
        return self._segment(flags, seq, length)

    def _size(self) -> int:
        return self._dice.weighted(SIZES)

    def _plain(self) -> bytes:
        return self._segment(ACK, self._next)

    def _again(self) -> bytes:
        flags, seq, length = self._dice.pick(self._sent[-6:])
        return self._segment(flags, seq, length + self._dice.pick((0, 0, 0, 3)))

    def _ahead(self) -> bytes:
        return self._segment(
            ACK | PSH * self._dice.chance(50), self._next + self._dice.pick(AHEAD), self._size()
        )

    def _overlap(self) -> bytes:
        dice = self._dice
        length = self._size() + dice.pick((0, 0, 10))
        return self._segment(ACK | PSH * dice.chance(50), self._next - dice.pick(BACK), length)

    def _reset(self) -> bytes:
        return self._segment(
            RST | ACK * self._dice.chance(50), self._next + self._dice.pick(BESIDE)
        )

    def _syn(self) -> bytes:
        dice = self._dice
        shift = dice.pick((0, 0, 1, -1, 100, 1 << 21, 70000))
        length = dice.pick((0, 0, self._size()))
        return self._segment(SYN | ACK * dice.chance(30), self._next + shift, length)

    def _probe(self) -> bytes:
        """Keep alive, or ask for a window: one octet that was acknowledged before."""
        return self._segment(ACK, self._next - 1, self._dice.between(0, 1))

    def _odd(self) -> bytes:
        dice = self._dice
        flags = dice.pick((*ODD_FLAGS, 63, ACK, ACK, ACK, PSH | ACK))
        seq = self._next + dice.pick((0, 0, 0, 1, -1, 100))
        shift = dice.pick((0, *FAR_OFF))
        return self._segment(flags, seq, dice.pick((0, 0, self._size())), shift=shift)

    def _segment(self, flags: int, seq: int, length: int = 0, *, shift: int = 0) -> bytes:
        dice, flow = self._dice, self._flow
        flow.identification = flow.identification % 65535 + 1
        if dice.chance(30):
            self._window = dice.pick(OTHER_WINDOWS)
        if not self._answered:
            flags &= ~ACK
        ack = ((self._expected or 0) + shift) & MASK32 if flags & ACK else 0
        header = Header(src=flow.source, dst=flow.target, identification=flow.identification)
        return packets.tcp_packet(
            header,
            flow.src_port,
            flow.dst_port,
            seq=seq & MASK32,
            ack=ack,
            flags=flags,
            payload=dice.octets(min(length, 50)) + bytes(max(0, length - 50)),
            options=(self._options if flags & SYN else b"") + self._stamp(),
            window=self._window,
        )

    def _stamp(self) -> bytes:
        """Return the time stamp option, of a clock that stands, runs and goes back."""
        dice = self._dice
        if self._clock is None or dice.chance(4):
            return b""
        step = dice.weighted([(6, 1), (2, 0), (1, 100), (1, -1), (1, -2), (1, -50)])
        self._clock = (self._clock + step) & MASK32
        echo = bytes(4) if dice.chance(97) else dice.u32().to_bytes(4, "big")
        return bytes((1, 1, 8, 10)) + self._clock.to_bytes(4, "big") + echo
