"""Puts a lab together, piece by piece, from values as people write them.

Theory of operation: `LabBuilder.lab` is the whole, always complete, so that it can be built anew or
given to the live kernel. `take_new` returns what was added since the last time, as a node of only
the new parts, so that a running lab can grow by it. Numbers (ifindex, MAC) follow the order in
which things are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypedDict

from msgspec import Struct
from msgspec.structs import replace

from netemu.netfilter.ipvs.ftp import MODULES
from netemu.sim.lab_spec import LabSpec
from netemu.sim.programs import PROGRAM_NAMES
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    MacvlanSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    SocketSpec,
    TextFile,
    VlanSpec,
    VxlanFdbSpec,
    VxlanSpec,
    WireSpec,
)
from netemu.snapshot import lab_values as values
from netemu.snapshot.document import BadValueError
from netemu.snapshot.read_rules import backend_of
from netemu.wire.address import IPV4_ANY, format_address, parse_address

PORT_OPTIONS = ("hairpin", "isolated", "learning", "flood", "bcast_flood", "mcast_flood")
"""What can be said of a bridge port."""

KINDS = ("veth", "bridge", "dummy", "vlan", "macvlan", "vxlan")
"""Kinds of devices; a veth end is joined to its other end by a link."""


class Upper(Struct, frozen=True, kw_only=True):
    """What a device that stands above another one is."""

    lower: str = ""
    """The device below."""
    vid: int = 0
    """Of a vlan."""
    mode: str = "bridge"
    """Of a macvlan."""
    vxlan: VxlanSpec | None = None


class Cable(Struct, frozen=True, kw_only=True):
    """What a link does to frames, as written."""

    delay: str | float = 0
    jitter: str | float = 0
    loss: str | float = 0
    duplicate: str | float = 0
    reorder: str | float = 0
    rate: str | float = 0

    def spec(self, one: str, other: str) -> WireSpec:
        """Return it as numbers."""
        found = WireSpec(
            one=one,
            other=other,
            delay_ns=values.duration_ns(self.delay),
            jitter_ns=values.duration_ns(self.jitter),
            loss=values.chance(self.loss),
            duplicate=values.chance(self.duplicate),
            reorder=values.chance(self.reorder),
            rate_bps=values.rate_bps(self.rate),
        )
        if found.reorder and not found.delay_ns:
            raise BadValueError("reorder needs a delay that frames can overtake", str(self.reorder))
        return found


class _Above(TypedDict, total=False):
    """The fields of a `LinkSpec` that say what it stands above."""

    peer_ifindex: int
    vlan: VlanSpec | None
    macvlan: MacvlanSpec | None
    vxlan: VxlanSpec | None


class LabBuilder:
    """A lab that grows."""

    def __init__(self) -> None:
        """Start without hosts."""
        self.lab = LabSpec(node=NodeSpec(main=NamespaceSpec()))
        self._spaces: dict[str, NamespaceSpec] = {}
        self._new: dict[str, NamespaceSpec] = {}
        self._new_wires: list[WireSpec] = []
        self._macs = 0

    def space(self, name: str) -> NamespaceSpec:
        """Return a namespace as it is so far."""
        found = self._spaces.get(name)
        if found is None:
            known = ", ".join(self._spaces) or "none"
            raise BadValueError(f"there is no {name!r}; the lab has {known}", name)
        return found

    def add_host(self, name: str, sysctls: Mapping[str, str] | None = None) -> None:
        """Add a host."""
        if "/" in name or not name:
            raise BadValueError(f"{name!r} is not a host's name: one word without /", name)
        self._add_space(name, sysctls or {})
        self.lab.hosts.append(name)

    def add_pod(self, host: str, name: str, sysctls: Mapping[str, str] | None = None) -> str:
        """Add a namespace to a host; return its name in the lab, HOST/NAME."""
        self.space(host)
        if "/" in name or not name:
            raise BadValueError(f"{name!r} is not a pod's name: one word without /", name)
        full = f"{host}/{name}"
        self._add_space(full, sysctls or {})
        return full

    def _add_space(self, name: str, sysctls: Mapping[str, str]) -> None:
        if name in self._spaces:
            raise BadValueError(f"there are two of the name {name!r}", name)
        space = NamespaceSpec(name=name, sysctls=dict(sysctls), sockets=[])
        space.links.append(LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536))
        space.addresses.append(
            AddressSpec(device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host")
        )
        if not self._spaces:
            self.lab.node.main = space
        else:
            self.lab.node.others.append(space)
        self._spaces[name] = space
        self._new[name] = space

    def _fresh(self, name: str) -> NamespaceSpec:
        """Return what collects new parts of a namespace: itself, or its growth once it runs."""
        if name not in self._new:
            self._new[name] = NamespaceSpec(
                name=name, netns_ids=self._spaces[name].netns_ids, sockets=[]
            )
        return self._new[name]

    def _both(self, name: str) -> list[NamespaceSpec]:
        space, fresh = self.space(name), self._fresh(name)
        return [space] if fresh is space else [space, fresh]

    def _next_index(self, space: NamespaceSpec) -> int:
        return max(link.ifindex for link in space.links) + 1

    def _next_mac(self) -> bytes:
        self._macs += 1
        return b"\x02\0\0" + self._macs.to_bytes(3, "big")

    def add_device(  # noqa: PLR0913 - a device has this many properties that one can choose
        self,
        where: str,
        name: str,
        *,
        kind: str = "veth",
        mac: str = "",
        mtu: int = 1500,
        up: bool = True,
        master: str = "",
        addresses: Iterable[str] = (),
        bridge: Mapping[str, int] | None = None,
        port: Mapping[str, int] | None = None,
        upper: Upper | None = None,
    ) -> None:
        """Add a device to a host or pod."""
        space = self.space(where)
        if any(link.name == name for link in space.links):
            raise BadValueError(f"{where} has two devices of the name {name!r}", name)
        if not 0 < len(name) < 16 or "/" in name or " " in name:
            raise BadValueError(f"{name!r} is not a device's name: 1 to 15 characters", name)
        if master and not any(
            link.name == master and link.kind == "bridge" for link in space.links
        ):
            raise BadValueError(f"{where} has no bridge {master!r}", master)
        if kind not in KINDS:
            raise BadValueError(f"{kind!r} is not a kind of device: {', '.join(KINDS)}", kind)
        unknown = set(port or ()) - set(PORT_OPTIONS)
        if unknown:
            wrong = min(unknown)
            raise BadValueError(f"{wrong!r} is not one of {', '.join(PORT_OPTIONS)}", wrong)
        chosen = values.mac(mac) if mac else bytes(6) if kind == "bridge" else self._next_mac()
        link = LinkSpec(
            name=name,
            ifindex=self._next_index(space),
            kind=kind,
            mac=chosen,
            mtu=mtu,
            up=up,
            master=master,
            bridge=dict(bridge or {}),
            port=dict(port or {}),
            **self._above(where, name, kind, upper or Upper()),
        )
        for part in self._both(where):
            part.links.append(link)
        for text in addresses:
            self.add_address(where, name, text)

    def _above(self, where: str, name: str, kind: str, upper: Upper) -> _Above:
        """Return what a device above another one needs to know of it."""
        if (kind == "vxlan") != (upper.vxlan is not None):
            raise BadValueError(f"{name}: `vxlan` says what a device of kind vxlan is", "")
        if kind in {"vlan", "macvlan"} and not upper.lower:
            raise BadValueError(f"{name}: a {kind} needs `lower`, the device below it", "")
        if kind == "vlan" and not upper.vid:
            raise BadValueError(f"{name}: a vlan needs its `vid`", "")
        if not upper.lower:
            return _Above(vxlan=upper.vxlan)
        if kind not in {"vlan", "macvlan", "vxlan"}:
            raise BadValueError(f"{name}: a {kind} stands above no other device", upper.lower)
        return _Above(
            peer_ifindex=self.device(where, upper.lower).ifindex,
            vlan=VlanSpec(vid=upper.vid) if kind == "vlan" else None,
            macvlan=MacvlanSpec(mode=upper.mode) if kind == "macvlan" else None,
            vxlan=upper.vxlan,
        )

    def add_fdb(self, where: str, text: str) -> None:
        """Tell a VXLAN device where to send frames: `MAC dev DEVICE dst HOST`."""
        words = text.split()
        if len(words) != 5 or words[1] != "dev" or words[3] != "dst":
            raise BadValueError(f"{text!r} is not MAC dev DEVICE dst HOST", text)
        if self.device(where, words[2]).kind != "vxlan":
            raise BadValueError(f"{words[2]} is no vxlan device", words[2])
        spec = VxlanFdbSpec(
            device=words[2],
            mac=values.mac(words[0]),
            dst=values.address(words[4]),
            state="permanent",
        )
        for part in self._both(where):
            part.vxlan_fdb.append(spec)

    def add_address(self, where: str, device: str, text: str) -> AddressSpec:
        """Give a device an address."""
        self.device(where, device)
        spec = values.device_address(device, text)
        for part in self._both(where):
            part.addresses.append(spec)
        return spec

    def device(self, where: str, device: str) -> LinkSpec:
        """Return a device as it is so far."""
        for link in self.space(where).links:
            if link.name == device:
                return link
        known = ", ".join(link.name for link in self.space(where).links)
        raise BadValueError(f"{where} has no device {device!r}; it has {known}", device)

    def split(self, end: str) -> tuple[str, str]:
        """Return namespace and device of HOST/DEV or HOST/POD/DEV."""
        where, slash, device = end.rpartition("/")
        if not slash:
            raise BadValueError(f"{end!r} is not HOST/DEVICE or HOST/POD/DEVICE", end)
        self.space(where)
        return where, device

    def _end(self, end: str) -> tuple[str, LinkSpec]:
        """Return an end of a link, made if there is no such device yet."""
        where, device = self.split(end)
        if not any(link.name == device for link in self.space(where).links):
            self.add_device(where, device)
        link = self.device(where, device)
        if link.kind != "veth":
            raise BadValueError(f"{end} is a {link.kind}, which has no cable", end)
        if link.peer_ifindex:
            raise BadValueError(f"{end} has a cable already", end)
        if link not in self._fresh(where).links:
            raise BadValueError(f"{end} runs already; a new device can be linked", end)
        return where, link

    def connect(self, one: str, other: str, cable: Cable | None = None) -> None:
        """Lay a cable between two devices; those that are not there yet are made."""
        (here, first), (there, second) = self._end(one), self._end(other)
        if first is second:
            raise BadValueError(f"{one} cannot be linked with itself", one)
        self._join(here, first, there, second)
        # Every cable can be cut later, so even a perfect one is kept.
        wire = (cable or Cable()).spec(one, other)
        self.lab.node.wires.append(wire)
        self._new_wires.append(wire)

    def _join(self, here: str, one: LinkSpec, there: str, other: LinkSpec) -> None:
        self._replace(here, one, self._peered(here, one, there, other))
        self._replace(there, other, self._peered(there, other, here, one))

    def _peered(self, here: str, one: LinkSpec, there: str, other: LinkSpec) -> LinkSpec:
        if here == there:
            return replace(one, peer_ifindex=other.ifindex)
        ids = self.space(here).netns_ids
        number = next((key for key, name in ids.items() if name == there), len(ids))
        ids[number] = there
        return replace(one, peer_ifindex=other.ifindex, peer_netnsid=number)

    def _replace(self, where: str, old: LinkSpec, new: LinkSpec) -> None:
        for part in self._both(where):
            part.links[:] = [new if link is old else link for link in part.links]

    def switch(self, name: str, ends: Iterable[str], cable: Cable | None = None) -> None:
        """Join several devices by a switch: a namespace of its own with a bridge."""
        if name not in self._spaces:
            self._add_space(name, {"net.bridge.bridge-nf-call-iptables": "0"})
            self.add_device(name, "switch", kind="bridge")
        for end in ends:
            port = f"p{len(self.space(name).links) - 1}"
            self.add_device(name, port, master="switch")
            self.connect(end, f"{name}/{port}", cable)

    def attach_pod(
        self, pod: str, address: str, bridge: str, port: Mapping[str, int] | None = None
    ) -> None:
        """Give a pod its eth0 with an address, plugged into a bridge of its host, which routes."""
        host, _, name = pod.rpartition("/")
        packed, length = values.prefix(address)
        gateways = [entry for entry in self.space(host).addresses if entry.device == bridge]
        if not gateways:
            raise BadValueError(f"{host} has no bridge {bridge!r} with an address", bridge)
        mac = "0a:58:" + ":".join(f"{octet:02x}" for octet in packed)
        veth = f"veth-{name}"[:15]
        self.add_device(host, veth, master=bridge, port=port)
        self.add_device(pod, "eth0", mac=mac, addresses=[f"{format_address(packed)}/{length}"])
        self.connect(f"{pod}/eth0", f"{host}/{veth}")
        self.add_route(pod, f"default via {format_address(gateways[0].address)}")

    def add_route(self, where: str, text: str) -> None:
        """Add a route, as ip(8) writes it."""
        spec = values.route(text, self.space(where).addresses)
        for way in spec.nexthops:
            self.device(where, way.device)
        for part in self._both(where):
            part.routes.append(spec)

    def add_neighbour(self, where: str, text: str) -> None:
        """Add a permanent neighbour: `ADDRESS lladdr MAC dev DEVICE`."""
        words = text.split()
        if len(words) != 5 or words[1] != "lladdr" or words[3] != "dev":
            raise BadValueError(f"{text!r} is not ADDRESS lladdr MAC dev DEVICE", text)
        self.device(where, words[4])
        spec = NeighbourSpec(
            device=words[4],
            address=values.address(words[0]),
            mac=values.mac(words[2]),
            state="PERMANENT",
        )
        for part in self._both(where):
            part.neighbours.append(spec)

    def serve(
        self, where: str, protocol: str, port: int, program: str, text: str = "", address: str = ""
    ) -> SocketSpec:
        """Let a program listen."""
        if program not in PROGRAM_NAMES:
            raise BadValueError(f"{program!r} is not one of {', '.join(PROGRAM_NAMES)}", program)
        if not 0 < port < 65536:
            raise BadValueError(f"{port} is no port", str(port))
        if program == "dns":
            values.dns_names(text)
        spec = SocketSpec(
            protocol=protocol,
            address=values.address(address) if address else IPV4_ANY,
            port=port,
            program=program,
            text=text,
        )
        for part in self._both(where):
            assert part.sockets is not None
            part.sockets.append(spec)
        return spec

    def set_rules(self, where: str, file: TextFile) -> None:
        """Give a host or pod its rules."""
        for part in self._both(where):
            part.rules4 = file
            part.backend = backend_of(file.text)

    def set_ipvs(self, where: str, file: TextFile) -> None:
        """Give a host or pod its virtual servers."""
        for part in self._both(where):
            part.ipvs = file

    def set_modules(self, where: str, modules: Sequence[str]) -> None:
        """Load modules into the kernel of a host, which its pods share."""
        for module in modules:
            if module not in MODULES:
                message = f"{module} changes nothing here; {', '.join(MODULES)} would"
                raise BadValueError(message, module)
        for part in self._both(where):
            part.modules = tuple(modules)

    def remove_space(self, name: str) -> None:
        """Forget a pod or host, and the other ends of its cables."""
        gone = self.space(name)
        node = self.lab.node
        if gone is node.main:
            raise BadValueError(f"{name} came first and stays", name)
        node.others.remove(gone)
        del self._spaces[name]
        self._new.pop(name, None)
        self.lab.hosts = [host for host in self.lab.hosts if host != name]
        node.wires[:] = [wire for wire in node.wires if not _touches(wire, name)]
        self._new_wires = [wire for wire in self._new_wires if not _touches(wire, name)]
        for space in [*self._spaces.values(), *self._new.values()]:
            ids = {number for number, there in space.netns_ids.items() if there == name}
            lost = {link.name for link in space.links if link.peer_netnsid in ids}
            space.links[:] = [link for link in space.links if link.name not in lost]
            space.addresses[:] = [entry for entry in space.addresses if entry.device not in lost]

    def take_new(self) -> NodeSpec | None:
        """Return what was added since the last time, None for nothing."""
        if not self._new:
            return None
        first, *rest = self._new.values()
        grown = NodeSpec(main=first, others=rest, wires=self._new_wires)
        self._new = {}
        self._new_wires = []
        return grown


def _touches(wire: WireSpec, name: str) -> bool:
    return name in {end.rpartition("/")[0] for end in (wire.one, wire.other)}
