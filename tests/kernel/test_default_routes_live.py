"""Several default routes of one rank: which gateway the node's own packets go to."""

from __future__ import annotations

import pytest

from netemu.livekernel.case import Case, LocalPacket
from netemu.livekernel.verify import verify_case
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
)
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp

DESTINATION = parse_address("203.0.113.9")


def node(states: list[str], metrics: list[int]) -> NodeSpec:
    """Return a host with a gateway per state behind a device each; an empty state is no entry."""
    links = [LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)]
    addresses = [
        AddressSpec(device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host")
    ]
    routes, neighbours = [], []
    for number, state in enumerate(states):
        device, gateway = f"eth{number}", parse_address(f"10.{number}.0.2")
        links.append(
            LinkSpec(name=device, ifindex=2 + number, mac=parse_mac(f"02:00:00:00:01:0{number}"))
        )
        addresses.append(
            AddressSpec(device=device, address=parse_address(f"10.{number}.0.1"), prefix_len=24,
                        broadcast=parse_address(f"10.{number}.0.255"))
        )  # fmt: skip
        way = NexthopSpec(device=device, gateway=gateway)
        routes.append(
            RouteSpec(prefix=bytes(4), prefix_len=0, nexthops=(way,), metric=metrics[number])
        )
        if state:
            mac = b"" if state == "FAILED" else parse_mac(f"02:00:00:00:0a:0{number}")
            neighbours.append(NeighbourSpec(device=device, address=gateway, mac=mac, state=state))
    return NodeSpec(
        main=NamespaceSpec(
            links=links, addresses=addresses, routes=routes, neighbours=neighbours, sockets=[]
        )
    )


@pytest.mark.parametrize(
    "states,metrics",
    [
        (["REACHABLE", "REACHABLE"], [0, 0]),
        (["PERMANENT", "PERMANENT"], [0, 0]),
        (["STALE", "REACHABLE", "PERMANENT"], [0, 0, 0]),
        (["", ""], [0, 0]),
        (["PERMANENT", "", "PERMANENT"], [5, 5, 5]),
        (["FAILED", "FAILED"], [0, 0]),
        (["FAILED", "PERMANENT", "PERMANENT"], [0, 0, 9]),
        (["PERMANENT", "PERMANENT"], [0, 9]),
    ],
    ids=str,
)
def test_gateways_take_turns_as_in_the_kernel(states: list[str], metrics: list[int]) -> None:
    inputs = []
    for number in range(7):
        src = bytes(4)
        payload = build_udp(
            src=src, dst=DESTINATION, src_port=1000 + number, dst_port=53, payload=b""
        )
        payload[6:8] = bytes(2)
        packet = build_ipv4(
            src=src, dst=DESTINATION, protocol=17, payload=bytes(payload), identification=number + 1
        )
        inputs.append(LocalPacket(namespace="", time_ns=number * 1_000_000, packet=bytes(packet)))
    case = Case(node=node(states, metrics), inputs=list(inputs), name="default routes")
    outcome = verify_case(case)
    assert any(outcome.kernel.frames.values())
    assert outcome.difference is None, str(outcome.difference)
