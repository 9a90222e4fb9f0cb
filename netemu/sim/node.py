"""A running node: namespaces with their devices, addresses, rules and tables, on one clock.

Theory of operation: `build_node` turns a `NodeSpec` into one `Net` per namespace. A device whose
other end is not part of the node is a port: frames enter there with `Node.receive` and leave there
into the packet's `Fate`. Namespaces share clock, kernel log and packet numbers, so that what
happens in a pod and on its node has one order.
"""

from __future__ import annotations

from netemu.clock import Clock
from netemu.entropy import Entropy
from netemu.errors import RulesetError, UsageError
from netemu.events import Sink
from netemu.ip.arp import ProxyQueue
from netemu.ip.br_netfilter import br_netfilter_init
from netemu.ip.fib import Fib
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.output import ip_send_packet
from netemu.ip.sockets import Sockets
from netemu.ip.stack import inet_init
from netemu.link.device import receive_frame
from netemu.link.port import Port
from netemu.link.veth import Veth
from netemu.link.wire import InFlight, Wire
from netemu.net import Net, PacketIds
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.helpers import nf_conntrack_helpers_init
from netemu.netfilter.hook import Family, WaitingHookTable
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.ipvs.ftp import load_module
from netemu.netfilter.xtables.log import syslog_net_init
from netemu.netfilter.xtables.model import Chain, Rule, Ruleset, Table
from netemu.netfilter.xtables.table import register_table, replace_table
from netemu.ruleset import parse_ruleset
from netemu.ruleset.ipset import read_sets
from netemu.ruleset.ipvsadm import apply_ipvs
from netemu.sim.admin import add_address, delete_device
from netemu.sim.devices import make_devices
from netemu.sim.programs import REFUSING, Server
from netemu.sim.spec import NamespaceSpec, NodeSpec, SocketSpec, TextFile, WireSpec
from netemu.sim.wiring import device_key
from netemu.skb import Device, Fate
from netemu.sysctl import Sysctl

KERNEL_HZ = {"6.18": 250, "6.1": 250}
"""Kernel profiles and their jiffies per second."""


class Namespace:
    """One namespace of a node: its `Net`, its spec and its rules."""

    __slots__ = ("_loaded_packets", "net", "ruleset", "sources", "spec")

    def __init__(self, net: Net, spec: NamespaceSpec, ruleset: Ruleset | None) -> None:
        """Keep the parts."""
        self.net = net
        self.spec = spec
        self.ruleset = ruleset
        """IPv4 rules with their counters; None when the namespace has none."""
        self.sources: dict[str, TextFile] = {}
        """Table -> the file that its rules were loaded from."""
        self._loaded_packets: dict[int, int] = {}
        """id of a rule or a built-in chain -> its packet counter as loaded."""

    def replaced(self, ruleset: Ruleset, file: TextFile) -> None:
        """Take note that the tables of `ruleset` are loaded now."""
        before = self.ruleset.tables if self.ruleset is not None else []
        old = {table.name: table for table in before}
        new = {table.name: table for table in ruleset.tables}
        tables = [new.pop(table.name, table) for table in before]
        self.ruleset = Ruleset(
            family=ruleset.family, tables=[*tables, *new.values()], file=ruleset.file
        )
        for table in ruleset.tables:
            self.note_loaded(table, file, before=old.get(table.name))

    def note_loaded(self, table: Table, file: TextFile, *, before: Table | None = None) -> None:
        """Keep the counters with which the rules of a table begin; those of `before` have begun."""
        self.sources[table.name] = file
        old = before.chains if before is not None else {}
        for chain in table.changed_since(before):
            counted = set(map(id, old[chain.name].rules)) if chain.name in old else set()
            self._loaded_packets[id(chain)] = chain.packets
            self._loaded_packets.update(
                (id(rule), rule.packets) for rule in chain.rules if id(rule) not in counted
            )

    def hits(self, counted: Rule | Chain) -> int:
        """Return how many packets matched a rule, or met a policy, since it was loaded."""
        return counted.packets - self._loaded_packets[id(counted)]


