"""What arrived ahead of the stream, and the SACK blocks that tell the peer.

Kernel: net/ipv4/tcp_input.c (tcp_data_queue_ofo, tcp_ofo_queue, tcp_sack_new_ofo_skb,
tcp_sack_maybe_coalesce, tcp_sack_remove, tcp_dsack_set, tcp_dsack_extend). RFC 2018, RFC 2883.

Theory of operation: segments are held as they came, but for those that follow one another, which
become one: a new one joins the first that it follows on its way down the tree. So what it repeats
is told as the held ones had it. The blocks are a list of
their own: the latest first, four at most.
"""

from __future__ import annotations

from netemu.ip.tcp_ofo_tree import Held, HeldTree
from netemu.ip.tcp_sender import MASK32, before
from netemu.ip.tcp_window import Buffer, ReceiveWindow

Block = tuple[int, int]

TCP_NUM_SACKS = 4
"""Blocks that are remembered (include/linux/tcp.h)."""


def joined(one: Block, other: Block) -> Block | None:
    """Return both as one if they touch, else None (tcp_sack_extend).

    >>> joined((1, 5), (5, 9)), joined((1, 5), (6, 9))
    ((1, 9), None)
    """
    if before(one[1], other[0]) or before(other[1], one[0]):
        return None
    start = other[0] if before(other[0], one[0]) else one[0]
    end = other[1] if before(one[1], other[1]) else one[1]
    return start, end


class ReceiveQueue:
    """What arrived in order: where it ends, and what the last of it came in."""

    __slots__ = ("_last", "end")

    def __init__(self, end: int) -> None:
        """Start empty, before number `end` (rcv_nxt)."""
        self.end = end
        self._last: Buffer | None = None

    def joins(self, start: int, end: int, octets: int) -> bool:
        """Put data into the last buffer, if there is room and nothing comes twice."""
        if self._last is None or start != self.end or not self._last.takes(octets):
            return False
        self.end = end
        return True

    def add(self, end: int, buffer: Buffer) -> None:
        """Append a buffer."""
        self._last = buffer
        self.end = end

    def read_all(self) -> None:
        """Forget what the program read."""
        self._last = None


