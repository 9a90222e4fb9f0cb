"""Scenes of the kinds of Services: what clients get, in every mode."""

from __future__ import annotations

from collections import Counter

import pytest
from click.testing import CliRunner

from netemu.cli.kube_cost import command as cost
from netemu.kube.proxy.render import MODES
from tests.cli.test_kube_run import run

PODS = {f"default/web-{number}" for number in (1, 2, 3)}


def answers(found, who: str = "") -> list[tuple[str, str]]:
    """Return (pod, client's address as it sees it) of every answer."""
    lines = [text for text in told(found, who) if ", which sees " in text]
    return [tuple(text.removeprefix("answer of ").split(", which sees ")) for text in lines]


def told(found, who: str = "") -> list[str]:
    return [line["text"] for line in found["lines"] if who in line["who"]]


@pytest.mark.parametrize("mode", MODES)
def test_a_cluster_ip(mode: str):
    """Pods keep their address but in userspace mode, where a process of the node asks."""
    found = answers(run("cluster-ip", "--mode", mode))
    assert {pod for pod, _ in found} == PODS
    clients = {client for _, client in found}
    assert clients == ({"192.168.0.11", "10.244.1.1"} if mode == "userspace" else {"10.244.1.9"})


@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
def test_node_ports_by_traffic_policy(mode: str):
    found = run("node-port", "--mode", mode)
    cluster, local = answers(found, ":30080"), answers(found, "11:30081")
    assert all(client in {"192.168.0.11", "10.244.1.1"} for _, client in cluster)
    assert len({pod for pod, _ in cluster}) > 1
    assert local == [("default/web-1", "203.0.113.9")] * 4
    assert told(found, "11:30081")[-1] == "no connection within 2 s, gives up"
    (other,) = answers(found, "12:30081")
    assert other[1] == "203.0.113.9"


def test_the_userspace_proxy_heeds_no_policy():
    found = answers(run("node-port", "--mode", "userspace"), "11:30081")
    assert {pod for pod, _ in found} == PODS
    assert all(client != "203.0.113.9" for _, client in found)


@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
def test_source_ranges_of_a_load_balancer(mode: str):
    found = run("load-balancer", "--mode", mode)
    through = {client for _, client in answers(found, "203.0.113.9")}
    assert through & {"192.168.0.11", "10.244.1.1"}, "some connections come through node-a"
    assert through & {"192.168.0.12", "10.244.2.1"}, "others through node-b"
    assert len(answers(found, "203.0.113.9")) == 8
    assert told(found, "192.0.2.7") == ["no connection within 2 s, gives up"]


@pytest.mark.parametrize("mode", MODES)
def test_an_external_ip_at_any_node(mode: str):
    first, second = answers(run("external-ip", "--mode", mode))
    assert first[1] in {"192.168.0.11", "10.244.1.1"}
    assert second[1] in {"192.168.0.12", "10.244.2.1"}


@pytest.mark.parametrize("mode", MODES)
def test_names(mode: str):
    """The search path is walked (ndots 5); unready pods leave the headless name."""
    found = run("names", "--mode", mode)
    dns = told(found, "kube-dns")
    headless = "answer from 10.96.0.10:53, web-headless.default.svc.cluster.local is"
    assert dns == [
        f"{headless} 10.244.1.5 10.244.2.5 10.244.2.6",
        "db.default.default.svc.cluster.local is NXDOMAIN",
        "answer from 10.96.0.10:53, db.default.svc.cluster.local is an alias of db.example.org",
        f"{headless} 10.244.1.5 10.244.2.6",
    ]


@pytest.mark.parametrize("mode", MODES)
def test_affinity(mode: str):
    found = run("affinity", "--mode", mode)
    assert len({pod for pod, _ in answers(found, "web-sticky")}) == 1
    assert len({pod for pod, _ in answers(found, "web:http")}) > 1


