"""A node's saved state against its objects: what is planted is found, in every mode."""

from __future__ import annotations

import msgspec
import pytest

from netemu.kube.check.compare import Checked, check_node
from netemu.kube.cluster import Cluster
from netemu.kube.objects import EndpointSlice, Service
from netemu.kube.proxy.render import render
from netemu.ruleset import parse_ruleset
from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec, TextFile
from netemu.wire.address import parse_address
from tests.lint.kube_scene import NODE, clean, cluster, planted, rendered

WEB = "KUBE-SVC-CDGGSHYLG3RE2FKL"
WEB_1, WEB_2 = "KUBE-SEP-AFGSLHOD2HFNCBX4", "KUBE-SEP-OAIGUPJHOE4YU7HS"
OUT_EXT = "KUBE-EXT-QB46YULHEBLQKAPY"
LOCAL_EXT, LOCAL = "KUBE-EXT-V7ZMVOA2AOW6ATRL", "KUBE-SVC-V7ZMVOA2AOW6ATRL"
STICKY = "KUBE-SVC-ZRW2IZUANS4E5N2L"


def checked(text: str, objects: Cluster | None = None, **how: object) -> Checked:
    objects = objects or cluster()
    how = {"node_name": NODE, "is_snapshot": False, **how}
    return check_node(parse_ruleset(text), NamespaceSpec(), objects, **how)  # type: ignore[arg-type]


def codes(found: Checked) -> set[str]:
    return {fault.code for fault in found.faults}


def without_configuration(objects: Cluster) -> Cluster:
    kept = {
        key: item for key, item in objects.objects.items() if key[0] != "KubeProxyConfiguration"
    }
    return Cluster(objects=kept)


def with_service(name: str, **spec: object) -> Cluster:
    """Return the scene with one Service changed."""
    objects = cluster()
    service = objects.objects["Service", f"default/{name}"]
    assert isinstance(service, Service)
    changed = msgspec.structs.replace(service.spec, **spec)
    objects.add([msgspec.structs.replace(service, spec=changed)])
    return objects


def without_endpoint(ip: str) -> Cluster:
    """Return the scene with one pod not ready."""
    objects = cluster()
    for item in objects.all(EndpointSlice):
        for endpoint in item.endpoints or ():
            if endpoint.addresses == [ip]:
                endpoint.conditions.ready = False
                endpoint.conditions.serving = False
    return objects


@pytest.mark.parametrize("version", ["1.20", "1.25", "1.26", "1.30", "1.33"])
@pytest.mark.parametrize("configured", [True, False])
def test_what_kube_proxy_writes_is_as_the_objects_say(version: str, configured: bool) -> None:
    """Version and configuration are read off the rules where nobody tells them."""
    objects = cluster() if configured else without_configuration(cluster())
    found = checked(clean("iptables", version), objects)
    assert [fault.message for fault in found.faults] == []
    assert bool(found.notes) is not configured


PLANTED = [
    # (codes, what is replaced, by what)
    ("NE321", f"--probability 0.33333333349 -j {WEB_1}", ""),
    ("NE325", f'-A {WEB_1} -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT'
     " --to-destination 10.244.1.5:8080",
     f'-A {WEB_1} -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT'
     " --to-destination 10.9.9.9:8080"),
    ("NE326", f"-A {OUT_EXT} -m comment", ""),
    ("NE326", f"-A {WEB} ! -s 10.244.0.0/16", f"-A {WEB} ! -s 10.0.0.0/8"),
    ("NE326", f"-A {WEB} ! -s", ""),
    ("NE327", "--seconds 10800 --reap --name KUBE-SEP-2EAYR5UZ275HVR4P",
     "--seconds 300 --reap --name KUBE-SEP-2EAYR5UZ275HVR4P"),
    ("NE327", "--rsource -j KUBE-SEP-2EAYR5UZ275HVR4P", ""),
    ("NE328", "--dport 30080", ""),
    ("NE328", 'loadbalancer IP" -m tcp --dport 80 -j KUBE-FW', ""),
    ("NE328", 'default/web:http cluster IP" -m tcp --dport 80 -j KUBE-SVC', ""),
    ("NE324", f"--dport 80 -j {WEB}", f"--dport 80 -j {STICKY}"),
    ("NE330", f"--dport 80 -j {LOCAL}", "--dport 80 -j KUBE-SVL-V7ZMVOA2AOW6ATRL"),
    ("NE330", f"-A {LOCAL_EXT} -j KUBE-SVL-V7ZMVOA2AOW6ATRL", f"-A {LOCAL_EXT} -j {LOCAL}"),
    ("NE332", "traffic not accepted by", ""),
    ("NE332", "-s 203.0.113.0/24", "-s 203.0.0.0/8"),
    ("NE332", "--dport 80 -j KUBE-FW-QB46YULHEBLQKAPY", f"--dport 80 -j {OUT_EXT}"),
    ("NE333", "default/nobody has no endpoints", "default/gone has no endpoints"),
    ("NE334", '-A OUTPUT -m comment --comment "kubernetes service portals"', ""),
    ("NE334", "-A KUBE-MARK-MASQ -j MARK", ""),
    ("NE334", "addrtype --dst-type LOCAL -j KUBE-NODEPORTS", ""),
    ("NE335", "-A INPUT -j KUBE-FIREWALL", ""),
]  # fmt: skip


