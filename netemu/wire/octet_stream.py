"""A window over a byte source: readers look at whole records while the file streams past."""

from __future__ import annotations

from netemu.wire.capture import Reader

CHUNK = 1 << 18
"""Octets asked for at a time."""


class Window:
    """Holds the octets read but not consumed; `data[at:]` is what comes next."""

    __slots__ = ("_read", "at", "base", "data", "ended")

    def __init__(self, read: Reader, first: bytes = b"") -> None:
        """Start with the octets already read."""
        self._read = read
        self.data = first
        self.at = 0
        self.base = 0
        """Offset of data[0] in the file."""
        self.ended = False

    @property
    def offset(self) -> int:
        """Offset in the file of what comes next."""
        return self.base + self.at

    def has(self, count: int) -> bool:
        """Make sure that `count` octets are there; False when the file ends before them."""
        while len(self.data) - self.at < count:
            if self.ended:
                return False
            more = self._read(max(CHUNK, count))
            if not more:
                self.ended = True
                return False
            self.base += self.at
            self.data = self.data[self.at :] + more
            self.at = 0
        return True

    @property
    def left(self) -> int:
        """Octets in the window; all there are once the file has ended."""
        return len(self.data) - self.at
