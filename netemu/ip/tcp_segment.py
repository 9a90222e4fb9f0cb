"""A received segment, taken apart, and what became of it.

Kernel: net/ipv4/tcp_ipv4.c (tcp_v4_fill_cb), struct tcp_skb_cb.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.ip.tcp_options import TcpOptions, parse_tcp_options
from netemu.ip.tcp_sender import MASK32
from netemu.ip.tcp_sock import TcpSock
from netemu.skb import Skb
from netemu.wire.tcp import TCP, Flag


class Outcome(Struct, frozen=True):
    """What became of a segment."""

    reason: str = ""
    """Drop reason; empty when the socket took the segment."""
    reset: bool = False
    """The segment is answered with a RST."""
    sock: TcpSock | None = None
    """The open connection that sends it; None: the listener does."""


TAKEN = Outcome()


class Segment(Struct, frozen=True, kw_only=True):
    """A received segment, taken apart."""

    skb: Skb
    flags: int
    seq: int
    end_seq: int
    """Behind data, SYN and FIN."""
    ack: int
    window: int
    """As it stands there, unscaled."""
    header_len: int
    payload: bytes
    options: TcpOptions

    @property
    def fin(self) -> bool:
        """Whether it ends the peer's data."""
        return bool(self.flags & Flag.FIN)


def read_segment(skb: Skb) -> Segment:
    """Take a checked segment apart."""
    start = skb.transport_offset
    view = TCP(skb.data, start)
    length = len(skb.data) - start - view.data_offset
    length += bool(view.flags & Flag.SYN) + bool(view.flags & Flag.FIN)
    return Segment(
        skb=skb,
        flags=view.flags,
        seq=view.seq,
        end_seq=(view.seq + length) & MASK32,
        ack=view.ack,
        window=view.window,
        header_len=view.data_offset,
        payload=bytes(skb.data[start + view.data_offset :]),
        options=parse_tcp_options(view.options),
    )