@pytest.mark.parametrize(("code", "old", "new"), PLANTED)
def test_a_planted_difference_is_found(code: str, old: str, new: str) -> None:
    if code == "NE333":
        text = planted(clean(), old, "")
        # Its refusal was all that there was of this Service.
        assert codes(checked(text)) == {"NE322"}
        return
    assert codes(checked(planted(clean(), old, new))) == {code}


def test_a_pod_that_is_not_ready_is_stale() -> None:
    objects = without_endpoint("10.244.2.5")
    found = checked(clean(), objects)
    assert codes(found) == {"NE320"}
    assert any(
        fault.message == "default/web:http sends to 10.244.2.5:8080 (pod default/web-2),"
        " which is not ready"
        for fault in found.faults
    )


def test_a_service_that_is_gone_and_one_that_is_new() -> None:
    objects = cluster()
    service = objects.objects.pop(("Service", "default/web"))
    assert isinstance(service, Service)
    assert codes(checked(clean(), objects)) == {"NE323"}
    other = render(objects, NODE, "iptables").complete()
    found = checked(other)
    assert [fault.message for fault in found.faults] == [
        "nothing is there for default/web:http (ClusterIP 10.96.0.20:80/tcp)"
    ]


def test_a_policy_that_changed() -> None:
    """The chains of Local are there, the Service wants Cluster now."""
    found = checked(clean(), with_service("web-local", external_traffic_policy="Cluster"))
    assert [fault.code for fault in found.faults] == ["NE330"]


def test_a_service_that_got_its_first_endpoints() -> None:
    objects = with_service("nobody", selector={"app": "web"})
    text = clean()
    found = checked(text, render_endpoints(objects))
    assert codes(found) == {"NE333"}
    assert "is refused at 10.96.0.24:80/tcp, but has endpoints" in found.faults[0].message


def render_endpoints(objects: Cluster) -> Cluster:
    """Let the controller make the slices anew."""
    from netemu.snapshot.objects import complete_endpoints

    kept = {key: item for key, item in objects.objects.items() if key[0] != "EndpointSlice"}
    found = Cluster(objects=kept)
    complete_endpoints(found)
    return found


def test_a_node_without_any_rules() -> None:
    found = checked("*filter\nCOMMIT\n")
    assert [fault.code for fault in found.faults] == ["NE334"]


def test_another_mode_than_the_configured_one() -> None:
    found = checked(clean("ipvs"))
    assert "NE331" in codes(found)
    assert "kube-proxy is to run in iptables mode" in found.faults[0].message


def test_foreign_rules_are_let_be() -> None:
    """Rules of others, in base chains and chains of their own, are no differences."""
    text = clean().replace("-A FORWARD", "-A FORWARD -s 10.0.0.0/8 -j ACCEPT\n-A FORWARD", 1)
    text = text.replace("*nat\n", "*nat\n:DOCKER - [0:0]\n", 1)
    text = text.replace("-A PREROUTING", "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
                        "-A PREROUTING", 1)  # fmt: skip
    assert checked(text).faults == []


def test_the_order_of_services_does_not_count() -> None:
    """kube-proxy goes through Services in random order."""
    lines = clean().splitlines()
    at = [number for number, line in enumerate(lines) if line.startswith("-A KUBE-SERVICES -d")]
    first, last = at[0], at[5]
    lines[first], lines[last] = lines[last], lines[first]
    assert checked("\n".join([*lines, ""])).faults == []


# --- IPVS mode ------------------------------------------------------------------------------------


def ipvs(
    *, servers: str = "", sets: str = "", missing_address: str = "", snapshot: bool = True
) -> Checked:
    """Compare a node in IPVS mode, with some of its texts changed."""
    state = rendered("ipvs").ipvs
    assert state is not None
    addresses = [("eth0", "192.168.0.11"), *(("kube-ipvs0", ip) for ip in state.addresses)]
    space = NamespaceSpec(
        links=[LinkSpec(name="kube-ipvs0", ifindex=9, kind="dummy")],
        addresses=[
            AddressSpec(device=device, address=parse_address(ip), prefix_len=32)
            for device, ip in addresses
            if ip != missing_address
        ],
        ipvs=TextFile(name="ipvsadm_-Sn", text=servers or state.ipvsadm_text()),
        ipset=TextFile(name="ipset_save", text=sets or state.ipset_text()),
    )
    return check_node(
        parse_ruleset(clean("ipvs")),
        space,
        cluster(),
        node_name=NODE,
        mode="ipvs",
        is_snapshot=snapshot,
    )


