"""Answers are those of the Kubernetes DNS specification 1.1.0."""

from __future__ import annotations

import pytest

from netemu.kube.dns import query, resolve


@pytest.fixture
def here(cluster):
    return cluster()


def test_a_service_has_an_address_a_port_record_and_a_reverse_name(here):
    name = "web.ns.svc.cluster.local."
    assert [item.data for item in query(here, name, "A").records] == ["10.96.0.20"]
    (srv,) = query(here, f"_http._tcp.{name}", "SRV").records
    assert srv.data == f"0 100 80 {name}"
    (ptr,) = query(here, "20.0.96.10.in-addr.arpa.", "PTR").records
    assert ptr.data == name


def test_the_search_path_is_walked_for_names_with_few_dots(here):
    asked = [answer.question for answer in resolve(here, "web.ns", namespace="other")]
    assert asked == ["web.ns.other.svc.cluster.local.", "web.ns.svc.cluster.local."]


def test_no_such_name(here):
    assert query(here, "nobody.ns.svc.cluster.local.", "A").code == "NXDOMAIN"
    assert query(here, "ns.svc.cluster.local.", "A").code == "NOERROR"


def test_an_external_name_is_another_name(cluster):
    found = cluster("type: ExternalName", "externalName: example.org")
    (record,) = query(found, "web.ns.svc.cluster.local.", "A").records
    assert (record.type, record.data) == ("CNAME", "example.org.")


def test_a_headless_service_has_the_addresses_of_ready_endpoints(cluster):
    ready = "{addresses: [10.244.1.5], hostname: one}"
    unready = "{addresses: [10.244.1.6], conditions: {ready: false}}"
    found = cluster(endpoints=f"[{ready}, {unready}]")
    found.services[0].spec.cluster_ip = "None"
    name = "web.ns.svc.cluster.local."
    assert [item.data for item in query(found, name, "A").records] == ["10.244.1.5"]
    assert [item.data for item in query(found, f"one.{name}", "A").records] == ["10.244.1.5"]
