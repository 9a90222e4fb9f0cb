"""A lab in the live kernel: the same hosts, the same programs, and every frame at every device.

Kernel: the one that runs; net/packet/af_packet.c for the taps.

Theory of operation: the lab's namespaces are built as those of a node. One thread on one processor
runs all programs from one loop, so that what a send sets off in the kernel is over when it returns,
and the order of frames is the kernel's alone. A packet socket in each namespace hears all devices,
both what leaves and what comes in.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from msgspec import Struct, field
from msgspec.structs import replace

from netemu.errors import KernelError
from netemu.events import Event, FrameReceived, FrameSent, Stamp
from netemu.ip.neighbour import NeighbourTable
from netemu.link.bridge import Bridge
from netemu.link.device import complete_frame
from netemu.livekernel.build import BuiltNode
from netemu.livekernel.lab_text import LabText
from netemu.livekernel.live_programs import Loop
from netemu.livekernel.namespace import require_kernel, run_tool
from netemu.livekernel.runner import LogPhase
from netemu.sim.lab import Lab
from netemu.sim.lab_spec import Command, LabSpec
from netemu.sim.spec import WireSpec
from netemu.sim.wiring import device_key
from netemu.skb import BROADCAST_MAC, ETH_P_ARP, ZERO_MAC
from netemu.wire.arp import ARPOP_REQUEST, build_arp
from netemu.wire.ethernet import ethernet_header

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
PACKET_OUTGOING = 4
RECEIVE_BUFFER_OCTETS = 16 << 20

FIRST_PORT = 40_000
"""Source port of the first client that leaves it to chance."""

AFTER_NS = 120_000_000
"""How long after the last client's end frames are waited for: delayed ACKs, closing."""


class Played(Struct, kw_only=True):
    """What a lab did."""

    frames: dict[str, list[str]] = field(default_factory=dict)
    """By device, in order: `out` or `in` and the frame in canonical words."""
    ends: dict[str, bool | None] = field(default_factory=dict)
    """Whether each client got what it wanted."""
    neighbours: dict[str, list[str]] = field(default_factory=dict)
    """By namespace: ADDRESS DEVICE MAC, sorted."""
    fdb: dict[str, list[str]] = field(default_factory=dict)
    """By namespace: MAC DEVICE of what bridges learnt, sorted."""


def comparable(lab: LabSpec) -> LabSpec:
    """Return a lab that both can play alike: chosen source ports, and perfect cables."""
    taken = {client.local_port for client in lab.clients}
    free = (port for port in itertools.count(FIRST_PORT) if port not in taken)
    clients = [
        client if client.local_port else replace(client, local_port=next(free))
        for client in lab.clients
    ]
    wires = [WireSpec(one=wire.one, other=wire.other) for wire in lab.node.wires]
    return replace(lab, node=replace(lab.node, wires=wires), clients=clients)


def play_emulated(lab: LabSpec, seed: int = 0) -> Played:
    """Play a lab in netemu."""
    running = Lab(lab, seed=seed)
    text = LabText()
    played = Played(frames={name: [] for name in _cables(lab)})

    def sink(stamp: Stamp, event: Event) -> None:
        if isinstance(event, FrameSent | FrameReceived):
            found = played.frames.get(device_key(stamp.node, event.device))
            if found is not None:
                way = "out" if isinstance(event, FrameSent) else "in"
                found.append(f"{way} {text.frame(complete_frame(event.frame))}")

    running.subscribe(sink)
    running.run()
    played.ends = {client.spec.name: client.ok for client in running.clients}
    for name, space in running.node.namespaces.items():
        net = space.net
        played.neighbours[name] = _neighbour_rows(net.generic(NeighbourTable).text())
        bridges = [device for device in net.devices.values() if isinstance(device, Bridge)]
        played.fdb[name] = _fdb_rows("".join(bridge.fdb_text() for bridge in bridges))
    return played


def play_live(lab: LabSpec) -> Played:
    """Play a lab in the live kernel. Raises KernelError where that cannot be."""
    require_kernel()
    built = BuiltNode(lab.node)
    try:
        with _taps(built) as taps:
            phase = LogPhase()
            try:
                built.load_state()
                played = Played(frames={name: [] for name in _cables(lab)})
                _run(lab, built, taps, played)
            finally:
                phase.close()
        for name, space in built.spaces.items():
            with space.entered():
                played.neighbours[name] = _neighbour_rows(run_tool(["ip", "-4", "neigh"]))
                played.fdb[name] = _fdb_rows(run_tool(["bridge", "fdb", "show"]))
    finally:
        built.close()
    return played


