"""One neighbour: its states, what is known of it, and the memory of what waits for it.

Kernel: include/uapi/linux/neighbour.h, include/net/neighbour.h, include/linux/skbuff.h (truesize).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntFlag

from msgspec import Struct

from netemu.clock import Timer
from netemu.skb import ETH_HLEN, ZERO_MAC, Device, Skb


class Nud(IntFlag):
    """NUD_* (include/uapi/linux/neighbour.h)."""

    NONE = 0x00
    INCOMPLETE = 0x01
    REACHABLE = 0x02
    STALE = 0x04
    DELAY = 0x08
    PROBE = 0x10
    FAILED = 0x20
    NOARP = 0x40
    PERMANENT = 0x80


IN_TIMER = Nud.INCOMPLETE | Nud.REACHABLE | Nud.DELAY | Nud.PROBE
CONNECTED = Nud.PERMANENT | Nud.NOARP | Nud.REACHABLE
VALID = CONNECTED | Nud.PROBE | Nud.STALE | Nud.DELAY
SENDING = CONNECTED | Nud.DELAY | Nud.PROBE


class Neighbour:
    """One entry (struct neighbour)."""

    __slots__ = (
        "address",
        "assumed",
        "confirmed_ns",
        "device",
        "hh",
        "mac",
        "probes",
        "queue",
        "queue_octets",
        "state",
        "timer",
        "updated_ns",
        "used_ns",
    )

    def __init__(self, address: bytes, device: Device, now_ns: int) -> None:
        """Make an entry in state NONE."""
        self.address = address
        self.device = device
        self.state = Nud.NONE
        self.mac = ZERO_MAC
        self.probes = 0
        self.queue: deque[Skb] = deque()
        self.queue_octets = 0
        """Sum of the true sizes of what waits, as unres_qlen_bytes counts them."""
        self.confirmed_ns = now_ns
        self.used_ns = now_ns
        self.updated_ns = now_ns
        self.hh = False
        """A packet was sent, so that the link header is cached (hh_len)."""
        self.timer: Timer | None = None
        self.assumed = False
        """Nobody answered; the MAC was made up so that a trace can go on."""


class NeighbourProtocol(Struct, frozen=True, kw_only=True):
    """What ARP and NDP do differently (struct neigh_table, struct neigh_ops)."""

    constructor: Callable[[Neighbour], None]
    """Gives a new entry its state when no resolution is needed."""
    solicit: Callable[[Neighbour, Skb | None], None]
    """Asks for the address; the skb is the last packet that waits."""


SKB_OVERHEAD = 256
SHARED_INFO = 320
HEADROOM = 16
"""struct sk_buff, struct skb_shared_info and the reserved link header, octets on x86-64."""

_HEADS = (576, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072)
"""Sizes in which packet buffers are allocated: skbuff_small_head, then kmalloc caches."""


def skb_truesize(skb: Skb) -> int:
    """Return the memory that a received packet occupies (skb->truesize).

    Asked of Linux 6.18 with packets of a raw socket: 256 of up to 226 octets fit into the default
    queue of 212992, 166 of up to 674, 92 of up to 1500.
    """
    frame = HEADROOM + ETH_HLEN + len(skb.data)
    needed = ((frame + 63) & ~63) + SHARED_INFO
    for head in _HEADS:
        if needed <= head:
            return SKB_OVERHEAD + head
    return SKB_OVERHEAD + needed
