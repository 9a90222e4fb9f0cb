"""Nodes of a cluster: which of them get rules, and when."""

from __future__ import annotations

import pytest

from netemu.kube.cluster import Cluster
from netemu.kube.proxy.render import MODES, render
from netemu.netfilter.xtables.table import XtTables
from netemu.sim.node import Node, build_node
from netemu.sim.probe import enter
from netemu.sim.spec import TextFile
from netemu.snapshot.kube_node import cluster_node
from netemu.snapshot.objects import read_cluster
from netemu.wire.packet_text import parse_packet

NODES = ("node-a", "node-b", "node-c")
OBJECTS = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.20, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, name: ""}]
endpoints:
- {addresses: [10.244.2.5], nodeName: node-b}
- {addresses: [10.244.3.5], nodeName: node-c}
"""
NODE = """
---
apiVersion: v1
kind: Node
metadata: {{name: {name}}}
spec: {{podCIDR: 10.244.{number}.0/24}}
status: {{addresses: [{{type: InternalIP, address: 192.168.0.1{number}}}]}}
"""


@pytest.fixture
def cluster() -> Cluster:
    nodes = (NODE.format(name=name, number=number) for number, name in enumerate(NODES, 1))
    text = OBJECTS + "".join(nodes)
    return read_cluster([TextFile(name="objects.yaml", text=text)])


def loaded(node: Node) -> list[str]:
    """Return the namespaces that have rules."""
    return [name for name, space in node.namespaces.items() if space.net.generic(XtTables).by_name]


@pytest.mark.parametrize("mode", MODES)
def test_only_nodes_on_the_way_get_rules(cluster: Cluster, mode: str):
    """The packet goes from node-a to an endpoint: the node of the other one stays without."""
    made = cluster_node(
        cluster, render(cluster, "node-a", mode), wanted=("10.244.1.9", "10.96.0.20")
    )
    node = build_node(made.spec)
    node.assume_neighbours()
    assert loaded(node) == [""]
    packet = parse_packet("tcp 10.244.1.9:40000 > 10.244.2.5:8080 S dst-mac=0a:58:00:00:00:00")
    (device,) = [key for key, place in made.pods.items() if place.ip == "10.244.1.9"]
    entry = enter(node, packet, device)
    fate = node.receive(entry.device, entry.frame)
    assert [frame.device for frame in fate.frames] == [
        place.device for place in made.pods.values() if place.ip == "10.244.2.5"
    ]
    assert loaded(node) == ["", "node-b"]


@pytest.mark.parametrize("mode", MODES)
def test_rules_that_come_later_are_the_same(cluster: Cluster, mode: str):
    rendered = render(cluster, "node-a", mode)
    wanted = ("10.244.1.9", "10.96.0.20")
    later = cluster_node(cluster, rendered, wanted=wanted).spec.others[0]
    now = cluster_node(cluster, rendered, wanted=wanted, at_once=True).spec.others[0]
    assert later.later is not None
    assert later.rules4 is None
    more = later.later()
    assert (more.rules4, more.ipset, more.ipvs) == (now.rules4, now.ipset, now.ipvs)
    assert [*later.sockets, *more.sockets] == now.sockets
    assert later.addresses == now.addresses
