"""`netemu kube trace`: where packets to Services go, from everywhere."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from netemu.cli.kube_trace import command

OBJECTS = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
nodePortAddresses: [192.168.0.0/24]
x-local-ips: [127.0.0.1, 192.168.0.11, 192.168.7.11]
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
status: {addresses: [{type: InternalIP, address: 192.168.0.11}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: 10.96.0.20
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.5]}]
"""


@pytest.fixture
def objects(tmp_path):
    path = tmp_path / "objects.yaml"
    path.write_text(OBJECTS)
    return str(path)


def traced(objects: str, *options: str):
    result = CliRunner().invoke(command, [objects, "--json", *options], standalone_mode=False)
    assert result.exception is None, result.exception
    return json.loads(result.stdout), result.stderr


@pytest.mark.parametrize("source", ["10.244.1.9", "203.0.113.9"])
def test_loopback_is_the_senders_own(objects, source: str):
    """No pod and no client reaches a node by 127.0.0.1: it reaches itself."""
    found, _ = traced(objects, "--from", source, "--to", "127.0.0.1:30080", "--outcomes")
    (only,) = found["outcomes"]
    assert (found["verdict"], only["verdict"], only["dnat"]) == ("ACCEPT", "ACCEPT", None)


@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
def test_a_node_port_elsewhere_is_the_nodes_own(objects, mode: str):
    """On an address outside nodePortAddresses no rule takes the port; who listens is not told."""
    options = ("--from", "203.0.113.9", "--mode", mode, "--outcomes")
    found, _ = traced(objects, *options, "--to", "192.168.0.11:30080")
    assert {item["dnat"] for item in found["outcomes"]} == {"10.244.1.5:8080"}
    found, _ = traced(objects, *options, "--to", "192.168.7.11:30080")
    (only,) = found["outcomes"]
    assert (only["verdict"], only["dnat"], only["delivered_to"]) == ("ACCEPT", None, "node:node-a")
    assert "that the node itself listens there is assumed" in found["notes"][-1]
