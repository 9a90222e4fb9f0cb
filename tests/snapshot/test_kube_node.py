"""Nodes of a cluster: which of them get rules, and when."""

from __future__ import annotations

import pytest

from netemu.kube.cluster import Cluster
from netemu.kube.proxy.render import MODES, render
from netemu.netfilter.xtables.table import XtTables
from netemu.sim.node import Node, build_node
from netemu.sim.probe import enter
from netemu.sim.spec import NamespaceSpec, TextFile
from netemu.snapshot.kube_node import cluster_node
from netemu.snapshot.objects import read_cluster, read_objects
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


@pytest.mark.parametrize("mode", MODES)
def test_rules_that_no_packet_from_here_meets_may_be_left_out(cluster: Cluster, mode: str):
    """Web leads to the other nodes, one of its endpoints is chained's address; far is neither."""
    text = "".join(
        SERVICE.format(name=name, ip=ip, endpoint=endpoint)
        for name, ip, endpoint in (
            ("chained", "10.244.2.5", "10.244.3.7"),
            ("beyond", "10.244.3.7", "10.244.3.8"),
            ("far", "10.96.0.99", "10.244.3.9"),
        )
    )
    cluster.add(read_objects(TextFile(name="more.yaml", text=text)))
    rendered = render(cluster, "node-a", mode)
    made = cluster_node(cluster, rendered, wanted=("10.244.1.9", "10.96.0.20"))
    (part,) = [item for item in made.near_spec().others if item.name == "node-b"]
    (whole,) = [item for item in made.spec.others if item.name == "node-b"]
    near, full = ("".join(_texts(item)) for item in (part, whole))
    for word in ("10.96.0.20", "10.244.2.5", "10.244.3.7", "10.96.0.99"):
        assert word in full
        assert (word in near) == (word != "10.96.0.99")


SERVICE = """
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{clusterIP: {ip}, ports: [{{port: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: 8080, name: ""}}]
endpoints: [{{addresses: [{endpoint}], nodeName: node-c}}]
"""


def _texts(part: NamespaceSpec) -> list[str]:
    """Return all texts of what a node gets when a packet comes by."""
    assert part.later is not None
    made = part.later()
    return [file.text for file in (made.rules4, made.ipset, made.ipvs) if file is not None]
