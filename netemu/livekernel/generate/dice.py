"""Choices of a random case, all from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from netemu.entropy import Entropy

Item = TypeVar("Item")


class Dice:
    """Draws what a random case is made of; the same seed gives the same case."""

    def __init__(self, seed: int, use: str) -> None:
        """Take a seed, and what the draws are for."""
        self._stream = Entropy(seed, "generate").stream(use)

    def between(self, low: int, high: int) -> int:
        """Draw a number from `low` to `high`, both included."""
        return low + self._stream.below(high - low + 1)

    def chance(self, percent: int) -> bool:
        """Return True in `percent` of 100 draws."""
        return self._stream.below(100) < percent

    def pick(self, items: Sequence[Item]) -> Item:
        """Draw one of `items`."""
        return items[self._stream.below(len(items))]

    def weighted(self, items: Sequence[tuple[int, Item]]) -> Item:
        """Draw one of (weight, item)."""
        left = self._stream.below(sum(weight for weight, _ in items))
        for weight, item in items:
            if left < weight:
                return item
            left -= weight
        raise AssertionError("weights sum up")

    def some(self, items: Sequence[Item], percent: int) -> list[Item]:
        """Draw a part of `items`, each with a chance of `percent`."""
        return [item for item in items if self.chance(percent)]

    def shuffle(self, items: list[Item]) -> None:
        """Put `items` into any order (Fisher and Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.between(0, last)
            items[last], items[other] = items[other], items[last]

    def octets(self, length: int) -> bytes:
        """Draw a payload."""
        return bytes(self._stream.below(256) for _ in range(length))

    def u32(self) -> int:
        """Draw 32 bits."""
        return self._stream.u32()