class Node:
    """A node that frames can be sent through."""

    __slots__ = (
        "clock",
        "in_flight",
        "kernel",
        "log",
        "namespaces",
        "notes",
        "packet_ids",
        "ports",
        "seed",
        "sink",
        "spec",
    )

    def __init__(self, spec: NodeSpec, *, seed: int, kernel: str, clock: Clock) -> None:
        """Make a node without namespaces; use `build_node`."""
        self.spec = spec
        self.seed = seed
        self.kernel = kernel
        self.clock = clock
        self.log: list[str] = []
        """Kernel log lines."""
        self.namespaces: dict[str, Namespace] = {}
        """By name; the main one is ""."""
        self.ports: dict[str, Port] = {}
        """Devices where frames enter and leave, as `DEV` or `NS/DEV`."""
        self.notes: list[str] = list(spec.notes)
        self.in_flight = InFlight()
        """Frames on cables that take time."""
        self.packet_ids = PacketIds()
        self.sink: Sink | None = None

    @property
    def main(self) -> Namespace:
        """The main namespace; in a lab, that of the host which is looked at."""
        return self.namespaces[self.spec.main.name]

    def grow(self, spec: NodeSpec) -> None:
        """Add namespaces, or devices and what is set on them, to what is there already.

        Raises RulesetError for rules that would not load.
        """
        new = [part for part in spec.namespaces() if part.name not in self.namespaces]
        for part in new:
            self.namespaces[part.name] = Namespace(_make_net(self, part), part, None)
        nets = {name: space.net for name, space in self.namespaces.items()}
        made = make_devices(spec, nets)
        self.ports |= made.ports
        self.notes += made.notes
        _lay_wires(self, spec.wires)
        for part in spec.namespaces():
            space = self.namespaces[part.name]
            if part not in new:
                _extend_namespace(self, space, part)
                continue
            self.notes += _fill_namespace(space)
            if not _has_br_netfilter(part):
                where = f"namespace {part.name}" if part.name else "the node"
                self.notes.append(
                    f"{where} has no br_netfilter (sysctl -a lists no net.bridge parameters): "
                    f"bridged packets do not see iptables"
                )

    def remove(self, namespace: str) -> None:
        """Let a namespace end, with its devices and the other ends of its cables."""
        space = self.namespaces.pop(namespace)
        for device in list(space.net.devices.values()):
            delete_device(space.net, device)
        space.net.sink = None

    def set_sink(self, sink: Sink | None) -> None:
        """Tell every event of every namespace to `sink`; None stops telling."""
        self.sink = sink
        for namespace in self.namespaces.values():
            namespace.net.sink = sink

    def find_device(self, name: str) -> tuple[Namespace, Device]:
        """Return the namespace and device of `DEV` or `NS/DEV`.

        Raises UsageError when there is none.
        """
        space, device_name = self._split(name)
        device = space.net.devices.get(device_name)
        if device is None:
            known = ", ".join(sorted(self.device_names()))
            message = f"the node has no device {name!r}; it has {known}"
            raise UsageError(message)
        return space, device

    def full_name(self, name: str) -> str:
        """Return the name of a device with its namespace, as events have it."""
        space, device = self.find_device(name)
        return device_key(space.spec.name, device.name)

    def device_names(self) -> list[str]:
        """Return all devices as `DEV` or `NS/DEV`, the main namespace first."""
        return [
            device_key(space.spec.name, device)
            for space in self.namespaces.values()
            for device in space.net.devices
        ]

    def receive(self, device_name: str, frame: bytes) -> Fate:
        """Let a frame enter at a device now, and run what that sets off at this instant."""
        space, device = self.find_device(device_name)
        fate = space.net.new_fate()
        receive_frame(space.net, device, frame, fate=fate)
        self.clock.run_soon()
        return fate

    def send_local(self, packet: bytes, namespace: str = "", *, mark: int = 0) -> Fate:
        """Let a namespace itself send an IP packet, as a raw socket with IP_HDRINCL does."""
        net = self.namespaces[namespace].net
        fate = net.new_fate()
        ip_send_packet(net, packet, mark=mark, fate=fate)
        self.clock.run_soon()
        return fate

    def replace_rules(self, namespace: str, file: TextFile) -> None:
        """Load iptables-save text now, as iptables-restore does: the tables it names are replaced.

        Raises RulesetError, and nothing changes, for rules that would not load.
        """
        space = self.namespaces[namespace]
        ruleset = parse_ruleset(
            file.text, file.name, family=Family.IPV4, backend=space.spec.backend
        )
        self._replace_tables(space, ruleset, file)

    def restore_rules(self, namespace: str, file: TextFile) -> None:
        """Load text now as `iptables-restore --noflush` does: what it does not name stays.

        Raises RulesetError, and nothing changes, for rules that would not load.
        """
        space = self.namespaces[namespace]
        ruleset = parse_ruleset(file.text, file.name, family=Family.IPV4, onto=space.ruleset)
        self._replace_tables(space, ruleset, file)

    def _replace_tables(self, space: Namespace, ruleset: Ruleset, file: TextFile) -> None:
        for table in ruleset.tables:
            try:
                replace_table(space.net, table)
            except RulesetError as error:
                raise _placed(error, file) from None
        space.replaced(ruleset, file)

    def settle(self) -> None:
        """Let frames that are on their way arrive, and what they set off happen."""
        self.clock.run_until(self.clock.now_ns)
        while self.in_flight.frames:
            when_ns = self.clock.next_timer_ns()
            assert when_ns is not None
            self.clock.run_until(when_ns)

    def run_until(self, when_ns: int) -> None:
        """Let time pass."""
        self.clock.run_until(when_ns)

    def assume_neighbours(self) -> None:
        """Give a made-up MAC to every neighbour that nobody answers for."""
        for namespace in self.namespaces.values():
            namespace.net.generic(NeighbourTable).assume_neighbours = True

    def _split(self, name: str) -> tuple[Namespace, str]:
        space_name, slash, device_name = name.rpartition("/")
        if not slash:
            return self.main, name
        space = self.namespaces.get(space_name)
        if space is None:
            known = ", ".join(sorted(filter(None, self.namespaces))) or "none"
            message = f"the node has no namespace {space_name!r}; it has {known}"
            raise UsageError(message)
        return space, device_name


