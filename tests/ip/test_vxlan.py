"""VXLAN devices: two hosts that talk through each other's packets."""

from __future__ import annotations

from netemu.sim.node import Node, build_node
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    VxlanSpec,
)
from netemu.wire.address import parse_address as ip
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp


def mac(number: int) -> bytes:
    return bytes((2, 0, 0, 0, 0, number))


def host(number: int, *, vni: int = 7) -> Node:
    """Make a host whose overlay address is 10.0.0.NUMBER; the other one is 3 - NUMBER."""
    other = 3 - number
    main = NamespaceSpec(
        links=[
            LinkSpec(name="eth0", ifindex=2, mac=mac(number)),
            LinkSpec(
                name="vx0",
                ifindex=3,
                kind="vxlan",
                mac=mac(0x10 + number),
                mtu=1450,
                vxlan=VxlanSpec(vni=vni, remote=ip(f"192.0.2.{other}")),
            ),
        ],
        addresses=[
            AddressSpec(device="eth0", address=ip(f"192.0.2.{number}"), prefix_len=24),
            AddressSpec(device="vx0", address=ip(f"10.0.0.{number}"), prefix_len=24),
        ],
        neighbours=[
            NeighbourSpec(
                device="eth0", address=ip(f"192.0.2.{other}"), mac=mac(other), state="PERMANENT"
            )
        ],
        sockets=[],
    )
    return build_node(NodeSpec(main=main))


def carry(frames: list[bytes], target: Node) -> list[bytes]:
    fates = [target.receive("eth0", frame) for frame in frames]
    return [sent.frame for fate in fates for sent in fate.frames]


def test_arp_and_packets_cross_between_hosts() -> None:
    """The overlay resolves its neighbours through itself and learns who is where."""
    one, two = host(1), host(2)
    left: list[bytes] = []
    one.ports["eth0"].on_frame = lambda _skb, frame: left.append(frame)
    two.ports["eth0"].on_frame = lambda _skb, frame: back.append(frame)
    back: list[bytes] = []
    datagram = build_udp(src=ip("10.0.0.1"), dst=ip("10.0.0.2"), src_port=5, dst_port=6)
    packet = build_ipv4(src=ip("10.0.0.1"), dst=ip("10.0.0.2"), protocol=17, payload=datagram)
    one.send_local(bytes(packet))
    assert [frame[42:50].hex() for frame in left] == ["0800000000000700"]
    carry(left, two)
    left.clear()
    carry(back, one)
    assert len(left) == 1
    assert packet[20:] == left[0][-len(packet) + 20 :]
    assert "02:00:00:00:00:12 dev vx0 dst 192.0.2.2 self" in one.main.net.devices["vx0"].fdb.text(
        "vx0"
    )  # type: ignore[attr-defined]


def test_another_network_is_not_ours() -> None:
    """The packet is dropped for a reason that says so."""
    one, two = host(1), host(2, vni=8)
    left: list[bytes] = []
    one.ports["eth0"].on_frame = lambda _skb, frame: left.append(frame)
    packet = build_ipv4(src=ip("10.0.0.1"), dst=ip("10.0.0.2"), protocol=17, payload=bytes(8))
    one.send_local(bytes(packet))
    assert two.receive("eth0", left[0]).reason == "VXLAN_VNI_NOT_FOUND"
