"""A lab's programs on real sockets: the same servers and clients, driven by one loop.

Theory of operation: `sim.programs` and `sim.clients` say what to do; here a real socket stands
behind the connection that they are given. Everything is non-blocking. Ready sockets are served in
the order in which they were opened, then timers.
"""

from __future__ import annotations

import contextlib
import errno
import heapq
import itertools
import select
import socket
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import cast

from netemu.clock import Timer
from netemu.errors import KernelError
from netemu.ip.tcp_program import TcpProgram
from netemu.net import Net
from netemu.sim.clients import CLIENTS, PING_PAYLOAD, Client, PingClient, TcpClient, UdpClient
from netemu.sim.lab_spec import ClientSpec
from netemu.sim.programs import REFUSING, Server
from netemu.sim.spec import SocketSpec
from netemu.wire.address import format_address, parse_address
from netemu.wire.fields import get16
from netemu.wire.icmp import IcmpType, build_icmp

IP_FREEBIND = 15
LONGEST_NS = 30_000_000_000

Enter = Callable[[], AbstractContextManager[None]]


class LiveClock:
    """The part of a clock that programs use, by the machine's own."""

    def __init__(self) -> None:
        """Start now."""
        self._start_ns = time.monotonic_ns()
        self._heap: list[Timer] = []
        self._order = itertools.count()

    @property
    def now_ns(self) -> int:
        """Nanoseconds since the start."""
        return time.monotonic_ns() - self._start_ns

    def call_later(self, delay_ns: int, function: Callable[[], None]) -> Timer:
        """Call a function once, not before `delay_ns` from now."""
        return self.call_at(self.now_ns + delay_ns, function)

    def call_at(self, when_ns: int, function: Callable[[], None]) -> Timer:
        """Call a function once, not before a moment."""
        timer = Timer(when_ns, (0, next(self._order)), function)
        heapq.heappush(self._heap, timer)
        return timer

    def run_due(self) -> int:
        """Run what is due; return how long there is nothing, nanoseconds."""
        while self._heap:
            timer = self._heap[0]
            if timer.function is not None and timer.when_ns > self.now_ns:
                return timer.when_ns - self.now_ns
            heapq.heappop(self._heap)
            function, timer.function = timer.function, None
            if function is not None:
                function()
        return LONGEST_NS


class Host:
    """What a client is given in the place of a namespace's `Net`."""

    def __init__(self, loop: Loop, enter: Enter) -> None:
        """Open sockets where `enter` leads."""
        self.loop = loop
        self.enter = enter
        self.clock = loop.clock


class Loop:
    """All programs of a lab."""

    def __init__(self) -> None:
        """Start the clock."""
        self.clock = LiveClock()
        self.clients: list[Client] = []
        self._readers: dict[socket.socket, Callable[[], None]] = {}
        self._kept: list[socket.socket] = []
        self._writers: dict[socket.socket, Callable[[], None]] = {}

    def later(self, when_ns: int, function: Callable[[], None]) -> None:
        """Call a function at a moment since the start."""
        self.clock.call_at(when_ns, function)

    def read(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Call `ready` whenever a socket has something."""
        self._readers[sock] = ready

    def write(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        """Call `ready` once when a socket may be written."""
        self._writers[sock] = ready

    def ignore(self, sock: socket.socket) -> None:
        """Keep a socket open, but look no more whether it has something."""
        self._kept.append(sock)
        self._readers.pop(sock, None)

    def forget(self, sock: socket.socket) -> None:
        """Close a socket."""
        self._readers.pop(sock, None)
        self._writers.pop(sock, None)
        sock.close()

    def close(self) -> None:
        """Close all sockets."""
        for sock in [*self._readers, *self._kept]:
            self.forget(sock)

    def serve(self, spec: SocketSpec) -> None:
        """Let a program listen in the thread's namespace."""
        if spec.program in {"", REFUSING}:
            return
        kind = socket.SOCK_STREAM if spec.protocol == "tcp" else socket.SOCK_DGRAM
        sock = _socket(kind)
        sock.setsockopt(socket.SOL_IP, IP_FREEBIND, 1)
        sock.bind((format_address(spec.address), spec.port))
        server = Server(spec.program, spec.text)
        if spec.protocol == "tcp":
            sock.listen(128)
            self.read(sock, lambda: self._accept(sock, server))
        else:
            self.read(sock, lambda: _answer(sock, server))

    def _accept(self, sock: socket.socket, server: Server) -> None:
        with contextlib.suppress(OSError):
            taken, _ = sock.accept()
            RealConnection(self, taken, server.accept()).opened()

    def client(self, spec: ClientSpec, enter: Enter) -> None:
        """Let a client start at its moment."""
        kind = CLIENTS[spec.kind]
        host = cast("Net", Host(self, enter))
        live = LIVE[next(base for base in LIVE if issubclass(kind, base))]
        made = type(kind.__name__, (live, kind), {})(host, spec, _say)
        self.clients.append(made)
        self.later(spec.start_ns, made.start)

    def run(self, after_ns: int) -> None:
        """Run until all clients have ended, and `after_ns` longer."""
        ended_ns: int | None = None
        while ended_ns is None or self.clock.now_ns < ended_ns + after_ns:
            if self.clock.now_ns > LONGEST_NS:
                raise KernelError("the lab's clients do not end")
            wait_ns = min(self.clock.run_due(), 5_000_000)
            readable, writable, _ = select.select(
                list(self._readers), list(self._writers), [], wait_ns / 1e9
            )
            # Who connected comes before who is asked: its socket was ready first.
            for sock in writable:
                once = self._writers.pop(sock, None)
                if once is not None:
                    once()
            for sock in readable:
                ready = self._readers.get(sock)
                if ready is not None:
                    ready()
            if ended_ns is None and all(client.ok is not None for client in self.clients):
                ended_ns = self.clock.now_ns


def _say(spec: ClientSpec, text: str) -> None:
    """Keep nothing: only the end counts."""


def _socket(kind: int, protocol: int = 0) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind, protocol)
    sock.setblocking(False)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return sock