def build_node(spec: NodeSpec, *, seed: int = 0, kernel: str = "6.18", start_ns: int = 0) -> Node:
    """Build a node whose clock stands at `start_ns` (since 1970).

    Raises UsageError for an unknown kernel profile, RulesetError for rules that would not load,
    SetTextError for sets that would not.
    """
    hz = KERNEL_HZ.get(kernel)
    if hz is None:
        message = f"no kernel profile {kernel!r}; there are {', '.join(KERNEL_HZ)}"
        raise UsageError(message)
    node = Node(spec, seed=seed, kernel=kernel, clock=Clock(start_ns, hz))
    node.grow(spec)
    return node


def _make_net(node: Node, part: NamespaceSpec) -> Net:
    net = Net(
        name=part.name,
        clock=node.clock,
        entropy=Entropy(node.seed, part.name),
        sysctl=Sysctl(part.sysctls),
        packet_ids=node.packet_ids,
        kernel=node.kernel,
        log=node.log,
    )
    net.sink = node.sink
    later = part.later
    if later is not None:
        net.hooks = WaitingHookTable(
            lambda: _extend_namespace(node, node.namespaces[part.name], later())
        )
    return net


def _has_br_netfilter(spec: NamespaceSpec) -> bool:
    """Return whether br_netfilter is loaded: a whole `sysctl -a` then lists its parameters."""
    whole = "net.ipv4.ip_default_ttl" in spec.sysctls and "net.core.somaxconn" in spec.sysctls
    return not whole or any(key.startswith("net.bridge.bridge-nf-") for key in spec.sysctls)


