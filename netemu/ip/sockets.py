"""The sockets of a namespace that listen.

Kernel: net/ipv4/udp.c (__udp4_lib_lookup), net/ipv4/inet_hashtables.c (__inet_lookup_listener).

Programs are not emulated: a socket takes what is sent to it, and a TCP one answers as the kernel
does on its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from netemu.net import Net
from netemu.sim.spec import SocketSpec
from netemu.skb import Device


@dataclass(frozen=True, slots=True)
class ProgramSocket:
    """A socket that a program holds: root's, since snapshots do not tell whose."""

    uid: int = 0
    gid: int = 0


class AssignedSocket:
    """The socket that TPROXY chose for a received packet, whatever the packet's addresses are."""

    __slots__ = ()


class AssignedProgramSocket(ProgramSocket, AssignedSocket):
    """Such a socket that a program holds; a half-open connection has no program yet."""

    __slots__ = ()


class ControlSocket:
    """A socket of the kernel's own, by which RSTs leave: there is no file, hence no owner."""

    __slots__ = ()


CONTROL_SOCKET = ControlSocket()
"""ipv4_tcp_sk."""


class Sockets:
    """Who listens, by protocol and port."""

    __slots__ = ("_by_port", "known")

    def __init__(self, net: Net) -> None:
        """Start without sockets."""
        del net
        self._by_port: dict[tuple[str, int], list[SocketSpec]] = {}
        self.known = False
        """Whether the node's sockets were told at all; False: nothing listens, by assumption."""

    def load(self, sockets: list[SocketSpec] | None) -> None:
        """Take the sockets of a snapshot; None when it does not tell them."""
        self.known = sockets is not None
        for socket in sockets or ():
            self._by_port.setdefault((socket.protocol, socket.port), []).append(socket)

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
