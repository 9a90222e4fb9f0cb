"""Random traffic: machines around a node start conversations and answer what reaches them.

Theory of operation: the script is played against a live node, which tells after each frame what
left. Answers are made from the frames that really came out, so they follow the NAT that really
took place; the concrete frames are recorded and netemu gets the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from netemu.livekernel.generate import packets
from netemu.livekernel.generate.answers import Answers
from netemu.livekernel.generate.conversation import Conversation, Side
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.endpoint import Endpoint
from netemu.livekernel.generate.flows import Flow, Flows
from netemu.livekernel.generate.packets import SYN, Header
from netemu.livekernel.generate.prober import Prober
from netemu.livekernel.generate.world import CLIENT_PORTS, SERVICE_PORTS, VIPS, World
from netemu.livekernel.masks import network_offset
from netemu.wire.fields import get16

MOST_INPUTS = 60
LARGEST_HEADER_OCTETS = 18
"""Ethernet header and 802.1Q tag: what a device takes above its MTU (is_skb_forwardable)."""


class Player(Protocol):
    """A node that frames can be sent to."""

    def send(self, device: str, frame: bytes) -> list[tuple[str, bytes]]:
        """Let a frame enter; return what left, as (port, frame)."""

    def send_local(self, namespace: str, packet: bytes, mark: int = 0) -> list[tuple[str, bytes]]:
        """Let the node itself send; return what left, as (port, frame)."""

    def pause(self, duration_ns: int) -> list[tuple[str, bytes]]:
        """Let time pass; return what left meanwhile, as (port, frame)."""


WAITS_NS = (400_000_000, 1_400_000_000, 2_400_000_000)
"""Two of them never add up to whole seconds, where timers would race with frames."""

MOST_WAITS = 2
APART_NS = 9_000_000
"""More than two jiffies of 4 ms: what is so far apart comes in different ones, however they lie."""

PIECE_NS = 20_000_000
"""So long machines take to hear what the node sends on its own."""


class Script:
    """Plays one random script."""

    def __init__(self, dice: Dice, world: World, player: Player) -> None:
        """Take the dice, the surroundings and the node."""
        self.dice = dice
        self.world = world
        self.player = player
        self.sent = 0
        self.heard: list[tuple[str, bytes]] = []
        """Every frame that came out."""
        self.entered: list[tuple[str, bytes]] = []
        self.answers = Answers(dice, world)
        self.flows = Flows(dice, world, self.heard)
        self.talks: list[Conversation | Prober] = []
        self.waits = dice.between(1, MOST_WAITS) if world.hasty else 0
        self.by_mac = {host.mac: host for host in world.hosts}
        self.mtu = {link.name: link.mtu for link in world.main.links}
        rules = world.main.rules4
        self.apart = rules is not None and "-m connlimit" in rules.text
        """Whether packets must come in different jiffies."""

    def play(self) -> None:
        """Send everything."""
        dice = self.dice
        if dice.chance(35):
            self.talks = [self._conversation() for _ in range(dice.between(1, 2))]
        if dice.chance(15):
            self.talks += self._probers()
        few = dice.between(1, 3) if self.talks else dice.between(3, 8)
        waiting: list[Flow | Conversation | Prober] = [self.flows.new() for _ in range(few)]
        waiting += self.talks
        while waiting and self.sent < MOST_INPUTS:
            part = dice.pick(waiting)
            if dice.chance(12):
                self._interlude()
            if self.waits and dice.chance(8):
                self._wait()
            if not isinstance(part, Flow):
                self._turn(part)
                over = part.turns <= 0
            else:
                if part.steps:
                    self._step(part)
                over = not part.steps
            if over:
                waiting.remove(part)
        while self.waits and dice.chance(60):
            self._wait()

    def _conversation(self) -> Conversation:
        flow = self.flows.ends()
        client = Side(
            end=Endpoint.drawn(self.dice),
            host=flow.host,
            next_hop=self._next_hop_mac(flow),
            src=flow.source,
            dst=flow.target,
            src_port=flow.src_port,
            dst_port=flow.dst_port,
        )
        return Conversation(self.dice, client, self.dice.between(10, 40))

    def _probers(self) -> list[Conversation | Prober]:
        """Draw peers of the node's listeners, if it has any."""
        dice, main = self.dice, self.world.main
        ports = [spec.port for spec in main.sockets or [] if spec.protocol == "tcp"]
        found: list[Conversation | Prober] = []
        while ports and self.world.own and len(found) < 2:
            flow = self.flows.ends()
            flow.target, flow.dst_port = dice.pick(self.world.own), dice.pick(ports)
            found.append(Prober(dice, flow, self._next_hop_mac(flow), dice.between(10, 30)))
            if dice.chance(50):
                break
        return found

    def _turn(self, talk: Conversation | Prober) -> None:
        came = talk.turn()
        if came is not None:
            host, next_hop, packet = came
            self._send(host.port, packets.ip_frame(next_hop, host.mac, packet))

    def _wait(self) -> None:
        """Let timeouts pass."""
        self.waits -= 1
        left_ns = self.dice.pick(WAITS_NS)
        while left_ns > 0:
            self._react(self.player.pause(min(left_ns, PIECE_NS)))
            left_ns -= PIECE_NS

    # sending and answering

    def _send(self, port: str, frame: bytes) -> None:
        if port not in self.world.mac_at or self.sent >= 2 * MOST_INPUTS or len(frame) < 14:
            return
        if len(frame) > self.mtu[port] + LARGEST_HEADER_OCTETS:
            return
        self.sent += 1
        self._keep_apart()
        self.entered.append((port, frame))
        self._react(self.player.send(port, frame))

    def _keep_apart(self) -> None:
        if self.apart:
            self._react(self.player.pause(APART_NS))

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
        host = self.by_mac.get(frame[:6])
        if host is not None and host.port != port:
            host = None
        if any(talk.left_node(frame, frame[start:], host) for talk in self.talks):
            return
        self.flows.note(frame, start, self.answers.own_seqs)
        if host is None or not self.dice.chance(80):
            return
        answer = self.answers.answer(frame[start:])
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
        reply = packets.arp_frame(
            operation=2,
            sender_mac=host.mac,
            sender_ip=host.address,
            target_mac=frame[22:28],
            target_ip=frame[28:32],
            frame_target=frame[6:12],
        )
        self._send(port, reply)

    def _step(self, flow: Flow) -> None:
        dice = self.dice
        packet = flow.steps.pop(0)()
        fits = not get16(packet, 6) and packet[0] & 15 == 5 and len(packet) >= 20 + 16
        if fits and dice.chance(60 if len(packet) > 700 else 15):
            pieces = self._pieces(packet)
            if dice.chance(30):  # other things happen in between
                flow.steps[:0] = [partial(bytes, piece) for piece in pieces]
                return
            for piece in pieces:
                self._send_packet(flow, piece)
            return
        self._send_packet(flow, packet)
        if dice.chance(6):  # a retransmission
            self._send_packet(flow, packet)

    def _pieces(self, packet: bytes) -> list[bytes]:
        """Cut a packet, in any order, now and then with a gap, a repetition or an overlap."""
        dice = self.dice
        # Ports and the checksum over them stay in one piece, so that a drawn port shows in both.
        least = 24 if packet[9] == packets.TCP else 8
        sizes = (400, 520, 600, 1000) if len(packet) > 700 else (least, 24, 32)
        whole = packets.fragments(packet, dice.pick(sizes))[:12]
        pieces = list(whole)
        if dice.chance(20):
            pieces.reverse()
        elif dice.chance(40):
            pieces = [pieces.pop(dice.between(0, len(pieces) - 1)) for _ in range(len(pieces))]
        if dice.chance(10):
            pieces.pop(dice.between(0, len(pieces) - 1))
        if dice.chance(8):
            pieces.insert(dice.between(0, len(pieces)), dice.pick(whole))
        if dice.chance(8):
            others = packets.fragments(packet, dice.pick((least, 304, 496)))
            pieces.insert(dice.between(0, len(pieces)), dice.pick(others))
        return pieces

    def _send_packet(self, flow: Flow, packet: bytes) -> None:
        frame = packets.ip_frame(self._next_hop_mac(flow), flow.host.mac, packet)
        if self.dice.chance(5):
            frame = packets.odd_frame(self.dice, frame)
        self._send(flow.host.port, frame)

    def _next_hop_mac(self, flow: Flow) -> bytes:
        """On one link frames go straight to the target, else to the node."""
        world = self.world
        near = world.host_at(flow.target)
        if near is not None and near.address[:3] == flow.host.address[:3] and self.dice.chance(80):
            return near.mac
        if flow.target in world.pods and flow.host.address[:3] == flow.target[:3]:
            if self.dice.chance(80):
                return world.pod_macs[world.pods.index(flow.target)]
        if flow.target[3] == 255 and flow.target[:3] == flow.host.address[:3]:
            return packets.BROADCAST_MAC
        return world.mac_at[flow.host.port]

    # other things that happen on a wire

    def _interlude(self) -> None:
        choices: list[tuple[int, Callable[[], None]]] = [
            (4, self._arp_request),
            (2, self._odd_arp),
            (3, self._error_about_heard),
            (3, self._local_packet),
            (1, self._foreign_frame),
            (2, self._spoof),
        ]
        self.dice.weighted(choices)()

    def _arp_request(self) -> None:
        dice, host = self.dice, self.dice.pick(self.world.hosts)
        pool = [*self.world.own, *(other.address for other in self.world.hosts), *VIPS]
        pool += self.world.pods
        target = (
            dice.pick(self.world.own) if self.world.own and dice.chance(60) else dice.pick(pool)
        )
        unicast = dice.chance(20)
        frame = packets.arp_frame(
            operation=1,
            sender_mac=host.mac,
            sender_ip=dice.weighted([(8, host.address), (1, bytes(4)), (1, target)]),
            target_ip=target,
            frame_target=self.world.mac_at[host.port] if unicast else packets.BROADCAST_MAC,
        )
        self._send(host.port, frame)

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
            target_ip=host.address if gratuitous else self.flows.target(),
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
        self._send(port, _back(frame, self.answers.icmp_error(header, frame[start:])))

    def _local_packet(self) -> None:
        """The node itself, or a pod, sends something."""
        dice, world = self.dice, self.world
        if not world.own:
            return
        namespace, source = "", dice.pick(world.own)
        if world.pods and dice.chance(40):
            number = dice.between(0, len(world.pods) - 1)
            namespace, source = f"pod{number}", world.pods[number]
        header = Header(
            src=source,
            dst=self.flows.target(),
            identification=dice.between(1, 60000),
            dont_fragment=dice.chance(60),
        )
        ports = dice.pick(CLIENT_PORTS), dice.pick(SERVICE_PORTS)
        seq, size = dice.u32(), dice.weighted([(6, 10), (1, 1300)])
        choices: list[tuple[int, Callable[[], bytes]]] = [
            (3, lambda: packets.udp_packet(header, *ports, dice.octets(size))),
            (3, lambda: packets.tcp_packet(header, *ports, seq=seq, ack=0, flags=SYN)),
            (2, lambda: packets.icmp_packet(header, 8, 0, dice.between(1, 9), b"ping")),
        ]
        packet = dice.weighted(choices)()
        mark = dice.weighted([(4, 0), (1, 1), (1, 2)])
        self.sent += 1
        self._keep_apart()
        self._react(self.player.send_local(namespace, packet, mark))

    def _foreign_frame(self) -> None:
        """Something that is not IPv4: LLDP, IPX, IPv6, loopback."""
        dice, host = self.dice, self.dice.pick(self.world.hosts)
        ethertype = dice.pick((0x88CC, 0x0026, 0x86DD, 0x9000))
        group = b"\x33\x33\x00\x00\x00\x01" if ethertype == 0x86DD else packets.BROADCAST_MAC
        near = [other.mac for other in self.world.hosts if other.port != host.port]
        target = dice.pick([group, self.world.mac_at[host.port], *near[:1]])
        payload = dice.octets(50)
        if ethertype == 0x86DD and dice.chance(70):
            payload = packets.ipv6_packet(dice.octets(30))
        self._send(host.port, target + host.mac + ethertype.to_bytes(2, "big") + payload)

    def _spoof(self) -> None:
        """A frame seen before comes again, from another port or machine or from the node itself."""
        if not self.entered:
            return
        dice = self.dice
        _, frame = dice.pick(self.entered)
        host = dice.pick(self.world.hosts)
        own = self.world.mac_at[host.port]
        source = dice.weighted([(6, host.mac), (4, frame[6:12]), (1, own)])
        self._send(host.port, own + source + frame[12:])


def _back(frame: bytes, packet: bytes) -> bytes:
    """Return a frame that takes the way back of `frame`."""
    return packets.ip_frame(frame[6:12], frame[:6], packet)
