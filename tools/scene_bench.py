"""A bench for scenes: a node and its surroundings in throw-away namespaces of the live kernel.

The node's devices are veth pairs whose far ends stand in namespaces of clients and pods with TCP/IP
stacks of their own, so that traffic is real. A packet socket on each of the node's ports keeps what
came in and what went out, with the kernel's time stamps.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from netemu.livekernel.kmsg import KernelLog
from netemu.livekernel.namespace import Namespace, disable_offloads, run_tool, write_sysctl
from netemu.snapshot.take import take

if TYPE_CHECKING:
    from collections.abc import Iterator

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SO_TIMESTAMPNS = 35
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One frame at a port of the node."""

    time_ns: int
    port: str
    entered: bool
    frame: bytes


class Host:
    """A namespace beside the node: a client or a pod."""

    def __init__(self, namespace: Namespace) -> None:
        """Keep the namespace."""
        self.namespace = namespace

    def socket(self, kind: int, *, bind: tuple[str, int] | None = None) -> socket.socket:
        """Return a socket that lives here."""
        with self.namespace.entered():
            made = socket.socket(socket.AF_INET, kind)
        made.settimeout(TIMEOUT_S)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bind is not None:
            made.bind(bind)
        return made

    def ping(self, address: str, *, identifier: int, count: int = 1) -> None:
        """Send echo requests and wait for the answers, or half a second."""
        with self.namespace.entered():
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        raw.settimeout(0.5)
        for sequence in range(1, count + 1):
            head = struct.pack(">BBHHH", 8, 0, 0, identifier, sequence)
            body = b"netemu scene".ljust(32, b".")
            words = struct.unpack(f">{len(head + body) // 2}H", head + body)
            total = sum(words)
            total = (total & 0xFFFF) + (total >> 16)
            check = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            packet = struct.pack(">BBHHH", 8, 0, check, identifier, sequence) + body
            raw.sendto(packet, (address, 0))
            try:
                raw.recv(2048)
            except TimeoutError:
                continue
        raw.close()


