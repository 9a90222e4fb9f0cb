"""Programs that hold TCP connections: what they are told, and what they can ask for.

Kernel: net/ipv4/tcp.c (tcp_recvmsg, tcp_sendmsg, tcp_close) seen from the program's side.

Theory of operation: a program runs when the softirqs of an instant are done, so the kernel's own
ACK leaves before the program's answer. It reads all that is there at once.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct, field


class Connection(Protocol):
    """A program's end of a connection (a file descriptor)."""

    @property
    def peer(self) -> tuple[bytes, int]:
        """Address and port of the other end."""

    def send(self, data: bytes) -> None:
        """Send octets (send)."""

    def close(self) -> None:
        """Send what waits, then a FIN (close)."""

    def abort(self) -> None:
        """End it with a RST (close with SO_LINGER 0)."""


class TcpProgram(Protocol):
    """What a program does about a connection."""

    def opened(self, connection: Connection) -> None:
        """Take a connection that stands: accept or connect returned."""

    def received(self, connection: Connection, data: bytes) -> None:
        """Take data that was read."""

    def finished(self, connection: Connection) -> None:
        """Take the end of the peer's data."""

    def failed(self, connection: Connection, why: str) -> None:
        """Take the news that the connection is gone; `why` is an errno's name."""


class ProgramEnd(Struct, kw_only=True, eq=False):
    """A connection as its program sees it, and what it was not told yet."""

    program: TcpProgram
    connection: Connection
    unread: bytearray = field(default_factory=bytearray)
    early: dict[int, bytes] = field(default_factory=dict)
    """Data ahead of the stream, by sequence number."""
    opened: bool = False
    """The program knows that the connection stands."""
    told_finished: bool = False
    failed: str = ""
    waking: bool = False
    """The program will run at the end of this instant."""
    released: bool = False
    """The program closed it and is told nothing more."""
