"""Chance takes the course that the capture shows (`netemu replay`, unless --no-follow is given).

What the node drew at random when the capture was taken (which endpoint `statistic` chose, which
port NAT found) is not in its state, but in the frames that it sent. Before a frame that may begin a
connection is injected, it is tried on a copy of the node; its draws are varied until it would leave
as one of the captured frames of the next seconds does. Draws that no captured frame tells about
come from the seed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from msgspec import Struct

from netemu.cli.branches import in_child
from netemu.entropy import Script, Stream
from netemu.events import ChanceDrawn, Event, HookEntered, NatBound, Stamp
from netemu.netfilter.hook import Hook
from netemu.sim.node import Node
from netemu.sim.probe import Branch, alternatives
from netemu.sim.replay import CapturedAt, Replay
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import Protocol

AHEAD_NS = 4_000_000_000
"""A packet leaves within the time that its neighbour's resolution may take (three tries)."""

MAXIMUM_TRIES = 2000

_PORTED = {Protocol.TCP, Protocol.UDP, Protocol.SCTP, Protocol.DCCP, Protocol.UDPLITE}
_ECHO_TYPES = {0, 8}


class Signature(Struct, frozen=True):
    """What tells a packet from others, whatever link it is on."""

    src: bytes
    src_part: int
    dst: bytes
    dst_part: int
    protocol: int
    identification: int
    length: int


def signature_of(packet: bytes) -> Signature | None:
    """Return the signature of an IPv4 packet that NAT could translate."""
    if len(packet) < 28 or packet[0] >> 4 != 4 or int.from_bytes(packet[6:8], "big") & 0x1FFF:
        return None
    at = (packet[0] & 0x0F) * 4
    protocol = packet[9]
    parts = _parts(protocol, packet[at : at + 8])
    if parts is None:
        return None
    return Signature(
        src=packet[12:16],
        src_part=parts[0],
        dst=packet[16:20],
        dst_part=parts[1],
        protocol=protocol,
        identification=int.from_bytes(packet[4:6], "big"),
        length=int.from_bytes(packet[2:4], "big"),
    )


def _parts(protocol: int, head: bytes) -> tuple[int, int] | None:
    if protocol in _PORTED:
        return int.from_bytes(head[0:2], "big"), int.from_bytes(head[2:4], "big")
    if protocol == Protocol.ICMP and head[0] in _ECHO_TYPES:
        return int.from_bytes(head[4:6], "big"), 0
    return None


def packet_in(frame: bytes) -> bytes:
    """Return the IPv4 packet of a frame, or nothing."""
    if frame[12:14] == b"\x08\x00":
        return frame[14:]
    if frame[12:14] == b"\x81\x00" and frame[16:18] == b"\x08\x00":
        return frame[18:]
    return b""


class Trial(Struct, frozen=True):
    """What a packet came to on a copy of the node."""

    leaves: Signature | None
    draws: tuple[tuple[int, int], ...]
    nat_draws: int


class Course(Struct, frozen=True):
    """Draws that lead where the capture says."""

    statistic: tuple[int, ...]
    nat: tuple[int, ...]


class Follower:
    """Decides the draws of frames that begin connections."""

    def __init__(self, replay: Replay) -> None:
        """Follow what is fed to `replay`."""
        self.replay = replay
        self.node = replay.node
        self.courses: dict[tuple[str, int], Course] = {}
        """(file, index) -> the draws of that frame."""
        self.lost = 0
        self._seen: set[tuple[bytes, int, bytes, int, int]] = set()

    @contextmanager
    def following(self, item: CapturedAt, upcoming: Iterable[CapturedAt]) -> Iterator[None]:
        """Let the draws of `item` be those that the upcoming frames show."""
        course = self._course(item, upcoming)
        if course is not None:
            self.courses[item.file, item.index] = course
        with playing(self.node, course):
            yield

    def notes(self) -> list[str]:
        """Say how much was taken from the capture."""
        notes = []
        if self.courses:
            notes.append(f"random choices of {len(self.courses)} packets follow the capture")
        if self.lost:
            notes.append(f"no random choice makes {self.lost} packets leave as captured")
        return notes

    def _course(self, item: CapturedAt, upcoming: Iterable[CapturedAt]) -> Course | None:
        packet = packet_in(item.frame)
        entering = signature_of(packet)
        if entering is None or item.truncated or not self._may_begin(packet, entering):
            return None
        wanted = self._wanted(packet, upcoming)
        if not wanted:
            return None
        self.node.run_until(item.time_ns)
        first = self._try(item, Course((), ()))
        if not first.draws and not first.nat_draws:
            return None
        course = self._search(item, first, wanted)
        self.lost += course is None
        return course

    def _wanted(self, packet: bytes, upcoming: Iterable[CapturedAt]) -> set[Signature]:
        """Return captured frames that may be `packet` on its way out: length and id stay."""
        same = packet[2:6]
        found = set()
        for other in upcoming:
            theirs = packet_in(other.frame)
            if theirs[2:6] == same and not self.replay.entered(other):
                signature = signature_of(theirs)
                if signature is not None:
                    found.add(signature)
        return found

    def _may_begin(self, packet: bytes, found: Signature) -> bool:
        """Tell whether a packet may begin a connection: it is a SYN, or the first of its kind."""
        key = (found.src, found.src_part, found.dst, found.dst_part, found.protocol)
        flags = (packet[0] & 0x0F) * 4 + 13
        opens = found.protocol == Protocol.TCP and len(packet) > flags and packet[flags] & 0x12 == 2
        fresh = key not in self._seen
        self._seen.add(key)
        return fresh or opens

    def _search(self, item: CapturedAt, first: Trial, wanted: set[Signature]) -> Course | None:
        waiting: list[tuple[tuple[int, ...], Trial | None]] = [((), first)]
        tries = 0
        while waiting and tries < MAXIMUM_TRIES:
            script, known = waiting.pop()
            trial = known or self._try(item, Course(script, ()))
            tries += 1
            ports = _nat_script(trial, wanted)
            if ports is not None:
                return Course(script, ports)
            branch = Branch(result=("", None, None, False, None), draws=trial.draws)
            waiting.extend((other, None) for other in alternatives(branch, len(script)))
        return None

    def _try(self, item: CapturedAt, course: Course) -> Trial:
        return in_child(lambda: _trial(self.node, item, course))


