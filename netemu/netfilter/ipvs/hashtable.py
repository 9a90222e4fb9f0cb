"""A table of buckets that dh, sh and mh deal out to real servers.

Kernel: net/netfilter/ipvs/ip_vs_sh.c (struct ip_vs_sh_state); dh and mh have the like.
"""

from __future__ import annotations

from netemu.netfilter.ipvs.service import RealServer
from netemu.wire.fields import get32


class ServerTable:
    """Buckets that hold their servers, so that a removed one stays in the trash meanwhile."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        """Start empty."""
        self._buckets: list[RealServer] = []

    def fill(self, buckets: list[RealServer]) -> None:
        """Deal all buckets out anew."""
        for server in set(self._buckets):
            server.holders -= 1
        for server in set(buckets):
            server.holders += 1
        self._buckets = buckets

    def get(self, bucket: int) -> RealServer | None:
        """Return the server of a bucket; None when there are no servers."""
        return self._buckets[bucket] if self._buckets else None

    def share_of(self, server: RealServer) -> tuple[int, int]:
        """Return how many buckets are a server's, and how many there are."""
        return sum(owner is server for owner in self._buckets), len(self._buckets)

    @staticmethod
    def drop(table: object) -> None:
        """Let go of all servers."""
        assert isinstance(table, ServerTable)
        table.fill([])


def fold_address(address: bytes) -> int:
    """Return an address as one number: its 32-bit words, exclusive-ored."""
    folded = 0
    for at in range(0, len(address), 4):
        folded ^= get32(address, at)
    return folded
