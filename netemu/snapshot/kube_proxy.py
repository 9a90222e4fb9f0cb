"""kube-proxy at work on a node that runs: what it keeps from sync to sync, in each mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from netemu.ip.sockets import Sockets
from netemu.kube.cluster import Cluster
from netemu.kube.objects import KubeObject, KubeProxyConfiguration
from netemu.kube.objects import Node as NodeObject
from netemu.kube.proxy.ipvs import DUMMY_DEVICE, VirtualServer, ipvs_jumps, render_ipvs
from netemu.kube.proxy.ipvs_sync import IpvsChange, IpvsSync
from netemu.kube.proxy.parts import Jump, iptables_jumps, merged_text
from netemu.kube.proxy.render import version_for
from netemu.kube.proxy.settings import ProxySettings, proxy_settings
from netemu.kube.proxy.stale import IsStale, stale_udp, stale_udp_of_userspace
from netemu.kube.proxy.sync import IptablesSync
from netemu.kube.proxy.userspace import ProxyPort, render_userspace, userspace_jumps
from netemu.kube.proxy.view import ProxyView, ServiceState
from netemu.kube.service_ports import IPV4
from netemu.net import Net
from netemu.netfilter.conntrack.table import Conntrack, nf_ct_delete
from netemu.netfilter.ipset.core import IpSets
from netemu.netfilter.ipvs.table import Ipvs
from netemu.ruleset.ipset import read_sets
from netemu.ruleset.ipvsadm import apply_ipvs
from netemu.sim.admin import add_address, delete_address
from netemu.sim.node import Namespace, Node
from netemu.sim.relay import Balancer, ProxyListener
from netemu.sim.spec import AddressSpec, SocketSpec, TextFile
from netemu.wire.address import format_address, parse_address
from netemu.wire.ipv4 import IPPROTO_UDP

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
SHOWN_COMMANDS = 4
"""So many commands of a sync are told; of more, how many there are."""

Before = Mapping[str, ServiceState]


class Programmer(Protocol):
    """One mode: brings a node's kernel to what the view says."""

    def sync(self, settings: ProxySettings, view: ProxyView, before: Before) -> str:
        """Do it, and return what is to be told; nothing if nothing happened."""

    def recheck(self) -> str:
        """Do what is done every minute whatever happens, and return what is to be told."""

    def restarted(self) -> None:
        """Forget what only the process knew."""


class KubeProxy:
    """kube-proxy of one node."""

    def __init__(
        self, node: Node, name: str, cluster: Cluster, *, mode: str, version: str | None
    ) -> None:
        """Start it: it sees all objects, and programs them at its first sync."""
        self._cluster = cluster
        self._node = node
        self._name = name
        self._version = version_for(cluster, mode, version)
        self._mode = mode
        self._programmer = PROGRAMMERS[mode](node, node.namespaces[name])
        self._begin()

    def _begin(self) -> None:
        self._settings = proxy_settings(self._cluster, self._name, version=self._version)
        self._view = ProxyView(IPV4, self._name, self._settings.version)
        self._view.fill(self._cluster.objects.values())

    def restart(self) -> None:
        """Begin again as a new process on the rules that the old one left."""
        self._programmer.restarted()
        self._begin()

    def recheck(self) -> str:
        """Do what is done every minute; return what is to be told."""
        return self._programmer.recheck()

    def told(self, item: KubeObject, *, gone: bool) -> bool:
        """Take up a change of an object; return whether a sync is wanted."""
        if isinstance(item, (NodeObject, KubeProxyConfiguration)):
            if isinstance(item, NodeObject) and (gone or item.metadata.name != self._name):
                return False
            settings = proxy_settings(self._cluster, self._name, version=self._version)
            if settings == self._settings:
                return False
            self._settings = settings
            self._programmer.restarted()
            return True
        return self._view.told(item, gone=gone)

    def sync(self) -> str:
        """Bring the node's kernel up to date, then forget stale UDP connections."""
        before = self._view.take_changes()
        told = self._programmer.sync(self._settings, self._view, before)
        if self._mode == "userspace":
            is_stale = stale_udp_of_userspace(self._view, before)
        else:
            is_stale = stale_udp(self._settings, self._view, before)
        gone = forget(self._node.namespaces[self._name].net, is_stale) if is_stale else 0
        if gone:
            told += f", {gone} stale UDP connection{'s' * (gone != 1)} forgotten"
        return told


def forget(net: Net, is_stale: IsStale) -> int:
    """Delete UDP connections that are stale; return how many there were."""
    deleted = 0
    for connection in list(net.generic(Conntrack)):
        if connection.original.protocol != IPPROTO_UDP:
            continue
        address, endpoint = connection.original.dst, connection.reply.src
        ports = connection.original.dst_part, connection.reply.src_part
        stale = is_stale(format_address(address), ports[0], format_address(endpoint), ports[1])
        if stale and nf_ct_delete(net, connection, "removed by kube-proxy"):
            deleted += 1
    return deleted


def _restore(
    node: Node, space: Namespace, settings: ProxySettings, text: str, jumps: list[Jump]
) -> None:
    """Restore rules onto those that run; on a new node kubelet's and the jumps come along."""
    name = space.spec.name
    file = TextFile(name=f"rules of {name}", text=text)
    if space.ruleset is None:
        file = TextFile(name=file.name, text=merged_text(settings, text, jumps))
        node.replace_rules(name, file)
    else:
        node.restore_rules(name, file)


