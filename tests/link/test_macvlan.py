"""Macvlans: by MAC, by broadcast, from a sister (asked of Linux 6.18 in tests/kernel)."""

from __future__ import annotations

import pytest

from netemu.link.device import receive_frame
from netemu.link.macvlan import Macvlan, macvlan_eth_hash
from netemu.link.port import Port
from netemu.net import Net
from netemu.sim.spec import MacvlanSpec
from netemu.skb import BROADCAST_MAC, Skb

LOW, ONE, TWO, PEER = (bytes((2, 0, 0, 0, 0, number)) for number in (1, 2, 3, 4))


def family(mode: str) -> tuple[Net, Port, list[Macvlan], list[tuple[str, str]]]:
    net = Net()
    lower = Port(net, name="eth0", ifindex=2, mac=LOW)
    devices = [
        Macvlan(net, MacvlanSpec(mode=mode), name=f"mv{number}", ifindex=number, mac=each)
        for number, each in ((3, ONE), (4, TWO))
    ]
    got: list[tuple[str, str]] = []

    def taken(skb: Skb) -> None:
        assert skb.device is not None
        got.append((skb.device.name, skb.pkt_type.name))

    net.packet_handlers[0x88B5] = taken
    for device in devices:
        device.attach(lower, net)
    return net, lower, devices, got


def frame(dst: bytes, src: bytes) -> bytes:
    return dst + src + b"\x88\xb5" + bytes(46)


def test_each_mac_has_its_device() -> None:
    """A broadcast goes to all of them after the device below has seen it."""
    net, lower, devices, got = family("bridge")
    for destination in (ONE, TWO, LOW, BROADCAST_MAC):
        receive_frame(net, lower, frame(destination, PEER), fate=net.new_fate())
        net.clock.run_soon()
    order = sorted((ONE, TWO), key=macvlan_eth_hash)
    names = {device.mac: device.name for device in devices}
    assert got == [
        ("mv3", "HOST"),
        ("mv4", "HOST"),
        ("eth0", "HOST"),
        ("eth0", "BROADCAST"),
        *((names[mac], "BROADCAST") for mac in order),
    ]


@pytest.mark.parametrize(
    ("mode", "taken", "left"), [("bridge", [("mv4", "HOST")], 0), ("vepa", [], 1)]
)
def test_a_sister_is_reached_in_bridge_mode_only(
    mode: str, taken: list[tuple[str, str]], left: int
) -> None:
    """In the others the frame leaves by the device below."""
    net, _, (one, _), got = family(mode)
    skb = Skb(bytes(46), protocol=0x88B5, fate=net.new_fate(), device=one)
    skb.mac_header = frame(TWO, ONE)[:14]
    one.xmit(skb)
    net.clock.run_soon()
    assert (got, len(skb.fate.frames)) == (taken, left)
