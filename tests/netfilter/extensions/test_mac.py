"""xt_mac: the sender's address, and the packets that have none."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.skb import Device
from tests.netfilter.extensions.packets import described, match, packet, param, rule

MAC = bytes.fromhex("020000000001")


class Wire(Device):
    """A device that sends nothing."""

    def xmit(self, skb):
        raise AssertionError


def answer(words, *, header=bytes(6) + MAC + b"\x08\x00", loopback=False, device=True):
    net = Net()
    wire = Wire(name="eth0", ifindex=2, mac=bytes(6), loopback=loopback)
    skb = packet(b"", 17, net=net)
    skb.device = wire if device else None
    skb.mac_header = header
    bound = match(f"-m mac {words}")
    return bound.evaluate(bound.settings, skb, param(skb, net, wire))


def test_source_address():
    assert answer("--mac-source 02:00:00:00:00:01")
    assert not answer("! --mac-source 02:00:00:00:00:01")
    assert not answer("--mac-source 02:00:00:00:00:02")
    assert answer("! --mac-source 2:0:0:0:0:2")


@pytest.mark.parametrize("without", [{"header": b""}, {"loopback": True}, {"device": False}])
def test_without_an_ethernet_header_even_the_inverse_is_false(without):
    assert not answer("--mac-source 02:00:00:00:00:01", **without)
    assert not answer("! --mac-source 02:00:00:00:00:01", **without)


def test_only_hooks_that_packets_enter_by():
    for chain in ("OUTPUT", "FORWARD"):
        words = "-m mac --mac-source 02:00:00:00:00:01"
        if chain == "FORWARD":
            assert rule(words, chain=chain)
            continue
        with pytest.raises(RulesetError, match="used from hooks OUTPUT, but only valid from"):
            rule(words, chain=chain)


def test_what_a_trace_says():
    skb = packet(b"", 17)
    assert described("-m mac --mac-source 2:0:0:0:0:1", skb) == "no Ethernet header"
    skb.mac_header = bytes(6) + MAC + b"\x08\x00"
    assert described("-m mac --mac-source 2:0:0:0:0:1", skb) == "source 02:00:00:00:00:01"