# --- Modes ----------------------------------------------------------------------------------------


class _Iptables:
    def __init__(self, node: Node, space: Namespace) -> None:
        self._node, self._space = node, space
        self._memory = IptablesSync()

    def recheck(self) -> str:
        return ""

    def restarted(self) -> None:
        self._memory.needs_full = True

    def sync(self, settings: ProxySettings, view: ProxyView, before: Before) -> str:
        ruleset = self._space.ruleset
        tables = ruleset.tables if ruleset is not None else []
        chains = next((list(table.chains) for table in tables if table.name == "nat"), [])
        now_ns = self._node.clock.now_ns
        found = self._memory.sync(settings, view, before, now_ns=now_ns, existing=chains)
        _restore(self._node, self._space, settings, found.text, iptables_jumps(settings))
        if not (found.full or before or found.stale):
            return ""
        kind = "full sync" if found.full else f"partial sync of {', '.join(sorted(before))}"
        count = len(found.stale)
        stale = f", {count} stale chain{'s' * (count != 1)} deleted" if count else ""
        return f"{kind}, {found.rules} rules{stale}"


class _IpvsProgrammer:
    def __init__(self, node: Node, space: Namespace) -> None:
        self._node, self._space = node, space
        self._memory = IpvsSync(self._connections)
        self._first = True

    def restarted(self) -> None:
        self._first = True
        self._memory.restarted()

    def sync(self, settings: ProxySettings, view: ProxyView, before: Before) -> str:
        del before
        wanted = render_ipvs(settings, view.ports(), view.endpoints())
        change = self._memory.sync(wanted, first=self._first)
        self._first = False
        net = self._space.net
        for ip in change.new_addresses:
            add_address(net, _own(ip))
        read_sets("".join(f"{line}\n" for line in change.ipset), "ipset", net.generic(IpSets))
        self._apply(change)
        _restore(self._node, self._space, settings, wanted.rules, ipvs_jumps(settings))
        for ip in change.old_addresses:
            delete_address(net, net.devices[DUMMY_DEVICE], parse_address(ip))
        if not (change.ipset or change.ipvsadm):
            return ""
        return _told(change.ipvsadm, len(change.ipset))

    def recheck(self) -> str:
        """Delete servers whose last connection has ended."""
        change = self._memory.recheck()
        self._apply(change)
        return _told(change.ipvsadm, 0) if change.ipvsadm else ""

    def _apply(self, change: IpvsChange) -> None:
        apply_ipvs(self._space.net, "".join(f"{line}\n" for line in change.ipvsadm))

    def _connections(self, server: VirtualServer, real: str) -> int:
        address, _, port = real.rpartition(":")
        found = self._space.net.generic(Ipvs).find_exact(
            0, PROTOCOLS[server.protocol], parse_address(server.address), server.port
        )
        known = found.find(parse_address(address), int(port)) if found is not None else None
        return known.totalconns if known is not None else 0


def _own(ip: str) -> AddressSpec:
    return AddressSpec(device=DUMMY_DEVICE, address=parse_address(ip), prefix_len=32)


def _told(commands: list[str], entries: int) -> str:
    shown = [f"ipvsadm {command}" for command in commands[:SHOWN_COMMANDS]]
    if len(commands) > SHOWN_COMMANDS:
        shown = [f"{len(commands)} commands of ipvsadm"]
    if entries:
        shown.append(f"{entries} command{'s' * (entries != 1)} of ipset")
    return ", ".join(shown)


class _Userspace:
    def __init__(self, node: Node, space: Namespace) -> None:
        self._node, self._space = node, space
        self._balancers: dict[tuple[str, str], Balancer] = {}
        self._listeners: dict[tuple[str, str, int], ProxyListener] = {}
        self._text = ""

    def recheck(self) -> str:
        return ""

    def restarted(self) -> None:
        self._balancers.clear()
        self._listeners.clear()

    def sync(self, settings: ProxySettings, view: ProxyView, before: Before) -> str:
        del before
        found = render_userspace(settings, view.ports(), view.endpoints())
        for proxy in found.proxies:
            self._listen(proxy)
        if found.rules == self._text:
            return ""
        self._text = found.rules
        _restore(self._node, self._space, settings, found.rules, userspace_jumps())
        rules = sum(line.startswith("-A") for line in found.rules.splitlines())
        return f"{rules} rules"

    def _listen(self, proxy: ProxyPort) -> None:
        """Let the proxy process listen, and know its endpoints."""
        net = self._space.net
        key = (proxy.service, proxy.protocol)
        balancer = self._balancers.setdefault(key, Balancer(net, proxy.affinity_s))
        balancer.set_endpoints([(parse_address(item.ip), item.port) for item in proxy.endpoints])
        sockets = net.generic(Sockets)
        listener = self._listeners.get((*key, proxy.port))
        if listener is None:
            listener = self._listeners[*key, proxy.port] = ProxyListener(net, balancer, proxy.port)
        sockets.close(proxy.protocol, bytes(4), proxy.port)
        socket = SocketSpec(protocol=proxy.protocol, address=bytes(4), port=proxy.port)
        sockets.listen(socket, listener)


PROGRAMMERS: dict[str, Callable[[Node, Namespace], Programmer]] = {
    "iptables": _Iptables,
    "ipvs": _IpvsProgrammer,
    "userspace": _Userspace,
}
