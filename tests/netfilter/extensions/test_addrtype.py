"""The match addrtype, on a node with 10.1.0.1/24 on eth0 and 10.2.0.1/24 on eth1."""

from __future__ import annotations

import pytest

from netemu.ip.fib import Fib
from netemu.sim.spec import AddressSpec, NamespaceSpec
from netemu.wire.address import parse_address


@pytest.fixture
def node(bench, device):
    for number, name in ((1, "lo"), (2, "eth0"), (3, "eth1")):
        bench.net.devices[name] = device(name, number)
        bench.net.devices[name].loopback = name == "lo"
    addresses = [
        AddressSpec(
            device=name,
            address=parse_address(address),
            prefix_len=length,
            broadcast=parse_address(broadcast) if broadcast else b"",
        )
        for name, address, length, broadcast in (
            ("lo", "127.0.0.1", 8, ""),
            ("eth0", "10.1.0.1", 24, "10.1.0.255"),
            ("eth1", "10.2.0.1", 24, "10.2.0.255"),
        )
    ]
    bench.net.generic(Fib).load(NamespaceSpec(addresses=addresses))
    bench.in_device = bench.net.devices["eth0"]
    bench.out_device = bench.net.devices["eth1"]
    return bench


TYPES = [
    ("10.1.0.1", "LOCAL"),
    ("10.2.0.1", "LOCAL"),
    ("127.9.9.9", "LOCAL"),
    ("10.1.0.7", "UNICAST"),
    ("192.0.2.1", "UNICAST"),
    ("10.1.0.255", "BROADCAST"),
    ("255.255.255.255", "BROADCAST"),
    ("0.0.0.0", "BROADCAST"),
    ("0.1.2.3", "UNICAST"),
    ("224.0.0.1", "MULTICAST"),
]


@pytest.mark.parametrize("address, kind", TYPES)
def test_kind_of_an_address(node, skb, address: str, kind: str) -> None:
    for name in ("LOCAL", "UNICAST", "BROADCAST", "MULTICAST", "BLACKHOLE"):
        assert node.match(f"-m addrtype --dst-type {name}")(skb(dst=address)) is (name == kind)
        assert node.match(f"-m addrtype ! --src-type {name}")(skb(src=address)) is (name != kind)


def test_a_list_holds_if_any_of_it_does_and_both_ends_must_hold(node, skb) -> None:
    match = node.match("-m addrtype --src-type UNICAST --dst-type LOCAL,BROADCAST")
    assert match(skb("192.0.2.1", "10.1.0.1"))
    assert match(skb("192.0.2.1", "10.1.0.255"))
    assert not match(skb("10.2.0.1", "10.1.0.1"))
    assert not match(skb("192.0.2.1", "192.0.2.2"))


def test_limit_to_the_input_device(node, skb) -> None:
    match = node.match("-m addrtype --dst-type LOCAL --limit-iface-in")
    assert match(skb(dst="10.1.0.1"))
    assert not match(skb(dst="10.2.0.1"))
    assert not match(skb(dst="127.0.0.1"))


def test_limit_to_the_output_device(node, skb) -> None:
    match = node.match("-m addrtype --dst-type LOCAL --limit-iface-out")
    assert match(skb(dst="10.2.0.1"))
    assert not match(skb(dst="10.1.0.1"))
    assert node.match("-m addrtype --dst-type UNICAST --limit-iface-out")(skb(dst="10.1.0.1"))
