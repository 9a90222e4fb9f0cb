"""TCP conversations between machines around the node, with all that happens to segments on the way.

Theory of operation: both ends keep numbers as a TCP does. What an end sends waits in its queue
until the script lets it in, so segments are lost, overtake each other and come twice. NAT leaves
sequence numbers alone: by them a frame that leaves the node is known, and it tells the far end,
when it hears for the first time, which addresses and ports to answer to.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from netemu.livekernel.generate import packets
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.endpoint import (
    MASK32,
    WINDOWS,
    Endpoint,
    Heard,
    read_segment,
)
from netemu.livekernel.generate.packets import ACK, FIN, PSH, RST, SYN, URG, Header
from netemu.livekernel.generate.world import Host

ECE, CWR = 64, 128
ODD_FLAGS = (
    0,
    FIN,
    SYN | FIN,
    SYN | RST,
    FIN | PSH | URG,
    SYN | ACK,
    SYN,
    RST,
    RST | ACK,
    URG | ACK,
)
FAR_OFF = (-1, 1, 1000, -1000, 70000, -70000, 1 << 31)


class Side(Struct, kw_only=True):
    """An end, where its frames enter the node, and what it is about to send."""

    end: Endpoint
    host: Host | None = None
    next_hop: bytes = b""
    """MAC that its frames go to."""
    src: bytes = b""
    dst: bytes = b""
    src_port: int = 0
    dst_port: int = 0
    identification: int = 1
    queue: list[bytes] = field(default_factory=list)
    """Packets that it sent and that have not reached the node."""
    unsure: list[tuple[int, int, int]] = field(default_factory=list)
    """Segments sent, as (flags, seq, length), for retransmission."""


class Conversation:
    """One connection, from SYN to the end, perhaps opened once more afterwards."""

    def __init__(self, dice: Dice, client: Side, turns: int) -> None:
        """Take the client, which knows where it sends to."""
        self._dice = dice
        self.client = client
        self.server = Side(end=Endpoint.drawn(dice))
        self.turns = turns
        """How often it still is its turn."""
        self._send(client, SYN | (ECE | CWR) * dice.chance(8))

    def turn(self) -> tuple[Host, bytes, bytes] | None:
        """Return what reaches the node next, as (from, MAC, packet); None when nothing does."""
        dice = self._dice
        self.turns -= 1
        sides = [side for side in (self.client, self.server) if side.queue]
        if not sides or dice.chance(12):
            self._speak()
            sides = [side for side in (self.client, self.server) if side.queue]
            if not sides:
                return None
        side = dice.pick(sides)
        at = dice.between(0, len(side.queue) - 1) if dice.chance(25) else 0
        packet = side.queue[at]
        if not dice.chance(7):  # else it comes once more
            del side.queue[at]
        if dice.chance(7) or side.host is None:
            return None  # lost on the way
        return side.host, side.next_hop, packet

    def left_node(self, frame: bytes, packet: bytes, host: Host | None) -> bool:
        """Look at a frame that left the node towards `host`; True when it is one of ours."""
        segment = read_segment(packet)
        if segment is None:
            return False
        if self.client.end.owns(segment.seq):
            side = self.server
        elif self.server.end.owns(segment.seq) or self._is_node_answering(segment):
            side = self.client
        else:
            return False
        if host is None or self._dice.chance(7):
            return True  # lost behind the node
        if side.host is None:
            self._learn_way(side, frame, packet, host)
        if side.host is host:
            self._heard(side, segment)
        return True

    def _is_node_answering(self, segment: Heard) -> bool:
        """Return whether a listener of the node answers the SYN; it is the server from then on."""
        client, flags = self.client.end, segment.flags & (SYN | ACK)
        if flags != SYN | ACK or segment.ack != (client.isn + 1) & MASK32 or self.server.host:
            return False
        self.server.end.isn = segment.seq
        client.stamps = False  # what the node's clock says, another run could not echo
        return True

    @staticmethod
    def _learn_way(side: Side, frame: bytes, packet: bytes, host: Host) -> None:
        at = (packet[0] & 15) * 4
        side.host, side.next_hop = host, frame[6:12]
        side.src, side.dst = packet[16:20], packet[12:16]
        side.src_port = int.from_bytes(packet[at + 2 : at + 4], "big")
        side.dst_port = int.from_bytes(packet[at : at + 2], "big")

    def _heard(self, side: Side, segment: Heard) -> None:
        dice, end = self._dice, side.end
        flags = segment.flags & (SYN | ACK | RST | FIN)
        if flags & SYN and not flags & RST:
            self._syn(side, segment, flags)
            return
        if end.take(segment) and not end.closed and dice.chance(75):
            if dice.chance(35):
                self._data(side)
            else:
                self._send(side, ACK)
        if flags & FIN and dice.chance(60):
            self._finish(side)

    def _syn(self, side: Side, segment: Heard, flags: int) -> None:
        dice, end = self._dice, side.end
        if end.rcv is None:
            end.agree(segment)
        if flags & ACK:
            end.take(segment)
            if dice.chance(90):
                self._send(side, ACK)
            return
        if dice.chance(6):
            self._segment(side, RST | ACK, end.isn, b"")
        elif dice.chance(6):
            self._segment(side, SYN, end.isn, b"")  # both open at once
            end.nxt = (end.isn + 1) & MASK32
        else:
            self._segment(side, SYN | ACK, end.isn, b"")
            if end.nxt == end.isn:
                end.nxt = (end.isn + 1) & MASK32

    # what an end does on its own

    def _speak(self) -> None:
        dice = self._dice
        side = dice.pick([side for side in (self.client, self.server) if side.host is not None])
        if side.end.nxt == side.end.isn:  # its SYN is still to come
            self._send(side, SYN)
            return
        choices: list[tuple[int, Callable[[Side], None]]] = [
            (10, self._again),
            (3, self._odd),
            (2, self._probe),
        ]
        if side.end.rcv is not None and not side.end.closed:
            choices += [(20, self._data), (6, self._finish), (3, self._reset), (4, self._plain)]
        elif side.end.closed and side is self.client:
            choices.append((8, self._reopen))
        dice.weighted(choices)(side)

    def _data(self, side: Side) -> None:
        dice = self._dice
        for _ in range(dice.weighted([(4, 1), (2, 2), (1, 3)])):
            length = dice.weighted([(4, 20), (3, 100), (1, 1), (2, 700)])
            urgent = URG * dice.chance(4)
            self._send(side, ACK | PSH * dice.chance(60) | urgent, length)

    def _plain(self, side: Side) -> None:
        self._send(side, ACK)

    def _finish(self, side: Side) -> None:
        if not side.end.closed:
            side.end.closed = True
            self._send(side, FIN | ACK, 30 * self._dice.chance(20))

    def _reset(self, side: Side) -> None:
        side.end.closed = True
        shift = self._dice.weighted([(6, 0), (1, 1), (1, 100), (1, -1), (1, 100000)])
        self._segment(side, RST | ACK * self._dice.chance(50), side.end.nxt + shift, b"")

    def _again(self, side: Side) -> None:
        """Retransmit a segment, now and then with more or less in it."""
        if not side.unsure:
            return
        flags, seq, length = self._dice.pick(side.unsure[-4:])
        length += self._dice.weighted([(8, 0), (1, 10), (1, -length)])
        self._segment(side, flags, seq, bytes(length))

    def _probe(self, side: Side) -> None:
        """Keep alive, or ask for a window: one octet that was acknowledged before."""
        self._segment(side, ACK, side.end.nxt - 1, bytes(self._dice.between(0, 1)))

    def _odd(self, side: Side) -> None:
        """Send flags, numbers or acknowledgements that make no sense here."""
        dice, end = self._dice, side.end
        flags, seq, shift = ACK, end.nxt, 0
        what = dice.between(0, 2)
        if what == 0:
            flags = dice.pick(ODD_FLAGS)
        elif what == 1:
            seq += dice.pick(FAR_OFF)
        else:
            shift = dice.pick(FAR_OFF)
        self._segment(side, flags, seq, bytes(dice.pick((0, 0, 20))), ack_shift=shift)

    def _reopen(self, side: Side) -> None:
        """Begin anew from the same ports, mostly with a higher first number."""
        dice, before = self._dice, side.end
        side.end, self.server.end = Endpoint.drawn(dice), Endpoint.drawn(dice)
        if dice.chance(70):
            side.end.isn = side.end.nxt = side.end.una = (before.nxt + (1 << 21)) & MASK32
        self._send(side, SYN)

    def _send(self, side: Side, flags: int, length: int = 0) -> None:
        end = side.end
        payload = self._dice.octets(min(length, 100)) + bytes(max(0, length - 100))
        side.unsure.append((flags, end.nxt, length))
        self._segment(side, flags, end.nxt, payload)
        end.nxt = (end.nxt + length + bool(flags & SYN) + bool(flags & FIN)) & MASK32

    def _segment(
        self, side: Side, flags: int, seq: int, payload: bytes, *, ack_shift: int = 0
    ) -> None:
        dice, end = self._dice, side.end
        if side.host is None:
            return
        side.identification = side.identification % 65535 + 1
        header = Header(
            src=side.src,
            dst=side.dst,
            identification=side.identification,
            dont_fragment=dice.chance(80),
        )
        ack = ((end.rcv or 0) + ack_shift) & MASK32 if flags & ACK else 0
        packet = packets.tcp_packet(
            packets.odd_header(dice, header) if dice.chance(2) else header,
            side.src_port,
            side.dst_port,
            seq=seq & MASK32,
            ack=ack,
            flags=flags,
            payload=payload,
            options=end.syn_options() if flags & SYN else end.options(dice),
            window=dice.weighted(WINDOWS),
        )
        side.queue.append(packet)