def _load_rules(space: Namespace, file: TextFile) -> None:
    ruleset = parse_ruleset(file.text, file.name, family=Family.IPV4, backend=space.spec.backend)
    space.ruleset = ruleset
    for table in ruleset.tables:
        try:
            register_table(space.net, table)
        except RulesetError as error:
            raise _placed(error, file) from None
        space.note_loaded(table, file)


def _placed(error: RulesetError, file: TextFile) -> RulesetError:
    """Say where a rule that can be read but not run stands."""
    lines = file.text.splitlines()
    context = lines[error.line - 1] if 0 < error.line <= len(lines) else ""
    return RulesetError(
        error.message,
        file=file.name,
        line=error.line,
        column=context.find(error.message.partition(":")[0]) + 1,
        context=context,
    )


def _extend_namespace(node: Node, space: Namespace, more: NamespaceSpec) -> None:
    """Set what was added to a namespace that runs already."""
    net = space.net
    for address in more.addresses:
        add_address(net, address)
    for route in more.routes:
        net.generic(Fib).add_route(route)
    net.generic(NeighbourTable).load(more.neighbours)
    _open_more_sockets(net, more.sockets or [])
    if more.ipset is not None:
        read_sets(more.ipset.text, more.ipset.name, net.generic(IpSets))
    if more.ipvs is not None:
        node.notes += apply_ipvs(net, more.ipvs.text, more.ipvs.name)
    if more.rules4 is not None:
        node.replace_rules(more.name, more.rules4)


def _open_sockets(net: Net, spec: NamespaceSpec) -> None:
    sockets = net.generic(Sockets)
    sockets.load(spec.sockets and [socket for socket in spec.sockets if not socket.program])
    _listen(net, spec.sockets or [])


def _open_more_sockets(net: Net, given: list[SocketSpec]) -> None:
    for socket in given:
        if not socket.program:
            net.generic(Sockets).listen(socket)
    _listen(net, given)


def _listen(net: Net, given: list[SocketSpec]) -> None:
    sockets = net.generic(Sockets)
    for socket in given:
        if socket.program and socket.program != REFUSING:
            sockets.listen(socket, Server(socket.program, socket.text))


def _lay_wires(node: Node, wires: list[WireSpec]) -> None:
    for wire in wires:
        for name in (wire.one, wire.other):
            space, device = node.find_device(name)
            if isinstance(device, Veth):
                device.wire = Wire(space.net, wire, node.in_flight)


def _fill_namespace(space: Namespace) -> list[str]:
    """Load what a namespace holds; return what of it is left out."""
    net, spec = space.net, space.spec
    syslog_net_init(net)
    nf_conntrack_helpers_init(net)
    inet_init(net)
    if _has_br_netfilter(spec):
        br_netfilter_init(net)
    net.generic(Fib).load(spec)
    net.generic(NeighbourTable).load(spec.neighbours)
    net.generic(ProxyQueue).load(spec.proxies)
    _open_sockets(net, spec)
    if spec.ipset is not None:
        read_sets(spec.ipset.text, spec.ipset.name, net.generic(IpSets))
    notes: list[str] = []
    for module in spec.modules:
        load_module(net, module)
    if spec.ipvs is not None:
        notes = apply_ipvs(net, spec.ipvs.text, spec.ipvs.name)
    if spec.rules4 is not None:
        _load_rules(space, spec.rules4)
    if spec.conntrack is not None:
        # Entries alone do not make a namespace track: its rules do, as after conntrack -I.
        net.generic(Conntrack).load(spec.conntrack.text, spec.conntrack.name)
    return notes
