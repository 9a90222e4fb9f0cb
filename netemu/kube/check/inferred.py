"""What saved rules tell of the kube-proxy that wrote them: mode, version, configuration.

Objects of `kubectl get` seldom hold kube-proxy's configuration, which is a file or a ConfigMap.
What it would say and the rules show is taken from the rules, so that only Services are compared.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from netemu.kube.check.reading import KubeRules, asks, detected_pods
from netemu.kube.cluster import Cluster
from netemu.kube.objects import (
    KubeProxyConfiguration,
    ProxyConntrack,
    ProxyDetectLocal,
    ProxyIPTables,
    ProxyIPVS,
)
from netemu.kube.proxy.iptables import MARK_MASQ
from netemu.kube.proxy.ipvs import DUMMY_DEVICE
from netemu.kube.proxy.version import DEFAULT_VERSION
from netemu.kube.service_ports import IPV4, is_family
from netemu.sim.spec import NamespaceSpec
from netemu.wire.address import format_address


def saved_modes(rules: KubeRules, space: NamespaceSpec | None = None) -> list[str]:
    """Return the modes whose traces a node bears; more than one after a careless change."""
    found = []
    if rules.chains("nat", "KUBE-SVC-", "KUBE-SEP-") or rules.has(
        "filter", "KUBE-EXTERNAL-SERVICES"
    ):
        found.append("iptables")
    device = space is not None and any(link.name == DUMMY_DEVICE for link in space.links)
    if device or rules.has("nat", "KUBE-NODE-PORT") or rules.has("nat", "KUBE-LOAD-BALANCER"):
        found.append("ipvs")
    if rules.has("nat", "KUBE-PORTALS-CONTAINER"):
        found.append("userspace")
    return found


def saved_version(rules: KubeRules, mode: str) -> str | None:
    """Return the release whose rules these look like; None for userspace mode's."""
    if mode == "userspace":
        return None
    if rules.chains("nat", "KUBE-XLB-") or (mode == "iptables" and _masquerades_early(rules)):
        return "1.20"
    if mode == "ipvs" and not rules.has("filter", "KUBE-IPVS-OUT-FILTER"):
        return "1.28" if rules.has("filter", "KUBE-IPVS-FILTER") else "1.25"
    return "1.26" if rules.rules("nat", "KUBE-MARK-DROP") else DEFAULT_VERSION


def _masquerades_early(rules: KubeRules) -> bool:
    return any(rule.jump == MARK_MASQ for rule in rules.rules("nat", "KUBE-SERVICES"))


def local_addresses(space: NamespaceSpec, octets: int) -> list[str]:
    """Return the addresses of a node's devices, but those of IPVS's own."""
    found = [
        format_address(item.address)
        for item in space.addresses
        if len(item.address) == octets and item.device != DUMMY_DEVICE and item.scope != "link"
    ]
    return list(dict.fromkeys(found))


def node_of(cluster: Cluster, addresses: Iterable[str]) -> str:
    """Return the Node whose address a snapshot has; empty when no or several have one."""
    own = set(addresses)
    names = [
        node.metadata.name
        for node in cluster.nodes
        if any(
            item.type == "InternalIP" and item.address in own
            for item in node.status.addresses or ()
        )
    ]
    return names[0] if len(names) == 1 else ""


def with_local_addresses(cluster: Cluster, addresses: list[str]) -> Cluster:
    """Return the cluster with the node's addresses as a snapshot has them."""
    config = cluster.proxy_config()
    if config.x_local_ips:
        return cluster
    return _with(cluster, msgspec.structs.replace(config, x_local_ips=addresses))


def with_saved_configuration(
    cluster: Cluster, rules: KubeRules, schedulers: Iterable[str], mode: str, octets: int
) -> Cluster:
    """Return the cluster with kube-proxy's configuration as the rules show it."""
    detected, everything = detected_pods(rules)
    device = detected.removesuffix("+") if detected and "/" not in detected else ""
    prefix = device if detected.endswith("+") else ""
    bit = rules.masquerade_bit()
    common = Counter(schedulers).most_common(1)
    localhost, addresses = _node_port_addresses(rules, octets)
    config = KubeProxyConfiguration(
        kind="KubeProxyConfiguration",
        mode=mode,
        cluster_cidr=detected if "/" in detected else "",
        detect_local_mode=(
            "InterfaceNamePrefix" if prefix else "BridgeInterface" if device else "ClusterCIDR"
        ),
        detect_local=ProxyDetectLocal(
            bridge_interface="" if prefix else device, interface_name_prefix=prefix
        ),
        node_port_addresses=addresses,
        iptables=ProxyIPTables(
            masquerade_all=everything,
            masquerade_bit=bit.bit_length() - 1 if bit else None,
            localhost_node_ports=localhost,
        ),
        ipvs=ProxyIPVS(scheduler=common[0][0] if common else ""),
        conntrack=ProxyConntrack(tcp_be_liberal=not _drops_invalid(rules)),
    )
    return _with(cluster, config)


def _with(cluster: Cluster, config: KubeProxyConfiguration) -> Cluster:
    kept = {
        key: item
        for key, item in cluster.objects.items()
        if not isinstance(item, KubeProxyConfiguration)
    }
    found = Cluster(objects=kept, notes=list(cluster.notes))
    found.add([config])
    return found


def _drops_invalid(rules: KubeRules) -> bool:
    return any("--ctstate INVALID" in asks(rule) for rule in rules.rules("filter", "KUBE-FORWARD"))


def _node_port_addresses(rules: KubeRules, octets: int) -> tuple[bool | None, list[str]]:
    """Return whether NodePorts answer on loopback, and the addresses that they answer on."""
    last = [rule for rule in rules.rules("nat", "KUBE-SERVICES") if rule.jump == "KUBE-NODEPORTS"]
    addresses = [
        format_address(rule.generic.destination)
        for rule in last
        if rule.generic.destination and "! -d " not in asks(rule)
    ]
    mine = [f"{ip}/{octets * 8}" for ip in addresses if is_family(ip, octets)]
    if octets == IPV4 and any("! -d 127.0.0.0/8" in asks(rule) for rule in last):
        return False, []
    return None, mine
