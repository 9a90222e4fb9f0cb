"""What kube-proxy's IPVS mode programs (kube-proxy 1.30)."""

from __future__ import annotations

from netemu.kube.proxy.render import render


def state(cluster, **options):
    found = render(cluster, "node-a", "ipvs", **options).ipvs
    assert found is not None
    return found


def test_cluster_ip(cluster):
    found = state(cluster("sessionAffinity: ClientIP"))
    assert found.addresses_text() == "10.96.0.20/32\n"
    assert "add KUBE-CLUSTER-IP 10.96.0.20,tcp:80\n" in found.ipset_text()
    assert found.ipvsadm_text() == (
        "-A -t 10.96.0.20:80 -s rr -p 10800\n-a -t 10.96.0.20:80 -r 10.244.1.5:8080 -m -w 1\n"
    )


def test_node_ports_have_servers_but_no_address(cluster):
    found = state(cluster(node_port=30080))
    assert found.addresses == ["10.96.0.20"]
    assert "-A -t 192.168.0.11:30080 -s rr\n" in found.ipvsadm_text()
    assert "add KUBE-NODE-PORT-TCP 30080\n" in found.ipset_text()
    assert "127.0.0.1" not in found.ipvsadm_text()


def test_local_endpoints_may_meet_themselves(cluster):
    found = state(cluster(endpoints="[{addresses: [10.244.1.5], nodeName: node-a}]"))
    assert "add KUBE-LOOP-BACK 10.244.1.5,tcp:8080,10.244.1.5\n" in found.ipset_text()
    assert "--match-set KUBE-LOOP-BACK dst,dst,src -j MASQUERADE" in found.rules


def test_empty_sets_have_no_rules(cluster):
    assert "KUBE-LOAD-BALANCER dst,dst -j KUBE-LOAD-BALANCER" not in state(cluster()).rules


def test_set_names_of_ipv6_are_cut(cluster):
    text = state(cluster(), octets=16).ipset_text()
    assert "create KUBE-6-LOAD-BALANCER-SOURCE-CID hash:ip,port,net family inet6" in text


def test_mh_takes_the_port_into_account(cluster):
    found = state(cluster(config="ipvs: {scheduler: mh}"))
    assert found.ipvsadm_text().startswith("-A -t 10.96.0.20:80 -s mh -b mh-port\n")


def test_an_unready_local_endpoint_may_meet_itself_all_the_same(cluster):
    """The set holds every local endpoint, also one that takes no connections now."""
    unready = "[{addresses: [10.244.1.5], nodeName: node-a, conditions: {ready: false}}]"
    found = state(cluster(endpoints=unready))
    assert found.sets["KUBE-LOOP-BACK"] == ["10.244.1.5,tcp:8080,10.244.1.5"]
    assert found.servers[0].real_servers == []


def test_without_a_node_address_node_ports_and_health_checks_are_left_out(cluster):
    given = cluster(
        "type: LoadBalancer",
        "externalTrafficPolicy: Local",
        "healthCheckNodePort: 32000",
        config="nodePortAddresses: [203.0.113.0/24]",
        node_port=30080,
    )
    found = state(given)
    assert found.sets["KUBE-NODE-PORT-TCP"] == found.sets["KUBE-HEALTH-CHECK-NODE-PORT"] == []


def test_a_cluster_ip_is_bound_even_where_another_device_has_it(cluster):
    """External addresses are not."""
    config = "x-local-ips: [192.168.0.11, 10.96.0.20, 198.51.100.7]"
    found = state(cluster("externalIPs: [198.51.100.7]", config=config))
    assert found.addresses == found.sets["KUBE-IPVS-IPS"] == ["10.96.0.20"]
