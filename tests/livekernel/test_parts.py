"""The pure parts of the judge: commands, log lines, texts, choices."""

from __future__ import annotations

import pytest

from netemu.livekernel import batch, kmsg
from netemu.livekernel.case import Case, InputFrame, find_wires, port_keys
from netemu.livekernel.conntrack_load import insert_commands
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.record import without_line
from netemu.livekernel.generate.rules import random_rules
from netemu.livekernel.generate.world import random_world
from netemu.livekernel.minimise import minimise, reduce_list
from netemu.livekernel.ruletext import canonical_rules
from netemu.sim.spec import (
    LinkSpec,
    NamespaceSpec,
    NexthopSpec,
    NodeSpec,
    PolicyRuleSpec,
    RouteSpec,
    TextFile,
)
from netemu.wire.address import parse_address


def veth(name: str, index: int, peer: int = 0, netnsid: int | None = None) -> LinkSpec:
    return LinkSpec(name=name, ifindex=index, kind="veth", peer_ifindex=peer, peer_netnsid=netnsid)


def test_a_pair_inside_the_node_is_a_wire_and_the_rest_are_ports() -> None:
    main = NamespaceSpec(links=[veth("v1", 4, 2, 0), veth("v2", 5, 9, 7)], netns_ids={0: "pod"})
    pod = NamespaceSpec(name="pod", links=[veth("eth0", 2, 4, 0)], netns_ids={0: ""})
    node = NodeSpec(main=main, others=[pod])
    assert [(wire.one[1].name, wire.other[1].name) for wire in find_wires(node)] == [("v1", "eth0")]
    assert port_keys(node) == ["v2"]


ROUTES = [
    (
        RouteSpec(
            prefix=bytes(4),
            prefix_len=0,
            nexthops=(NexthopSpec(device="e", gateway=parse_address("10.0.0.9")),),
            metric=5,
        ),
        "route append 0.0.0.0/0 table 254 metric 5 via 10.0.0.9 dev e",
    ),
    (
        RouteSpec(prefix=parse_address("10.0.0.0"), prefix_len=8, kind="blackhole", table=100),
        "route append blackhole 10.0.0.0/8 table 100",
    ),
    (
        RouteSpec(
            prefix=parse_address("10.0.0.0"),
            prefix_len=8,
            nexthops=(NexthopSpec(device="a"), NexthopSpec(device="b", weight=3)),
        ),
        "route append 10.0.0.0/8 table 254 nexthop dev a weight 1 nexthop dev b weight 3",
    ),
]


@pytest.mark.parametrize("route,line", ROUTES)
def test_routes_as_ip_takes_them(route: RouteSpec, line: str) -> None:
    assert batch.route_line(route, "append") == line


def test_policy_rules_replace_the_kernels_own() -> None:
    rules = [
        PolicyRuleSpec(priority=0, table=255),
        PolicyRuleSpec(priority=10, fwmark=1, fwmask=0xFF, action="prohibit"),
        PolicyRuleSpec(priority=32766, table=254),
    ]
    assert batch.rule_lines(NamespaceSpec(policy_rules=rules)) == [
        "rule del priority 32767",
        "rule add priority 10 fwmark 0x1/0xff prohibit",
    ]
    assert batch.rule_lines(NamespaceSpec()) == []


def test_log_lines_of_other_devices_are_left_out() -> None:
    lines = [
        "TRACE: raw:PREROUTING:policy:2 IN=eth0 OUT= MAC=1 ",
        "xIN=eth9 OUT=eth0 SRC=1",
        "IPv4: martian source 1.1.1.1 from 2.2.2.2, on dev eth9",
        "ll header: 00000000: ff",
        "IPv4: martian source 1.1.1.1 from 2.2.2.2, on dev eth0",
        "ll header: 00000000: 02",
        "eth0: entered promiscuous mode",
    ]
    assert kmsg.relevant_lines(lines, {"eth0"}) == [lines[0], lines[4], lines[5]]


