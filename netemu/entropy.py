"""The only source of randomness: seeded streams, one per node and use.

A stream is SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014)
started from an FNV-1a hash of seed, node and use. Thus a draw for NAT never shifts the draws of
`statistic`, and the same seed gives the same bytes on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence

_MASK64 = (1 << 64) - 1
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3


class Stream:
    """One sequence of random numbers."""

    __slots__ = ("_state",)

    def __init__(self, state: int) -> None:
        """Start at `state` (64 bits)."""
        self._state = state & _MASK64

    def u64(self) -> int:
        """Draw 64 bits."""
        self._state = (self._state + _GOLDEN_GAMMA) & _MASK64
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
        return z ^ (z >> 31)

    def u32(self) -> int:
        """Draw 32 bits (get_random_u32)."""
        return self.u64() >> 32

    def u16(self) -> int:
        """Draw 16 bits (get_random_u16)."""
        return self.u64() >> 48

    def below(self, bound: int) -> int:
        """Draw from 0 up to but not including `bound` (get_random_u32_below)."""
        return (self.u32() * bound) >> 32


class Script(Stream):
    """A stream that plays given 31-bit values, then zeros: one branch of a run's chances."""

    __slots__ = ("_at", "_values")

    def __init__(self, values: Sequence[int]) -> None:
        """Play `values` in order."""
        super().__init__(0)
        self._values = values
        self._at = 0

    @property
    def drawn(self) -> int:
        """How many values were asked for."""
        return self._at

    def u32(self) -> int:
        """Play the next value."""
        at = self._at
        self._at = at + 1
        return self._values[at] if at < len(self._values) else 0

    def u64(self) -> int:
        """Play the next value in the upper half, where `u32` of a stream draws from."""
        return self.u32() << 32


class Entropy:
    """The streams of one node, made on first use."""

    __slots__ = ("_node", "_seed", "_streams")

    def __init__(self, seed: int = 0, node: str = "") -> None:
        """Derive every stream of `node` from `seed`."""
        self._seed = seed
        self._node = node
        self._streams: dict[str, Stream] = {}

    def stream(self, use: str) -> Stream:
        """Return the stream of one use, such as "nat" or "statistic"."""
        found = self._streams.get(use)
        if found is None:
            state = _FNV_OFFSET
            for byte in f"{self._seed}/{self._node}/{use}".encode():
                state = ((state ^ byte) * _FNV_PRIME) & _MASK64
            found = self._streams[use] = Stream(state)
        return found

    def play(self, use: str, stream: Stream) -> None:
        """Let `stream`, such as a Script, stand for one use; namespaces may share one."""
        self._streams[use] = stream
