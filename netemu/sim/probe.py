"""One packet through a node: where it enters, what answers it, and all that chance could do.

Theory of operation: `enter` finds the device by the reverse route, as the sender's frames would
come. `outcomes` runs the packet once per branch of its random draws: a script stands for the
`statistic` stream, and the draws beyond its end are zeros, which every test takes as a hit. Each
draw that could have missed gives one more script to run. The probability of a branch is the
product of its draws' shares of 2**31, as the kernel draws 31 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

from msgspec import Struct

from netemu.entropy import Script
from netemu.errors import UsageError
from netemu.events import ChanceDrawn, Event, HeaderRewritten, NatBound, RuleVisited, Stamp
from netemu.ip.fib import FibResult, Flowi4, RouteType, fib_lookup, inet_addr_type
from netemu.link.bridge import Bridge
from netemu.netfilter.hook import Family, Hook, HookState, Priority, Verdict
from netemu.sim.node import Namespace, Node
from netemu.sim.spec import NeighbourSpec
from netemu.skb import Device, Fate, Skb
from netemu.wire.address import format_address, ipv4_is_loopback
from netemu.wire.answer import answer_to
from netemu.wire.composed import DEFAULT_SRC_MAC, ComposedPacket

CHANCES = 1 << 31
"""A random match draws 31 bits."""

MAXIMUM_BRANCHES = 100_000


class Entry(Struct, frozen=True, kw_only=True):
    """How a packet starts: a frame at a device, or sent by a namespace itself."""

    device: str = ""
    """`DEV` or `NS/DEV`; empty when a namespace sends the packet."""
    frame: bytes = b""
    namespace: str = ""
    packet: bytes = b""
    mark: int = 0
    truncated: bool = False
    """Cut by snaplen, so that it cannot be sent."""

    def send(self, node: Node) -> Fate:
        """Let it happen, with all that is due at this instant."""
        if self.truncated:
            fate = node.main.net.new_fate()
            fate.drop_reason = "CAPTURE_TRUNCATED"
        elif self.device:
            if self.mark:
                _mark_next(node, self.device, self.mark)
            fate = node.receive(self.device, self.frame)
        else:
            fate = node.send_local(self.packet, self.namespace, mark=self.mark)
        node.settle()
        return fate


def enter(node: Node, packet: ComposedPacket, device: str = "", *, local: bool = False) -> Entry:
    """Decide how a written packet enters the node.

    A packet from an address of another namespace is sent by that one, as its pod would.
    Raises UsageError when the device cannot be told.
    """
    sender = _sender(node, packet)
    if local or (not device and sender):
        namespace = sender or node.spec.main.name
        return Entry(namespace=namespace, packet=packet.network, mark=packet.mark)
    name = device or _reverse_device(node, packet)
    space, found = node.find_device(name)
    src_mac = packet.src_mac or _neighbour_mac(space, found, packet.src) or DEFAULT_SRC_MAC
    frame = packet.frame(dst_mac=found.mac, src_mac=src_mac)
    return Entry(device=name, frame=frame, mark=packet.mark)


class Written(Struct, frozen=True, kw_only=True):
    """A packet that was written down, and where it enters."""

    packet: ComposedPacket
    device: str = ""
    local: bool = False

    def entry(self, node: Node) -> Entry:
        """Return how it starts at a node."""
        return enter(node, self.packet, self.device, local=self.local)


def begin_connection(
    node: Node, first: ComposedPacket, following: Written, device: str = ""
) -> None:
    """Send the first packet of a connection; the other end answers, if that is not `following`.

    Without a device it enters as `following` if the sender is the same, else by the way back to its
    source, which may be the node itself.
    """
    same = first.src == following.packet.src
    if same and not device:
        entry = enter(node, first, following.device, local=following.local)
    else:
        local = not device and len(first.src) == 4 and _is_local(node.main, first.src)
        entry = enter(node, first, device, local=local)
    fate = entry.send(node)
    for sent in list(fate.frames) if same else []:
        answer = answer_to(sent.frame)
        if answer is not None:
            node.receive(sent.device, answer)
            node.settle()


def _sender(node: Node, packet: ComposedPacket) -> str:
    """Return the namespace that owns the source address, the main one if none does."""
    if len(packet.src) != 4 or ipv4_is_loopback(packet.src):
        return ""
    owners = [name for name, space in node.namespaces.items() if _is_local(space, packet.src)]
    return owners[0] if owners else ""


def _is_local(space: Namespace, address: bytes) -> bool:
    return inet_addr_type(space.net, address) == RouteType.LOCAL


def _reverse_device(node: Node, packet: ComposedPacket) -> str:
    if len(packet.src) != 4:
        raise UsageError("the packet has no IPv4 source; say with --in DEV where it enters")
    shown = format_address(packet.src)
    if _is_local(node.main, packet.src):
        raise UsageError(f"{shown} is an address of the node itself; use --local, or --in DEV")
    found = fib_lookup(node.main.net, Flowi4(daddr=packet.src, scope=0))
    if not isinstance(found, FibResult) or found.nexthop.device is None:
        raise UsageError(f"no route leads back to {shown}; say with --in DEV where it enters")
    device = found.nexthop.device
    port = _port_towards(node.main, device, found.nexthop.gateway or packet.src)
    if port is None:
        ports = ", ".join(_enslaved(node.main, device)) or "none"
        raise UsageError(
            f"{shown} is behind the bridge {device.name}, but no neighbour or fdb entry tells the "
            f"port; say it with --in, one of {ports}"
        )
    return port


def _port_towards(space: Namespace, device: Device, address: bytes) -> str | None:
    """Return the device itself, or for a bridge the port that `address` is behind."""
    if not isinstance(device, Bridge):
        return device.name
    ports = _enslaved(space, device)
    mac = _mac_in(space.spec.neighbours, device.name, address)
    entry = device.fdb.find(mac, 0) if mac else None
    if entry is not None and entry.port is not None:
        return entry.port.device.name
    return ports[0] if len(ports) == 1 else None


def _enslaved(space: Namespace, bridge: Device) -> list[str]:
    return [name for name, device in space.net.devices.items() if device.master is bridge]


def _neighbour_mac(space: Namespace, device: Device, source: bytes) -> bytes:
    """Return the MAC of the sender, or of the router it is behind, if the node knows it."""
    if len(source) != 4:
        return b""
    over = device.master or device
    mac = _mac_in(space.spec.neighbours, over.name, source)
    if mac:
        return mac
    found = fib_lookup(space.net, Flowi4(daddr=source, scope=0))
    if not isinstance(found, FibResult) or not found.nexthop.gateway:
        return b""
    return _mac_in(space.spec.neighbours, over.name, found.nexthop.gateway)


def _mac_in(neighbours: list[NeighbourSpec], device: str, address: bytes) -> bytes:
    for entry in neighbours:
        if entry.device == device and entry.address == address and entry.mac:
            return entry.mac
    return b""


def _mark_next(node: Node, device: str, mark: int) -> None:
    """Give the next packet that enters a mark, as tc would on ingress."""
    space, _ = node.find_device(device)
    pending = [mark]

    def set_mark(skb: Skb, state: HookState) -> Verdict:
        if pending:
            skb.mark = pending.pop()
        return Verdict.ACCEPT

    space.net.hooks.register(Family.IPV4, Hook.PREROUTING, Priority.FIRST, set_mark)


def trace_everything(node: Node) -> None:
    """Let every packet be traced from its first hook on, as `-j TRACE` in raw would.

    The lines go to the kernel log whatever logger the node has bound.
    """

    def set_trace(skb: Skb, state: HookState) -> Verdict:
        skb.nf_trace = True
        return Verdict.ACCEPT

    for space in node.namespaces.values():
        space.net.sysctl.set("net.netfilter.nf_log.2", "nf_log_ipv4")
        for hook in (Hook.PREROUTING, Hook.OUTPUT):
            space.net.hooks.register(Family.IPV4, hook, Priority.FIRST, set_trace)


class Outcome(Struct, frozen=True, kw_only=True):
    """What can become of a packet, and how probable that is."""

    probability: Fraction
    verdict: str
    dnat: str | None
    snat: str | None
    masquerade: bool
    delivered_to: str | None


class Branch(Struct, frozen=True, kw_only=True):
    """One run of a packet under a script of draws."""

    result: tuple[str, str | None, str | None, bool, str | None]
    """verdict, dnat, snat, masquerade, delivered_to"""
    draws: tuple[tuple[int, int], ...]
    """(value, threshold) of every random draw, in order."""
    reason: str = ""


def run_branch(node: Node, entry: Entry, script: Sequence[int]) -> Branch:
    """Run a packet through a fresh node with its draws given; zeros follow the script."""
    watch = Watch()
    play = Script(script)
    for space in node.namespaces.values():
        space.net.entropy.play("statistic", play)
    node.set_sink(watch)
    fate = entry.send(node)
    return Branch(result=watch.result(fate), draws=tuple(watch.draws), reason=fate.reason)


def outcomes(run: Callable[[Sequence[int]], Branch]) -> list[Outcome]:
    """Enumerate the branches of all random draws; equal results merged, most probable first.

    `run` runs the packet under one script, each time from the same state.
    """
    shares: dict[tuple[str, str | None, str | None, bool, str | None], Fraction] = {}
    scripts: list[tuple[int, ...]] = [()]
    branches = 0
    while scripts:
        script = scripts.pop()
        branches += 1
        if branches > MAXIMUM_BRANCHES:
            raise UsageError(f"the packet has more than {MAXIMUM_BRANCHES} branches")
        branch = run(script)
        shares[branch.result] = shares.get(branch.result, Fraction(0)) + _probability(branch)
        scripts.extend(alternatives(branch, len(script)))
    found = [
        Outcome(
            probability=share,
            verdict=verdict,
            dnat=dnat,
            snat=snat,
            masquerade=masquerade,
            delivered_to=delivered_to,
        )
        for (verdict, dnat, snat, masquerade, delivered_to), share in shares.items()
    ]
    found.sort(key=lambda outcome: -outcome.probability)
    return found


def _probability(branch: Branch) -> Fraction:
    """Return the share of a branch."""
    share = Fraction(1)
    for value, threshold in branch.draws:
        hit = threshold if value < threshold else CHANCES - threshold
        share *= Fraction(hit, CHANCES)
    return share


def alternatives(branch: Branch, fixed: int) -> Iterator[tuple[int, ...]]:
    """Yield the scripts that turn one later draw from hit to miss."""
    for at in range(fixed, len(branch.draws)):
        value, threshold = branch.draws[at]
        if value < threshold < CHANCES:
            yield (*(earlier for earlier, _ in branch.draws[:at]), threshold)


class Watch:
    """A sink that notes draws and what NAT did to the packet."""

    def __init__(self) -> None:
        """Begin before the packet does."""
        self.draws: list[tuple[int, int]] = []
        self.dnat: str | None = None
        self.snat: str | None = None
        self.masquerade = False
        self.packet_id = 0

    def __call__(self, stamp: Stamp, event: Event) -> None:
        """Take one event."""
        self.packet_id = self.packet_id or stamp.packet_id
        if isinstance(event, ChanceDrawn):
            self.draws.append((event.value, event.threshold))
        if stamp.packet_id != self.packet_id:
            return
        if isinstance(event, NatBound):
            self._note(event.manip, event.after)
        elif isinstance(event, HeaderRewritten) and event.what in {"dnat", "snat"}:
            self._note(event.what.removesuffix("nat"), event.after)
        elif isinstance(event, RuleVisited) and event.matched and event.target == "MASQUERADE":
            self.masquerade = True

    def _note(self, manip: str, after: str) -> None:
        if manip in {"dst", "d"}:
            self.dnat = after
        else:
            self.snat = after

    def result(self, fate: Fate) -> tuple[str, str | None, str | None, bool, str | None]:
        """Return what the packet came to."""
        return fate.verdict, self.dnat, self.snat, self.masquerade, delivered_to(fate)


def delivered_to(fate: Fate) -> str | None:
    """Return `port:DEV`, `node:NAME` or None."""
    if fate.delivered_to:
        return f"node:{fate.delivered_to}"
    if fate.frames:
        devices = dict.fromkeys(sent.device for sent in fate.frames)
        return f"port:{','.join(devices)}"
    return None
