"""Random traffic: machines around a node start conversations and answer what reaches them.

Theory of operation: the script is played against a live node, which tells after each frame what
left. Answers are made from the frames that really came out, so they follow the NAT that really
took place; the concrete frames are recorded and netemu gets the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from netemu.livekernel.generate import packets
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.packets import Header
from netemu.livekernel.generate.world import (
    CLIENT_PORTS,
    FAR_NETS,
    SERVICE_PORTS,
    VIPS,
    Host,
    World,
)
from netemu.livekernel.masks import ICMP_ERRORS, network_offset
from netemu.wire.address import parse_prefix
from netemu.wire.fields import get16, get32

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
MSS = bytes((2, 4, 5, 0xB4))
SYN_OPTIONS = MSS + bytes((4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7))
MOST_INPUTS = 60
LARGEST_HEADER_OCTETS = 18
"""Ethernet header and 802.1Q tag: what a device takes above its MTU (is_skb_forwardable)."""


class Player(Protocol):
    """A node that frames can be sent to."""

    def send(self, device: str, frame: bytes) -> list[tuple[str, bytes]]:
        """Let a frame enter; return what left, as (port, frame)."""

    def send_local(self, namespace: str, packet: bytes, mark: int = 0) -> list[tuple[str, bytes]]:
        """Let the node itself send; return what left, as (port, frame)."""


@dataclass(slots=True)
class Seen:
    """What the other side of a TCP flow has said so far."""

    seq: int = 0


@dataclass(slots=True)
class Flow:
    """One conversation that a machine outside begins."""

    host: Host
    source: bytes
    target: bytes
    src_port: int
    dst_port: int
    identification: int
    steps: list[Callable[[], bytes]] = field(default_factory=list)
    seq: int = 0
    seen: Seen = field(default_factory=Seen)


class Script:
    """Plays one random script."""

    def __init__(self, dice: Dice, world: World, player: Player) -> None:
        """Take the dice, the surroundings and the node."""
        self.dice = dice
        self.world = world
        self.player = player
        self.sent = 0
        self.flows: list[Flow] = []
        self.heard: list[tuple[str, bytes]] = []
        """Every frame that came out."""
        self.by_mac = {host.mac: host for host in world.hosts}
        self.entered: list[tuple[str, bytes]] = []
        self.mtu = {link.name: link.mtu for link in world.main.links}
        self.own_seqs: set[int] = set()
        """First sequence numbers that machines outside chose for their SYN+ACK."""

    def play(self) -> None:
        """Send everything."""
        dice = self.dice
        waiting = [self._new_flow() for _ in range(dice.between(3, 8))]
        while waiting and self.sent < MOST_INPUTS:
            flow = dice.pick(waiting)
            if dice.chance(12):
                self._interlude()
            if flow.steps:
                self._step(flow)
            if not flow.steps:
                waiting.remove(flow)

    # sending and answering

    def _send(self, port: str, frame: bytes) -> None:
        if port not in self.world.mac_at or self.sent >= 2 * MOST_INPUTS or len(frame) < 14:
            return
        if len(frame) > self.mtu[port] + LARGEST_HEADER_OCTETS:
            return
        self.sent += 1
        self.entered.append((port, frame))
        self._react(self.player.send(port, frame))

    def _react(self, frames: list[tuple[str, bytes]]) -> None:
        for port, frame in frames:
            self.heard.append((port, frame))
            if self.sent < 2 * MOST_INPUTS:
                self._answer(port, frame)

    def _answer(self, port: str, frame: bytes) -> None:
        if frame[12:14] == b"\x08\x06":
            self._answer_arp(port, frame)
            return
        start = network_offset(frame)
        if start is None or len(frame) < start + 20:
            return
        self._note_for_flows(frame, start)
        host = self.by_mac.get(frame[:6])
        if host is None or host.port != port or not self.dice.chance(80):
            return
        answer = self._answer_packet(frame[start:])
        if answer is not None:
            if self.dice.chance(3):
                self._send(port, packets.odd_frame(self.dice, _back(frame, answer)))
            self._send(port, _back(frame, answer))

    def _answer_arp(self, port: str, frame: bytes) -> None:
        if len(frame) < 42 or get16(frame, 20) != 1:
            return
        host = self.world.host_at(frame[38:42])
        if host is None or host.port != port or not host.answers_arp:
            return
        self._send(
            port,
            packets.arp_frame(
                operation=2,
                sender_mac=host.mac,
                sender_ip=host.address,
                target_mac=frame[22:28],
                target_ip=frame[28:32],
                frame_target=frame[6:12],
            ),
        )

    def _note_for_flows(self, frame: bytes, start: int) -> None:
        """Tell flows what came back to them, so that they acknowledge the right numbers."""
        segment = start + (frame[start] & 15) * 4
        if frame[start + 9] != packets.TCP or len(frame) < segment + 20:
            return
        for flow in self.flows:
            if (
                frame[start + 16 : start + 20] == flow.source
                and get16(frame, segment + 2) == flow.src_port
            ):
                flags = frame[segment + 13]
                length = (
                    get16(frame, start + 2) - (segment - start) - (frame[segment + 12] >> 4) * 4
                )
                their_seq = get32(frame, segment + 4)
                if flags & (SYN | ACK) == SYN | ACK and their_seq not in self.own_seqs:
                    # A socket of the node answered, with a random sequence number; nothing may
                    # acknowledge it, so the conversation ends with a reset at most.
                    flow.steps = [partial(self._tcp, flow, RST)] if self.dice.chance(50) else []
                    continue
                after = their_seq + length + bool(flags & SYN) + bool(flags & FIN)
                flow.seen.seq = after & 0xFFFFFFFF

    def _answer_packet(self, packet: bytes) -> bytes | None:
        dice = self.dice
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
            return self._icmp_error(header, packet)
        if protocol == packets.ICMP and body[0] in {8, 13}:
            rest = int.from_bytes(body[4:8], "big")
            return packets.icmp_packet(header, 0 if body[0] == 8 else 14, 0, rest, body[8:])
        if protocol == packets.UDP:
            ports = get16(body, 2), get16(body, 0)
            return packets.udp_packet(header, *ports, dice.octets(dice.between(0, 30)))
        if protocol == packets.TCP and len(body) >= 20:
            return self._answer_tcp(header, body)
        return None

    def _answer_tcp(self, header: Header, body: bytes) -> bytes | None:
        dice = self.dice
        flags, ports = body[13], (get16(body, 2), get16(body, 0))
        theirs, mine = get32(body, 4), get32(body, 8)
        length = max(0, len(body) - (body[12] >> 4) * 4)
        after = (theirs + length + bool(flags & SYN) + bool(flags & FIN)) & 0xFFFFFFFF
        if flags & RST:
            return None
        if flags & SYN and not flags & ACK:
            if dice.chance(12):
                return packets.tcp_packet(
                    header, *ports, seq=0, ack=after, flags=RST | ACK, window=0
                )
            seq = dice.u32()
            self.own_seqs.add(seq)
            return packets.tcp_packet(
                header, *ports, seq=seq, ack=after, flags=SYN | ACK,
                options=SYN_OPTIONS if len(body) > 28 else MSS,
            )  # fmt: skip
        if flags & FIN:
            flags = FIN | ACK if dice.chance(70) else ACK
            return packets.tcp_packet(header, *ports, seq=mine, ack=after, flags=flags)
        if length:
            payload = dice.octets(dice.between(0, 40)) if dice.chance(60) else b""
            flags = ACK | PSH if payload else ACK
            return packets.tcp_packet(
                header, *ports, seq=mine, ack=after, flags=flags, payload=payload
            )
        return None

    def _icmp_error(self, header: Header, packet: bytes) -> bytes:
        dice = self.dice
        kind, code, rest = dice.pick(
            (
                (3, 1, 0),
                (3, 3, 0),
                (3, 4, 1300),
                (11, 0, 0),
                (3, 13, 0),
                (5, 1, 0x0A010002),
                (12, 0, 0),
            )
        )
        if dice.chance(40):
            header = Header(src=dice.pick(self.world.hosts).address, dst=header.dst)
        quoted = packet[: dice.pick((28, 28, 40, 548))]
        if dice.chance(5):
            quoted = packet[: dice.between(0, 27)]
        return packets.icmp_packet(header, kind, code, rest, quoted)

    # conversations

    def _new_flow(self) -> Flow:
        dice, world = self.dice, self.world
        host = dice.pick(world.hosts)
        source = host.address
        if host.gateway and dice.chance(40):
            prefix, _ = parse_prefix(dice.pick(FAR_NETS))
            source = prefix[:3] + bytes((dice.between(1, 20),))
        flow = Flow(
            host,
            source,
            self._target(),
            dice.pick(CLIENT_PORTS),
            dice.pick(SERVICE_PORTS),
            dice.between(1, 60000),
        )
        flow.seq = dice.u32()
        maker: Callable[[Flow], list[Callable[[], bytes]]] = dice.weighted(
            [
                (6, self._tcp_steps),
                (4, self._udp_steps),
                (3, self._icmp_steps),
                (1, self._odd_tcp_steps),
                (1, self._generic_steps),
                (1, self._other_icmp_steps),
            ]
        )
        flow.steps = maker(flow)
        self.flows.append(flow)
        return flow

    def _target(self) -> bytes:
        dice, world = self.dice, self.world
        far = parse_prefix(dice.pick(FAR_NETS))[0][:3] + bytes((dice.between(1, 20),))
        nobody = dice.pick(world.networks)[0][:3] + bytes((77,)) if world.networks else far
        network, length = dice.pick(world.networks) if world.networks else (bytes(4), 24)
        last = (int.from_bytes(network, "big") | ((1 << (32 - length)) - 1)).to_bytes(4, "big")
        return dice.weighted(
            [
                (6, dice.pick(VIPS)),
                (6, dice.pick(world.hosts).address),
                (4, dice.pick(world.own) if world.own else far),
                (2, dice.pick(world.pods) if world.pods else far),
                (2, far),
                (1, nobody),
                (1, last),
            ]
        )

    def _step(self, flow: Flow) -> None:
        dice = self.dice
        packet = flow.steps.pop(0)()
        if len(packet) > 700 and not get16(packet, 6) & 0x4000 and dice.chance(60):
            pieces = packets.fragments(packet, dice.pick((400, 520, 600)))
            if dice.chance(20):
                pieces.reverse()
            if dice.chance(10):
                pieces.pop()
            for piece in pieces:
                self._send_packet(flow, piece)
            return
        self._send_packet(flow, packet)
        if dice.chance(6):  # a retransmission
            self._send_packet(flow, packet)

    def _send_packet(self, flow: Flow, packet: bytes) -> None:
        target = self._next_hop_mac(flow)
        frame = packets.ip_frame(target, flow.host.mac, packet)
        if self.dice.chance(5):
            frame = packets.odd_frame(self.dice, frame)
        self._send(flow.host.port, frame)

    def _next_hop_mac(self, flow: Flow) -> bytes:
        """On one link frames go straight to the target, else to the node."""
        near = self.world.host_at(flow.target)
        if near is not None and near.address[:3] == flow.host.address[:3]:
            if self.dice.chance(80):
                return near.mac
        if flow.target in self.world.pods and flow.host.address[:3] == flow.target[:3]:
            if self.dice.chance(80):
                return self.world.pod_macs[0]
        if flow.target[3] == 255 and flow.target[:3] == flow.host.address[:3]:
            return packets.BROADCAST_MAC
        return self.world.mac_at[flow.host.port]

    def _header(self, flow: Flow) -> Header:
        flow.identification = flow.identification % 65535 + 1
        header = Header(
            src=flow.source,
            dst=flow.target,
            identification=flow.identification,
            dont_fragment=self.dice.chance(75),
            ttl=64,
        )
        return packets.odd_header(self.dice, header) if self.dice.chance(8) else header

    def _tcp_steps(self, flow: Flow) -> list[Callable[[], bytes]]:
        dice = self.dice
        steps: list[Callable[[], bytes]] = []
        if dice.chance(92):
            options = SYN_OPTIONS if dice.chance(50) else MSS
            steps.append(partial(self._tcp, flow, SYN, options=options))
        if dice.chance(85):
            steps.append(partial(self._tcp, flow, ACK))
        for _ in range(dice.between(0, 2)):
            length = dice.weighted([(8, 20), (2, 1200), (1, 0)])
            steps.append(partial(self._data, flow, length))
        end = dice.weighted([(4, FIN | ACK), (2, RST), (1, RST | ACK), (3, 0)])
        if end:
            steps.append(partial(self._tcp, flow, end))
            if end == FIN | ACK and dice.chance(60):
                steps.append(partial(self._tcp, flow, ACK))
        return steps or [partial(self._tcp, flow, ACK)]

    def _tcp(self, flow: Flow, flags: int, payload: bytes = b"", options: bytes = b"") -> bytes:
        seq = flow.seq
        if self.dice.chance(4):
            seq = (seq + self.dice.pick((-1, 1, 70000, -70000, 1 << 31))) & 0xFFFFFFFF
        ack = flow.seen.seq if flags & ACK else 0
        packet = packets.tcp_packet(
            self._header(flow), flow.src_port, flow.dst_port,
            seq=seq, ack=ack, flags=flags, payload=payload, options=options,
            window=self.dice.weighted([(9, 64240), (1, 0), (1, 100)]),
        )  # fmt: skip
        length = len(payload) + bool(flags & SYN) + bool(flags & FIN)
        flow.seq = (flow.seq + length) & 0xFFFFFFFF
        return packet

    def _data(self, flow: Flow, length: int) -> bytes:
        return self._tcp(flow, ACK | PSH, self.dice.octets(length))

    def _odd_tcp_steps(self, flow: Flow) -> list[Callable[[], bytes]]:
        dice = self.dice
        odd = (
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
        )
        return [partial(self._tcp, flow, dice.pick(odd)) for _ in range(dice.between(1, 3))]

    def _udp_steps(self, flow: Flow) -> list[Callable[[], bytes]]:
        dice = self.dice

        def one() -> bytes:
            length = dice.weighted([(8, 12), (1, 0), (2, 1400)])
            return packets.udp_packet(
                self._header(flow), flow.src_port, flow.dst_port, dice.octets(length)
            )

        return [one] * dice.between(1, 3)

    def _icmp_steps(self, flow: Flow) -> list[Callable[[], bytes]]:
        dice = self.dice
        identification = dice.pick((1, 2, 0x1234))
        sizes = [dice.weighted([(8, 16), (1, 0), (2, 1400)]) for _ in range(dice.between(1, 3))]
        return [
            partial(self._echo, flow, identification << 16 | number, size)
            for number, size in enumerate(sizes)
        ]

    def _echo(self, flow: Flow, rest: int, size: int) -> bytes:
        return packets.icmp_packet(self._header(flow), 8, 0, rest, self.dice.octets(size))

    def _other_icmp_steps(self, flow: Flow) -> list[Callable[[], bytes]]:
        dice = self.dice
        kind, code = dice.pick(((0, 0), (13, 0), (17, 0), (3, 3), (11, 0), (5, 0), (8, 1), (42, 0)))

        def one() -> bytes:
            quoted = dice.octets(28)
            if self.heard and dice.chance(60):
                _, frame = dice.pick(self.heard)
                start = network_offset(frame)
                quoted = frame[start : start + 28] if start is not None else quoted
            return packets.icmp_packet(self._header(flow), kind, code, 0, quoted)

        return [one]

    def _generic_steps(self, flow: Flow) -> list[Callable[[], bytes]]:
        protocol = self.dice.pick((2, 47, 50, 89, 132, 136, 253))
        return [lambda: packets.ip_packet(self._header(flow), protocol, self.dice.octets(24))]

    # other things that happen on a wire

    def _interlude(self) -> None:
        dice = self.dice
        dice.weighted(
            [
                (4, self._arp_request),
                (2, self._odd_arp),
                (3, self._error_about_heard),
                (3, self._local_packet),
                (1, self._foreign_frame),
                (2, self._spoof),
            ]
        )()

    def _arp_request(self) -> None:
        dice, host = self.dice, self.dice.pick(self.world.hosts)
        pool = [*self.world.own, *(other.address for other in self.world.hosts), *VIPS]
        target = (
            dice.pick(self.world.own) if self.world.own and dice.chance(60) else dice.pick(pool)
        )
        unicast = dice.chance(20)
        self._send(
            host.port,
            packets.arp_frame(
                operation=1,
                sender_mac=host.mac,
                sender_ip=dice.weighted([(8, host.address), (1, bytes(4)), (1, target)]),
                target_ip=target,
                frame_target=self.world.mac_at[host.port] if unicast else packets.BROADCAST_MAC,
            ),
        )

    def _odd_arp(self) -> None:
        dice, host = self.dice, self.dice.pick(self.world.hosts)
        own_mac = self.world.mac_at[host.port]
        sender_mac = dice.weighted([(3, host.mac), (1, b"\x02\x00\x00\x00\xdd\x01")])
        gratuitous = dice.chance(50)
        frame = packets.arp_frame(
            operation=dice.weighted([(3, 2), (3, 1), (1, 3), (1, 0)]),
            sender_mac=sender_mac,
            sender_ip=host.address,
            target_mac=dice.pick((bytes(6), own_mac, sender_mac)),
            target_ip=host.address if gratuitous else self._target(),
            frame_target=dice.pick((packets.BROADCAST_MAC, own_mac)),
        )
        if dice.chance(15):
            frame = frame[: dice.between(20, len(frame))]
        elif dice.chance(15):
            place = dice.between(14, 19)
            frame = frame[:place] + bytes((dice.between(0, 8),)) + frame[place + 1 :]
        elif dice.chance(20):
            frame += bytes(18)
        self._send(host.port, frame)

    def _error_about_heard(self) -> None:
        """A router further away complains about a packet that the node sent."""
        if not self.heard:
            return
        port, frame = self.dice.pick(self.heard)
        start = network_offset(frame)
        if start is None or len(frame) < start + 28 or frame[0] & 1:
            return
        header = Header(
            src=self.dice.pick(self.world.hosts).address, dst=frame[start + 12 : start + 16]
        )
        self._send(port, _back(frame, self._icmp_error(header, frame[start:])))

    def _local_packet(self) -> None:
        """The node itself sends something."""
        dice, world = self.dice, self.world
        if not world.own:
            return
        header = Header(
            src=dice.pick(world.own),
            dst=self._target(),
            identification=dice.between(1, 60000),
            dont_fragment=dice.chance(60),
        )
        ports = dice.pick(CLIENT_PORTS), dice.pick(SERVICE_PORTS)
        choices: list[tuple[int, Callable[[], bytes]]] = [
            (3, lambda: packets.udp_packet(header, *ports, dice.octets(10))),
            (3, lambda: packets.tcp_packet(header, *ports, seq=dice.u32(), ack=0, flags=SYN)),
            (2, lambda: packets.icmp_packet(header, 8, 0, dice.between(1, 9), b"ping")),
        ]
        packet = dice.weighted(choices)()
        mark = dice.weighted([(4, 0), (1, 1), (1, 2)])
        self.sent += 1
        self._react(self.player.send_local("", packet, mark))

    def _foreign_frame(self) -> None:
        dice, host = self.dice, self.dice.pick(self.world.hosts)
        ethertype = dice.pick((0x88CC, 0x0026, 0x86DD, 0x9000))
        target = dice.pick((packets.BROADCAST_MAC, self.world.mac_at[host.port]))
        frame = target + host.mac + ethertype.to_bytes(2, "big") + dice.octets(50)
        if ethertype != 0x86DD:
            self._send(host.port, frame)

    def _spoof(self) -> None:
        """A frame seen before comes again from another port or machine."""
        if not self.entered:
            return
        dice = self.dice
        _, frame = dice.pick(self.entered)
        host = dice.pick(self.world.hosts)
        source = host.mac if dice.chance(60) else frame[6:12]
        self._send(host.port, self.world.mac_at[host.port] + source + frame[12:])


def _back(frame: bytes, packet: bytes) -> bytes:
    """Return a frame that takes the way back of `frame`."""
    return packets.ip_frame(frame[6:12], frame[:6], packet)
