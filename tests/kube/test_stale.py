"""Which UDP connections kube-proxy forgets (pkg/proxy/conntrack/cleanup.go)."""

from __future__ import annotations

import pytest

from netemu.kube.objects import ServicePort
from netemu.kube.proxy.settings import proxy_settings
from netemu.kube.proxy.stale import stale_udp, stale_udp_of_userspace
from netemu.kube.proxy.view import ProxyView
from tests.kube.changing import a_node, endpoints, service

VIP, NODE = "10.96.0.21", "192.168.0.11"
VERSIONS = ["1.30", "1.33"]


def udp(*, protocol: str = "UDP"):
    ports = [
        ServicePort(name="http", port=53, target_port=8080, protocol=protocol, node_port=30053)
    ]
    return service(1, type="NodePort", ports=ports, external_ips=["198.51.100.1"])


class Proxy:
    def __init__(self, version: str) -> None:
        self.settings = proxy_settings(a_node(), "node-a", version=version)
        self.view = ProxyView(4, "node-a", self.settings.version)

    def stale(self):
        """Return what the sync after the changes forgets."""
        return stale_udp(self.settings, self.view, self.view.take_changes())

    def with_endpoints(self, hosts: list[int], *, gone: bool = False):
        self.view.told(endpoints(1, hosts, protocol="UDP"), gone=gone)
        return self


@pytest.fixture(params=VERSIONS)
def proxy(request) -> Proxy:
    found = Proxy(request.param)
    found.view.told(udp(), gone=False)
    return found


def test_a_removed_endpoint_at_every_address(proxy: Proxy):
    proxy.with_endpoints([1, 2]).stale()
    stale = proxy.with_endpoints([2]).stale()
    assert stale is not None
    for address, port in ((VIP, 53), ("198.51.100.1", 53), (NODE, 30053)):
        assert stale(address, port, "10.244.1.1", 8080)
        assert not stale(address, port, "10.244.1.2", 8080)
    assert not stale("10.96.0.22", 53, "10.244.1.1", 8080)


def test_the_first_endpoint_frees_those_that_went_nowhere(proxy: Proxy):
    proxy.with_endpoints([]).stale()
    stale = proxy.with_endpoints([1]).stale()
    assert stale is not None
    assert stale(VIP, 53, VIP, 53)
    assert stale(NODE, 30053, NODE, 30053)


def test_a_second_endpoint_frees_nothing(proxy: Proxy):
    proxy.with_endpoints([1]).stale()
    stale = proxy.with_endpoints([1, 2]).stale()
    assert stale is not None
    assert not stale(VIP, 53, "10.244.1.1", 8080)


def test_tcp_is_left_alone(proxy: Proxy):
    proxy.view.told(udp(protocol="TCP"), gone=False)
    proxy.view.take_changes()
    proxy.view.told(endpoints(1, [1]), gone=False)
    assert proxy.stale() is None


def test_a_deleted_service_1_30():
    """Up to 1.31 by the address of the Service; later it is in no list to compare with."""
    for version, expected in (("1.30", True), ("1.33", False)):
        proxy = Proxy(version)
        proxy.view.told(udp(), gone=False)
        proxy.with_endpoints([1]).stale()
        proxy.view.told(udp(), gone=True)
        stale = proxy.stale()
        assert stale is not None
        assert stale(VIP, 53, "10.244.1.1", 8080) is expected


def test_services_without_endpoints_are_skipped_since_1_32():
    proxy = Proxy("1.32")
    proxy.view.told(udp(), gone=False)
    proxy.with_endpoints([1]).stale()
    stale = proxy.with_endpoints([]).stale()
    assert stale is not None
    assert not stale(VIP, 53, "10.244.1.1", 8080)


def test_userspace_forgets_services_that_are_gone():
    proxy = Proxy("1.25")
    proxy.view.told(udp(), gone=False)
    proxy.view.take_changes()
    proxy.view.told(udp(), gone=True)
    stale = stale_udp_of_userspace(proxy.view, proxy.view.take_changes())
    assert stale is not None
    assert stale(VIP, 53, NODE, 33000)
    assert stale_udp_of_userspace(proxy.view, {}) is None
