"""MASQUERADE takes the output device's address."""

from __future__ import annotations

from netemu.clock import Clock
from netemu.ip.devinet import Addresses, IfAddr
from netemu.ip.fib_table import RouteType
from netemu.ip.rtable import Rtable
from netemu.link.device import Device
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo, nf_ct_set
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.hook import Verdict
from netemu.netfilter.nat.masquerade import nf_nat_masquerade_ipv4
from netemu.netfilter.nat.range import PROTO_SPECIFIED, NatRange
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp

POD, SERVER = bytes([10, 244, 0, 2]), bytes([203, 0, 113, 9])
FIRST, SECOND = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 1])


class Wire(Device):
    """A device for its addresses."""

    def xmit(self, skb: Skb) -> None:
        """Send nothing."""


def ready(
    *addresses: bytes, gateway: bytes = b"", src: bytes = POD
) -> tuple[Net, Wire, Skb, Connection]:
    net = Net(clock=Clock(0, 250))
    device = Wire(name="eth0", ifindex=5, mac=bytes(6))
    net.devices["eth0"] = device
    for address in addresses:
        net.generic(Addresses).append(
            IfAddr(
                device=device, local=address, address=address, prefix_len=24,
                broadcast=b"", scope=0,
            )
        )  # fmt: skip
    datagram = build_udp(src=src, dst=SERVER, src_port=1000, dst_port=53)
    data = build_ipv4(src=src, dst=SERVER, protocol=17, payload=bytes(datagram))
    skb = Skb(data, protocol=ETH_P_IP, fate=net.new_fate())
    skb.dst = Rtable(kind=RouteType.UNICAST, device=device, gateway=gateway)
    original = Tuple(src, SERVER, 17, 1000, 53)
    connection = Connection(original, inverse(original))
    nf_ct_set(skb, connection, CtInfo.NEW)
    return net, device, skb, connection


def test_first_address() -> None:
    """Without a gateway in reach of any, it is the first one; the device is remembered."""
    net, device, skb, connection = ready(FIRST, SECOND)
    assert nf_nat_masquerade_ipv4(net, skb, NatRange(), device) == Verdict.ACCEPT
    assert connection.reply == Tuple(SERVER, FIRST, 17, 53, 1000)
    assert connection.masq_ifindex == 5


def test_address_of_the_gateway_s_subnet() -> None:
    """The next hop decides, not the destination."""
    gateway = bytes([198, 51, 100, 254])
    net, device, skb, connection = ready(FIRST, SECOND, gateway=gateway)
    nf_nat_masquerade_ipv4(net, skb, NatRange(), device)
    assert connection.reply.dst == SECOND


def test_ports() -> None:
    """--to-ports restricts them."""
    net, device, skb, connection = ready(FIRST)
    ports = NatRange(flags=PROTO_SPECIFIED, min_part=7, max_part=7)
    nf_nat_masquerade_ipv4(net, skb, ports, device)
    assert connection.reply.dst_part == 7


def test_without_an_address() -> None:
    """The kernel says so and drops (text asked of 6.18)."""
    net, device, skb, connection = ready()
    assert nf_nat_masquerade_ipv4(net, skb, NatRange(), device) == Verdict.DROP
    assert net.log == ["eth0 ate my IP address"]
    assert connection.status == 0


def test_unspecified_source_is_left_alone() -> None:
    """A DHCP client speaks before it has an address."""
    net, device, skb, connection = ready(FIRST, src=bytes(4))
    assert nf_nat_masquerade_ipv4(net, skb, NatRange(), device) == Verdict.ACCEPT
    assert connection.status == 0