@pytest.mark.parametrize("mode", ["iptables", "ipvs"])
def test_a_pod_that_meets_itself_sees_its_node(mode: str):
    found = answers(run("hairpin", "--mode", mode))
    assert len(found) == 8
    for pod, client in found:
        assert client == ("10.244.1.1" if pod == "default/web-1" else "10.244.1.5")
    assert "default/web-1" in {pod for pod, _ in found}


@pytest.mark.parametrize(
    "mode, expected",
    [
        ("iptables", "cannot connect: ECONNREFUSED"),
        ("ipvs", "cannot connect: ECONNREFUSED"),
        ("userspace", "connected, and closed without an answer"),
    ],
)
def test_no_endpoints(mode: str, expected: str):
    first, second = told(run("no-endpoints", "--mode", mode), "nobody")[-2:]
    assert first == expected
    assert second.startswith("answer of default/nobody-")


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--mode", "iptables"], ["0 of 1 answered"]),
        (["--mode", "userspace"], ["0 of 1 answered"]),
        (
            ["--mode", "ipvs", "--proxy-version", "1.25"],
            ["reply from 10.96.0.20 seq=1 time=0 ms", "1 of 1 answered"],
        ),
        (["--mode", "ipvs"], ["told ECONNREFUSED", "0 of 1 answered"]),
    ],
)
def test_ping_to_a_cluster_ip(options: list[str], expected: list[str]):
    assert told(run("ping", *options), "10.96.0.20") == expected


@pytest.mark.parametrize("mode", MODES)
def test_a_client_of_udp_follows_its_pod(mode: str):
    """It asks from one port every second, so that its connection would never end by itself."""
    found = run("udp-moves", "--mode", mode)
    assert [client["ok"] for client in found["clients"]] == [True] * 3 + [False] + [True] * 4
    forgotten = [
        line["time_ns"] / 1e9 for line in found["lines"] if "1 stale UDP conn" in line["text"]
    ]
    assert forgotten == ([] if mode == "userspace" else [4.02])


def test_a_weighted_split_by_hand():
    """Nine of ten of 40 is 36; three standard deviations are 5.7."""
    count = Counter(pod for pod, _ in answers(run("weighted-split")))
    assert set(count) == {"default/web-1", "default/web-2"}
    assert 30 <= count["default/web-1"] < 40


def test_what_the_tutorial_says():
    found = run("tutorial")
    shown = [text.removeprefix("*** ") for text in told(found)]
    assert shown.count("the store is at resource version 13") == 2
    assert "nobody has a socket that is bound to 10.96.0.20" in shown
    assert "nobody has a neighbour entry for 10.96.0.20" in shown
    assert any("-> 10.244.1.5:8080              Masq    1 " in text for text in shown)
    late = told(found, "web:http #3")
    assert late[-1] == "no connection within 2 s, gives up"


def test_ipvs_lets_a_server_go_when_its_connections_have_ended():
    """Weight 0 at once; deleted at the minute after the last connection has timed out."""
    found = run("pod-crash", "--mode", "ipvs", "--until", "200")
    server = "-t 10.96.0.20:80 -r 10.244.1.5:8080"
    lines = [
        (line["time_ns"] / 1e9, line["text"])
        for line in found["lines"]
        if line["text"].startswith("kube-proxy on node-a") and "10.244.1.5" in line["text"]
    ]
    assert lines == [
        (4.22, f"kube-proxy on node-a: ipvsadm -e {server} -m -w 0"),
        (180.0, f"kube-proxy on node-a: ipvsadm -d {server}"),
    ]


def test_the_cost_of_many_services():
    result = CliRunner().invoke(cost, ["--services", "10,200"], standalone_mode=False)
    assert result.exception is None, result.exception
    _, few, many = (line.split() for line in result.stdout.splitlines())
    assert int(many[1]) - int(few[1]) == 190
    assert few[3:8] == many[3:8]
    assert int(many[-2]) - int(few[-2]) == 190