class Bench:
    """The node, its neighbours and the recording."""

    def __init__(self) -> None:
        """Make the node's namespace."""
        self._stack = ExitStack()
        self.node = self._stack.enter_context(Namespace())
        self.ports: list[str] = []
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._set(self.node, "net.ipv6.conf.all.disable_ipv6", "1")
        self._set(self.node, "net.ipv6.conf.default.disable_ipv6", "1")
        self.node.run(["ip", "link", "set", "lo", "up"])

    def close(self) -> None:
        """Take everything down."""
        self._closing = True
        for thread in self._threads:
            thread.join(TIMEOUT_S)
        self._stack.close()

    @staticmethod
    def _set(namespace: Namespace, key: str, value: str) -> None:
        with namespace.entered():
            assert write_sysctl(key, value), key

    def sysctl(self, key: str, value: str) -> None:
        """Set a parameter of the node."""
        self._set(self.node, key, value)

    def bridge(self, name: str, mac: str, address: str) -> None:
        """Give the node a bridge with an address."""
        self.ip(f"link add {name} address {mac} type bridge")
        self.ip(f"link set {name} up")
        self.ip(f"addr add {address} dev {name}")

    def ip(self, command: str) -> None:
        """Run iproute2 in the node."""
        self.node.run(["ip", *command.split()])

    def host(  # noqa: PLR0913 - the two ends of a pair
        self,
        port: str,
        mac: str,
        *,
        far_mac: str,
        address: str,
        gateway: str,
        master: str = "",
        node_address: str = "",
    ) -> Host:
        """Wire a port of the node to a namespace of its own; return that."""
        namespace = self._stack.enter_context(Namespace())
        self._set(namespace, "net.ipv6.conf.all.disable_ipv6", "1")
        self.ip(
            f"link add {port} address {mac} type veth peer name eth0 address {far_mac} "
            f"netns {namespace.path}"
        )
        with namespace.entered():
            disable_offloads("eth0")
            for command in (
                "link set lo up", "link set eth0 up", f"addr add {address} dev eth0",
                f"route add default via {gateway}",
            ):  # fmt: skip
                run_tool(["ip", *command.split()])
        with self.node.entered():
            disable_offloads(port)
        if master:
            self.ip(f"link set {port} master {master}")
        self.ip(f"link set {port} up")
        if node_address:
            self.ip(f"addr add {node_address} dev {port}")
        self.ports.append(port)
        return Host(namespace)

    def rules(self, text: str) -> None:
        """Load iptables-save text into the node."""
        self.node.run(["iptables-legacy-restore"], text)

    def sets(self, text: str) -> None:
        """Load ipset text into the node."""
        self.node.run(["ipset", "restore"], text)

    def settle(self) -> None:
        """Wait until bridge ports forward and the node has told its multicast groups."""
        time.sleep(3)

    def forget_connections(self) -> None:
        """Empty the node's connection table."""
        self.node.run(["conntrack", "-F"])

    def snapshot(self, keep: Callable[[str], bool]) -> dict[str, str]:
        """Return the node's snapshot: file name -> content of those that `keep` accepts."""
        with self.node.entered():
            taken = take(all_netns=False)
        return {name: text for name, text in taken.files.items() if keep(name)}

    def after(self) -> dict[str, str]:
        """Return what the node holds now, in the files of `netemu replay --out`."""
        rules = self.node.run(["iptables-legacy-save", "-c"])
        sets = self.node.run(["ipset", "save"])
        return ({"ipset-save": sets} if sets else {}) | {
            "iptables-save": "".join(
                line + "\n" for line in rules.splitlines() if not line.startswith("#")
            ),
            "conntrack": self.node.run(["conntrack", "-L"]),
        }

    @contextmanager
    def recording(self) -> Iterator[tuple[list[Recorded], list[str]]]:
        """Keep frames at all ports and kernel-log lines while the block runs."""
        frames: list[Recorded] = []
        lines: list[str] = []
        with self.node.entered():
            sockets = {self._tap(port): port for port in self.ports}
        log = KernelLog()
        stop = threading.Event()
        thread = threading.Thread(target=_listen, args=(sockets, frames, stop))
        thread.start()
        try:
            yield frames, lines
            time.sleep(0.2)
        finally:
            stop.set()
            thread.join()
            for tap in sockets:
                tap.close()
            lines += log.lines({*self.ports, "lo"} | set(self._bridges()))
            log.close()
            frames.sort(key=lambda frame: frame.time_ns)

    def _bridges(self) -> list[str]:
        shown = self.node.run(["ip", "-br", "link", "show", "type", "bridge"])
        return [line.split()[0] for line in shown.splitlines() if line]

    @staticmethod
    def _tap(port: str) -> socket.socket:
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        tap.bind((port, 0))
        tap.setblocking(False)
        return tap

    def serve(self, host: Host, port: int, answer: bytes) -> None:
        """Answer every TCP connection to a port of a host with the same octets."""
        listener = host.socket(socket.SOCK_STREAM, bind=("", port))
        listener.listen()
        listener.settimeout(0.1)
        thread = threading.Thread(target=self._serve, args=(listener, answer), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _serve(self, listener: socket.socket, answer: bytes) -> None:
        with listener:
            while not self._closing:
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(TIMEOUT_S)
                    connection.recv(4096)
                    connection.sendall(answer)


def _listen(
    sockets: dict[socket.socket, str], frames: list[Recorded], stop: threading.Event
) -> None:
    while not stop.is_set():
        readable, _, _ = select.select(list(sockets), [], [], 0.05)
        for tap in readable:
            data, extra, _, source = tap.recvmsg(65600, 256)
            frames.append(
                Recorded(
                    time_ns=_stamp(extra),
                    port=sockets[tap],
                    entered=source[2] != PACKET_OUTGOING,
                    frame=data,
                )
            )


def _stamp(extra: Iterable[tuple[int, int, bytes]]) -> int:
    for level, kind, value in extra:
        if level == socket.SOL_SOCKET and kind == SO_TIMESTAMPNS:
            seconds, fraction = struct.unpack("qq", value[:16])
            return int(seconds) * 1_000_000_000 + int(fraction)
    return time.time_ns()


def fetch(host: Host, address: str, port: int, *, source_port: int) -> bytes:
    """Open a TCP connection, ask, and return what came until the other end closed."""
    received = b""
    with host.socket(socket.SOCK_STREAM, bind=("", source_port)) as client:
        client.connect((address, port))
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while chunk := client.recv(4096):
            received += chunk
    return received
