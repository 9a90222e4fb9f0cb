"""Programs that take packets from NFQUEUE's queues and decide about them.

Kernel: net/netfilter/nf_queue.c (nf_queue), net/netfilter/nfnetlink_queue.c, xt_NFQUEUE.c
(nfqueue_hash).

Differs from Linux: a program decides at once, while the packet stands in its rule; it may change
the packet and its mark. It says ACCEPT, which ends the table as an ACCEPT rule does, or DROP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from netemu.hashing import JHASH_INITVAL, jhash2, reciprocal_scale
from netemu.net import Net
from netemu.netfilter.hook import Family, Verdict
from netemu.skb import Skb
from netemu.wire.ipv4 import DST, PROTOCOL, SRC

Listener: TypeAlias = Callable[[Skb], Verdict]
"""Says ACCEPT or DROP."""


class Queues:
    """The programs of one namespace, by queue number."""

    __slots__ = ("_initval", "_listeners", "_net")

    def __init__(self, net: Net) -> None:
        """Start without programs; found by `net.generic(Queues)`."""
        self._net = net
        self._listeners: dict[int, Listener] = {}
        self._initval: int | None = None

    def listen(self, number: int, listener: Listener) -> None:
        """Let `listener` decide about the packets of a queue."""
        self._listeners[number] = listener

    def close(self, number: int) -> None:
        """Take the program away."""
        self._listeners.pop(number, None)

    def decide(self, number: int, skb: Skb, *, bypass: bool) -> Verdict:
        """Ask the program; without one QUEUE, which drops the packet, or ACCEPT with `bypass`."""
        listener = self._listeners.get(number)
        if listener is not None:
            verdict = listener(skb)
            assert verdict in {Verdict.ACCEPT, Verdict.DROP}, verdict
            return verdict
        if bypass:
            return Verdict.ACCEPT
        skb.fate.queue_number = number
        return Verdict.QUEUE

    def balance(self, skb: Skb, family: Family, first: int, total: int) -> int:
        """Return the queue of the packet's flow; both directions have the same one."""
        if self._initval is None:
            # init_hashrandom does not take zero.
            self._initval = self._net.entropy.stream("nfqueue").u32() or JHASH_INITVAL
        return first + reciprocal_scale(_flow_hash(skb, family, self._initval), total)


def _flow_hash(skb: Skb, family: Family, initval: int) -> int:
    """Hash addresses and protocol (hash_v4, hash_v6), as a little-endian machine does."""
    data = skb.data
    if family == Family.IPV6:
        words = [int.from_bytes(data[at : at + 4], "little") for at in range(8, 40, 4)]
        source, destination = words[:4], words[4:]
        ends = sorted((source[3], destination[3]))
        return jhash2([*ends, min(source[1], destination[1])], initval)
    source_word = int.from_bytes(data[SRC : SRC + 4], "little")
    destination_word = int.from_bytes(data[DST : DST + 4], "little")
    return jhash2([*sorted((source_word, destination_word)), data[PROTOCOL]], initval)
