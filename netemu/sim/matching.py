"""Frames that a capture says the node sent, and frames that netemu sent: which are the same.

Theory of operation: each side waits for the other under a key, the frame itself; whichever comes
second finds the first. A packet that the node makes itself (an ICMP error, an echo reply) carries
an IP identification that the kernel draws at random, so it is looked up once more under its key
without identification and header checksum. Captures that lost MAC addresses are compared from the
ethertype on, and expectations that snaplen cut as far as they go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from msgspec import Struct

from netemu.link.device import complete_frame

Item = TypeVar("Item")
Captured = TypeVar("Captured")
Sent = TypeVar("Sent")
Key = tuple[str, bytes]


class _Waiting(Struct, Generic[Item], eq=False):
    """One frame that has not met its like."""

    item: Item
    device: str
    frame: bytes
    loose: bool
    """May be looked up without its IP identification."""
    met: bool = False


class _Side(Generic[Item]):
    """The frames of one side that wait, by key."""

    def __init__(self) -> None:
        self.exact: dict[Key, deque[_Waiting[Item]]] = {}
        self.loose: dict[Key, deque[_Waiting[Item]]] = {}

    def put(self, waiting: _Waiting[Item], *, skip: int) -> None:
        """Let a frame wait."""
        octets = complete_frame(waiting.frame)
        self.exact.setdefault((waiting.device, octets[skip:]), deque()).append(waiting)
        if waiting.loose:
            key = (waiting.device, without_id(octets)[skip:])
            self.loose.setdefault(key, deque()).append(waiting)

    def left(self) -> Iterator[_Waiting[Item]]:
        """Yield what still waits."""
        for queue in self.exact.values():
            yield from (waiting for waiting in queue if not waiting.met)

    def take_exact(self, key: Key) -> bool:
        """Meet the first frame under a key."""
        return _take(self.exact.get(key))

    def take_loose(self, key: Key) -> bool:
        """Meet the first frame under a key without identification."""
        return _take(self.loose.get(key))

    def drop(self, device: str) -> list[_Waiting[Item]]:
        """Take out and return all frames of a device that wait."""
        found = [waiting for waiting in self.left() if waiting.device == device]
        for index in (self.exact, self.loose):
            for key in [key for key in index if key[0] == device]:
                del index[key]
        return found


def _take(queue: deque[_Waiting[Item]] | None) -> bool:
    while queue:
        waiting = queue.popleft()
        if not waiting.met:
            waiting.met = True
            return True
    return False


class Matcher(Generic[Captured, Sent]):
    """Pairs captured frames with sent ones; the types are what the caller remembers of each."""

    def __init__(self) -> None:
        """Start without frames."""
        self.met = 0
        self.met_but_id = 0
        """How many of them differ in the IP identification of a packet that the node made."""
        self._captured: _Side[Captured] = _Side()
        self._sent: _Side[Sent] = _Side()
        self._cut: list[_Waiting[Captured]] = []
        self._without_macs: set[str] = set()

    def captured(self, item: Captured, device: str, frame: bytes, *, cut: bool = False) -> None:
        """Take a frame that the capture says the node sent; `cut` by snaplen."""
        waiting = _Waiting(item, device, frame, loose=True)
        if cut:
            self._captured_cut(waiting)
            return
        octets = complete_frame(frame)
        skip = self._skip(device)
        if self._sent.take_exact((device, octets[skip:])):
            self.met += 1
        elif self._sent.take_loose((device, without_id(octets)[skip:])):
            self.met += 1
            self.met_but_id += 1
        else:
            self._captured.put(waiting, skip=skip)

    def sent(self, item: Sent, device: str, frame: bytes, *, made: bool) -> None:
        """Take a frame that netemu sent; `made` by the node, not forwarded."""
        octets = complete_frame(frame)
        skip = self._skip(device)
        if self._captured.take_exact((device, octets[skip:])):
            self.met += 1
        elif made and self._captured.take_loose((device, without_id(octets)[skip:])):
            self.met += 1
            self.met_but_id += 1
        elif self._cut and self._sent_meets_cut(device, octets[skip:]):
            self.met += 1
        else:
            self._sent.put(_Waiting(item, device, frame, loose=made), skip=skip)

    def was_sent(self, device: str, frame: bytes) -> bool:
        """Tell whether netemu sent this very frame and it was not captured yet."""
        key = (device, complete_frame(frame)[self._skip(device) :])
        return any(not waiting.met for waiting in self._sent.exact.get(key, ()))

    def forget_macs(self, device: str) -> None:
        """Compare the frames of a device without their MAC addresses from now on."""
        if device in self._without_macs:
            return
        waiting = self._sent.drop(device)
        self._without_macs.add(device)
        for one in waiting:
            self._sent.put(one, skip=self._skip(device))

    def unmet(self) -> list[Captured]:
        """Return captured frames that netemu did not send."""
        left = [waiting.item for waiting in self._captured.left()]
        return left + [waiting.item for waiting in self._cut if not waiting.met]

    def extra(self) -> list[Sent]:
        """Return frames that netemu sent and the capture does not hold."""
        return [waiting.item for waiting in self._sent.left()]

    def _skip(self, device: str) -> int:
        return 12 if device in self._without_macs else 0

    def _captured_cut(self, waiting: _Waiting[Captured]) -> None:
        start = complete_frame(waiting.frame)[self._skip(waiting.device) :]
        for (device, octets), queue in self._sent.exact.items():
            if device == waiting.device and octets.startswith(start) and _take(queue):
                self.met += 1
                return
        self._cut.append(waiting)

    def _sent_meets_cut(self, device: str, octets: bytes) -> bool:
        skip = self._skip(device)
        for waiting in self._cut:
            if waiting.met or waiting.device != device:
                continue
            if octets.startswith(complete_frame(waiting.frame)[skip:]):
                waiting.met = True
                return True
        return False


def without_id(frame: bytes) -> bytes:
    """Return an IPv4 frame with identification and header checksum set to zero.

    A fragment keeps them: they tell its packet.
    """
    at = 14
    if frame[12:14] == b"\x81\x00":
        at = 18
    if frame[at - 2 : at] != b"\x08\x00" or len(frame) < at + 20 or frame[at + 6] & 0x3F:
        return frame
    if frame[at + 7]:
        return frame
    return frame[: at + 4] + b"\0\0" + frame[at + 6 : at + 10] + b"\0\0" + frame[at + 12 :]
