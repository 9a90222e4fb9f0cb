"""Routes as the live kernel chose them.

`route_get/N` are snapshots of namespaces with random addresses, routes, rules and sysctls, and what
`ip route get` of iproute2 6.1 on Linux 6.18.44 answered there. For received packets Linux 6.18
answers EINVAL whatever the drop reason is.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from netemu.events import Event, RouteChosen, Stamp
from netemu.ip.fib import Flowi4
from netemu.ip.fib_table import Errno, RouteType
from netemu.ip.route import (
    ip_route_input,
    ip_route_me_harder,
    ip_route_output_key,
    rt_tos2priority,
    skb_rtable,
)
from netemu.skb import ETH_P_IP, Skb
from netemu.snapshot.read import read_node
from netemu.wire.address import IPV4_ANY, format_address, parse_address
from netemu.wire.ipv4 import build_ipv4

FOLDERS = sorted((Path(__file__).parent / "route_get").iterdir())
PROTOCOLS = {"tcp": 6, "udp": 17}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_routes_are_the_kernels(folder: Path, make_lab: Any) -> None:
    lab = make_lab(read_node(str(folder)).main)
    for line in (folder / "queries.txt").read_text().splitlines():
        query, expected = line.split(" => ")
        words = dict(re.findall(r"(from|iif|oif|mark|tos|ipproto|sport|dport) (\S+)", query))
        words["to"] = query.split()[0]
        answer = ask_input(lab, words) if "iif" in words else ask_output(lab, words)
        assert expected == answer, query


def ask_input(lab: Any, words: dict[str, str]) -> str:
    device = lab.net.devices[words["iif"]]
    daddr, saddr = parse_address(words["to"]), parse_address(words["from"])
    tos = int(words.get("tos", "0"), 16)
    ports = int(words.get("sport", "0")).to_bytes(2, "big")
    ports += int(words.get("dport", "0")).to_bytes(2, "big")
    protocol = PROTOCOLS[words.get("ipproto", "udp")]
    packet = build_ipv4(src=saddr, dst=daddr, protocol=protocol, payload=ports, tos=tos)
    skb = Skb(packet, protocol=ETH_P_IP, fate=lab.net.new_fate(), device=device)
    skb.mark = int(words.get("mark", "0"))
    if ip_route_input(lab.net, skb, daddr, saddr, tos, device):
        return "EINVAL"
    route = skb_rtable(skb)
    assert route is not None
    if route.error is not None:
        return str(route.error)
    via = format_address(route.gateway) if route.gateway else "-"
    return f"{route.kind.name.lower()} dev {route.device.name} via {via} src -"


def ask_output(lab: Any, words: dict[str, str]) -> str:
    flow = Flowi4(
        daddr=parse_address(words["to"]),
        saddr=parse_address(words["from"]) if "from" in words else IPV4_ANY,
        oif=lab.net.devices[words["oif"]].ifindex if "oif" in words else 0,
        mark=int(words.get("mark", "0")),
        tos=int(words.get("tos", "0"), 16),
        protocol=PROTOCOLS[words.get("ipproto", "udp")],
        src_port=int(words.get("sport", "0")),
        dst_port=int(words.get("dport", "0")),
    )
    route = ip_route_output_key(lab.net, flow)
    if isinstance(route, Errno):
        return str(route)
    via = format_address(route.gateway) if route.gateway else "-"
    source = "-" if "from" in words else format_address(flow.saddr)
    return f"{route.kind.name.lower()} dev {route.device.name} via {via} src {source}"


def test_a_changed_packet_of_our_own_is_routed_anew_with_its_source(lab: Any) -> None:
    packet = build_ipv4(
        src=parse_address("10.1.0.1"), dst=parse_address("10.9.0.1"), protocol=17, payload=b""
    )
    skb = Skb(packet, protocol=ETH_P_IP, fate=lab.net.new_fate())
    assert ip_route_me_harder(lab.net, skb) is None
    route = skb_rtable(skb)
    assert route is not None
    assert ("b0", parse_address("10.2.0.254")) == (route.device.name, route.gateway)
    assert bytes(skb.data[12:16]) == parse_address("10.1.0.1")
    skb.data[16:20] = parse_address("172.16.0.1")
    assert ip_route_me_harder(lab.net, skb) == Errno.ENETUNREACH


def test_a_chosen_route_is_told(lab: Any) -> None:
    told: list[Event] = []

    def sink(_: Stamp, event: Event) -> None:
        told.append(event)

    lab.net.sink = sink
    packet = build_ipv4(
        src=parse_address("10.1.0.2"), dst=parse_address("10.9.0.1"), protocol=17, payload=b""
    )
    lab.packet(packet)
    expected = RouteChosen(
        direction="input",
        destination="10.9.0.1",
        table="main",
        prefix="10.9.0.0/16",
        kind="unicast",
        device="b0",
        gateway="10.2.0.254",
        source="",
    )
    assert expected in told


def test_a_multicast_group_we_are_not_in_is_refused(lab: Any) -> None:
    group, source = parse_address("239.1.1.1"), parse_address("10.1.0.2")
    skb = Skb(
        build_ipv4(src=source, dst=group, protocol=17, payload=b""),
        protocol=ETH_P_IP,
        fate=lab.net.new_fate(),
    )
    device = lab.net.devices["a0"]
    assert ip_route_input(lab.net, skb, group, source, 0, device) == "NOT_SPECIFIED"
    hosts = bytes((224, 0, 0, 1))
    assert ip_route_input(lab.net, skb, hosts, source, 0, device) == ""
    route = skb_rtable(skb)
    assert route is not None
    assert route.kind == RouteType.MULTICAST


def test_priority_follows_the_tos_bits() -> None:
    """From ip_tos2prio: interactive 6, bulk 2, both 4."""
    assert [rt_tos2priority(tos) for tos in (0, 0x08, 0x10, 0x18, 0xB8)] == [0, 2, 6, 4, 4]