@contextmanager
def playing(node: Node, course: Course | None) -> Iterator[None]:
    """Let a course stand for chance; None leaves it alone."""
    if course is None:
        yield
        return
    before = _play(node, course)
    try:
        yield
    finally:
        for (name, use), stream in before.items():
            node.namespaces[name].net.entropy.play(use, stream)


def _play(node: Node, course: Course) -> dict[tuple[str, str], Stream]:
    """Put scripts in the place of streams; return what stood there."""
    scripts = {
        "statistic": Script(course.statistic),
        "nat": Script([number << 16 for number in course.nat]),
    }
    before = {}
    for name, space in node.namespaces.items():
        for use, script in scripts.items():
            before[name, use] = space.net.entropy.stream(use)
            space.net.entropy.play(use, script)
    return before


def _trial(node: Node, item: CapturedAt, course: Course) -> Trial:
    """Inject a frame and see as what it leaves; the node is lost afterwards.

    Neighbours are assumed: a bridged packet waits for its new neighbour before POSTROUTING.
    """
    _play(node, course)
    watch = _Watch()
    node.set_sink(watch)
    node.assume_neighbours()
    node.receive(item.device, item.frame)
    node.run_until(node.clock.now_ns)
    nat = next(iter(node.namespaces.values())).net.entropy.stream("nat")
    assert isinstance(nat, Script)
    return Trial(leaves=watch.leaves(), draws=tuple(watch.draws), nat_draws=nat.drawn)


class _Watch:
    """A sink that notes draws, the packet before its source is translated, and to what."""

    def __init__(self) -> None:
        self.draws: list[tuple[int, int]] = []
        self.packet = b""
        self.source = ""
        self.packet_id = 0

    def __call__(self, stamp: Stamp, event: Event) -> None:
        """Take one event."""
        if isinstance(event, ChanceDrawn):
            self.draws.append((event.value, event.threshold))
        self.packet_id = self.packet_id or stamp.packet_id
        if stamp.packet_id != self.packet_id:
            return
        if isinstance(event, HookEntered) and stamp.hook == Hook.POSTROUTING.name:
            self.packet = event.packet
        elif isinstance(event, NatBound) and event.manip == "src":
            self.source = event.after

    def leaves(self) -> Signature | None:
        """Return what the packet is when it leaves."""
        found = signature_of(self.packet) if self.packet else None
        if found is None or not self.source:
            return found
        address, part = split_end(self.source)
        return Signature(
            src=parse_address(address),
            src_part=found.src_part if part is None else part,
            dst=found.dst,
            dst_part=found.dst_part,
            protocol=found.protocol,
            identification=found.identification,
            length=found.length,
        )


def split_end(text: str) -> tuple[str, int | None]:
    """Split `ADDRESS:PORT`, `ADDRESS id=N` or `ADDRESS`.

    >>> split_end("10.0.0.1:80"), split_end("10.0.0.1 id=7"), split_end("10.0.0.1")
    (('10.0.0.1', 80), ('10.0.0.1', 7), ('10.0.0.1', None))
    """
    address, separator, part = text.replace(" id=", ":").partition(":")
    return address, int(part) if separator else None


def _nat_script(trial: Trial, wanted: set[Signature]) -> tuple[int, ...] | None:
    """Return NAT's draws that turn the trial into a wanted packet; None if none can.

    With zeros for draws NAT tries the lowest port first, so the draw is the distance from it.
    """
    ours = trial.leaves
    if ours is None:
        return None
    if ours in wanted:
        return (0,) * trial.nat_draws
    if not trial.nat_draws:
        return None
    for theirs in wanted:
        if (ours.src, ours.dst, ours.protocol, ours.identification, ours.length) != (
            theirs.src, theirs.dst, theirs.protocol, theirs.identification, theirs.length,
        ):  # fmt: skip
            continue
        to_source = (theirs.src_part - ours.src_part) & 0xFFFF
        to_destination = (theirs.dst_part - ours.dst_part) & 0xFFFF
        if trial.nat_draws == 1 and not (to_source and to_destination):
            return (to_source or to_destination,)
        if trial.nat_draws == 2:
            return to_destination, to_source
    return None


def with_upcoming(
    items: Iterable[CapturedAt],
) -> Iterator[tuple[CapturedAt, Iterable[CapturedAt]]]:
    """Yield each frame with those of the next seconds."""
    waiting: deque[CapturedAt] = deque()
    source = iter(items)
    ended = False
    while True:
        while not ended and (not waiting or waiting[-1].time_ns <= waiting[0].time_ns + AHEAD_NS):
            more = next(source, None)
            if more is None:
                ended = True
            else:
                waiting.append(more)
        if not waiting:
            return
        yield waiting.popleft(), waiting
