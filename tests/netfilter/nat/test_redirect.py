"""REDIRECT sends to this machine."""

from __future__ import annotations

import pytest

from netemu.clock import Clock
from netemu.ip.devinet import Addresses, IfAddr
from netemu.link.device import Device
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo, nf_ct_set
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.nat.range import PROTO_SPECIFIED, NatRange
from netemu.netfilter.nat.redirect import nf_nat_redirect_ipv4
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.ipv4 import build_ipv4

CLIENT, SERVER = bytes([10, 244, 0, 2]), bytes([203, 0, 113, 9])
FIRST, SECOND = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])


class Wire(Device):
    """A device for its addresses."""

    def xmit(self, skb: Skb) -> None:
        """Send nothing."""


def redirected(hook: Hook, *addresses: bytes) -> tuple[Verdict, Connection]:
    net = Net(clock=Clock(0, 250))
    device = Wire(name="eth0", ifindex=5, mac=bytes(6))
    for address in addresses:
        net.generic(Addresses).append(
            IfAddr(
                device=device, local=address, address=address, prefix_len=24,
                broadcast=b"", scope=0,
            )
        )  # fmt: skip
    data = build_ipv4(src=CLIENT, dst=SERVER, protocol=6, payload=bytes(20))
    skb = Skb(data, protocol=ETH_P_IP, fate=net.new_fate(), device=device)
    original = Tuple(CLIENT, SERVER, 6, 1000, 80)
    connection = Connection(original, inverse(original))
    nf_ct_set(skb, connection, CtInfo.NEW)
    ports = NatRange(flags=PROTO_SPECIFIED, min_part=8080, max_part=8080)
    return nf_nat_redirect_ipv4(net, skb, ports, hook), connection


@pytest.mark.parametrize(
    "hook,addresses,chosen",
    [
        (Hook.PREROUTING, (FIRST, SECOND), FIRST),
        (Hook.OUTPUT, (FIRST,), bytes([127, 0, 0, 1])),
        (Hook.OUTPUT, (), bytes([127, 0, 0, 1])),
    ],
)
def test_address(hook: Hook, addresses: tuple[bytes, ...], chosen: bytes) -> None:
    """The first one of the device that the packet came in by; our own packets go to lo."""
    verdict, connection = redirected(hook, *addresses)
    assert verdict == Verdict.ACCEPT
    assert connection.reply == Tuple(chosen, CLIENT, 6, 8080, 1000)


def test_device_without_address() -> None:
    """There is nowhere to redirect to."""
    verdict, connection = redirected(Hook.PREROUTING)
    assert verdict == Verdict.DROP
    assert connection.status == 0
