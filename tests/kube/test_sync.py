"""What kube-proxy of iptables mode writes from one sync to the next."""

from __future__ import annotations

import pytest

from netemu.clock import NSEC_PER_SEC
from netemu.kube.cluster import Cluster
from netemu.kube.objects import Endpoint
from netemu.kube.proxy.render import render
from netemu.kube.proxy.settings import proxy_settings
from netemu.kube.proxy.sync import IptablesSync, Restore
from netemu.kube.proxy.view import ProxyView
from netemu.netfilter.xtables.model import Ruleset
from netemu.ruleset import parse_ruleset, print_ruleset
from tests.kube.changing import a_node, changes, endpoints, service


class Proxy:
    """kube-proxy of node-a with the tables that it writes."""

    def __init__(self, version: str = "1.30") -> None:
        self.cluster: Cluster = a_node()
        self.settings = proxy_settings(self.cluster, "node-a", version=version)
        self.version = version
        self.view = ProxyView(4, "node-a", self.settings.version)
        self.memory = IptablesSync()
        self.ruleset = Ruleset()
        self.now_ns = 0

    def told(self, item, *, gone: bool = False) -> None:
        """Take up a change."""
        self.view.told(item, gone=gone)
        if gone:
            self.cluster.objects.pop((item.kind, item.key), None)
        else:
            self.cluster.add([item])

    def sync(self) -> Restore:
        """Sync, and restore what comes of it."""
        existing = [chain for table in self.ruleset.tables for chain in table.chains]
        before = self.view.take_changes()
        found = self.memory.sync(
            self.settings, self.view, before, now_ns=self.now_ns, existing=existing
        )
        self.ruleset = parse_ruleset(found.text, onto=self.ruleset)
        return found

    def chains(self, ruleset: Ruleset | None = None) -> dict[str, list[str]]:
        """Return all chains with their rules."""
        return {
            f"{table.name} {name}": [rule.text for rule in chain.rules]
            for table in (ruleset or self.ruleset).tables
            for name, chain in table.chains.items()
        }

    def rendered(self) -> dict[str, list[str]]:
        """Return what a kube-proxy that has just started would write."""
        text = render(self.cluster, "node-a", "iptables", version=self.version).rules
        return self.chains(parse_ruleset(text))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("version", ["1.25", "1.30"])
def test_partial_syncs_lead_where_a_full_one_would(seed: int, version: str):
    proxy = Proxy(version)
    for item, gone in changes(seed, 25):
        proxy.told(item, gone=gone)
        proxy.sync()
        assert proxy.chains() == proxy.rendered()


def test_only_chains_of_changed_services_are_written():
    proxy = Proxy()
    for number in (1, 2):
        proxy.told(service(number))
        proxy.told(endpoints(number, [1, 2]))
    assert proxy.sync().full
    proxy.told(endpoints(1, [2, 3]))
    found = proxy.sync()
    assert (found.full, found.services) == (False, 1)
    assert "svc-1:http cluster IP" in found.text
    assert "svc-2:http cluster IP" in found.text
    assert "10.244.1.3" in found.text
    assert "10.244.2." not in found.text
    (gone,) = found.stale
    assert f":{gone} - [0:0]\n" in found.text
    assert f"\n-X {gone}\n" in found.text


def test_counters_of_unchanged_chains_go_on():
    proxy = Proxy()
    for number in (1, 2):
        proxy.told(service(number))
        proxy.told(endpoints(number, [1]))
    proxy.sync()
    own = next(
        rule
        for chain in proxy.ruleset.tables[1].chains.values()
        for rule in chain.rules
        if "10.244.2.1:8080" in rule.text
    )
    own.packets = 7
    proxy.told(endpoints(1, [2]))
    proxy.sync()
    assert "[7:0] -A KUBE-SEP-" in print_ruleset(proxy.ruleset)


def test_before_1_27_every_sync_is_full():
    proxy = Proxy("1.26")
    proxy.told(service(1))
    proxy.told(endpoints(1, [1]))
    assert [proxy.sync().full, proxy.sync().full] == [True, True]


def test_a_full_sync_comes_every_hour_and_after_a_restart():
    proxy = Proxy()
    proxy.sync()
    proxy.now_ns = 3600 * NSEC_PER_SEC
    assert not proxy.sync().full
    proxy.now_ns += 1
    assert proxy.sync().full
    proxy.memory.needs_full = True
    assert proxy.sync().full


def test_a_large_cluster_keeps_stale_chains_for_30_s_and_old_comments():
    """More than 1000 endpoints: comments go from what is written then, and only from that."""
    proxy = Proxy()
    proxy.now_ns = 100 * NSEC_PER_SEC
    for number in range(1, 4):
        proxy.told(service(number))
        proxy.told(endpoints(number, [1]))
    proxy.sync()
    many = endpoints(2, [])
    many.endpoints = [Endpoint(addresses=[f"10.245.{n // 250}.{n % 250}"]) for n in range(1000)]
    proxy.told(many)
    proxy.told(endpoints(3, [5]))
    first = proxy.sync()
    assert first.stale == ()
    text = print_ruleset(proxy.ruleset)
    assert '"ns/svc-1:http -> 10.244.1.1:8080"' in text
    assert '"ns/svc-3:http -> 10.244.3.5:8080"' not in text
    assert "10.244.2.1:8080" in text
    proxy.now_ns += 30 * NSEC_PER_SEC + 1
    assert len(proxy.sync().stale) == 2
    assert "10.244.2.1:8080" not in print_ruleset(proxy.ruleset)


def test_what_changes_nothing_is_no_change():
    proxy = Proxy()
    proxy.told(service(1))
    proxy.told(endpoints(1, [1]))
    proxy.view.take_changes()
    proxy.told(endpoints(1, [1]))
    assert proxy.view.take_changes() == {}
