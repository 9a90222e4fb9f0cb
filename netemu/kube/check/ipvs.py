"""IPVS mode: virtual servers, real servers, sets and addresses against what kube-proxy would set.

Source: pkg/proxy/ipvs/proxier.go, ipset.go (Kubernetes 1.30), by way of the renderer.

A real server of weight 0 is one that kube-proxy drains: it leaves when its last connection has.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from netemu.kube.check.fault import NODE, Claim, Fault, Probe, Saying, Sender
from netemu.kube.check.reading import joined
from netemu.kube.check.services import Services
from netemu.kube.proxy.ipvs import DUMMY_DEVICE, IpvsState
from netemu.kube.proxy.settings import ProxySettings
from netemu.kube.service_ports import EndpointInfo, ServicePortInfo
from netemu.netfilter.ipvs.service import (
    IP_VS_CONN_F_MASQ,
    RealServerSpec,
    ServiceFlag,
    VirtualServerSpec,
)
from netemu.netfilter.xtables.names import protocol_name
from netemu.ruleset.ipvsadm import parse_ipvs
from netemu.sim.spec import NamespaceSpec, TextFile
from netemu.wire.address import format_address

Key = tuple[str, str, int]
"""Protocol, address, port of a virtual server."""

_SENDERS = (Sender.POD, Sender.NODE, Sender.OUTSIDE)


class Held(Struct):
    """A virtual server of a text, with its real servers by `IP:port`."""

    spec: VirtualServerSpec
    line: int
    servers: dict[str, tuple[RealServerSpec, int]] = field(default_factory=dict)


def read_servers(file: TextFile) -> dict[Key, Held]:
    """Return the virtual servers of an ipvsadm text, but those of marks."""
    found: dict[Key, Held] = {}
    for item in parse_ipvs(file.text, file.name).commands:
        spec = item.service
        if spec.fwmark:
            continue
        key = protocol_name(spec.protocol), format_address(spec.address), spec.port
        if item.do == "A":
            found[key] = Held(spec, item.line)
        elif item.do == "a" and item.server is not None and key in found:
            name = joined(format_address(item.server.address), item.server.port)
            found[key].servers[name] = item.server, item.line
    return found


class IpvsCheck(Struct, kw_only=True):
    """Compares one node."""

    wanted: IpvsState
    knows_addresses: bool
    """The settings have the addresses of all devices, so that every NodePort's is known."""
    services: Services
    settings: ProxySettings
    owners: dict[Key, ServicePortInfo] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Learn which Service port an address is of."""
        for port in self.services.ports:
            for ip in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
                self.owners[port.protocol, ip, port.port] = port
            for ip in self.settings.local_ips:
                if port.node_port:
                    self.owners[port.protocol, ip, port.node_port] = port

    def servers(self, file: TextFile) -> Iterator[Fault]:
        """Yield what differs among virtual and real servers."""
        want = read_servers(TextFile(name="kube-proxy", text=self.wanted.ipvsadm_text()))
        held = read_servers(file)
        used = {ip for _, ip, _ in held}
        for key, server in want.items():
            if key in held:
                yield from self._virtual(key, server, held[key])
            elif key[1] in used or key[1] == self.settings.node_ip or not self._is_node_port(key):
                yield self._missing(key)
        for key, server in held.items():
            if key not in want and (self.knows_addresses or not self._is_node_port(key)):
                yield self._stale(key, server)

    def _is_node_port(self, key: Key) -> bool:
        """Return whether this may be a NodePort at an address that is not known."""
        return self._node_port(key) is not None

    def _node_port(self, key: Key) -> ServicePortInfo | None:
        """Return the Service port whose NodePort a virtual server has."""
        return next(
            (
                port
                for port in self.services.ports
                if (port.protocol, port.node_port) == (key[0], key[2])
            ),
            None,
        )

    def _missing(self, key: Key) -> Fault:
        port = self.owners[key]
        is_cluster_ip = key[1] == port.cluster_ip
        return Fault(
            code="NE322" if is_cluster_ip else "NE328",
            message=f"{port.name} has no virtual server at its {self._address(key)}",
            file="ipvs",
            claim=Claim(saying=Saying.UNTRANSLATED),
            probes=self._probes(key),
        )

    def _stale(self, key: Key, server: Held) -> Fault:
        port = next(
            (
                port
                for name in server.servers
                for port in self.services.ports
                if self.services.endpoint(port, name) is not None
            ),
            None,
        )
        port = port or self._node_port(key)
        same = [port for (_, ip, _), port in self.owners.items() if ip == key[1]]
        address = f"{joined(key[1], key[2])}/{key[0]}"
        if port is not None:
            text = f"{port.name} has no address {address}, but a virtual server is there"
        elif same:
            service = same[0].name.partition(":")[0]
            text = f"{service} has no port {key[2]}/{key[0]}, but a virtual server is at {address}"
        else:
            text = f"no Service has the address {address}, but a virtual server is there"
        return Fault(
            code="NE329" if port is not None else "NE323",
            message=text,
            file="ipvs",
            line=server.line,
            claim=Claim(saying=Saying.TRANSLATED if server.servers else Saying.KEPT),
            probes=self._probes(key),
        )

    def _virtual(self, key: Key, want: Held, held: Held) -> Iterator[Fault]:
        port = self.owners[key]
        yield from self._settings(key, port, want.spec, held)
        for name, (server, line) in held.servers.items():
            if name not in want.servers:
                if server.weight:
                    yield self._stale_server(key, port, name, line)
            elif not server.weight or server.forward != IP_VS_CONN_F_MASQ:
                yield self._wrong_server(key, port, name, server, line)
        for name in want.servers:
            if name not in held.servers:
                yield Fault(
                    code="NE321",
                    message=f"{port.name} at {self._address(key)} never sends to its endpoint"
                    f" {self.services.told(name, port)}",
                    file="ipvs",
                    line=held.line,
                    claim=Claim(saying=Saying.MISSES, endpoint=name),
                    probes=self._probes(key),
                )

    def _stale_server(self, key: Key, port: ServicePortInfo, name: str, line: int) -> Fault:
        known = self.services.endpoint(port, name)
        code, reason = "NE320", self.services.reason(port, name)
        if known is not None and known.ready and self._local_only(key, port) and not known.local:
            code = "NE330"
            reason = f"which is on {_node(known)}, although its policy is Local"
        return Fault(
            code=code,
            message=f"{port.name} at {self._address(key)} sends to"
            f" {self.services.told(name, port)}, {reason}",
            file="ipvs",
            line=line,
            claim=Claim(saying=Saying.REACHES, endpoint=name),
            probes=self._probes(key),
        )

    def _wrong_server(
        self, key: Key, port: ServicePortInfo, name: str, server: RealServerSpec, line: int
    ) -> Fault:
        told = self.services.told(name, port)
        where = f"{port.name} at {self._address(key)}"
        text = f"{where} has its ready endpoint {told} at weight 0"
        claim = Claim(saying=Saying.MISSES, endpoint=name)
        if server.weight:
            text = f"{where} forwards to {told} by another method than masquerading"
        return Fault(
            code="NE336",
            message=text,
            file="ipvs",
            line=line,
            claim=claim,
            probes=self._probes(key),
        )

    def _settings(
        self, key: Key, port: ServicePortInfo, want: VirtualServerSpec, held: Held
    ) -> Iterator[Fault]:
        spec, where = held.spec, f"{port.name} at {self._address(key)}"
        claim = Claim(saying=Saying.TRANSLATED)
        probes = self._probes(key)
        if spec.scheduler != want.scheduler:
            yield Fault(
                code="NE336",
                message=f"{where} is scheduled by {spec.scheduler} instead of {want.scheduler}",
                file="ipvs",
                line=held.line,
                claim=claim,
                probes=probes,
            )
        keeps = spec.timeout_s if spec.flags & ServiceFlag.PERSISTENT else 0
        if keeps != port.affinity_s:
            wish = f"{port.affinity_s} s" if port.affinity_s else "not at all"
            has = f"{keeps} s" if keeps else "not at all"
            yield Fault(
                code="NE327",
                message=f"{where} keeps a client with its endpoint {has}; it should {wish}",
                file="ipvs",
                line=held.line,
                claim=claim,
                probes=tuple(replace(probe, known_client=True) for probe in probes),
            )

    def _local_only(self, key: Key, port: ServicePortInfo) -> bool:
        inside = key[1] == port.cluster_ip
        return port.internal_policy_local if inside else port.external_policy_local

    def _address(self, key: Key) -> str:
        protocol, ip, number = key
        port = self.owners.get(key)
        what = ""
        if port is not None:
            what = (
                "ClusterIP"
                if ip == port.cluster_ip
                else "external IP"
                if ip in port.external_ips
                else "load balancer IP"
                if ip in port.load_balancer_ips
                else "NodePort"
            )
        return f"{what} {joined(ip, number)}/{protocol}".strip()

    def _probes(self, key: Key) -> tuple[Probe, ...]:
        protocol, ip, number = key
        port = self.owners.get(key)
        inner = port is not None and ip == port.cluster_ip
        return tuple(
            Probe(sender=sender, protocol=protocol, destination=ip, port=number)
            for sender in (_SENDERS if inner else reversed(_SENDERS))
        )

    # --- Addresses --------------------------------------------------------------------------------

    def addresses(self, space: NamespaceSpec) -> Iterator[Fault]:
        """Yield what differs among the addresses of kube-ipvs0."""
        held = {
            format_address(item.address)
            for item in space.addresses
            if item.device == DUMMY_DEVICE and len(item.address) == self.settings.octets
            if item.scope != "link"
        }
        everywhere = held | {format_address(item.address) for item in space.addresses}
        for ip in self.wanted.addresses:
            if ip not in everywhere:
                ports = [port for (_, own, _), port in self.owners.items() if own == ip]
                yield Fault(
                    code="NE338",
                    message=f"{DUMMY_DEVICE} lacks {ip}, the address of"
                    f" {', '.join(dict.fromkeys(port.name for port in ports))}",
                    file="node",
                    claim=Claim(saying=Saying.UNTRANSLATED),
                    probes=tuple(
                        probe for key in self.owners if key[1] == ip for probe in self._probes(key)
                    ),
                )
        for ip in sorted(held - set(self.wanted.addresses)):
            yield Fault(
                code="NE338",
                message=f"{DUMMY_DEVICE} has {ip}, which is no Service's address",
                file="node",
                claim=Claim(saying=Saying.KEPT),
                probes=tuple(
                    Probe(sender=sender, protocol="tcp", destination=ip, port=80)
                    for sender in _SENDERS
                ),
            )


def _node(endpoint: EndpointInfo) -> str:
    return endpoint.node_name or "another node"


def node_probes(port: int, protocol: str) -> tuple[Probe, ...]:
    """Return packets to a port of the node."""
    return tuple(
        Probe(sender=sender, protocol=protocol, destination=NODE, port=port)
        for sender in (Sender.OUTSIDE, Sender.NODE)
    )
