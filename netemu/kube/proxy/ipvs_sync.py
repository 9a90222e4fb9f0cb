"""kube-proxy's IPVS mode over time: the commands of each sync.

Source: pkg/proxy/ipvs/proxier.go (syncEndpoint, cleanLegacyService), graceful_termination.go
(Kubernetes 1.30).

Theory of operation: what there is gets compared with what is wanted, entry by entry. A real server
of TCP that still has connections is not deleted but gets weight 0, so that no new ones go there,
and is looked at again every minute; one that comes back meanwhile is deleted and added anew. Those
of UDP and SCTP are deleted at once: expire_nodest_conn ends their connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct, field

from netemu.kube.proxy.ipvs import IpvsState, VirtualServer

RECHECK_S = 60
"""rsCheckDeleteInterval."""

Connections = Callable[[VirtualServer, str], int]
"""(virtual server, `IP:port` of a real one) -> its active and inactive connections."""


class IpvsChange(Struct):
    """What one sync does besides restoring rules."""

    ipset: list[str] = field(default_factory=list)
    ipvsadm: list[str] = field(default_factory=list)
    new_addresses: list[str] = field(default_factory=list)
    old_addresses: list[str] = field(default_factory=list)


class IpvsSync:
    """What kube-proxy finds in the kernel, and its list of real servers that go."""

    __slots__ = ("_addresses", "_connections", "_ending", "_servers", "_sets", "_weightless")

    def __init__(self, connections: Connections) -> None:
        """Begin on a node that has nothing."""
        self._connections = connections
        self._sets: dict[str, dict[str, None]] = {}
        self._addresses: dict[str, None] = {}
        self._servers: dict[str, VirtualServer] = {}
        self._ending: dict[tuple[str, str], VirtualServer] = {}
        """(virtual server, real one): what the process waits for."""
        self._weightless: set[tuple[str, str]] = set()
        """What has weight 0 in the kernel."""

    def restarted(self) -> None:
        """Forget what only the process knew: servers on their way out are taken for usual ones."""
        self._ending.clear()

    def sync(self, wanted: IpvsState, *, first: bool = False) -> IpvsChange:
        """Return what leads from what there is to what is wanted; the `first` one sets weights."""
        change = IpvsChange()
        for server in wanted.servers:
            self._sync_server(change, server, first=first)
        self._sync_sets(change, wanted)
        names = {server.name for server in wanted.servers}
        for name in [name for name in self._servers if name not in names]:
            change.ipvsadm.append(f"-D {name}")
            for real in self._servers.pop(name).real_servers:
                self._ending.pop((name, real), None)
                self._weightless.discard((name, real))
        change.new_addresses = [ip for ip in wanted.addresses if ip not in self._addresses]
        bound = dict.fromkeys(wanted.addresses)
        change.old_addresses = [ip for ip in self._addresses if ip not in bound]
        self._addresses = bound
        return change

    def recheck(self) -> IpvsChange:
        """Return the deletion of servers whose last connection has ended (tryDeleteRs)."""
        change = IpvsChange()
        for (name, real), server in list(self._ending.items()):
            if not self._connections(server, real):
                change.ipvsadm.append(f"-d {name} -r {real}")
                self._servers[name].real_servers.remove(real)
                self._weightless.discard((name, real))
                del self._ending[name, real]
        return change

    def _sync_server(self, change: IpvsChange, wanted: VirtualServer, *, first: bool) -> None:
        name, known = wanted.name, self._servers.get(wanted.name)
        if known is None:
            change.ipvsadm.append(f"-A {name} {wanted.options}")
            known = VirtualServer(
                protocol=wanted.protocol,
                address=wanted.address,
                port=wanted.port,
                scheduler=wanted.scheduler,
                persistence_s=wanted.persistence_s,
            )
            self._servers[name] = known
        elif known.options != wanted.options:
            change.ipvsadm.append(f"-E {name} {wanted.options}")
            known.scheduler, known.persistence_s = wanted.scheduler, wanted.persistence_s
        for real in wanted.real_servers:
            self._add_real(change, known, real, first=first)
        for real in [real for real in known.real_servers if real not in wanted.real_servers]:
            self._remove_real(change, known, real)

    def _add_real(
        self, change: IpvsChange, server: VirtualServer, real: str, *, first: bool
    ) -> None:
        name = server.name
        if real in server.real_servers:
            if self._ending.pop((name, real), None) is None:
                if first and (name, real) in self._weightless:
                    self._weightless.remove((name, real))
                    change.ipvsadm.append(f"-e {name} -r {real} -m -w 1")
                return
            change.ipvsadm.append(f"-d {name} -r {real}")
            server.real_servers.remove(real)
            self._weightless.discard((name, real))
        change.ipvsadm.append(f"-a {name} -r {real} -m -w 1")
        server.real_servers.append(real)

    def _remove_real(self, change: IpvsChange, server: VirtualServer, real: str) -> None:
        name = server.name
        if (name, real) in self._ending:
            return
        if server.protocol == "tcp" and self._connections(server, real):
            change.ipvsadm.append(f"-e {name} -r {real} -m -w 0")
            self._ending[name, real] = server
            self._weightless.add((name, real))
        else:
            change.ipvsadm.append(f"-d {name} -r {real}")
            server.real_servers.remove(real)
            self._weightless.discard((name, real))

    def _sync_sets(self, change: IpvsChange, wanted: IpvsState) -> None:
        for line in wanted.create_lines():
            name = line.split()[1]
            if name not in self._sets:
                change.ipset.append(line)
                self._sets[name] = {}
        for name, entries in wanted.sets.items():
            own = wanted.set_name(name)
            there = self._sets[own]
            new = dict.fromkeys(entries)
            change.ipset += _entries("del", own, (item for item in there if item not in new))
            change.ipset += _entries("add", own, (item for item in new if item not in there))
            self._sets[own] = new


def _entries(command: str, name: str, entries: Iterable[str]) -> list[str]:
    return [f"{command} {name} {entry}" for entry in entries]
