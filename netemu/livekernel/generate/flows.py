"""Conversations that machines around a node begin: TCP, UDP, ICMP and odder things."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import Struct, field

from netemu.livekernel.generate import packets
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.packets import (
    ACK,
    FIN,
    MSS,
    PSH,
    RST,
    SYN,
    SYN_OPTIONS,
    URG,
    Header,
)
from netemu.livekernel.generate.world import (
    CLIENT_PORTS,
    FAR_NETS,
    SERVICE_PORTS,
    VIPS,
    Host,
    World,
)
from netemu.livekernel.masks import network_offset
from netemu.wire.address import parse_prefix
from netemu.wire.fields import get16, get32

Step = Callable[[], bytes]

ODD_FLAGS = (
    0,
    FIN,
    SYN | FIN,
    SYN | RST,
    FIN | PSH | URG,
    63,
    SYN | ACK,
    ACK,
    RST,
    0xC2,
    SYN | PSH,
    0x1C2 & 0xFF,
)
SACK_OPTIONS = bytes((1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 9))


class Flow(Struct):
    """One conversation."""

    host: Host
    source: bytes
    target: bytes
    src_port: int
    dst_port: int
    identification: int
    steps: list[Step] = field(default_factory=list)
    """What it still sends."""
    seq: int = 0
    seen_seq: int = 0
    """What the other side has sent so far: the number to acknowledge."""


class Flows:
    """Makes conversations and keeps track of what came back to them."""

    def __init__(self, dice: Dice, world: World, heard: list[tuple[str, bytes]]) -> None:
        """Take the dice, the surroundings, and the list of all that the node sends."""
        self._dice = dice
        self._world = world
        self._heard = heard
        self._known = list(world.connections)
        self.all: list[Flow] = []

    def new(self) -> Flow:
        """Return a fresh conversation."""
        dice = self._dice
        if self._known and dice.chance(60):
            return self._known_one()
        flow = self.ends()
        if self.all and dice.chance(20):
            before = dice.pick(self.all)
            if dice.chance(60):  # the same ports again
                flow.host, flow.source = before.host, before.source
                flow.identification = before.identification
            # else another machine uses the same ones, which NAT may have to tell apart
            flow.src_port, flow.target = before.src_port, before.target
            flow.dst_port = before.dst_port
        flow.seq = dice.u32()
        choices: list[tuple[int, Callable[[Flow], list[Step]]]] = [
            (8, self._tcp_steps),
            (5, self._udp_steps),
            (3, self._icmp_steps),
            (1, self._odd_tcp_steps),
            (1, self._generic_steps),
            (1, self._other_icmp_steps),
        ]
        flow.steps = dice.weighted(choices)(flow)
        self.all.append(flow)
        return flow

    def ends(self) -> Flow:
        """Draw who talks to whom, of which ports."""
        dice, world = self._dice, self._world
        host = dice.pick(world.hosts)
        source = host.address
        if host.gateway and dice.chance(40):
            prefix, _ = parse_prefix(dice.pick(FAR_NETS))
            source = prefix[:3] + bytes((dice.between(1, 20),))
        return Flow(
            host,
            source,
            self.target(),
            dice.pick(CLIENT_PORTS),
            dice.pick(SERVICE_PORTS),
            dice.between(1, 60000),
        )

    def _known_one(self) -> Flow:
        """Return traffic of a connection that the node already tracks, from either side."""
        dice = self._dice
        known = self._known.pop()
        flow = Flow(
            known.host,
            known.host.address,
            known.target,
            known.src_port,
            known.dst_port,
            dice.between(1, 60000),
            seq=dice.u32(),
        )
        if dice.chance(35):
            flow = Flow(
                known.reached,
                known.reached.address,
                known.host.address,
                known.dst_port,
                known.src_port,
                dice.between(1, 60000),
                seq=dice.u32(),
            )
        steps = self._udp_steps(flow) if known.protocol == "udp" else self._tcp_middle(flow)
        flow.steps = steps
        self.all.append(flow)
        return flow

    def target(self) -> bytes:
        """Draw where something is sent to."""
        dice, world = self._dice, self._world
        far = parse_prefix(dice.pick(FAR_NETS))[0][:3] + bytes((dice.between(1, 20),))
        network, length = dice.pick(world.networks) if world.networks else (far[:3] + b"\0", 24)
        last = (int.from_bytes(network, "big") | ((1 << (32 - length)) - 1)).to_bytes(4, "big")
        return dice.weighted(
            [
                (6, dice.pick(VIPS)),
                (6, dice.pick(world.hosts).address),
                (4, dice.pick(world.own) if world.own else far),
                (2, dice.pick(world.pods) if world.pods else far),
                (2, far),
                (1, network[:3] + bytes((77,))),
                (1, last),
            ]
        )

    def note(self, frame: bytes, start: int, own_seqs: set[int]) -> None:
        """Tell flows what came back, so that they acknowledge the right numbers."""
        segment = start + (frame[start] & 15) * 4
        if frame[start + 9] != packets.TCP or len(frame) < segment + 20:
            return
        flags, seq = frame[segment + 13], get32(frame, segment + 4)
        header_length = segment - start + (frame[segment + 12] >> 4) * 4
        length = get16(frame, start + 2) - header_length
        for flow in self.all:
            if frame[start + 16 : start + 20] != flow.source:
                continue
            if get16(frame, segment + 2) != flow.src_port:
                continue
            if flags & (SYN | ACK) == SYN | ACK and seq not in own_seqs:
                # A socket of the node answered, with a random sequence number; nothing may
                # acknowledge it, so the conversation ends with a reset at most.
                flow.steps = [partial(self.tcp, flow, RST)] if self._dice.chance(50) else []
                continue
            after = seq + length + bool(flags & SYN) + bool(flags & FIN)
            flow.seen_seq = after & 0xFFFFFFFF

    def header(self, flow: Flow) -> Header:
        """Return the next packet's header."""
        flow.identification = flow.identification % 65535 + 1
        header = Header(
            src=flow.source,
            dst=flow.target,
            identification=flow.identification,
            dont_fragment=self._dice.chance(75),
            ttl=64,
        )
        return packets.odd_header(self._dice, header) if self._dice.chance(8) else header

    def _tcp_steps(self, flow: Flow) -> list[Step]:
        dice = self._dice
        steps: list[Step] = []
        if dice.chance(92):
            options = SYN_OPTIONS if dice.chance(50) else MSS
            steps.append(partial(self.tcp, flow, SYN, options=options))
        if dice.chance(85):
            steps.append(partial(self.tcp, flow, ACK))
        return steps + self._tcp_middle(flow)

    def _tcp_middle(self, flow: Flow) -> list[Step]:
        dice = self._dice
        steps: list[Step] = []
        for _ in range(dice.between(0, 2)):
            length = dice.weighted([(8, 20), (2, 1200), (1, 0)])
            steps.append(partial(self._data, flow, length))
        if dice.chance(8):
            odd = dice.pick(ODD_FLAGS)
            steps.append(partial(self.tcp, flow, odd))
        if dice.chance(5):
            steps.append(partial(self.tcp, flow, ACK, options=SACK_OPTIONS))
        end = dice.weighted([(4, FIN | ACK), (2, RST), (1, RST | ACK), (3, 0)])
        if end:
            steps.append(partial(self.tcp, flow, end))
            if end == FIN | ACK and dice.chance(60):
                steps.append(partial(self.tcp, flow, ACK))
            if dice.chance(15):  # the same ports once more
                steps.append(partial(self.tcp, flow, SYN, options=MSS))
        return steps or [partial(self.tcp, flow, ACK)]

    def _data(self, flow: Flow, length: int) -> bytes:
        return self.tcp(flow, ACK | PSH, self._dice.octets(length))

    def tcp(self, flow: Flow, flags: int, payload: bytes = b"", options: bytes = b"") -> bytes:
        """Return the next segment of a flow, now and then with a wrong sequence number."""
        dice, seq = self._dice, flow.seq
        if dice.chance(4):
            seq = (seq + dice.pick((-1, 1, 70000, -70000, 1 << 31))) & 0xFFFFFFFF
        ack = flow.seen_seq if flags & ACK else 0
        if dice.chance(3):
            ack = (ack + dice.pick((-1, 1, 70000, -70000))) & 0xFFFFFFFF
        packet = packets.tcp_packet(
            self.header(flow),
            flow.src_port,
            flow.dst_port,
            seq=seq,
            ack=ack,
            flags=flags,
            payload=payload,
            options=options,
            window=dice.weighted([(9, 64240), (1, 0), (1, 100)]),
        )
        length = len(payload) + bool(flags & SYN) + bool(flags & FIN)
        flow.seq = (flow.seq + length) & 0xFFFFFFFF
        return packet

    def _odd_tcp_steps(self, flow: Flow) -> list[Step]:
        dice = self._dice
        return [partial(self.tcp, flow, dice.pick(ODD_FLAGS)) for _ in range(dice.between(1, 3))]

    def _udp_steps(self, flow: Flow) -> list[Step]:
        return [partial(self._datagram, flow)] * self._dice.between(1, 3)

    def _datagram(self, flow: Flow) -> bytes:
        dice = self._dice
        length = dice.weighted([(8, 12), (1, 0), (2, 1400)])
        return packets.udp_packet(
            self.header(flow), flow.src_port, flow.dst_port, dice.octets(length)
        )

    def _icmp_steps(self, flow: Flow) -> list[Step]:
        dice = self._dice
        identification = dice.pick((1, 2, 0x1234))
        sizes = [dice.weighted([(8, 16), (1, 0), (2, 1400)]) for _ in range(dice.between(1, 3))]
        return [
            partial(self._echo, flow, identification << 16 | number, size)
            for number, size in enumerate(sizes)
        ]

    def _echo(self, flow: Flow, rest: int, size: int) -> bytes:
        return packets.icmp_packet(self.header(flow), 8, 0, rest, self._dice.octets(size))

    def _other_icmp_steps(self, flow: Flow) -> list[Step]:
        kinds = ((0, 0), (13, 0), (17, 0), (3, 3), (11, 0), (5, 0), (8, 1), (42, 0))
        return [partial(self._other_icmp, flow, *self._dice.pick(kinds))]

    def _other_icmp(self, flow: Flow, kind: int, code: int) -> bytes:
        dice = self._dice
        quoted = dice.octets(28)
        if self._heard and dice.chance(60):
            _, frame = dice.pick(self._heard)
            start = network_offset(frame)
            quoted = frame[start : start + 28] if start is not None else quoted
        return packets.icmp_packet(self.header(flow), kind, code, 0, quoted)

    def _generic_steps(self, flow: Flow) -> list[Step]:
        dice = self._dice
        protocol = dice.pick((2, 47, 50, 89, 132, 136, 253, 6, 17, 1))
        length = 24 if protocol not in {1, 6, 17} else dice.between(0, 19)
        return [partial(self._generic, flow, protocol, length)]

    def _generic(self, flow: Flow, protocol: int, length: int) -> bytes:
        return packets.ip_packet(self.header(flow), protocol, self._dice.octets(length))
