"""NODE in all its forms, and what is said of what lacks."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from netemu.errors import SnapshotError, UsageError
from netemu.sim.spec import NamespaceSpec, NexthopSpec
from netemu.snapshot.names import peer_of
from netemu.snapshot.read import read_node
from netemu.wire.address import parse_address, parse_mac

LO = [{"ifindex": 1, "ifname": "lo", "flags": ["LOOPBACK", "UP"], "link_type": "loopback"}]
RULES = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i eth1 -j ACCEPT\nCOMMIT\n"

Put = Callable[..., str]


def test_the_recorded_node(scene: str) -> None:
    spec = read_node(scene)
    links = {link.name: link for link in spec.main.links}
    assert tuple(links[name].ifindex for name in ("lo", "br0", "pod1")) == (1, 2, 3)
    assert tuple(links[name].kind for name in ("lo", "br0", "pod1")) == (
        "loopback",
        "bridge",
        "veth",
    )
    assert links["br0"].bridge["ageing_time"] == 12000
    assert (links["pod1"].port["hairpin"], links["pod1"].port["state"]) == (1, 3)
    assert peer_of(spec.namespaces(), spec.main, links["pod1"]) == "sk_t_pod/eth0"
    assert peer_of(spec.namespaces(), spec.others[0], spec.others[0].links[1]) == "pod1"
    assert peer_of(spec.namespaces(), spec.main, links["up0"]) == "up0.5"
    assert spec.main.sysctls["net.ipv4.ip_forward"] == "1"
    assert spec.main.sysctls["net.ipv4.conf.up0/5.rp_filter"] == "2"
    assert spec.main.sockets == []
    assert spec.notes == []
    assert scene == spec.source


def test_the_recorded_routes(scene: str) -> None:
    routes = {
        (route.table, route.prefix, route.prefix_len): route
        for route in read_node(scene).main.routes
        if route.kind == "unicast"
    }
    default = routes[254, bytes(4), 0]
    assert (default.metric, default.mtu) == (20, 1400)
    assert default.nexthops == (NexthopSpec(device="up0", gateway=parse_address("203.0.113.14")),)
    multipath = routes[254, parse_address("10.77.0.0"), 16]
    assert [(way.weight, way.onlink) for way in multipath.nexthops] == [(2, False), (1, True)]
    foreign = routes[100, parse_address("192.0.2.0"), 24]
    assert (0x10, parse_address("10.1.0.9")) == (foreign.tos, foreign.source)
    over_ipv6 = routes[254, parse_address("10.55.0.0"), 16]
    assert parse_address("fe80::9") == over_ipv6.nexthops[0].gateway


def test_the_recorded_rules(scene: str) -> None:
    rules = {rule.priority: rule for rule in read_node(scene).main.policy_rules or []}
    assert rules[900].suppress_prefix_len == 0
    assert (rules[1000].fwmark, rules[1000].fwmask, rules[1000].table) == (0x10, 0xF0, 100)
    marked = rules[1001]
    assert (
        marked.action,
        marked.protocol,
        marked.destination_ports,
        marked.iif,
    ) == ("prohibit", 6, (80, 90), "br0")
    assert (rules[1002].invert, rules[1002].action, rules[1002].goto) == (True, "goto", 32766)
    assert (
        rules[1003].action,
        rules[1003].protocol,
        rules[1003].source_ports,
        rules[1003].tos,
    ) == ("unreachable", 17, (53, 53), 0x10)


def test_the_recorded_neighbours_and_fdb(scene: str) -> None:
    main = read_node(scene).main
    assert {
        ("10.1.0.3", "02:00:00:00:00:33", "PERMANENT"),
        ("10.1.0.8", "02:00:00:00:00:38", "STALE"),
    } == {
        (".".join(map(str, entry.address)), entry.mac.hex(":"), entry.state)
        for entry in main.neighbours
        if entry.mac
    }
    entries = {entry.mac: entry for entry in main.fdb}
    assert (
        entries[parse_mac("02:00:00:00:00:44")].bridge,
        entries[parse_mac("02:00:00:00:00:44")].device,
        entries[parse_mac("02:00:00:00:00:44")].state,
    ) == ("br0", "pod1", "static")


def comparable(space: NamespaceSpec) -> NamespaceSpec:
    """Return what both forms of the tools' output can say."""
    links = [
        replace(
            link,
            peer_netnsid=None if link.peer_netnsid is None else 0,
            bridge={k: v for k, v in link.bridge.items() if k in {"ageing_time", "stp_state"}},
            port={k: v for k, v in link.port.items() if k in {"state", "hairpin", "isolated"}},
        )
        for link in space.links
    ]
    return NamespaceSpec(
        links=links,
        addresses=space.addresses,
        routes=space.routes,
        policy_rules=space.policy_rules,
        neighbours=sorted(space.neighbours, key=lambda entry: entry.address),
        fdb=sorted(space.fdb, key=lambda entry: (entry.mac, entry.vlan)),
    )


