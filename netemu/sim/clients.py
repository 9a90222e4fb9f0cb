"""Programs that ask: what a lab's clients do, and what they see.

Theory of operation: a client is started by the lab, acts through its namespace's sockets and tells
what it sees, one sentence at a time. It ends once; `ok` then says whether it got what it wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from netemu.clock import Timer
from netemu.ip.datagram import Waiters, ping_sendmsg, udp_sendmsg
from netemu.ip.sockets import Sockets
from netemu.ip.tcp_connect import tcp_connect
from netemu.ip.tcp_program import Connection
from netemu.net import Net
from netemu.sim.dns import NXDOMAIN, dns_query, dns_result
from netemu.sim.lab_spec import ClientSpec
from netemu.wire.address import format_address
from netemu.wire.ipv4 import IPPROTO_ICMP, IPPROTO_UDP

SHOWN = 60
"""So many characters of an answer are shown."""

PING_PAYLOAD = bytes(range(56))
"""56 octets, as ping(8) sends by default."""


class Client(Protocol):
    """A running client."""

    spec: ClientSpec
    ok: bool | None

    def start(self) -> None:
        """Begin."""


Tell = Callable[[ClientSpec, str], None]


class _Base:
    """What all clients share: a clock that gives up, and one end."""

    def __init__(self, net: Net, spec: ClientSpec, tell: Tell) -> None:
        self.net = net
        self.spec = spec
        self.ok: bool | None = None
        """Whether it got what it wanted; None while it runs."""
        self._tell = tell
        self._timer: Timer | None = None

    def say(self, text: str) -> None:
        self._tell(self.spec, text)

    def end(self, text: str, *, ok: bool) -> None:
        if self.ok is None:
            self.ok = ok
            self.wait(None)
            self.say(text)

    def wait(self, then: Callable[[], None] | None, delay_ns: int = 0) -> None:
        """Call `then` after a while unless something else comes first."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if then is None else self.net.clock.call_later(delay_ns, then)


def _shown(data: bytes) -> str:
    text = data.decode("latin-1").encode("unicode_escape").decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _end(address: bytes, port: int) -> str:
    return f"{format_address(address)}:{port}"


class TcpClient(_Base):
    """Connects, sends its text, and closes when an answer came."""

    until_closed = False
    """Whether the peer's close is waited for."""

    def start(self) -> None:
        """Open the connection."""
        spec = self.spec
        self.answer = b""
        self.connected = False
        self.wait(self._time_out, spec.timeout_ns)
        opened = tcp_connect(
            self.net,
            self,
            spec.remote,
            spec.port,
            local=spec.local,
            local_port=spec.local_port,
        )
        self.connection = None if isinstance(opened, str) else opened
        if isinstance(opened, str):
            self.end(f"cannot connect to {_end(spec.remote, spec.port)}: {opened}", ok=False)

    def request(self) -> bytes:
        """Return what is sent."""
        return self.spec.text.encode()

    def opened(self, connection: Connection) -> None:
        """Send the request; without one, having connected is all that was wanted."""
        self.connected = True
        self.say(f"connected to {_end(*connection.peer)}")
        request = self.request()
        if request:
            connection.send(request)
        elif not self.until_closed:
            connection.close()
            self.end("closed", ok=True)

    def received(self, connection: Connection, data: bytes) -> None:
        """Take a part of the answer."""
        self.answer += data
        self.say(f"received {len(data)} octets: {_shown(data)}")
        if not self.until_closed:
            connection.close()
            self.end("closed", ok=True)

    def finished(self, connection: Connection) -> None:
        """Close behind the peer."""
        connection.close()
        self.end("the other end closed", ok=bool(self.answer) or not self.request())

    def failed(self, connection: Connection, why: str) -> None:
        """Report the end."""
        what = "the connection broke" if self.connected else "cannot connect"
        self.end(f"{what}: {why}", ok=False)

    def _time_out(self) -> None:
        what = "no answer" if self.connected else "no connection"
        self.end(f"{what} within {self.spec.timeout_ns / 1e9:g} s, gives up", ok=False)
        if self.connection is not None:
            self.connection.close()


class HttpClient(TcpClient):
    """Asks for a page and reads until the server closes."""

    until_closed = True

    def request(self) -> bytes:
        """Return a GET of the site's path, or of the text."""
        host, slash, path = self.spec.site.partition("/")
        path = f"{slash}{path}" or self.spec.text or "/"
        host = host or format_address(self.spec.remote)
        return f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()


