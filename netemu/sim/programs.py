"""Programs that listen and answer: what a lab's servers do.

Each is a `Program`: how it takes a TCP connection, and how it answers a datagram. They are small
stand-ins, not HTTP or DNS servers: enough for a client to see who answered what.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec import Struct

from netemu.ip.tcp_program import Connection, TcpProgram
from netemu.sim.dns import dns_answer


class Program(Struct, frozen=True, kw_only=True):
    """One kind of server."""

    name: str
    help: str
    accept: Callable[[str], TcpProgram]
    """Makes what serves one connection from the text that the server was given."""
    answer: Callable[[str, bytes], bytes | None]
    """Answers a datagram; None for silence."""


class Silent:
    """Takes all and says nothing."""

    def __init__(self, text: str) -> None:
        """Take no text."""
        del text

    def opened(self, connection: Connection) -> None:
        """Wait."""

    def received(self, connection: Connection, data: bytes) -> None:
        """Read it, no more."""

    def finished(self, connection: Connection) -> None:
        """Keep the connection half open."""

    def failed(self, connection: Connection, why: str) -> None:
        """Go."""


class Echo(Silent):
    """Sends back what it gets; closes when the peer does."""

    def received(self, connection: Connection, data: bytes) -> None:
        """Send it back."""
        connection.send(data)

    def finished(self, connection: Connection) -> None:
        """Close, too."""
        connection.close()


class Http(Silent):
    """Answers the end of a request's header with one page and closes."""

    def __init__(self, text: str) -> None:
        """Answer with `text`."""
        self.body = text or "ok\n"
        self.request = b""

    def received(self, connection: Connection, data: bytes) -> None:
        """Answer once the blank line is there."""
        self.request += data
        if b"\r\n\r\n" not in self.request:
            return
        body = self.body.encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        connection.send(head.encode() + body)
        connection.close()

    def finished(self, connection: Connection) -> None:
        """Close, too."""
        connection.close()


class Dns(Silent):
    """Answers each query, with its length before it as TCP has it (RFC 1035 section 4.2.2)."""

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        """Answer as the function says."""
        self.answer = answer
        self.data = b""

    def received(self, connection: Connection, data: bytes) -> None:
        """Answer the queries that are whole."""
        self.data += data
        while len(self.data) >= 2:
            end = 2 + int.from_bytes(self.data[:2], "big")
            if len(self.data) < end:
                return
            answer = self.answer(self.data[2:end])
            self.data = self.data[end:]
            if answer is not None:
                connection.send(len(answer).to_bytes(2, "big") + answer)

    def finished(self, connection: Connection) -> None:
        """Close, too."""
        connection.close()


class Reset(Silent):
    """Ends each connection with a RST as soon as it stands."""

    def opened(self, connection: Connection) -> None:
        """Abort."""
        connection.abort()


PROGRAMS = (
    Program(
        name="echo",
        help="sends back what it gets, and closes when the peer does",
        accept=Echo,
        answer=lambda _, datagram: datagram,
    ),
    Program(
        name="http",
        help="answers a request with one page and closes",
        accept=Http,
        answer=lambda text, _: (text or "ok\n").encode(),
    ),
    Program(
        name="dns",
        help="answers address queries; the text is NAME=ADDRESS, separated by blanks",
        accept=lambda text: Dns(partial(dns_answer, text)),
        answer=dns_answer,
    ),
    Program(
        name="silent",
        help="takes all and says nothing",
        accept=Silent,
        answer=lambda _text, _datagram: None,
    ),
    Program(
        name="reset",
        help="ends each connection with a RST as soon as it stands",
        accept=Reset,
        answer=lambda _text, _datagram: None,
    ),
)
"""All kinds of servers; `refusing` is no server at all, so the kernel itself answers."""

REFUSING = "refusing"

PROGRAM_NAMES = (*(program.name for program in PROGRAMS), REFUSING)


class Server:
    """A program behind one listening socket."""

    __slots__ = ("_program", "_text")

    def __init__(self, name: str, text: str = "") -> None:
        """Run the program of that name."""
        self._program = next(program for program in PROGRAMS if program.name == name)
        self._text = text

    def accept(self) -> TcpProgram:
        """Return what takes the next TCP connection."""
        return self._program.accept(self._text)

    def answer(self, datagram: bytes, client: tuple[bytes, int] | None = None) -> bytes | None:
        """Return the answer to a datagram, None for none; it is the same for every client."""
        del client
        return self._program.answer(self._text, datagram)
