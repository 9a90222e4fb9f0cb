"""The receive window: how much memory a connection has, and how much of it the peer may use.

Kernel: net/ipv4/tcp_output.c (tcp_select_window, __tcp_select_window, tcp_select_initial_window),
net/ipv4/tcp_input.c (tcp_init_buffer_space, tcp_measure_rcv_mss, tcp_grow_window),
net/ipv4/tcp.c (tcp_set_window_clamp), include/net/tcp.h (tcp_win_from_space), net/core/skbuff.c.

Theory of operation: what a segment takes is not its length but that of the buffer it came in. Which
part of the memory holds data (`ratio`, in 256ths) is guessed at first, then learnt from the largest
segment. So the window of a connection whose program reads nothing shrinks and grows with both.

Differs from Linux: buffers are those of a packet socket that sends into a veth pair; every network
card has its own. The receive buffer does not grow while a program reads.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.skb import ETH_HLEN, Skb

SK_BUFF_OCTETS = 576
"""struct sk_buff and struct skb_shared_info, in whole cache lines."""

SMALL_HEAD_OCTETS = 256
"""Room of the smallest buffers (SKB_SMALL_HEAD_CACHE_SIZE)."""

KMALLOC_LEAST = 1024
"""Size of the next ones, a power of two; the shared info lies in it, too."""

SHARED_INFO_OCTETS = 320

LL_RESERVED = 16
"""Octets that a packet socket asks for above the frame's (LL_RESERVED_SPACE)."""

HEADROOM = 2
"""Those that lie before the frame."""

PAGE_SHIFT = 12

SOCK_MIN_RCVBUF = 2304
"""Least receive buffer (include/net/sock.h)."""

MAX_TCP_SCALED = 0xFFFF


def head_room(frame_len: int) -> int:
    """Return how many octets the buffer of a frame holds (kmalloc_reserve).

    >>> head_room(240), head_room(241), head_room(1514)
    (256, 704, 1728)
    """
    needed = frame_len + LL_RESERVED
    if needed <= SMALL_HEAD_OCTETS:
        return SMALL_HEAD_OCTETS
    size = KMALLOC_LEAST
    while size - SHARED_INFO_OCTETS < needed:
        size *= 2
    return size - SHARED_INFO_OCTETS


class Buffer(Struct):
    """What a segment came in."""

    truesize: int
    """Octets that it takes (skb->truesize)."""
    room: int
    """Octets that fit behind its data (skb_tailroom)."""

    def takes(self, octets: int) -> bool:
        """Put another segment's data behind, if they fit (skb_try_coalesce)."""
        if octets > self.room:
            return False
        self.room -= octets
        return True


def buffer_of(skb: Skb) -> Buffer:
    """Return the buffer of a packet."""
    used = ETH_HLEN + len(skb.data)
    octets = head_room(max(skb.frame_len, used))
    return Buffer(octets + SK_BUFF_OCTETS, octets - HEADROOM - used)


