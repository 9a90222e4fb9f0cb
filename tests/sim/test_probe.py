"""Where a written packet enters, and the exact probabilities of what can become of it."""

from __future__ import annotations

from fractions import Fraction

import pytest

from netemu.errors import UsageError
from netemu.events import KernelLogged
from netemu.sim.node import Node, build_node
from netemu.sim.probe import Entry, enter, run_branch, trace_everything
from netemu.sim.probe import outcomes as enumerate_outcomes
from netemu.sim.spec import (
    AddressSpec,
    FdbSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
    TextFile,
)
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.composed import DEFAULT_SRC_MAC
from netemu.wire.describe import describe_frame
from netemu.wire.packet_text import parse_packet

ETH0, CNI0, VETH = (bytes([2, 0, 0, 0, 1, number]) for number in (1, 2, 3))
ROUTER, POD = parse_mac("02:00:00:00:00:fe"), parse_mac("02:00:00:00:00:05")

RULES = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SVC - [0:0]
-A PREROUTING -d 10.96.0.10/32 -j SVC
-A POSTROUTING -d 10.244.1.5/32 -j MASQUERADE
-A SVC -p tcp -m statistic --mode random --probability 0.33333333349 -j DNAT --to-destination 10.244.1.5:80
-A SVC -p tcp -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.244.1.6:80
-A SVC -p tcp -j DNAT --to-destination 10.244.1.7:80
COMMIT
"""


def make_spec(rules: str = RULES, **more) -> NodeSpec:
    def connected(prefix: str, device: str, gateway: str = "") -> RouteSpec:
        address, _, length = prefix.partition("/")
        way = NexthopSpec(device=device, gateway=parse_address(gateway) if gateway else b"")
        return RouteSpec(
            prefix=parse_address(address), prefix_len=int(length), nexthops=(way,), scope="link"
        )

    main = NamespaceSpec(
        links=[
            LinkSpec(name="eth0", ifindex=2, mac=ETH0),
            LinkSpec(name="cni0", ifindex=3, mac=CNI0, kind="bridge"),
            LinkSpec(name="veth1", ifindex=4, mac=VETH, kind="veth", master="cni0"),
            LinkSpec(name="veth2", ifindex=5, mac=VETH[:5] + b"\4", kind="veth", master="cni0"),
        ],
        addresses=[
            AddressSpec(device="eth0", address=parse_address("192.0.2.1"), prefix_len=24),
            AddressSpec(device="cni0", address=parse_address("10.244.1.1"), prefix_len=24),
        ],
        routes=[
            connected("192.0.2.0/24", "eth0"),
            connected("10.244.1.0/24", "cni0"),
            connected("0.0.0.0/0", "eth0", "192.0.2.254"),
        ],
        neighbours=[
            NeighbourSpec(device="eth0", address=parse_address("192.0.2.254"), mac=ROUTER),
            NeighbourSpec(device="cni0", address=parse_address("10.244.1.5"), mac=POD),
        ],
        fdb=[FdbSpec(bridge="cni0", device="veth2", mac=POD)],
        sysctls={"net.ipv4.ip_forward": "1"},
        rules4=TextFile(name="rules", text=rules),
        **more,
    )
    return NodeSpec(main=main)


def make_node(rules: str = RULES) -> Node:
    node = build_node(make_spec(rules))
    node.assume_neighbours()
    return node


def outcomes(build, entry):
    return enumerate_outcomes(lambda script: run_branch(build(), entry, script))


@pytest.mark.parametrize(
    "source,device,src_mac",
    [
        ("192.0.2.9", "eth0", DEFAULT_SRC_MAC),
        ("8.8.8.8", "eth0", ROUTER),
        ("10.244.1.5", "veth2", POD),
    ],
)
def test_a_packet_enters_where_its_answer_would_leave(source, device, src_mac):
    """A bridge's port is told by neighbour and fdb entry; the MAC is the sender's or its router's."""
    entry = enter(make_node(), parse_packet(f"udp {source}:1 > 10.96.0.10:80"))
    assert (entry.device, entry.frame[6:12]) == (device, src_mac)
    assert entry.frame[:6] == make_node().find_device(device)[1].mac


