"""`netemu kube trace` by way of a cloud's load balancer and of an ingress controller."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netemu.cli.kube_trace import command
from netemu.errors import UsageError

RULESETS = Path(__file__).resolve().parents[2] / "rulesets" / "kube"
INGRESS, CLUSTER = RULESETS / "ingress.yaml", RULESETS / "cluster.yaml"


def run(objects: Path, *options: str):
    return CliRunner().invoke(command, [str(objects), *options], standalone_mode=False)


def traced(objects: Path, source: str, target: str, *options: str):
    result = run(objects, "--from", source, "--to", target, "--json", "--outcomes", *options)
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "userspace"])
def test_a_request_reaches_a_pod_of_its_host_and_path(mode: str):
    """To the controller's pod on the one node that has it, and on to the Service of the path."""
    found = traced(INGRESS, "203.0.113.9", "http://shop.example/cart/7", "--mode", mode)
    assert found["ingress"]["service"] == "default/cart"
    first = found["first"]
    assert first["load_balancer"]["chosen"] == "node-b"
    assert {item["delivered_to"] for item in first["outcomes"]} == {
        "pod:ingress-nginx/controller-1"
    }
    ends = {item["delivered_to"] for item in found["outcomes"]}
    assert ends <= {"pod:default/cart-1", "pod:default/cart-2"}
    assert ends


@pytest.mark.parametrize(
    "url, service",
    [
        ("http://shop.example/cart/health", "default/front"),
        ("http://shop.example/cartoons", "default/front"),
        ("http://other.example/", "default/front"),
    ],
)
def test_the_way_hangs_on_host_and_path(url: str, service: str):
    assert traced(INGRESS, "203.0.113.9", url)["ingress"]["service"] == service


def test_the_clients_address_is_kept_up_to_the_controller():
    first = traced(INGRESS, "203.0.113.9", "http://shop.example/")["first"]
    assert {item["masquerade"] for item in first["outcomes"]} == {False}


def test_a_load_balancer_spreads_over_healthy_nodes():
    """Half of the clients enter at each node; every pod gets a third of them."""
    found = traced(CLUSTER, "203.0.113.9", "198.51.100.80:80")
    assert [node["healthy"] for node in found["load_balancer"]["nodes"]] == [True, True]
    pods: dict[str, float] = {}
    for item in found["outcomes"]:
        top, bottom = map(int, item["probability"].split("/"))
        pods[item["delivered_to"]] = pods.get(item["delivered_to"], 0) + top / bottom
    assert pods == pytest.approx(dict.fromkeys(pods, 1 / 3), abs=1e-6)
    assert len(pods) == 3


def altered(tmp_path: Path, source: Path, *changes: tuple[str, str]) -> Path:
    """Return a copy of objects with changes."""
    text = source.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "objects.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_address_of_ip_mode_proxy_comes_as_a_connection_to_the_node_port(tmp_path):
    """kube-proxy has no rules for it; the balancer's own connection takes the node port."""
    change = ("[{ip: 198.51.100.80}]", "[{ip: 198.51.100.80, ipMode: Proxy}]")
    found = traced(altered(tmp_path, CLUSTER, change), "203.0.113.9", "198.51.100.80:80")
    assert found["load_balancer"]["mode"] == "Proxy"
    to_node_port = bytes((198, 51, 100, 80, 192, 168, 0, 11)) + (40000 << 16 | 30080).to_bytes(4)
    assert to_node_port.hex() in found["packet_in"]
    assert {item["verdict"] for item in found["outcomes"]} == {"ACCEPT"}


def test_without_a_healthy_node_nothing_is_forwarded(tmp_path):
    objects = altered(tmp_path, INGRESS, ("labels: {app: ingress-nginx}", "labels: {app: gone}"))
    found = traced(objects, "203.0.113.9", "198.51.100.90:80")
    assert (found["verdict"], found["reason"]) == ("REJECT", "NO_HEALTHY_NODE")
    assert found["outcomes"][0]["delivered_to"] is None
    result = run(objects, "--from", "203.0.113.9", "--to", "http://shop.example/")
    assert isinstance(result.exception, UsageError)
    assert "reaches no pod of the ingress controller (NO_HEALTHY_NODE)" in str(result.exception)


def test_a_request_that_no_rule_takes_is_answered_by_the_controller(tmp_path):
    objects = altered(tmp_path, INGRESS, ("defaultBackend:", "formerBackend:"))
    found = traced(objects, "203.0.113.9", "http://other.example/")
    assert (found["verdict"], found["ingress"]["status"]) == ("REJECT", 404)


def test_a_controller_that_is_not_found_is_taken_to_be_a_node(tmp_path):
    objects = altered(tmp_path, INGRESS, ("ip: 198.51.100.90", "hostname: lb.example"))
    result = run(objects, "--from", "203.0.113.9", "--to", "https://shop.example/cart")
    assert "its controller is taken to run on node node-a" in result.stdout
    assert "TLS is not looked at" in result.stdout


@pytest.mark.parametrize(
    "objects, url, message",
    [
        (INGRESS, "http:///cart", "a host is needed"),
        (INGRESS, "http://shop.example:99999/", "Port out of range"),
        (INGRESS, "https://shop.example/", "has no port 443; it has 80"),
        (CLUSTER, "http://shop.example/", "the objects have no Ingress"),
    ],
)
def test_requests_that_go_nowhere(objects: Path, url: str, message: str):
    result = run(objects, "--from", "203.0.113.9", "--to", url)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
