"""Packets given to listeners; whole ways are compared with Linux in tests/kernel."""

from __future__ import annotations

import pytest

from netemu.ip.sockets import AssignedProgramSocket, Sockets
from netemu.link.port import Port
from netemu.net import Net
from netemu.netfilter.hook import Hook, Verdict
from netemu.sim.spec import SocketSpec
from netemu.wire.address import parse_address
from tests.netfilter.extensions.targets import apply, skb_of, tcp, udp


@pytest.mark.parametrize(
    "words, verdict",
    [
        ("--on-port 9", Verdict.ACCEPT),
        ("--on-port 10", Verdict.DROP),
        ("--on-port 0", Verdict.DROP),
        ("--on-port 7 --on-ip 10.9.9.9", Verdict.ACCEPT),
        ("--on-port 7", Verdict.DROP),
    ],
)
def test_listener(words, verdict):
    net = Net()
    net.generic(Sockets).load(
        [
            SocketSpec(protocol="tcp", address=bytes(4), port=9),
            SocketSpec(protocol="tcp", address=parse_address("10.9.9.9"), port=7),
        ]
    )
    skb = tcp()
    skb.mark = 0x10
    skb.device = Port(net, name="eth0", ifindex=2, mac=bytes(6))
    rule = f"-p tcp -j TPROXY {words} --tproxy-mark 0x3/0xf"
    assert apply(rule, skb, net=net, hook=Hook.PREROUTING, device=skb.device) == verdict
    assert skb.mark == (0x13 if verdict == Verdict.ACCEPT else 0x10)
    assert isinstance(skb.sk, AssignedProgramSocket) == (verdict == Verdict.ACCEPT)


def test_short_packets_are_dropped():
    rule = "-p udp -j TPROXY --on-port 9"
    assert apply(rule, skb_of(bytes(7), 17), hook=Hook.PREROUTING) == Verdict.DROP


def test_datagrams():
    net = Net()
    net.generic(Sockets).load([SocketSpec(protocol="udp", address=bytes(4), port=53)])
    skb = udp()
    skb.device = Port(net, name="eth0", ifindex=2, mac=bytes(6))
    rule = "-p udp -j TPROXY --on-port 0"
    assert apply(rule, skb, net=net, hook=Hook.PREROUTING, device=skb.device) == Verdict.ACCEPT
