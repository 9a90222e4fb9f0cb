"""Labs from Python: several nodes on one clock, put together and changed at any time.

    import netemu
    lab = netemu.Lab(seed=1)
    lab.add_node("n1", sysctls={"net.ipv4.ip_forward": 1})
    lab.add_device("n1", "cni0", kind="bridge", addresses=["10.244.1.1/24"])
    lab.add_pod("n1", "web", address="10.244.1.5/24", bridge="cni0")
    lab.add_pod("n1", "app", address="10.244.1.6/24", bridge="cni0")
    lab.serve("n1/web", "http", tcp=80)
    client = lab.client("n1/app", "http", "10.244.1.5:80")
    lab.run()
    client.ok, client.saw[-1]       # True, 'the other end closed'

Values are written as in a lab file. What is added before the first `run` stands from the start;
later it is added to the running lab. Wrong values raise UsageError. Nothing here prints, reads the
machine's clock or draws from the global `random`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from netemu.api import Fate, Frame
from netemu.errors import UsageError
from netemu.events import FrameSent, Sink
from netemu.sim import admin
from netemu.sim import lab as sim_lab
from netemu.sim.clients import CLIENTS, Client
from netemu.sim.lab import Note
from netemu.sim.lab_spec import ClientSpec, Happening
from netemu.sim.node import Node
from netemu.sim.probe import enter
from netemu.sim.spec import TextFile, VxlanSpec
from netemu.sim.state import state_files
from netemu.sim.wiring import device_key
from netemu.snapshot import lab_values as values
from netemu.snapshot.document import BadValueError
from netemu.snapshot.lab_build import Cable, LabBuilder, Upper
from netemu.snapshot.lab_file import read_builder
from netemu.trace.model import Recorder
from netemu.wire.composed import ComposedPacket
from netemu.wire.packet_text import parse_packet

if TYPE_CHECKING:
    from netemu.interop.scapy import ScapyPacket

NSEC = 1_000_000_000

Seconds = float


class ClientHandle(Struct, eq=False):
    """A client, while it runs and afterwards."""

    spec: ClientSpec
    saw: list[str]
    """What it saw so far, a sentence each."""
    running: Client | None = None

    @property
    def ok(self) -> bool | None:
        """Whether it got what it wanted; None while it runs."""
        return None if self.running is None else self.running.ok


class Lab:
    """Several nodes, their pods and links; it runs as far as it is told to."""

    __slots__ = ("_builder", "_engine", "_handles", "_kernel", "_listeners", "_seed", "_sinks")

    def __init__(self, *, seed: int = 0, kernel: str = "6.18") -> None:
        """Start with nothing; see `from_file`."""
        self._builder = LabBuilder()
        self._engine: sim_lab.Lab | None = None
        self._handles: dict[ClientSpec, ClientHandle] = {}
        self._seed = seed
        self._kernel = kernel
        self._sinks: list[Sink] = []
        self._listeners: list[Callable[[Note], None]] = []

    @classmethod
    def from_file(cls, path: str | Path, *, seed: int = 0, kernel: str = "6.18") -> Lab:
        """Read a lab file. Raises SnapshotError or RulesetError with file, line and column."""
        lab = cls(seed=seed, kernel=kernel)
        text = Path(path).read_text(encoding="utf-8")
        lab._builder = read_builder(
            str(path), text, lambda name: Path(name).read_text(encoding="utf-8")
        )
        for spec in lab._builder.lab.clients:
            lab._handles[spec] = ClientHandle(spec, [])
        return lab

    # ------------------------------------------------------------------ what it is made of

    def add_node(self, name: str, *, sysctls: Mapping[str, object] | None = None) -> None:
        """Add a node."""
        with _usage():
            self._builder.add_host(name, _texts(sysctls))

    def add_pod(
        self,
        node: str,
        name: str,
        *,
        address: str = "",
        bridge: str = "",
        port: Mapping[str, int] | None = None,
        sysctls: Mapping[str, object] | None = None,
    ) -> str:
        """Add a pod; with `bridge` it is plugged in and routed. Return its name, NODE/NAME."""
        with _usage():
            full = self._builder.add_pod(node, name, _texts(sysctls))
            if bridge:
                self._builder.attach_pod(full, address, bridge, port)
        return full

    def remove(self, name: str) -> None:
        """Remove a pod or node, with its devices and the other ends of its links."""
        self._grow()
        with _usage():
            self._builder.remove_space(name)
        if self._engine is not None:
            self._engine.node.remove(name)

    def add_device(  # noqa: PLR0913 - one keyword per field of a device
        self,
        where: str,
        name: str,
        *,
        kind: str = "veth",
        addresses: Iterable[str] = (),
        mac: str = "",
        mtu: int = 1500,
        up: bool = True,
        master: str = "",
        port: Mapping[str, int] | None = None,
        bridge: Mapping[str, int] | None = None,
        lower: str = "",
        vid: int = 0,
        mode: str = "bridge",
        vxlan: VxlanSpec | None = None,
    ) -> None:
        """Add a device to a node or pod; `lower` is the one below a vlan, macvlan or vxlan."""
        upper = Upper(lower=lower, vid=vid, mode=mode, vxlan=vxlan)
        with _usage():
            self._builder.add_device(
                where, name, kind=kind, addresses=addresses, mac=mac, mtu=mtu, up=up,
                master=master, port=port, bridge=bridge, upper=upper,
            )  # fmt: skip

    def link(  # noqa: PLR0913 - one keyword per property of a cable
        self,
        *ends: str,
        name: str = "",
        delay: str | float = 0,
        jitter: str | float = 0,
        loss: str | float = 0,
        duplicate: str | float = 0,
        reorder: str | float = 0,
        rate: str | float = 0,
    ) -> None:
        """Lay a cable between two devices, or a switch `name` between several."""
        cable = Cable(
            delay=delay, jitter=jitter, loss=loss, duplicate=duplicate, reorder=reorder, rate=rate
        )
        with _usage():
            if name:
                self._builder.switch(name, ends, cable)
            elif len(ends) == 2:
                self._builder.connect(ends[0], ends[1], cable)
            else:
                raise UsageError("a link of other than two ends is a switch, which needs a name")

    def add_address(self, where: str, device: str, address: str) -> None:
        """Give a device an address."""
        with _usage():
            self._builder.add_address(where, device, address)

    def add_route(self, where: str, route: str) -> None:
        """Add a route, as ip(8) writes it."""
        with _usage():
            self._builder.add_route(where, route)

    def add_fdb(self, where: str, entry: str) -> None:
        """Tell a VXLAN device where to send frames: `MAC dev DEVICE dst HOST`."""
        with _usage():
            self._builder.add_fdb(where, entry)

    def add_neighbour(self, where: str, neighbour: str) -> None:
        """Add a permanent neighbour: `ADDRESS lladdr MAC dev DEVICE`."""
        with _usage():
            self._builder.add_neighbour(where, neighbour)

    def set_rules(self, where: str, text: str, *, file: str = "<rules>") -> None:
        """Load iptables-save text: the tables that it names are replaced."""
        self._builder.set_rules(where, TextFile(name=file, text=text))

    def serve(
        self,
        where: str,
        answer: str,
        *,
        tcp: int = 0,
        udp: int = 0,
        text: str = "",
        address: str = "",
    ) -> None:
        """Let a program listen: echo, http, dns, silent, reset."""
        with _usage():
            for protocol, port in (("tcp", tcp), ("udp", udp)):
                if port:
                    self._builder.serve(where, protocol, port, answer, text, address)

    def client(  # noqa: PLR0913 - one keyword per field of a client
        self,
        where: str,
        kind: str,
        target: str,
        *,
        name: str = "",
        at: Seconds | None = None,
        send: str = "",
        address: str = "",
        port: int = 0,
        count: int = 1,
        interval: str | float = 1,
        timeout: str | float = 5,
    ) -> ClientHandle:
        """Let a program ask: tcp, http, udp, dns or ping; now, unless `at` says when."""
        if kind not in CLIENTS:
            message = f"{kind!r} is not one of {', '.join(CLIENTS)}"
            raise UsageError(message)
        with _usage():
            self._builder.space(where)
            if kind == "dns":
                values.dns_name(send)
            remote, remote_port = (
                (values.address(target), 0) if kind == "ping" else values.end_of(target)
            )
            spec = ClientSpec(
                name=name or f"{where}#{len(self._handles) + 1}",
                namespace=where,
                kind=kind,
                remote=remote,
                port=remote_port,
                local=values.address(address) if address else bytes(4),
                local_port=port,
                start_ns=round((self.now if at is None else at) * NSEC),
                text=send,
                count=count,
                interval_ns=values.duration_ns(interval),
                timeout_ns=values.duration_ns(timeout),
            )
        handle = self._handles[spec] = ClientHandle(spec, [])
        self._builder.lab.clients.append(spec)
        if self._engine is not None:
            self._grow()
            handle.running = self._engine.add_client(spec)
        return handle

    # ------------------------------------------------------------------ time

    @property
    def now(self) -> Seconds:
        """Simulated time since the start, seconds."""
        return 0.0 if self._engine is None else self._engine.now_ns / NSEC

    def run(self, seconds: Seconds | None = None) -> None:
        """Let time pass; without `seconds` until all clients have ended and nothing is left."""
        engine = self._started()
        if seconds is None:
            engine.run()
        else:
            engine.run_until(engine.now_ns + round(seconds * NSEC))

    def at(self, seconds: Seconds, function: Callable[[], None], text: str = "") -> None:
        """Call a function when the clock stands at `seconds`; it may change the lab."""

        def run(_: Node) -> None:
            function()
            self._grow()

        happening = Happening(at_ns=round(seconds * NSEC), text=text or "a call", do=run)
        if self._engine is None:
            self._builder.lab.timeline.append(happening)
        else:
            self._engine.schedule(happening)

    # ------------------------------------------------------------------ what happens to it, now

    def set_link(self, device: str, *, up: bool) -> None:
        """Bring a device (`NODE/DEV`, `NODE/POD/DEV`) up or down."""
        space, found = self._node().find_device(device)
        admin.set_link(space.net, found, up=up)

    def set_mac(self, device: str, mac: str) -> None:
        """Change a device's MAC."""
        space, found = self._node().find_device(device)
        with _usage():
            admin.set_mac(space.net, found, values.mac(mac))

    def move_address(
        self, address: str, source: str, target: str, *, announce: bool = True
    ) -> None:
        """Take ADDRESS/LENGTH from one device and give it to another, with gratuitous ARP."""
        with _usage():
            packed, _ = values.prefix(address)
            space, device = self._node().find_device(source)
            admin.delete_address(space.net, device, packed)
            space, device = self._node().find_device(target)
            admin.add_address(space.net, values.device_address(device.name, address))
            if announce:
                admin.announce(space.net, device, packed)

    def cut(self, device: str, *, cut: bool = True) -> None:
        """Let a device's cable lose all that is sent, unnoticed; `cut=False` mends it."""
        admin.cut_cable(self._node().find_device(device)[1], cut=cut)

    def set_sysctl(self, where: str, key: str, value: object) -> None:
        """Set a parameter."""
        with _usage():
            self._builder.space(where)
        self._node().namespaces[where].net.sysctl.set(key, str(value))

    # ------------------------------------------------------------------ what is seen

    def subscribe(self, sink: Sink) -> None:
        """Tell every event of every node to `sink` from now on."""
        self._sinks.append(sink)
        if self._engine is not None:
            self._engine.subscribe(sink)

    def listen(self, listener: Callable[[Note], None]) -> None:
        """Tell what clients see and what happens from now on."""
        self._listeners.append(listener)

    def send(self, packet: bytes | str | ScapyPacket, device: str = "") -> Fate:
        """Send a packet and follow it through all nodes.

        Args:
            packet: an Ethernet frame as bytes, a one-line packet as text, or a Scapy packet.
            device: where it enters; empty: its sender's namespace sends it.

        """
        node = self._node()
        recorder = Recorder()
        before, told = node.sink, node.set_sink
        told(recorder)
        if isinstance(packet, bytes):
            if not device:
                raise UsageError("a frame of bytes needs the device where it enters")
            fate = node.receive(device, packet)
            node.settle()
        else:
            fate = enter(node, _composed(packet), device).send(node)
        told(before)
        events = tuple(recorder.take())
        if before is not None:
            for stamp, event in events:
                before(stamp, event)
        frames = tuple(
            Frame(
                device=device_key(stamp.node, event.device),
                time_ns=stamp.time_ns,
                data=event.frame,
            )
            for stamp, event in events
            if isinstance(event, FrameSent)
        )
        return Fate(verdict=fate.verdict, reason=fate.reason, frames=frames, events=events)

    @property
    def notes(self) -> list[Note]:
        """What clients saw and what happened, in order."""
        return [] if self._engine is None else self._engine.notes

    @property
    def engine(self) -> Node:
        """All namespaces of all nodes, their clock and kernel log."""
        return self._node()

    def state(self) -> dict[str, str]:
        """Return `NODE/iptables-save`, `conntrack`, `neigh` and `fdb` as the tools print them."""
        return state_files(self._node())

    # ------------------------------------------------------------------ inside

    def _node(self) -> Node:
        return self._started().node

    def _started(self) -> sim_lab.Lab:
        if self._engine is not None:
            self._grow()
            return self._engine
        if not self._builder.lab.hosts:
            raise UsageError("the lab has no node yet; add_node adds one")
        self._builder.take_new()
        engine = sim_lab.Lab(self._builder.lab, seed=self._seed, kernel=self._kernel)
        self._engine = engine
        for client in engine.clients:
            self._handles[client.spec].running = client
        engine.listen(self._note)
        for sink in self._sinks:
            engine.subscribe(sink)
        return engine

    def _grow(self) -> None:
        if self._engine is not None:
            new = self._builder.take_new()
            if new is not None:
                self._engine.grow(new)

    def _note(self, note: Note) -> None:
        for spec, handle in self._handles.items():
            if spec.name == note.who:
                handle.saw.append(note.text)
        for listener in self._listeners:
            listener(note)


def _texts(given: Mapping[str, object] | None) -> dict[str, str]:
    return {key: str(value) for key, value in (given or {}).items()}


def _composed(packet: str | ScapyPacket) -> ComposedPacket:
    if isinstance(packet, str):
        return parse_packet(packet)
    from netemu.interop.scapy import compose  # noqa: PLC0415 - loads Scapy, only when asked

    return compose(packet)


@contextmanager
def _usage() -> Iterator[None]:
    """Turn a wrong value into the caller's error."""
    try:
        yield
    except BadValueError as problem:
        raise UsageError(str(problem)) from None