@pytest.mark.parametrize(
    "field", ["links", "addresses", "routes", "policy_rules", "neighbours", "fdb"]
)
def test_text_forms_say_the_same(scene: str, scene_text: str, field: str) -> None:
    json, text = (comparable(read_node(path).main) for path in (scene, scene_text))
    assert getattr(json, field) == getattr(text, field)


def test_text_forms_note_what_a_sosreport_lacks(scene_text: str) -> None:
    notes = "\n".join(read_node(scene_text).notes)
    assert "no iptables-save_-c: no IPv4 rule is evaluated" in notes
    assert "no sysctl_-a: every kernel parameter has its default" in notes
    assert "ip_-j" not in notes


def test_an_archive_reads_as_its_directory(scene: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "node.tar.xz", "w:xz") as archive:
        archive.add(scene, "node.snap")
    packed = read_node(str(tmp_path / "node.tar.xz"))
    assert read_node(scene).main.links == packed.main.links
    assert [space.name for space in packed.others] == ["sk_t_pod"]


def test_what_lacks_is_said_once_with_the_namespaces(put: Put) -> None:
    path = put(
        {
            "ip_-j_-d_link_show": LO,
            "ip_-j_neigh_show": [],
            "netns/a/ip_-j_-d_link_show": LO,
            "netns/b/ip_-j_-d_link_show": LO,
            "netns/b/ip_-j_neigh_show": [],
            "netns/c/ip_-j_neigh_show": [],
        }
    )
    notes = read_node(path).notes
    assert (
        "no ip_-j_neigh_show in netns/a: every neighbour has to be resolved by ARP first" in notes
    )
    listen = "nothing listens: local ports answer RST or port unreachable"
    assert f"no ss_-Htuln: {listen}" in notes
    assert "netns/c has neither links nor addresses: it is left out" in notes
    assert len(notes) == len(set(notes))


def test_addresses_alone_make_devices(put: Put) -> None:
    address = {"family": "inet", "local": "10.0.0.1", "prefixlen": 24, "scope": "global"}
    records = [{**LO[0], "addr_info": []}, {"ifindex": 2, "ifname": "e", "addr_info": [address]}]
    spec = read_node(put({"ip_-j_addr_show": records}))
    assert [link.name for link in spec.main.links] == ["lo", "e"]
    assert any("no ip_-j_-d_link_show: kinds of devices are unknown" in n for n in spec.notes)


def test_rules_alone_make_a_bare_node(put: Put) -> None:
    path = put({"iptables-save_-c": RULES, "sysctl_-a": "net.ipv4.ip_forward = 0\n"})
    spec = read_node(path, addresses=["eth1=10.0.0.1/24"])
    assert [link.name for link in spec.main.links] == ["lo", "eth0", "eth1"]
    assert spec.main.sysctls == {"net.ipv4.ip_forward": "0"}
    assert spec.notes[0].startswith("rules only: assumed are devices lo, eth0, eth1")


