"""What a program asks of its connection, and how it is woken.

Kernel: net/ipv4/tcp.c (tcp_close, tcp_disconnect), net/ipv4/tcp_input.c (sk_data_ready).
"""

from __future__ import annotations

from typing import Protocol

from netemu.ip.tcp_output import tcp_push, tcp_send_ack
from netemu.ip.tcp_program import ProgramEnd, TcpProgram
from netemu.ip.tcp_sock import ON_CLOSE, TcpSock, TcpState
from netemu.net import Net
from netemu.wire.tcp import Flag


class Connections(Protocol):
    """The table that a connection is in."""

    def holds(self, sock: TcpSock) -> bool:
        """Return whether a connection is there still."""

    def remove(self, sock: TcpSock) -> None:
        """Forget a connection."""

    def fail(self, sock: TcpSock, why: str) -> None:
        """Forget a connection that broke, and tell its program."""


class SockEnd:
    """A program's end of one connection; what it does after the end is ignored."""

    __slots__ = ("_connections", "_net", "_sock")

    def __init__(self, net: Net, connections: Connections, sock: TcpSock) -> None:
        """Speak for `sock`."""
        self._net = net
        self._connections = connections
        self._sock = sock

    @property
    def local(self) -> tuple[bytes, int]:
        """Our address and port."""
        return self._sock.local, self._sock.local_port

    @property
    def peer(self) -> tuple[bytes, int]:
        """Address and port of the other end."""
        return self._sock.remote, self._sock.remote_port

    def send(self, data: bytes) -> None:
        """Send octets."""
        out = self._sock.out
        if out is None or out.closing or not data:
            return
        out.octets += data
        self._push()

    def close(self) -> None:
        """Send what waits, then a FIN."""
        sock = self._sock
        end = sock.program
        if end is not None:
            end.released = True
        if sock.out is None:
            self._connections.remove(sock)
            return
        if sock.state not in ON_CLOSE:
            return
        sock.state = ON_CLOSE[sock.state]
        sock.out.closing = True
        self._push()

    def abort(self) -> None:
        """End it with a RST."""
        sock = self._sock
        end = sock.program
        if end is not None:
            end.released = True
        if sock.state not in {TcpState.SYN_SENT, TcpState.TIME_WAIT}:
            tcp_send_ack(self._net, sock, None, int(Flag.RST))
            self._net.clock.run_soon()
        self._connections.remove(sock)

    def _push(self) -> None:
        tcp_push(
            self._net,
            self._sock,
            lambda: give_up(self._connections, self._sock),
            by_program=True,
        )


def open_end(net: Net, connections: Connections, sock: TcpSock, program: TcpProgram) -> ProgramEnd:
    """Give a connection to a program."""
    return ProgramEnd(program=program, connection=SockEnd(net, connections, sock))


def give_up(connections: Connections, sock: TcpSock) -> None:
    """End a connection whose peer is silent (tcp_write_err)."""
    connections.fail(sock, "ETIMEDOUT")


def wake(net: Net, sock: TcpSock) -> None:
    """Let the program run once the softirqs of this instant are done."""
    end = sock.program
    if end is None or end.waking or end.released:
        return
    end.waking = True
    net.clock.call_later(0, lambda: _run(net, sock, end))


def _run(net: Net, sock: TcpSock, end: ProgramEnd) -> None:
    end.waking = False
    if not end.opened and not end.failed:
        end.opened = True
        end.program.opened(end.connection)
    if end.unread and not end.released:
        data = bytes(end.unread)
        end.unread.clear()
        sock.rcv.read_all()
        sock.queue.read_all()
        if sock.acks_when_read():
            tcp_send_ack(net, sock, None)
            net.clock.run_soon()
        end.program.received(end.connection, data)
    if sock.peer_finished and not end.told_finished and not end.released:
        end.told_finished = True
        end.program.finished(end.connection)
    if end.failed and not end.released:
        end.released = True
        end.program.failed(end.connection, end.failed)