def _cables(lab: LabSpec) -> list[str]:
    """Return the devices whose frames are compared: the ends of cables."""
    return [end for wire in lab.node.wires for end in (wire.one, wire.other)]


@contextmanager
def _taps(built: BuiltNode) -> Iterator[dict[str, socket.socket]]:
    taps: dict[str, socket.socket] = {}
    try:
        for name, space in built.spaces.items():
            with space.entered():
                tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
            tap.setblocking(False)
            tap.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_OCTETS)
            taps[name] = tap
        yield taps
    finally:
        for tap in taps.values():
            tap.close()


def _run(lab: LabSpec, built: BuiltNode, taps: dict[str, socket.socket], played: Played) -> None:
    """Run all programs, and keep what was heard before they are taken down."""
    loop = Loop()
    try:
        for spec in lab.node.namespaces():
            with built.spaces[spec.name].entered():
                for server in spec.sockets or []:
                    loop.serve(server)
        for happening in lab.timeline:
            if not happening.commands:
                raise KernelError(f"the live kernel cannot do that: {happening.text}")
            for command in happening.commands:
                loop.later(happening.at_ns, partial(_give, built, command))
        for client in lab.clients:
            loop.client(client, built.spaces[client.namespace].entered)
        loop.run(AFTER_NS)
        played.ends = {client.spec.name: client.ok for client in loop.clients}
        _collect(taps, played)
    finally:
        loop.close()


def _give(built: BuiltNode, command: Command) -> None:
    """Give a command, or send a gratuitous ARP as a program of its own does."""
    with built.spaces[command.namespace].entered():
        if command.announces is None:
            run_tool(command.words, command.stdin)
            return
        device, address = command.announces
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
            sock.bind((device, 0))
            mac = sock.getsockname()[4]
            message = build_arp(
                operation=ARPOP_REQUEST,
                sender_mac=mac,
                sender_ip=address,
                target_mac=ZERO_MAC,
                target_ip=address,
            )
            sock.send(ethernet_header(BROADCAST_MAC, mac, ETH_P_ARP) + bytes(message))


def _collect(taps: dict[str, socket.socket], played: Played) -> None:
    """Put the frames that the taps heard into words, in the order in which they were heard."""
    heard: list[tuple[str, str, bytes]] = []
    for name, tap in taps.items():
        while True:
            try:
                frame, address = tap.recvfrom(1 << 17)
            except BlockingIOError:
                break
            way = "out" if address[2] == PACKET_OUTGOING else "in"
            heard.append((device_key(name, address[0]), way, complete_frame(frame)))
    text = LabText()
    for _, _, frame in heard:
        text.learn(frame)
    for device, way, frame in heard:
        if device in played.frames:
            played.frames[device].append(f"{way} {text.frame(frame)}")


def _neighbour_rows(listing: str) -> list[str]:
    """Return who is known behind which device; how fresh that is depends on real time."""
    rows = [line.split() for line in listing.splitlines()]
    return sorted(f"{row[0]} {row[2]} {row[4]}" for row in rows if "lladdr" in row)


def _fdb_rows(listing: str) -> list[str]:
    """Return what bridges have learnt."""
    rows = [line.split() for line in listing.splitlines()]
    learnt = [row for row in rows if "master" in row and not {"permanent", "self"} & set(row)]
    return sorted(f"{row[0]} {row[2]}" for row in learnt)


def first_difference(kernel: Played, netemu: Played) -> str:
    """Say where two runs of a lab part; empty when they are equal."""
    for device, ours in kernel.frames.items():
        theirs = netemu.frames.get(device, [])
        for number, (one, other) in enumerate(zip(ours, theirs, strict=False), 1):
            if one != other:
                return f"{device} frame {number}\n  kernel: {one}\n  netemu: {other}"
        if len(ours) != len(theirs):
            more, who = (ours, "kernel") if len(ours) > len(theirs) else (theirs, "netemu")
            rest = more[min(len(ours), len(theirs))]
            return f"{device} frame {min(len(ours), len(theirs)) + 1}\n  only {who}: {rest}"
    for what in ("ends", "neighbours", "fdb"):
        one, other = getattr(kernel, what), getattr(netemu, what)
        for key, value in one.items():
            if value != other.get(key):
                return (
                    f"{what} of {key or 'the node'}\n  kernel: {value}\n  netemu: {other.get(key)}"
                )
    return ""