class ReceiveWindow(Struct, kw_only=True, eq=False):
    """Memory and window of one connection."""

    rcvbuf: int
    largest: int
    """Largest receive buffer (tcp_rmem)."""
    window: int
    """What the peer was last told (rcv_wnd)."""
    scale: int | None
    clamp: int = 0
    """The window does not exceed it (window_clamp)."""
    ssthresh: int = 0
    """Nor this, which grows with the data (rcv_ssthresh)."""
    ratio: int = 128
    """256ths of the memory that hold data (scaling_ratio)."""
    charged: int = 0
    """Memory of what nobody read (sk_rmem_alloc)."""
    forward: int = 0
    """Memory set aside for more, in pages (sk_forward_alloc)."""

    def begin(self, mss: int) -> None:
        """Prepare for data (tcp_init_buffer_space)."""
        full = self._space(self.rcvbuf)
        self.ssthresh = self.window
        self.clamp = min(MAX_TCP_SCALED << (self.scale or 0), full)
        if self.clamp > 2 * mss and self.clamp + mss > full:
            self.clamp = max(2 * mss, full - mss)
        self.ssthresh = min(self.ssthresh, self.clamp)

    def _space(self, octets: int) -> int:
        """Return how much data fits into so much memory (tcp_win_from_space)."""
        return octets * self.ratio >> 8

    def fits(self, truesize: int) -> bool:
        """Return whether memory is set aside for a segment."""
        return truesize <= self.forward

    def schedule(self, truesize: int) -> None:
        """Set memory aside, in whole pages (sk_rmem_schedule)."""
        lack = truesize - self.forward
        if lack > 0:
            self.forward += -(-lack >> PAGE_SHIFT) << PAGE_SHIFT

    def charge(self, truesize: int) -> None:
        """Use memory for a segment that is queued; negative when one is dropped."""
        self.charged += truesize
        self.forward -= truesize

    def read_all(self) -> None:
        """Note that the program read what there was."""
        self.charge(-self.charged)

    def learn_ratio(self, size: int, truesize: int) -> None:
        """Learn from the largest segment so far which part of the memory holds data."""
        ratio = (size << 8) // truesize or 1
        if ratio == self.ratio:
            return
        self.ratio = ratio
        clamp = max(SOCK_MIN_RCVBUF // 2, self._space(self.rcvbuf))
        if clamp < self.clamp:
            self.ssthresh = min(self.ssthresh, clamp)
        elif clamp > self.clamp:
            self.ssthresh = max(min(self.window, clamp), self.ssthresh)
        self.clamp = clamp

    def grow(self, size: int, truesize: int, *, mss: int, rcv_mss: int) -> bool:
        """Let the window grow after data, if there is room; whether it did (tcp_grow_window)."""
        room = min(self.clamp, self._space(self.rcvbuf - self.charged)) - self.ssthresh
        if room <= 0:
            return False
        if self._space(truesize) <= size:
            step = 2 * mss
        else:
            step = self._careful_step(size, truesize, rcv_mss)
        if not step:
            return False
        self.ssthresh += min(room, max(step, 2 * size))
        return True

    def _careful_step(self, size: int, truesize: int, rcv_mss: int) -> int:
        """Return the step for data that waste memory (__tcp_grow_window)."""
        taken = self._space(truesize) >> 1
        window = self._space(self.largest) >> 1
        while self.ssthresh <= window:
            if taken <= size:
                return 2 * rcv_mss
            taken >>= 1
            window >>= 1
        return 0

    def wanted(self, rcv_mss: int) -> tuple[int, bool]:
        """Return the window that memory allows, and whether it is short (__tcp_select_window)."""
        free, allowed = self._space(self.rcvbuf - self.charged), self._space(self.rcvbuf)
        full = min(self.clamp, allowed)
        mss = min(rcv_mss, full)
        short = free < full >> 1
        if short:
            unit = 1 << (self.scale or 0)
            free = free // unit * unit
            if free < allowed >> 4 or free < mss:
                return 0, True
        free = min(free, self.ssthresh)
        if self.scale:
            unit = 1 << self.scale
            return -(-free // unit) * unit, short
        window = self.window
        if window <= free - mss or window > free:
            window = free // mss * mss
        elif mss == full and free > window + (full >> 1):
            window = free
        return window, short

    def select(self, left: int, rcv_mss: int) -> tuple[int, bool]:
        """Choose the window of an ACK, of whose last one `left` octets are left.

        Return the field that says it, and whether memory is short (tcp_select_window).
        """
        window, short = self.wanted(rcv_mss)
        unit = 1 << (self.scale or 0)
        if window < left:
            window = -(-left // unit) * unit
        self.window = window
        return min(window, MAX_TCP_SCALED * unit) // unit, short


def initial_window(rcvbuf: int, mss: int) -> int:
    """Return the first receive window (tcp_select_initial_window).

    Half of the buffer is for data; it is rounded down to whole segments.

    >>> initial_window(131072, 1460), initial_window(131072, 1448)
    (64240, 65160)
    """
    space = rcvbuf // 2
    if space > mss:
        space -= space % mss
    return min(space, MAX_TCP_SCALED)


def initial_window_scale(rcvbuf: int, largest_rcvbuf: int) -> int:
    """Return the window scale that lets the window grow to the largest buffer.

    >>> initial_window_scale(131072, 33554432), initial_window_scale(131072, 6291456)
    (10, 7)
    """
    space = max(rcvbuf // 2, largest_rcvbuf)
    return min(max(space.bit_length() - 1 - 15, 0), 14)
