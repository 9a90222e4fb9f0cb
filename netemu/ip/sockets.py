"""The sockets of a namespace that listen.

Kernel: net/ipv4/udp.c (__udp4_lib_lookup), net/ipv4/inet_hashtables.c (__inet_lookup_listener).

A socket whose program is not known takes what is sent to it, and a TCP one answers as the kernel
does on its own. A known program (`Listener`) is given what arrives.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from netemu.ip.tcp_program import TcpProgram
from netemu.net import Net
from netemu.sim.spec import SocketSpec
from netemu.skb import Device


class ProgramSocket(Struct, frozen=True):
    """A socket that a program holds: root's, since snapshots do not tell whose."""

    uid: int = 0
    gid: int = 0


class AssignedSocket:
    """The socket that TPROXY chose for a received packet, whatever the packet's addresses are."""

    __slots__ = ()


class AssignedProgramSocket(ProgramSocket, AssignedSocket, frozen=True):
    """Such a socket that a program holds; a half-open connection has no program yet."""


class ControlSocket:
    """A socket of the kernel's own, by which RSTs leave: there is no file, hence no owner."""

    __slots__ = ()


CONTROL_SOCKET = ControlSocket()
"""ipv4_tcp_sk."""


class Listener(Protocol):
    """A program behind listening sockets."""

    def accept(self) -> TcpProgram:
        """Return what takes the next TCP connection."""

    def answer(self, datagram: bytes, client: tuple[bytes, int]) -> bytes | None:
        """Return the answer to a UDP datagram of a client, None for none now."""


LOCAL_PORTS = (32768, 60999)
"""First and last port for programs that do not choose one (ip_local_port_range)."""


class Sockets:
    """Who listens, by protocol and port."""

    __slots__ = ("_by_port", "_in_use", "_listeners", "known")

    def __init__(self, net: Net) -> None:
        """Start without sockets."""
        del net
        self._by_port: dict[tuple[str, int], list[SocketSpec]] = {}
        self._listeners: dict[tuple[str, bytes, int], Listener] = {}
        self._in_use: set[tuple[int, int]] = set()
        self.known = False
        """Whether the node's sockets were told at all; False: nothing listens, by assumption."""

    def load(self, sockets: list[SocketSpec] | None) -> None:
        """Take the sockets of a snapshot; None when it does not tell them."""
        self.known = sockets is not None
        for socket in sockets or ():
            self._by_port.setdefault((socket.protocol, socket.port), []).append(socket)

    def listen(self, socket: SocketSpec, listener: Listener | None = None) -> None:
        """Add a socket, with its program if that is known."""
        self.known = True
        self._by_port.setdefault((socket.protocol, socket.port), []).append(socket)
        if listener is not None:
            self._listeners[socket.protocol, socket.address, socket.port] = listener

    def bound_to(self, address: bytes) -> bool:
        """Return whether a socket is bound to just this address."""
        return any(
            socket.address == address for found in self._by_port.values() for socket in found
        )

    def close(self, protocol: str, address: bytes, port: int) -> bool:
        """Take a socket away; False if there is none."""
        sockets = self._by_port.get((protocol, port), [])
        left = [socket for socket in sockets if socket.address != address]
        self._by_port[protocol, port] = left
        self._listeners.pop((protocol, address, port), None)
        return len(left) < len(sockets)

    def program_of(self, protocol: str, address: bytes, port: int) -> tuple[bytes, Listener] | None:
        """Return the socket that takes packets to `address`: what it is bound to, its program."""
        for bound in (address, bytes(len(address))):
            found = self._listeners.get((protocol, bound, port))
            if found is not None:
                return bound, found
        return None

    def ephemeral_port(self, net: Net, protocol: int) -> int:
        """Return a port that no program has; an even one, as connect prefers."""
        low, high = LOCAL_PORTS
        count = (high - low + 1) // 2
        start = net.entropy.stream("port").below(count)
        for step in range(count):
            port = low + 2 * ((start + step) % count)
            if (protocol, port) not in self._in_use:
                self._in_use.add((protocol, port))
                return port
        return low + 1

    def release_port(self, protocol: int, port: int) -> None:
        """Give a port back."""
        self._in_use.discard((protocol, port))

    def lookup(self, protocol: str, address: bytes, port: int, device: Device) -> bool:
        """Return whether a socket takes packets to `address` that came in by `device`."""
        return any(
            _takes(socket, address, device) for socket in self._by_port.get((protocol, port), ())
        )

    def bound(self, protocol: str, address: bytes, port: int, device: Device) -> bool | None:
        """Return whether the socket that takes a packet is bound to an address; None for none.

        Of several the one bound to an address is preferred (compute_score).
        """
        found = [
            any(socket.address)
            for socket in self._by_port.get((protocol, port), ())
            if _takes(socket, address, device)
        ]
        return any(found) if found else None


def _takes(socket: SocketSpec, address: bytes, device: Device) -> bool:
    """Return whether a bound address and device let the packet in.

    A wildcard IPv6 socket takes IPv4 as well, as it does unless it is IPV6_V6ONLY.
    """
    if socket.device and socket.device != device.name:
        return False
    return not any(socket.address) or socket.address == address
