"""Dummy devices lose what is sent to them."""

from __future__ import annotations

from netemu.link.dummy import Dummy
from netemu.net import Net
from netemu.sim.node import build_node
from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec, NodeSpec
from netemu.skb import Skb
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.packet_text import parse_packet


def test_what_is_sent_there_is_lost() -> None:
    """No port sees it."""
    net = Net()
    dummy = Dummy(net, name="kube-ipvs0", ifindex=2, mac=bytes(6))
    skb = Skb(bytes(20), protocol=0x0800, fate=net.new_fate(), device=dummy)
    skb.mac_header = bytes(14)
    dummy.xmit(skb)
    assert (skb.fate.verdict, skb.fate.reason, dummy.noarp) == ("DROP", "NO_TX_TARGET", True)


MAC = parse_mac("02:00:00:00:00:01")


def test_its_address_is_local_while_it_is_down() -> None:
    """So ClusterIPs are ours although kube-ipvs0 is never set up (fib_sync_down_dev)."""
    node = build_node(
        NodeSpec(
            main=NamespaceSpec(
                links=[
                    LinkSpec(name="eth0", ifindex=2, mac=MAC),
                    LinkSpec(name="kube-ipvs0", ifindex=3, mac=MAC, kind="dummy", up=False),
                ],
                addresses=[
                    AddressSpec(device="eth0", address=parse_address("192.0.2.1"), prefix_len=24),
                    AddressSpec(
                        device="kube-ipvs0", address=parse_address("10.96.0.1"), prefix_len=32
                    ),
                ],
                sockets=[],
            )
        )
    )
    echo = parse_packet("icmp 192.0.2.9 > 10.96.0.1 echo").frame(dst_mac=MAC)
    assert node.receive("eth0", echo).delivered_to == "node"
    # kube-proxy's strictARP (arp_ignore=1) is there to stop this.
    asked = parse_packet("arp who-has 10.96.0.1 tell 192.0.2.9").frame(dst_mac=b"\xff" * 6)
    assert node.receive("eth0", asked).verdict == "ACCEPT"