def test_changes_of_a_snapshot(scene: str) -> None:
    spec = read_node(
        scene,
        addresses=["pod1=10.9.0.1/24"],
        routes=["10.10.0.0/16,via=10.9.0.5", "default,dev=br0"],
        sysctls=["net/ipv4/ip_forward=0"],
    )
    assert spec.main.sysctls["net.ipv4.ip_forward"] == "0"
    assert parse_address("10.9.0.1") in {address.address for address in spec.main.addresses}
    by_prefix = {
        (route.prefix, route.kind): route for route in spec.main.routes if len(route.prefix) == 4
    }
    assert by_prefix[parse_address("10.10.0.0"), "unicast"].nexthops[0].device == "pod1"
    assert by_prefix[bytes(4), "unicast"].nexthops[0].device == "br0"
    assert by_prefix[parse_address("10.9.0.255"), "broadcast"].table == 255
    assert "addresses, routes or parameters were changed on the command line" in spec.notes


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(RULES))
    spec = read_node("-")
    assert spec.main.rules4 is not None
    assert (spec.main.rules4.name, spec.main.rules4.text) == ("<stdin>", RULES)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"apiVersion: v1\nkind: Service\n", "it looks like Kubernetes objects"),
        (b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00", "it looks like a capture"),
        (b"hello\n", "is not recognised; a snapshot"),
        (b"\x1f\x8b\x08\x00broken", "cannot be read as an archive"),
    ],
)
def test_what_is_no_node(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "input"
    path.write_bytes(content)
    with pytest.raises(SnapshotError, match=message) as caught:
        read_node(str(path))
    assert caught.value.exit_code == 3
    assert str(caught.value).startswith(f"{path}: ")


def test_kind_can_be_overridden(tmp_path: Path, put: Put) -> None:
    (tmp_path / "odd").write_text("hello\n")
    assert read_node(str(tmp_path / "odd"), as_kind="rules").main.rules4 is not None
    with pytest.raises(SnapshotError, match="is a text file; a snapshot is a directory"):
        read_node(str(tmp_path / "odd"), as_kind="snapshot")


@pytest.mark.parametrize("path", ["/nonexistent", "/nonexistent/node.tar.gz"])
def test_a_missing_path(path: str) -> None:
    with pytest.raises(SnapshotError, match=r"cannot be read .No such file"):
        read_node(path)


def test_an_empty_directory_is_no_node(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match=r"one of ip_-j_-d_link_show, ip_-j_addr_show"):
        read_node(str(tmp_path))


def test_wrong_options() -> None:
    with pytest.raises(UsageError, match="legacy or nft would be right"):
        read_node("x", backend="nftables")
    with pytest.raises(UsageError, match="one of snapshot, sosreport, rules, lab"):
        read_node("x", as_kind="cluster")


def test_an_empty_list_of_connections_is_none(put: Put) -> None:
    """`conntrack -L` prints nothing, too, where conntrack is not at work at all."""
    spec = read_node(put({"ip_-j_-d_link_show": LO, "conntrack_-L_-o_extended": "\n"}))
    assert spec.main.conntrack is None
    assert not any("conntrack" in note for note in spec.notes)


def test_names_of_foreign_tables(put: Put) -> None:
    """A table that the node's own rt_tables names: routes and rules mean the same one."""
    files = {
        "ip_-j_-d_link_show": [*LO, {"ifindex": 2, "ifname": "eth0"}],
        "ip_-j_route_show_table_all": [{"dst": "default", "dev": "eth0", "table": "isp2"}],
        "ip_-j_rule_show": [{"priority": 7, "src": "all", "table": "isp2"}],
    }
    main = read_node(put(files)).main
    assert main.policy_rules is not None
    assert main.routes[0].table == main.policy_rules[0].table >= 256


def test_unfollowed_parts_are_noted(put: Put) -> None:
    files = {
        "ip_-j_-d_link_show": LO,
        "ip_-j_route_show_table_all": [{"dst": "10.0.0.0/8", "dev": "t", "encap": "ip"}],
        "ip_-j_rule_show": [{"priority": 898, "src": "all", "uid_start": 0, "uid_end": 10}],
    }
    notes = read_node(put(files)).notes
    assert "a route through t with encapsulation is left out" in notes
    assert any("policy rule 898 looks at a user id" in note for note in notes)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ebtables-save", "*filter\n:FORWARD ACCEPT\n-A FORWARD -p ARP -j DROP\n", True),
        ("ebtables-legacy-save", "*filter\n:FORWARD DROP\n", True),
        (
            "ebtables_-L",
            "Bridge chain: FORWARD, entries: 1, policy: ACCEPT\n-p ARP -j DROP\n",
            True,
        ),
        ("ebtables-save", "*filter\n:FORWARD ACCEPT\n", False),
        ("ebtables_-L", "Bridge chain: FORWARD, entries: 0, policy: ACCEPT\n", False),
        ("arptables-save", "*filter\n:INPUT ACCEPT\n-A INPUT -s 10.0.0.1 -j DROP\n", True),
    ],
)
def test_rules_of_the_link_layer_are_reported(put: Put, name: str, text: str, said: bool) -> None:
    """They are not evaluated, which the notes say."""
    node = put({"ip_-j_-d_link_show": LO, name: text})
    assert any("not evaluated" in note for note in read_node(node).notes) is said


def test_proxy_entries_are_read(put: Put) -> None:
    """From both forms; recorded from iproute2 6.1."""
    rows = [{"dst": "10.0.0.9", "dev": "eth0", "proxy": None}, {"dst": "fd00::9", "dev": "eth0"}]
    text = "10.0.0.9 dev eth0 proxy \nfd00::9 dev eth0 proxy\n"
    for name, content in (("ip_-j_neigh_show_proxy", rows), ("ip_neigh_show_proxy", text)):
        node = put({"ip_-j_-d_link_show": LO, name: content}, name)
        found = [(entry.address, entry.device) for entry in read_node(node).main.proxies]
        assert found == [(parse_address("10.0.0.9"), "eth0")]