def test_records_of_programs_are_no_kernel_lines() -> None:
    assert kmsg.record_text(b"12,1,2,-;hello\n") is None
    assert kmsg.record_text(b"4,1,2,-;a\\x09b\n DEVICE=x\n") == "a\tb"


CONNECTIONS = [
    (
        "tcp      6 431999 ESTABLISHED src=10.1.0.2 dst=10.96.0.1 sport=4 dport=80 src=10.2.0.2 "
        "dst=10.2.0.1 sport=8080 dport=4 [ASSURED] mark=7 use=1",
        "conntrack -I -p tcp -t 431999 -s 10.1.0.2 -d 10.96.0.1 --sport 4 --dport 80 "
        "--state ESTABLISHED -u ASSURED,SEEN_REPLY -m 7 --dst-nat 10.2.0.2:8080 "
        "--src-nat 10.2.0.1:4",
    ),
    (
        "ipv4     2 icmp     1 29 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=3 [UNREPLIED] "
        "src=2.2.2.2 dst=1.1.1.1 type=0 code=0 id=3 mark=0 use=1",
        "conntrack -I -p icmp -t 29 -s 1.1.1.1 -d 2.2.2.2 --icmp-type 8 --icmp-code 0 --icmp-id 3",
    ),
]


@pytest.mark.parametrize("row,expected", CONNECTIONS)
def test_connections_as_conntrack_takes_them(row: str, expected: str) -> None:
    assert [" ".join(words) for words in insert_commands(row)] == [expected]


def test_tables_stand_in_the_order_of_the_input() -> None:
    saved = "# a\n*nat\n:A - [0:0]\nCOMMIT\n*raw\nCOMMIT\n# b\n"
    assert canonical_rules(saved, "*raw\nCOMMIT\n*nat\nCOMMIT\n") == (
        "*raw\nCOMMIT\n*nat\n:A - [0:0]\nCOMMIT\n"
    )


def test_a_refused_commit_loses_the_rule_before_it() -> None:
    assert without_line("*nat\n-A A\n-A B\nCOMMIT\n", 4) == "*nat\n-A A\nCOMMIT\n"
    assert without_line("*nat\n-A A\n-A B\nCOMMIT\n", 2) == "*nat\n-A B\nCOMMIT\n"


def test_one_seed_one_case() -> None:
    one, other = random_world(Dice(5, "world")), random_world(Dice(5, "world"))
    assert one.node == other.node
    assert random_rules(Dice(5, "rules"), one) == random_rules(Dice(5, "rules"), other)
    assert random_world(Dice(6, "world")).node != one.node


def test_reducing_keeps_what_matters() -> None:
    assert reduce_list(list(range(50)), lambda rest: {4, 33} <= set(rest)) == [4, 33]
    assert reduce_list([1, 2], lambda rest: True) == []


def test_a_case_becomes_as_small_as_it_can() -> None:
    text = "*filter\n:INPUT ACCEPT [0:0]\n:X - [0:0]\n-A INPUT -j DROP\n-A X -j DROP\nCOMMIT\n"
    main = NamespaceSpec(
        rules4=TextFile(name="r", text=text),
        sysctls={"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.log_martians": "1"},
    )
    frames = [InputFrame(device="e", time_ns=n, frame=bytes((n,))) for n in range(9)]
    case = Case(node=NodeSpec(main=main), inputs=list(frames))

    def differs(case: Case) -> bool:
        rules = case.node.main.rules4
        assert rules is not None
        return (
            frames[7] in case.inputs
            and "-A INPUT" in rules.text
            and "net.ipv4.ip_forward" in case.node.main.sysctls
        )

    small = minimise(case, differs)
    assert small.inputs == [frames[7]]
    assert small.node.main.rules4 is not None
    assert small.node.main.rules4.text == "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n"
    assert small.node.main.sysctls == {"net.ipv4.ip_forward": "1"}