class UdpClient(_Base):
    """Sends a datagram and waits for an answer, as often as `count` says."""

    def start(self) -> None:
        """Send for the first time."""
        spec, net = self.spec, self.net
        self.peer: tuple[bytes, int] | None = (spec.remote, spec.port)
        self.tried = 0
        self.port = spec.local_port or net.generic(Sockets).ephemeral_port(net, IPPROTO_UDP)
        net.generic(Waiters).add(IPPROTO_UDP, self.port, self)
        self._try()

    def request(self) -> bytes:
        """Return what is sent."""
        return self.spec.text.encode()

    def shown(self, payload: bytes) -> str:
        """Return what the answer says."""
        return f"{len(payload)} octets: {_shown(payload)}"

    def _try(self) -> None:
        spec = self.spec
        if self.tried == spec.count:
            self._close(f"no answer within {spec.timeout_ns / 1e9:g} s, gives up", ok=False)
            return
        self.tried += 1
        failure = udp_sendmsg(
            self.net,
            self.request(),
            remote=spec.remote,
            port=spec.port,
            local=spec.local,
            local_port=self.port,
        )
        if failure:
            self._close(f"cannot send: {failure}", ok=False)
        elif self.ok is None:
            self.wait(self._try, spec.timeout_ns)

    def answered(self, source: bytes, port_or_seq: int, payload: bytes) -> None:
        """Take the answer."""
        self._close(f"answer from {_end(source, port_or_seq)}, {self.shown(payload)}", ok=True)

    def failed(self, errno: str) -> None:
        """Take an ICMP error; only a refusal ends a connected socket's wait."""
        if errno == "ECONNREFUSED":
            self._close(f"refused: {errno}", ok=False)
        else:
            self.say(f"told {errno}, goes on waiting")

    def _close(self, text: str, *, ok: bool) -> None:
        self.end(text, ok=ok)
        self.net.generic(Waiters).remove(IPPROTO_UDP, self.port)
        self.net.generic(Sockets).release_port(IPPROTO_UDP, self.port)


class DnsClient(UdpClient):
    """Asks a DNS server for the address of a name; of several, for the next if one is not there."""

    def __init__(self, net: Net, spec: ClientSpec, tell: Tell) -> None:
        """Ask for each of the names in `spec.text`."""
        super().__init__(net, spec, tell)
        self.names = spec.text.split() or [""]

    def start(self) -> None:
        """Choose an identifier and ask."""
        self.identifier = self.spec.local_port or self.net.entropy.stream("dns").u16()
        super().start()

    def request(self) -> bytes:
        """Return the query."""
        return dns_query(self.names[0], self.identifier)

    def shown(self, payload: bytes) -> str:
        """Return the address in the answer."""
        return f"{self.names[0].rstrip('.')} is {dns_result(payload)}"

    def answered(self, source: bytes, port_or_seq: int, payload: bytes) -> None:
        """Take the answer, or ask for the next name."""
        if dns_result(payload) != NXDOMAIN or len(self.names) == 1:
            super().answered(source, port_or_seq, payload)
            return
        self.say(self.shown(payload))
        self.names = self.names[1:]
        self.tried = 0
        self._try()


class PingClient(_Base):
    """Sends echo requests, one after the other, and counts the replies."""

    def start(self) -> None:
        """Send the first request."""
        self.peer: tuple[bytes, int] | None = None
        self.sent = self.replies = 0
        self.sent_ns: dict[int, int] = {}
        self.identifier = self.spec.local_port or self.net.entropy.stream("ping").u16() or 1
        self.net.generic(Waiters).add(IPPROTO_ICMP, self.identifier, self)
        self._next()

    def _next(self) -> None:
        spec = self.spec
        if self.sent == spec.count:
            self.wait(self._finish, spec.timeout_ns)
            return
        self.sent += 1
        self.sent_ns[self.sent] = self.net.clock.now_ns
        # What comes back at once must find us waiting already.
        self.wait(self._next, spec.interval_ns if self.sent < spec.count else 0)
        failure = self.send(self.sent)
        if failure:
            self.say(f"cannot send: {failure}")

    def answered(self, source: bytes, port_or_seq: int, payload: bytes) -> None:
        """Count a reply, a repeated one not."""
        sent_ns = self.sent_ns.pop(port_or_seq, None)
        if sent_ns is None:
            self.say(f"reply from {format_address(source)} seq={port_or_seq} again")
            return
        self.replies += 1
        took_ms = (self.net.clock.now_ns - sent_ns) / 1e6
        other = "" if source == self.spec.remote else " (DIFFERENT ADDRESS)"
        self.say(
            f"reply from {format_address(source)}{other} seq={port_or_seq} time={took_ms:g} ms"
        )
        if self.replies == self.spec.count:
            self._finish()

    def failed(self, errno: str) -> None:
        """Report an ICMP error."""
        self.say(f"told {errno}")

    def _finish(self) -> None:
        self.end(f"{self.replies} of {self.sent} answered", ok=self.replies == self.spec.count)
        self.close()

    def send(self, sequence: int) -> str:
        """Send one request; an errno's name when that fails."""
        return ping_sendmsg(self.net, self.spec.remote, self.identifier, sequence, PING_PAYLOAD)

    def close(self) -> None:
        """Close the socket."""
        self.net.generic(Waiters).remove(IPPROTO_ICMP, self.identifier)


CLIENTS: dict[str, type[TcpClient | UdpClient | PingClient]] = {
    "tcp": TcpClient,
    "http": HttpClient,
    "udp": UdpClient,
    "dns": DnsClient,
    "ping": PingClient,
}
"""All kinds of clients."""
