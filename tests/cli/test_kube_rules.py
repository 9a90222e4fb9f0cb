"""`netemu kube trace` with IPv6: what the rules make of a packet that is not sent."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from netemu.cli.kube_trace import command
from netemu.errors import UsageError

OBJECTS = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: fd00:244::/32
x-local-ips: ["::1", "fd00:1::11", "fd00:1::12"]
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
status: {addresses: [{type: InternalIP, address: "fd00:1::11"}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  clusterIP: fd00:96::20
  sessionAffinity: ClientIP
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec: {clusterIP: "fd00:96::21", ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: ["fd00:244:1::5"], nodeName: node-a, targetRef: {kind: Pod, namespace: default, name: web-5}}
- {addresses: ["fd00:244:2::6"], nodeName: node-b}
"""
POD, CLIENT, NODE = "fd00:244:1::9", "2001:db8::9", "fd00:1::11"
FIRST, SECOND = "[fd00:244:1::5]:8080", "[fd00:244:2::6]:8080"


@pytest.fixture
def objects(tmp_path):
    path = tmp_path / "objects.yaml"
    path.write_text(OBJECTS)
    return str(path)


def outcomes(objects: str, source: str, target: str, *options: str):
    arguments = [objects, "--from", source, "--to", target, "--outcomes", "--json", *options]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert result.exception is None, result.exception
    return json.loads(result.stdout)["outcomes"]


@pytest.mark.parametrize(
    "source, target, masqueraded",
    [
        (POD, "web:http", False),
        (POD, "[fd00:96::20]:80", False),
        (CLIENT, "[fd00:96::20]:80/tcp", True),
        (CLIENT, f"[{NODE}]:30080", True),
        (NODE, "[fd00:1::12]:30080", True),
    ],
)
def test_each_endpoint_is_as_probable(objects, source: str, target: str, masqueraded: bool):
    found = outcomes(objects, source, target)
    assert {item["dnat"]: item["probability"] for item in found} == {FIRST: "1/2", SECOND: "1/2"}
    assert {item["masquerade"] for item in found} == {masqueraded}
    places = {item["dnat"]: item["delivered_to"] for item in found}
    assert places == {FIRST: "pod:default/web-5", SECOND: "port:eth0"}


def test_a_pod_that_meets_itself_is_masqueraded(objects):
    found = outcomes(objects, "fd00:244:1::5", "web:http")
    assert {item["dnat"]: item["masquerade"] for item in found} == {FIRST: True, SECOND: False}


def test_no_endpoints_are_refused(objects):
    (only,) = outcomes(objects, POD, "empty")
    assert (only["verdict"], only["dnat"], only["delivered_to"]) == ("REJECT", None, None)


def test_loopback_has_no_node_ports(objects):
    """kube-proxy leaves ::1 out: IPv6 has no route_localnet."""
    (only,) = outcomes(objects, "::1", "[::1]:30080")
    assert (only["verdict"], only["dnat"]) == ("ACCEPT", None)
    assert only["delivered_to"] == "node:node-a"


@pytest.mark.parametrize(
    "options, message",
    [(("--mode", "ipvs"), "not in ipvs mode"), (("--to", "http://shop.example/"), "over IPv6")],
)
def test_other_ways_are_refused(objects, options: tuple[str, ...], message: str):
    arguments = [objects, "--from", POD, "--to", "web:http", *options]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_the_text_says_that_nothing_was_sent(objects):
    arguments = [objects, "--from", POD, "--to", "web:http", "-6"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert "no frame of IPv6 is sent" in result.stdout
    assert f"50.0000 %  ACCEPT  to {FIRST}  pod:default/web-5" in result.stdout
