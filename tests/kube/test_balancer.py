"""Which nodes a cloud's load balancer sends clients to (service controller, kube-proxy's health)."""

from __future__ import annotations

import msgspec
import pytest

from netemu.kube.balancer import EXCLUDED_LABEL, balancer_at
from netemu.kube.objects import Condition, Node, NodeAddress, NodeStatus

STATUS = "{loadBalancer: {ingress: [{ip: 198.51.100.1}]}}"
LOCAL = ("type: LoadBalancer", "externalTrafficPolicy: Local", "healthCheckNodePort: 32000")


def other_node(name: str, **meta: object) -> Node:
    """Return one more node."""
    node = Node(
        kind="Node",
        status=NodeStatus(addresses=[NodeAddress(type="InternalIP", address="192.168.0.12")]),
    )
    return msgspec.structs.replace(
        node, metadata=msgspec.structs.replace(node.metadata, name=name, **meta)
    )


def nodes(given) -> dict[str, tuple[bool, str]]:
    """Return health and its reason by node."""
    found = balancer_at(given, "198.51.100.1", 80, "tcp", 4)
    assert found is not None
    return {node.name: (node.healthy, node.why) for node in found.nodes}


def test_every_node_takes_what_may_go_anywhere(cluster):
    given = cluster("type: LoadBalancer", status=STATUS, endpoints="[]")
    given.add([other_node("node-b")])
    assert [healthy for healthy, _ in nodes(given).values()] == [True, True]


def test_only_nodes_with_a_ready_endpoint_take_local_traffic(cluster):
    """A terminating endpoint serves on, but its node's health check answers 503."""
    ends = "conditions: {ready: false, serving: true, terminating: true}"
    given = cluster(
        *LOCAL,
        status=STATUS,
        endpoints="[{addresses: [10.244.1.5], nodeName: node-a},"
        f" {{addresses: [10.244.2.5], nodeName: node-b, {ends}}}]",
    )
    given.add([other_node("node-b")])
    found = nodes(given)
    assert found["node-a"] == (True, "health check port 32000 answers 200: 1 ready endpoint")
    assert found["node-b"][0] is False
    assert "answers 503" in found["node-b"][1]


@pytest.mark.parametrize(
    "meta, status, why",
    [
        ({"labels": {EXCLUDED_LABEL: ""}}, "True", "exclude-from-external"),
        ({"deletion_timestamp": "2026-11-01T08:00:00Z"}, "True", "being deleted"),
        ({}, "Unknown", "not ready"),
    ],
)
def test_nodes_that_are_left_out(cluster, meta: dict[str, object], status: str, why: str):
    given = cluster("type: LoadBalancer", status=STATUS)
    node = other_node("node-b", **meta)
    node.status.conditions = [Condition(type="Ready", status=status)]
    given.add([node])
    healthy, said = nodes(given)["node-b"]
    assert not healthy
    assert why in said


def test_no_balancer_at_another_port(cluster):
    given = cluster("type: LoadBalancer", status=STATUS)
    assert balancer_at(given, "198.51.100.1", 81, "tcp", 4) is None
    assert balancer_at(given, "198.51.100.1", 80, "udp", 4) is None
