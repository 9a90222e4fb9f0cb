"""What kube-proxy of IPVS mode does from one sync to the next (graceful_termination.go)."""

from __future__ import annotations

from netemu.kube.objects import ServicePort
from netemu.kube.proxy.ipvs import render_ipvs
from netemu.kube.proxy.ipvs_sync import IpvsChange, IpvsSync
from netemu.kube.proxy.settings import proxy_settings
from netemu.kube.proxy.view import ProxyView
from tests.kube.changing import a_node, endpoints, service

SERVER = "-t 10.96.0.21:80"


class Proxy:
    """kube-proxy of node-a, and how many connections each real server has."""

    def __init__(self, *, protocol: str = "TCP") -> None:
        self.settings = proxy_settings(a_node(), "node-a", version="1.30")
        self.view = ProxyView(4, "node-a", self.settings.version)
        self.connections: dict[str, int] = {}
        self.memory = IpvsSync(lambda _, real: self.connections.get(real, 0))
        self.protocol = protocol
        self.view.told(
            service(1, ports=[ServicePort(name="http", port=80, protocol=protocol)]), gone=False
        )

    def sync(self, hosts: list[int], *, first: bool = False) -> IpvsChange:
        self.view.told(endpoints(1, hosts, protocol=self.protocol), gone=False)
        wanted = render_ipvs(self.settings, self.view.ports(), self.view.endpoints())
        return self.memory.sync(wanted, first=first)


def test_the_first_sync_makes_everything():
    change = Proxy().sync([1, 2], first=True)
    assert change.ipvsadm == [
        f"-A {SERVER} -s rr",
        f"-a {SERVER} -r 10.244.1.1:8080 -m -w 1",
        f"-a {SERVER} -r 10.244.1.2:8080 -m -w 1",
    ]
    assert change.new_addresses == ["10.96.0.21"]
    assert "add KUBE-CLUSTER-IP 10.96.0.21,tcp:80" in change.ipset
    assert "add KUBE-LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2" in change.ipset


def test_nothing_changes_nothing_happens():
    proxy = Proxy()
    proxy.sync([1, 2])
    assert proxy.sync([1, 2]) == IpvsChange()


def test_a_server_without_connections_goes_at_once():
    proxy = Proxy()
    proxy.sync([1, 2])
    change = proxy.sync([1])
    assert change.ipvsadm == [f"-d {SERVER} -r 10.244.1.2:8080"]
    assert change.ipset == ["del KUBE-LOOP-BACK 10.244.1.2,tcp:8080,10.244.1.2"]


def test_a_server_with_connections_gets_weight_0_and_goes_when_they_end():
    proxy = Proxy()
    proxy.sync([1, 2])
    proxy.connections["10.244.1.2:8080"] = 1
    assert proxy.sync([1]).ipvsadm == [f"-e {SERVER} -r 10.244.1.2:8080 -m -w 0"]
    assert proxy.sync([1]).ipvsadm == []
    assert proxy.memory.recheck().ipvsadm == []
    proxy.connections.clear()
    assert proxy.memory.recheck().ipvsadm == [f"-d {SERVER} -r 10.244.1.2:8080"]
    assert proxy.memory.recheck().ipvsadm == []


def test_a_server_that_comes_back_is_deleted_and_added():
    proxy = Proxy()
    proxy.sync([1, 2])
    proxy.connections["10.244.1.2:8080"] = 1
    proxy.sync([1])
    assert proxy.sync([1, 2]).ipvsadm == [
        f"-d {SERVER} -r 10.244.1.2:8080",
        f"-a {SERVER} -r 10.244.1.2:8080 -m -w 1",
    ]


def test_udp_waits_for_nobody():
    proxy = Proxy(protocol="UDP")
    proxy.sync([1, 2])
    proxy.connections["10.244.1.2:8080"] = 1
    assert proxy.sync([1]).ipvsadm == ["-d -u 10.96.0.21:80 -r 10.244.1.2:8080"]


def test_a_restarted_proxy_sets_weights_that_are_0():
    """It knows nothing of servers on their way out, and finds them with weight 0."""
    proxy = Proxy()
    proxy.sync([1, 2])
    proxy.connections["10.244.1.2:8080"] = 1
    proxy.sync([1])
    proxy.memory.restarted()
    assert proxy.sync([1, 2], first=True).ipvsadm == [
        f"-e {SERVER} -r 10.244.1.2:8080 -m -w 1",
    ]


def test_a_deleted_service_takes_its_server_and_its_address():
    proxy = Proxy()
    proxy.sync([1])
    proxy.view.told(service(1), gone=True)
    change = proxy.sync([1])
    assert change.ipvsadm == [f"-D {SERVER}"]
    assert change.old_addresses == ["10.96.0.21"]
    assert "del KUBE-CLUSTER-IP 10.96.0.21,tcp:80" in change.ipset
