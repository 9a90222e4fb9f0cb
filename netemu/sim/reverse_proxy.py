"""A reverse proxy for HTTP: reads a request's host and path, and hands it to the server behind.

What an ingress controller does with a connection. One request a connection, as the clients of a lab
ask; what a server sends goes back as it is.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.ip.tcp_connect import tcp_connect
from netemu.ip.tcp_program import Connection, TcpProgram
from netemu.net import Net

Route = Callable[[str, str], tuple[bytes, int] | None]
"""Host and path -> address and port of the server behind; None for none."""

END = b"\r\n\r\n"
NOT_FOUND, BAD_GATEWAY = "404 Not Found", "502 Bad Gateway"


class ReverseProxy:
    """The listening socket."""

    def __init__(self, net: Net, route: Route) -> None:
        """Serve connections of a namespace."""
        self.net = net
        self.route = route

    def accept(self) -> TcpProgram:
        """Return what serves the next connection."""
        return _Front(self.net, self.route)

    def answer(self, datagram: bytes, client: tuple[bytes, int]) -> bytes | None:
        """Take a datagram and answer nothing."""
        del datagram, client
        return None


class _Front:
    """The client's connection."""

    def __init__(self, net: Net, route: Route) -> None:
        self.net = net
        self.route = route
        self.client: Connection | None = None
        self.request = b""
        self.back: _Back | None = None

    def opened(self, connection: Connection) -> None:
        """Wait for the request."""
        self.client = connection

    def received(self, connection: Connection, data: bytes) -> None:
        """Choose a server once the header is whole."""
        self.request += data
        if self.back is not None or END not in self.request:
            return
        server = self.route(*host_and_path(self.request))
        if server is None:
            self.reply(NOT_FOUND)
            return
        self.back = _Back(self)
        if isinstance(tcp_connect(self.net, self.back, *server), str):
            self.reply(BAD_GATEWAY)

    def reply(self, status: str) -> None:
        """Answer in the proxy's own name."""
        if self.client is not None:
            body = f"the proxy: {status}\n".encode()
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            self.client.send(head.encode() + body)
            self.client.close()

    def finished(self, connection: Connection) -> None:
        """Answer all the same: a client may close its side after its request."""

    def failed(self, connection: Connection, why: str) -> None:
        """Leave the server, too."""
        if self.back is not None and self.back.connection is not None:
            self.back.connection.abort()


class _Back:
    """The proxy's own connection to the server."""

    def __init__(self, front: _Front) -> None:
        self.front = front
        self.connection: Connection | None = None
        self.answered = False

    def opened(self, connection: Connection) -> None:
        """Hand the request on."""
        self.connection = connection
        connection.send(self.front.request)

    def received(self, connection: Connection, data: bytes) -> None:
        """Hand the answer back."""
        self.answered = True
        if self.front.client is not None:
            self.front.client.send(data)

    def finished(self, connection: Connection) -> None:
        """Close both sides behind the server; one that said nothing is a bad gateway."""
        connection.close()
        if not self.answered:
            self.front.reply(BAD_GATEWAY)
        elif self.front.client is not None:
            self.front.client.close()

    def failed(self, connection: Connection, why: str) -> None:
        """Say that the server does not answer, or break off with it."""
        if not self.answered:
            self.front.reply(BAD_GATEWAY)
        elif self.front.client is not None:
            self.front.client.abort()


def host_and_path(request: bytes) -> tuple[str, str]:
    r"""Return what a request asks for.

    >>> host_and_path(b"GET /cart?id=7 HTTP/1.1\r\nHost: shop.example:80\r\n\r\n")
    ('shop.example', '/cart')
    """
    first, *fields = request.partition(END)[0].decode("latin-1").split("\r\n")
    words = first.split(" ")
    path = words[1].partition("?")[0] if len(words) > 1 else "/"
    named = dict(field.lower().partition(":")[::2] for field in fields)
    return named.get("host", "").strip().partition(":")[0], path
