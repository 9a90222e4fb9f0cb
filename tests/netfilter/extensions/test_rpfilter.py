"""ipt_rpfilter: the way back, on a node with 10.1.0.1/24 on eth0 and 10.2.0.1/24 on eth1."""

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
        AddressSpec(device=f"eth{number}", address=parse_address(address), prefix_len=24)
        for number, address in enumerate(("10.1.0.1", "10.2.0.1"))
    ]
    bench.net.generic(Fib).load(NamespaceSpec(addresses=addresses))
    bench.in_device = bench.net.devices["eth0"]
    return bench


CASES = [
    # source, destination: passes plain, with --loose, with --accept-local
    ("10.1.0.7", "10.2.0.2", True, True, True),
    ("10.2.0.7", "10.1.0.1", False, True, False),
    ("192.0.2.1", "10.1.0.1", False, False, False),
    ("10.1.0.1", "10.2.0.2", False, False, True),
    ("10.2.0.1", "10.1.0.1", False, False, False),
    ("0.0.0.0", "255.255.255.255", True, True, True),
    ("0.0.0.0", "224.0.0.1", True, True, True),
    ("0.0.0.0", "10.1.0.1", False, False, False),
]


@pytest.mark.parametrize("source, destination, plain, loose, local", CASES)
def test_evaluation(node, skb, source, destination, plain, loose, local):
    place = {"table": "raw", "chain": "PREROUTING"}
    for options, expected in (("", plain), ("--loose", loose), ("--accept-local", local)):
        packet = skb(source, destination)
        assert node.match(f"-m rpfilter {options}", **place)(packet) is expected
        assert node.match(f"-m rpfilter {options} --invert", **place)(packet) is not expected


def test_loopback_always_passes(node, skb):
    node.in_device = node.net.devices["lo"]
    match = node.match("-m rpfilter", table="raw", chain="PREROUTING")
    assert match(skb("192.0.2.1", "10.1.0.1"))