def servers(old: str = "", new: str = "") -> str:
    state = rendered("ipvs").ipvs
    assert state is not None
    text = state.ipvsadm_text()
    return planted(text, old, new) if old else text


def sets(old: str, new: str) -> str:
    state = rendered("ipvs").ipvs
    assert state is not None
    return planted(state.ipset_text(), old, new)


def test_a_clean_ipvs_node() -> None:
    assert ipvs().faults == []


CLUSTER_IP = "-t 10.96.0.20:80"


@pytest.mark.parametrize(
    ("code", "old", "new"),
    [
        ("NE320", f"-a {CLUSTER_IP} -r 10.244.1.5:8080 -m -w 1",
         f"-a {CLUSTER_IP} -r 10.244.1.5:8080 -m -w 1\n-a {CLUSTER_IP} -r 10.244.1.7:8080 -m -w 1"),
        ("NE321", f"-a {CLUSTER_IP} -r 10.244.1.5:8080", ""),
        ("NE336", f"-a {CLUSTER_IP} -r 10.244.1.5:8080 -m -w 1",
         f"-a {CLUSTER_IP} -r 10.244.1.5:8080 -m -w 0"),
        ("NE336", f"-a {CLUSTER_IP} -r 10.244.1.5:8080 -m -w 1",
         f"-a {CLUSTER_IP} -r 10.244.1.5:8080 -g -w 1"),
        ("NE336", f"-A {CLUSTER_IP} -s rr", f"-A {CLUSTER_IP} -s wlc"),
        ("NE327", "-A -t 10.96.0.23:80 -s rr -p 10800", "-A -t 10.96.0.23:80 -s rr -p 60"),
        ("NE327", f"-A {CLUSTER_IP} -s rr", f"-A {CLUSTER_IP} -s rr -p 60"),
        ("NE323", f"-A {CLUSTER_IP} -s rr", f"-A -t 10.96.0.99:80 -s rr\n-A {CLUSTER_IP} -s rr"),
    ],
)  # fmt: skip
def test_a_planted_virtual_server_is_found(code: str, old: str, new: str) -> None:
    assert codes(ipvs(servers=servers(old, new))) == {code}


def test_a_real_server_that_is_drained_is_none() -> None:
    """kube-proxy keeps one at weight 0 until its connections end."""
    server = f"-a {CLUSTER_IP} -r 10.244.1.5:8080 -m -w 1"
    text = servers(server, f"{server}\n-a {CLUSTER_IP} -r 10.244.1.7:8080 -m -w 0")
    assert ipvs(servers=text).faults == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("add KUBE-CLUSTER-IP 10.96.0.20,tcp:80", ""),
        ("add KUBE-NODE-PORT-TCP 30080", "add KUBE-NODE-PORT-TCP 30099"),
        ("add KUBE-LOOP-BACK 10.244.1.5,tcp:8080,10.244.1.5", ""),
        ("add KUBE-LOAD-BALANCER-SOURCE-CIDR", ""),
    ],
)
def test_a_planted_set_entry_is_found(old: str, new: str) -> None:
    assert codes(ipvs(sets=sets(old, new))) == {"NE337"}


def test_an_address_that_the_device_lacks() -> None:
    found = ipvs(missing_address="10.96.0.20")
    assert [fault.message for fault in found.faults] == [
        "kube-ipvs0 lacks 10.96.0.20, the address of default/web:http"
    ]


def test_node_ports_at_addresses_that_nobody_tells() -> None:
    """Without the devices' addresses, a NodePort's virtual server elsewhere may be right."""
    extra = "-A -t 172.17.0.1:30080 -s rr"
    text = servers(f"-A {CLUSTER_IP} -s rr", f"{extra}\n-A {CLUSTER_IP} -s rr")
    assert ipvs(servers=text, snapshot=False).faults == []
    assert codes(ipvs(servers=text)) == {"NE329"}


# --- userspace mode -------------------------------------------------------------------------------


def test_userspace_portals() -> None:
    text = clean("userspace")
    line = "-A KUBE-PORTALS-CONTAINER -d 10.96.0.20/32"
    assert codes(checked(text, mode="userspace")) == set()
    assert codes(checked(planted(text, line, ""), mode="userspace")) == {"NE328"}
    objects = cluster()
    del objects.objects["Service", "default/web"]
    assert codes(checked(text, objects, mode="userspace")) == {"NE323"}
