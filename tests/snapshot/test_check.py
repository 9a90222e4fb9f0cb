"""The doctor."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netemu.snapshot.check import Report, check_tree
from netemu.snapshot.source import open_tree

LO = {"ifindex": 1, "ifname": "lo", "flags": ["LOOPBACK", "UP"], "link_type": "loopback"}
ETH0 = {"ifindex": 2, "ifname": "eth0"}

Put = Callable[..., str]


def check(path: str, backend: str | None = None) -> Report:
    return check_tree(open_tree(path), backend=backend)


def test_the_recorded_node_is_whole(scene: str) -> None:
    report = check(scene)
    assert (
        report.exit_code,
        report.unreadable,
        report.lacks,
        report.contradictions,
    ) == (0, [], [], [])
    content = {(row.namespace, row.item): row.content for row in report.rows}
    assert content["", "link"] == "7 devices"
    assert content["", "legacy4"] == "no tables"
    assert content["sk_t_pod", "link"] == "2 devices"
    assert "ports, where frames enter and leave: down0, down1" not in report.notes


def test_what_lacks_is_a_finding(put: Put) -> None:
    report = check(put({"ip_-j_-d_link_show": [LO]}))
    assert report.exit_code == 1
    assert any(text.startswith("no ip_-j_addr_show: the node has no addr") for text in report.lacks)


def test_each_unreadable_file_is_named(put: Put) -> None:
    files = {
        "ip_-j_-d_link_show": [LO],
        "ip_-j_addr_show": "[{",
        "ip_-j_neigh_show": [{"dst": 5}],
    }
    report = check(put(files))
    assert report.exit_code == 3
    assert [
        ":".join([text.split(":")[0].rpartition("-j_")[2], *text.split(":")[1:3]])
        for text in report.unreadable
    ] == ["addr_show:1:3", "neigh_show:1:10"]
    assert {"unreadable", "1 devices"} <= {row.content for row in report.rows}


@pytest.mark.parametrize(
    "files, message",
    [
        (
            {"ip_-j_-d_link_show": [LO, {**ETH0, "master": "br0"}]},
            "eth0 is a port of br0, which is no device of the node",
        ),
        (
            {"ip_-j_-d_link_show": [LO, {**ETH0, "ifindex": 1}]},
            "ifindex 1 is that of several devices",
        ),
        (
            {
                "ip_-j_-d_link_show": [LO],
                "ip_-j_route_show_table_all": [{"dst": "default", "dev": "eth9"}],
            },
            "a route stands on eth9, which is no device of the node",
        ),
        (
            {
                "ip_-j_-d_link_show": [LO, ETH0],
                "ip_-j_route_show_table_all": [
                    {"dst": "default", "dev": "eth0", "gateway": "10.0.0.1"}
                ],
            },
            "the gateway 10.0.0.1 of 0.0.0.0/0 is in no subnet",
        ),
        (
            {
                "ip_-j_-d_link_show": [LO],
                "ip_-j_neigh_show": [{"dst": "10.0.0.1", "dev": "x", "state": ["STALE"]}],
            },
            "a neighbour stands on x, which is no device of the node",
        ),
    ],
)
def test_contradictions(put: Put, files: dict[str, object], message: str) -> None:
    report = check(put(files))
    assert message in report.contradictions
    assert report.exit_code == 1


def test_both_backends_cannot_be_read_without_a_decision(put: Put) -> None:
    rule = "*filter\n-A INPUT -j DROP\nCOMMIT\n"
    path = put(
        {
            "ip_-j_-d_link_show": [LO],
            "iptables-legacy-save_-c": rule,
            "iptables-nft-save_-c": rule,
        }
    )
    assert any("both iptables-legacy and iptables-nft" in text for text in check(path).unreadable)
    decided = check(path, "nft")
    assert decided.unreadable == []
    assert "the rules of iptables-legacy are not evaluated (--backend nft)" in decided.notes


def test_devices_that_only_rules_know(put: Put) -> None:
    rule = "*filter\n-A INPUT -i wg0 -j DROP\n-A INPUT -i l+ -j DROP\nCOMMIT\n"
    report = check(put({"ip_-j_-d_link_show": [LO], "iptables-save_-c": rule}))
    assert "rules name devices that do not exist: wg0" in report.notes


def test_nothing_at_all(tmp_path: object) -> None:
    report = check(str(tmp_path))
    assert report.exit_code == 3
    assert any("holds no file of a snapshot" in text for text in report.unreadable)


def test_virtual_servers_are_counted_and_a_broken_line_is_named(put: Put) -> None:
    good = "-A -t 10.96.0.1:80 -s rr\n-a -t 10.96.0.1:80 -r 10.0.0.2:80 -m -w 1\n"
    rows = check(put({"ip_-j_-d_link_show": [LO], "ipvsadm_-Sn": good})).rows
    assert "1 virtual servers, 1 real ones" in [row.content for row in rows]
    broken = check(put({"ip_-j_-d_link_show": [LO], "ipvsadm_-Sn": good + "-a -q\n"}))
    assert any("ipvsadm_-Sn:3:4: unknown option" in text for text in broken.unreadable)