def test_in_decides_and_given_macs_stay():
    packet = parse_packet("udp 8.8.8.8:1 > 10.96.0.10:80 src-mac=02:00:00:00:00:77")
    entry = enter(make_node(), packet, "veth1")
    assert (entry.device, entry.frame[:12]) == ("veth1", VETH + parse_mac("02:00:00:00:00:77"))


@pytest.mark.parametrize(
    "text,message",
    [
        ("udp 10.244.1.9:1 > 1.1.1.1:2", "10.244.1.9 is behind the bridge cni0"),
        ("udp 192.0.2.1:1 > 1.1.1.1:2", "an address of the node itself; use --local"),
    ],
)
def test_what_cannot_be_told_is_asked(text, message):
    with pytest.raises(UsageError, match=message):
        enter(make_node(), parse_packet(text))


def test_local_packets_are_sent_by_the_owner_of_the_address():
    entry = enter(make_node(), parse_packet("udp 192.0.2.1:1 > 8.8.8.8:2"), local=True)
    assert (entry.device, entry.namespace) == ("", "")
    fate = entry.send(make_node())
    assert fate.verdict == "ACCEPT"
    assert describe_frame(fate.frames[0].frame) == "udp 192.0.2.1:1 > 8.8.8.8:2"


def test_a_mark_is_set_before_the_first_rule():
    rules = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m mark --mark 0x7 -j DROP\nCOMMIT\n"
    node = make_node(rules)
    packet = parse_packet("udp 8.8.8.8:1 > 10.244.1.5:80 mark=7")
    assert enter(node, packet).send(node).verdict == "DROP"
    assert enter(node, parse_packet("udp 8.8.8.8:1 > 10.244.1.5:80")).send(node).verdict == "ACCEPT"


def test_a_frame_cut_by_snaplen_is_dropped():
    fate = Entry(device="eth0", frame=bytes(60), truncated=True).send(make_node())
    assert (fate.verdict, fate.reason) == ("DROP", "CAPTURE_TRUNCATED")


def test_outcomes_have_the_kernels_exact_probabilities():
    """0.33333333349 is 715827883 of 2**31, as iptables stores it; what is left goes on."""
    entry = enter(make_node(), parse_packet("tcp 192.0.2.9:1 > 10.96.0.10:80"))
    first = Fraction(715827883, 1 << 31)
    rest = (1 - first) / 2
    found = outcomes(make_node, entry)
    assert [(one.probability, one.dnat, one.masquerade) for one in found] == [
        (first, "10.244.1.5:80", True),
        (rest, "10.244.1.6:80", False),
        (rest, "10.244.1.7:80", False),
    ]
    assert sum(one.probability for one in found) == 1
    assert {one.verdict for one in found} == {"ACCEPT"}


def test_equal_outcomes_are_merged():
    rules = RULES.replace("10.244.1.6:80", "10.244.1.7:80")
    entry = enter(make_node(), parse_packet("tcp 192.0.2.9:1 > 10.96.0.10:80"))
    found = outcomes(lambda: make_node(rules), entry)
    assert [(one.dnat, one.probability) for one in found] == [
        ("10.244.1.7:80", 1 - Fraction(715827883, 1 << 31)),
        ("10.244.1.5:80", Fraction(715827883, 1 << 31)),
    ]


def test_without_chance_there_is_one_outcome():
    entry = enter(make_node(), parse_packet("tcp 192.0.2.9:1 > 10.244.1.9:80"))
    (only,) = outcomes(make_node, entry)
    assert (only.probability, only.dnat, only.delivered_to) == (1, None, "port:veth2,veth1")


def test_everything_can_be_traced_to_the_kernel_log():
    node = make_node()
    trace_everything(node)
    told = []
    node.set_sink(lambda stamp, event: told.append(event))
    enter(node, parse_packet("tcp 192.0.2.9:1 > 10.96.0.10:80")).send(node)
    lines = [event.text for event in told if isinstance(event, KernelLogged)]
    assert lines[0].startswith("TRACE: nat:PREROUTING:rule:1 IN=eth0 OUT= ")
    assert lines == node.log
