"""What machines around a node answer to what reaches them."""

from __future__ import annotations

from netemu.livekernel.generate import packets
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.packets import ACK, FIN, MSS, PSH, RST, SYN, SYN_OPTIONS, Header
from netemu.livekernel.generate.world import World
from netemu.livekernel.masks import ICMP_ERRORS
from netemu.wire.fields import get16, get32

ICMP_CHOICES = (
    (3, 1, 0),
    (3, 3, 0),
    (3, 4, 1300),
    (3, 4, 0),
    (11, 0, 0),
    (11, 1, 0),
    (3, 13, 0),
    (5, 1, 0x0A010002),
    (12, 0, 0x14000000),
    (4, 0, 0),
)
"""Type, code and rest of header of errors."""


class Answers:
    """Makes answers to packets."""

    def __init__(self, dice: Dice, world: World) -> None:
        """Take the dice and the surroundings."""
        self._dice = dice
        self._world = world
        self.own_seqs: set[int] = set()
        """First sequence numbers that machines outside chose for their SYN+ACK."""

    def answer(self, packet: bytes) -> bytes | None:
        """Return what a machine answers to a packet, None when nothing."""
        dice = self._dice
        protocol, fragment = packet[9], get16(packet, 6)
        body = packet[(packet[0] & 15) * 4 : get16(packet, 2)]
        if fragment & 0x1FFF or len(body) < 8:
            return None
        header = Header(
            src=packet[16:20],
            dst=packet[12:16],
            identification=dice.between(1, 60000),
            dont_fragment=dice.chance(70),
            ttl=dice.pick((64, 128, 255)),
        )
        if dice.chance(10) and not (protocol == packets.ICMP and body[0] in ICMP_ERRORS):
            return self.icmp_error(header, packet)
        if protocol == packets.ICMP and body[0] in {8, 13}:
            rest = int.from_bytes(body[4:8], "big")
            return packets.icmp_packet(header, 0 if body[0] == 8 else 14, 0, rest, body[8:])
        if protocol == packets.UDP:
            ports = get16(body, 2), get16(body, 0)
            return packets.udp_packet(header, *ports, dice.octets(dice.between(0, 30)))
        if protocol == packets.TCP and len(body) >= 20:
            return self._tcp(header, body)
        return None

    def _tcp(self, header: Header, body: bytes) -> bytes | None:
        dice = self._dice
        flags, ports = body[13], (get16(body, 2), get16(body, 0))
        theirs, mine = get32(body, 4), get32(body, 8)
        length = max(0, len(body) - (body[12] >> 4) * 4)
        after = (theirs + length + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFFFFFF
        if flags & RST:
            return None
        if flags & SYN and not flags & ACK:
            return self._syn_answer(header, body, after)
        if dice.chance(4):  # a machine that forgot the connection, or an attacker
            seq = (mine + dice.pick((0, 1, -1, 100000))) & 0xFFFFFFFF
            return packets.tcp_packet(header, *ports, seq=seq, ack=0, flags=RST, window=0)
        if flags & FIN:
            answer = FIN | ACK if dice.chance(70) else ACK
            return packets.tcp_packet(header, *ports, seq=mine, ack=after, flags=answer)
        if length:
            payload = dice.octets(dice.between(0, 40)) if dice.chance(60) else b""
            answer = ACK | PSH if payload else ACK
            if dice.chance(5):
                after = (after + dice.pick((-1, 5000, 200000))) & 0xFFFFFFFF
            return packets.tcp_packet(
                header, *ports, seq=mine, ack=after, flags=answer, payload=payload
            )
        return None

    def _syn_answer(self, header: Header, body: bytes, after: int) -> bytes:
        dice = self._dice
        ports = get16(body, 2), get16(body, 0)
        if dice.chance(12):
            return packets.tcp_packet(header, *ports, seq=0, ack=after, flags=RST | ACK, window=0)
        if dice.chance(4):  # both sides open at once
            seq = dice.u32()
            self.own_seqs.add(seq)
            return packets.tcp_packet(header, *ports, seq=seq, ack=0, flags=SYN, options=MSS)
        seq = dice.u32()
        self.own_seqs.add(seq)
        if dice.chance(4):
            after = (after + dice.pick((-1, 1, 1000))) & 0xFFFFFFFF
        return packets.tcp_packet(
            header,
            *ports,
            seq=seq,
            ack=after,
            flags=SYN | ACK,
            options=SYN_OPTIONS if len(body) > 28 else MSS,
        )

    def icmp_error(self, header: Header, packet: bytes) -> bytes:
        """Return an error that quotes a packet."""
        dice = self._dice
        kind, code, rest = dice.pick(ICMP_CHOICES)
        if dice.chance(40):
            header = Header(src=dice.pick(self._world.hosts).address, dst=header.dst)
        quoted = packet[: dice.pick((28, 28, 40, 548))]
        if dice.chance(5):
            quoted = packet[: dice.between(0, 27)]
        if dice.chance(4) and len(quoted) > 12:  # a quote that nobody sent
            place = dice.between(0, len(quoted) - 1)
            quoted = quoted[:place] + bytes((quoted[place] ^ 1,)) + quoted[place + 1 :]
        return packets.icmp_packet(header, kind, code, rest, quoted)
