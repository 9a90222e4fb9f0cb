"""Where one half of the IP layer calls the other, which is built on it.

Fragmentation and option processing send ICMP errors, and ICMP sends through them; ICMP tells TCP of
errors, and TCP sends by what ICMP is made of. The kernel resolves such circles by linking, here
inet_init puts the functions in at start.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.net import Net
from netemu.skb import Skb

IcmpSend = Callable[[Net, Skb, int, int, int], None]
TcpErr = Callable[[Net, Skb, bytearray, int], None]

ErrorHandler = Callable[[Net, bytes, str], None]
"""Takes the quoted packet of an ICMP error and the errno that it stands for."""


class Upcalls:
    """The functions of the upper half, per namespace."""

    __slots__ = ("error_handlers", "icmp_send", "ping_rcv", "tcp_err")

    def __init__(self, net: Net) -> None:
        """Start without ICMP: errors are silent until inet_init."""
        del net
        self.icmp_send: IcmpSend | None = None
        self.tcp_err: TcpErr | None = None
        self.error_handlers: dict[int, ErrorHandler] = {}
        """Who hears of errors about datagrams and echo requests, by protocol."""
        self.ping_rcv: Callable[[Net, Skb], bool] | None = None
        """Gives an echo reply to the program that waits for it."""


def report_error(net: Net, skb: Skb, icmp_type: int, code: int, info: int) -> None:
    """Send an ICMP error about `skb` (icmp_send)."""
    send = net.generic(Upcalls).icmp_send
    if send is not None:
        send(net, skb, icmp_type, code, info)