class OutOfOrder:
    """The queue of early segments."""

    __slots__ = ("_held", "_last", "_memory", "blocks", "duplicate", "sack")

    def __init__(self, memory: ReceiveWindow, *, sack: bool) -> None:
        """Start empty; without `sack` nothing is told."""
        self._memory = memory
        self.sack = sack
        self._held = HeldTree()
        self._last = self._held.nil
        """What a new segment is likely to follow (ooo_last_skb)."""
        self.blocks: list[Block] = []
        self.duplicate: Block | None = None
        """What arrived twice, for the next ACK."""

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self._held)

    def clear(self) -> None:
        """Forget all: nothing may come behind a FIN (tcp_fin)."""
        self._memory.charge(-sum(node.buffer.truesize for node in self._held))
        self._held.clear()
        self.blocks.clear()
        self.duplicate = None

    def repeats(self, seq: int, end_seq: int) -> None:
        """Remember for the next ACK what arrived twice (tcp_dsack_set)."""
        if self.sack:
            self.duplicate = seq, end_seq

    def _also_repeats(self, seq: int, end_seq: int) -> None:
        """Add to it what touches it (tcp_dsack_extend)."""
        if self.duplicate is None:
            self.repeats(seq, end_seq)
        else:
            self.duplicate = joined(self.duplicate, (seq, end_seq)) or self.duplicate

    def told(self) -> list[Block]:
        """Return the blocks of an ACK, a duplicate first, and forget the duplicate."""
        duplicate, self.duplicate = self.duplicate, None
        return self.blocks if duplicate is None else [duplicate, *self.blocks]

    def hold(self, new: Held) -> bool:
        """Keep a segment that came early; False if all of it was there (tcp_data_queue_ofo).

        Memory is not charged: a segment that joins another one needs none.
        """
        kept = True
        if not self._held:
            self._held.insert(new, self._held.nil, left=False)
            self._last = new
        elif not self._follows(self._last, new):
            if before(new.start, self._last.end):
                kept = self._place(new)
            else:
                self._held.insert(new, self._last, left=False)
                self._last = new
        if self.sack:
            self._tell(new.start, new.end)
        return kept

    def _follows(self, held: Held, new: Held) -> bool:
        """Join a segment to the one that it follows, if it does (tcp_ooo_try_coalesce)."""
        octets = (new.end - new.start - new.fin) & MASK32
        if new.start != held.end or not held.buffer.takes(octets):
            return False
        held.end = new.end
        held.fin |= new.fin
        new.buffer.truesize = 0
        return True

    def _place(self, new: Held) -> bool:
        """Find a segment's place, and tell what it repeats on the way; False if that is all."""
        held = self._held
        node, parent = held.root, held.nil
        while node is not held.nil:
            parent = node
            if before(new.start, node.start):
                node = node.left
                continue
            if before(new.start, node.end):
                if not before(node.end, new.end):
                    self.repeats(new.start, new.end)
                    return False
                if node.start == new.start:
                    held.replace(node, new)
                    self._also_repeats(node.start, node.end)
                    self._memory.charge(-node.buffer.truesize)
                    self._cover(new)
                    return True
                self.repeats(new.start, node.end)
            elif self._follows(node, new):
                return True
            node = node.right
        held.insert(new, parent, left=before(new.start, parent.start))
        self._cover(new)
        return True

    def _cover(self, new: Held) -> None:
        """Drop what a new segment holds, too."""
        held = self._held
        while (node := held.after(new)) is not held.nil and before(node.start, new.end):
            if before(new.end, node.end):
                self._also_repeats(node.start, new.end)
                return
            held.erase(node)
            self._also_repeats(node.start, node.end)
            self._memory.charge(-node.buffer.truesize)
        if node is held.nil:
            self._last = new

    def _tell(self, seq: int, end_seq: int) -> None:
        """Put a segment into the blocks (tcp_sack_new_ofo_skb)."""
        for number, block in enumerate(self.blocks):
            wider = joined(block, (seq, end_seq))
            if wider is not None:
                del self.blocks[number]
                self.blocks.insert(0, wider)
                self._join_first()
                return
        self.blocks.insert(0, (seq, end_seq))
        del self.blocks[TCP_NUM_SACKS:]

    def _join_first(self) -> None:
        """Let the first block take those that it has grown into (tcp_sack_maybe_coalesce)."""
        number = 1
        while number < len(self.blocks):
            wider = joined(self.blocks[0], self.blocks[number])
            if wider is None:
                number += 1
            else:
                self.blocks[0] = wider
                del self.blocks[number]

    def drain(self, queue: ReceiveQueue) -> bool:
        """Move what follows the stream into it; whether a FIN ended it (tcp_ofo_queue)."""
        reached = queue.end
        while self._held and not before(queue.end, (first := self._held.first()).start):
            self._held.erase(first)
            start, end = first.start, first.end
            if before(start, reached):
                self._also_repeats(start, end if before(end, reached) else reached)
            if not before(queue.end, end):
                self._memory.charge(-first.buffer.truesize)
                continue
            if queue.joins(start, end, (end - start - first.fin) & MASK32):
                self._memory.charge(-first.buffer.truesize)
            else:
                queue.add(end, first.buffer)
            if first.fin:
                return True
        return False

    def forget_before(self, rcv_nxt: int) -> None:
        """Take blocks back that have become part of the stream (tcp_sack_remove)."""
        if not self._held:
            self.blocks.clear()
        self.blocks = [block for block in self.blocks if before(rcv_nxt, block[0])]

    def furthest(self) -> int | None:
        """Return the highest number that the blocks tell, None without blocks."""
        highest: int | None = None
        for _, end in self.blocks:
            if highest is None or before(highest, end):
                highest = end
        return highest
