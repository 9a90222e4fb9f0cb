"""`netemu kube reach`: who gets to a Service at which node."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netemu.cli.kube_reach import command
from netemu.cli.kube_trace import command as trace_command
from netemu.errors import UsageError

CLUSTER = Path(__file__).resolve().parents[2] / "rulesets" / "kube" / "cluster.yaml"


def run(*options: str, objects: Path = CLUSTER):
    return CliRunner().invoke(command, [str(objects), *options], standalone_mode=False)


@functools.cache
def reached(*options: str):
    """Return the answers by way, node and source."""
    result = run(*options, "--json")
    assert result.exception is None, result.exception
    rows = json.loads(result.stdout)
    return {(row["way"], row["node"], row["source"]): row for row in rows}


def test_a_local_node_port_keeps_the_clients_address_where_it_has_pods():
    """externalTrafficPolicy Local: own endpoints and the client's address for those outside."""
    found = reached("--service", "web-local")
    outside = found["node port", "node-a", "outside"]
    assert (outside["endpoints"], outside["client_address_kept"]) == (["10.244.1.5:8080"], True)
    assert len(found["node port", "node-a", "a pod"]["endpoints"]) == 3
    assert found["node port", "node-b", "127.0.0.1"]["client_address_kept"] is False


@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
def test_source_ranges_keep_others_out(mode: str):
    found = reached("--service", "web-out", "--mode", mode)
    way = "load balancer"
    assert len(found[way, "node-a", "outside"]["endpoints"]) == 3
    assert found[way, "node-a", "a pod"]["verdict"] == "DROP"
    # in IPVS mode the node asks from the very address it asks, which is its own
    assert found[way, "node-a", "the node"]["verdict"] == "DROP"
    assert found[way, "node-a", "the node"]["source_address"] == (
        "198.51.100.80" if mode == "ipvs" else "192.168.0.11"
    )


def test_source_ranges_do_not_guard_node_ports():
    found = reached("--service", "web-out", "--from", "192.0.2.9")
    assert found["load balancer", "node-a", "outside"]["verdict"] == "DROP"
    assert found["node port", "node-a", "outside"]["verdict"] == "ACCEPT"


def test_loopback_answers_in_iptables_mode_alone():
    found = reached("--service", "web-out", "--mode", "ipvs")["node port", "node-a", "127.0.0.1"]
    assert (found["endpoints"], found["reason"]) == ([], "NO_SOCKET")


def test_the_userspace_proxy_keeps_no_address():
    found = reached("--service", "web-local", "--mode", "userspace")
    row = found["node port", "node-a", "outside"]
    assert (len(row["endpoints"]), row["client_address_kept"]) == (3, False)


@pytest.mark.parametrize("node, address", [("node-a", "192.168.0.11"), ("node-b", "192.168.0.12")])
@pytest.mark.parametrize("port", [30080, 30081])
def test_the_answers_are_those_of_a_trace_with_all_outcomes(node: str, address: str, port: int):
    target = f"{address}:{port}"
    arguments = [str(CLUSTER), "--from", "203.0.113.254", "--to", target, "--outcomes", "--json"]
    result = CliRunner().invoke(trace_command, [*arguments, "--node", node], standalone_mode=False)
    outcomes = json.loads(result.stdout)["outcomes"]
    service = "web-out" if port == 30080 else "web-local"
    row = reached("--service", service)["node port", node, "outside"]
    assert sorted({item["dnat"] for item in outcomes}) == row["endpoints"]
    assert {not item["masquerade"] for item in outcomes} == {row["client_address_kept"]}


def test_services_that_nothing_outside_leads_to_are_named():
    text = run().stdout
    assert "no way from outside: default/web, default/web-sticky, default/nobody" in text
    assert "the load balancer sends to healthy nodes: node-a, node-b" in text


def test_no_endpoints_are_refused_and_ingress_paths_are_listed(tmp_path):
    path = tmp_path / "objects.yaml"
    text = CLUSTER.with_name("ingress.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("labels: {app: ingress-nginx}", "labels: {app: gone}"))
    lines = run(objects=path).stdout.splitlines()
    assert "    node-a  refused       refused       passes by" in lines
    assert "by Ingress default/shop: http://shop.example/cart (Prefix) -> default/cart:80" in lines


@pytest.mark.parametrize(
    "options, message",
    [(("--service", "x"), "there is no Service default/x"), (("--from", "x"), "no IPv4 address")],
)
def test_what_is_not_there(options: tuple[str, ...], message: str):
    result = run(*options)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