def _answer(sock: socket.socket, server: Server) -> None:
    with contextlib.suppress(OSError):
        datagram, peer = sock.recvfrom(1 << 16)
        answer = server.answer(datagram)
        if answer is not None:
            sock.sendto(answer, peer)


class RealConnection:
    """A connection of the kernel's, as programs see one."""

    def __init__(self, loop: Loop, sock: socket.socket, program: TcpProgram) -> None:
        """Serve `sock`; call `opened` once it stands."""
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._program = program
        self._closed = False

    @property
    def peer(self) -> tuple[bytes, int]:
        """Address and port of the other end."""
        address, port = self._sock.getpeername()
        return parse_address(address), port

    def opened(self) -> None:
        """Tell the program, then listen."""
        self._loop.read(self._sock, self._ready)
        self._program.opened(self)

    def send(self, data: bytes) -> None:
        """Send octets; labs that are compared send few at a time."""
        with contextlib.suppress(OSError):
            self._sock.sendall(data)

    def close(self) -> None:
        """Close the socket."""
        self._closed = True
        self._loop.forget(self._sock)

    def abort(self) -> None:
        """Close it with a RST."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def _ready(self) -> None:
        try:
            data = self._sock.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as problem:
            self.close()
            self._program.failed(self, errno.errorcode[problem.errno or 0])
            return
        if data:
            self._program.received(self, data)
            return
        # The end of data stays readable for ever.
        self._loop.ignore(self._sock)
        self._program.finished(self)


class LiveTcp(TcpClient):
    """A TCP client on a real socket."""

    def start(self) -> None:
        """Connect."""
        host, spec = cast("Host", self.net), self.spec
        self.answer = b""
        self.connected = False
        self.wait(self._time_out, spec.timeout_ns)
        with host.enter():
            sock = _socket(socket.SOCK_STREAM)
        sock.bind((format_address(spec.local), spec.local_port))
        real = RealConnection(host.loop, sock, self)
        self.connection = real
        problem = sock.connect_ex((format_address(spec.remote), spec.port))
        if problem in {0, errno.EINPROGRESS}:
            host.loop.write(sock, lambda: self._connected(real, sock))
        else:
            self._fail(real, problem)

    def _connected(self, real: RealConnection, sock: socket.socket) -> None:
        problem = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if problem:
            self._fail(real, problem)
        else:
            real.opened()

    def _fail(self, real: RealConnection, problem: int) -> None:
        real.close()
        self.failed(real, errno.errorcode[problem])


class LiveUdp(UdpClient):
    """A UDP client on a real, connected socket."""

    def start(self) -> None:
        """Send for the first time."""
        host, spec = cast("Host", self.net), self.spec
        self.tried = 0
        self.identifier = spec.local_port
        with host.enter():
            self.sock = _socket(socket.SOCK_DGRAM)
        self.sock.bind((format_address(spec.local), spec.local_port))
        host.loop.read(self.sock, self._ready)
        try:
            self.sock.connect((format_address(spec.remote), spec.port))
        except OSError as problem:
            self._close(str(problem), ok=False)
        else:
            self._try()

    def _try(self) -> None:
        if self.tried == self.spec.count:
            self._close("no answer", ok=False)
            return
        self.tried += 1
        try:
            self.sock.send(self.request())
        except OSError as problem:
            self._close(str(problem), ok=False)
            return
        self.wait(self._try, self.spec.timeout_ns)

    def _ready(self) -> None:
        try:
            payload = self.sock.recv(1 << 16)
        except OSError as problem:
            self.failed(errno.errorcode[problem.errno or 0])
            return
        self.answered(self.spec.remote, self.spec.port, payload)

    def _close(self, text: str, *, ok: bool) -> None:
        self.end(text, ok=ok)
        cast("Host", self.net).loop.forget(self.sock)


class LivePing(PingClient):
    """A ping on a real raw socket."""

    def start(self) -> None:
        """Send the first request."""
        host = cast("Host", self.net)
        self.sent = self.replies = 0
        self.sent_ns = {}
        self.identifier = self.spec.local_port or 1
        with host.enter():
            self.sock = _socket(socket.SOCK_RAW, socket.IPPROTO_ICMP)
        host.loop.read(self.sock, self._ready)
        self._next()

    def send(self, sequence: int) -> str:
        """Send one request."""
        message = build_icmp(
            icmp_type=IcmpType.ECHO,
            rest=self.identifier << 16 | sequence,
            payload=PING_PAYLOAD,
        )
        try:
            self.sock.sendto(message, (format_address(self.spec.remote), 0))
        except OSError as problem:
            return errno.errorcode[problem.errno or 0]
        return ""

    def _ready(self) -> None:
        packet, _ = self.sock.recvfrom(1 << 16)
        start = (packet[0] & 15) * 4
        if packet[start] == IcmpType.ECHO_REPLY and get16(packet, start + 4) == self.identifier:
            self.answered(packet[12:16], get16(packet, start + 6), packet[start + 8 :])

    def close(self) -> None:
        """Close the socket."""
        cast("Host", self.net).loop.forget(self.sock)


LIVE: dict[type, type] = {TcpClient: LiveTcp, UdpClient: LiveUdp, PingClient: LivePing}
"""How each kind of client lives on real sockets."""
