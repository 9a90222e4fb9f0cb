"""The hash of a flow, with the seed that the kernel was given."""

from __future__ import annotations

from netemu.ip.fib_table import Flowi4
from netemu.ip.multipath import fib_multipath_hash
from netemu.net import Net
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import parse_address
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp

A, B = parse_address("10.0.0.7"), parse_address("10.80.3.4")


def net(policy: int = 0, seed: int = 5, kernel: str = "6.18") -> Net:
    made = Net(kernel=kernel)
    made.sysctl.set("net.ipv4.fib_multipath_hash_policy", str(policy))
    made.sysctl.set("net.ipv4.fib_multipath_hash_seed", str(seed))
    return made


def flow(src: bytes = A, dst: bytes = B, ports: tuple[int, int] = (1000, 80)) -> Flowi4:
    return Flowi4(saddr=src, daddr=dst, protocol=6, src_port=ports[0], dst_port=ports[1])


def packet(src: bytes, dst: bytes, ports: tuple[int, int], **more: bool) -> Skb:
    segment = build_tcp(src=src, dst=dst, src_port=ports[0], dst_port=ports[1])
    data = build_ipv4(src=src, dst=dst, protocol=6, payload=bytes(segment), **more)
    return Skb(data, protocol=ETH_P_IP, fate=Net().new_fate())


def test_both_directions_hash_alike():
    for policy in (0, 1):
        there = fib_multipath_hash(net(policy), flow())
        back = fib_multipath_hash(net(policy), flow(B, A, (80, 1000)))
        assert there == back


def test_ports_count_by_policy_1_only():
    other = flow(ports=(1001, 80))
    assert fib_multipath_hash(net(), flow()) == fib_multipath_hash(net(), other)
    assert fib_multipath_hash(net(1), flow()) != fib_multipath_hash(net(1), other)


def test_a_forwarded_packet_hashes_as_its_flow():
    for policy in (0, 1):
        expected = fib_multipath_hash(net(policy), flow())
        assert fib_multipath_hash(net(policy), flow(), packet(A, B, (1000, 80))) == expected


def test_fragments_have_no_ports():
    first = packet(A, B, (1000, 80), more_fragments=True)
    expected = fib_multipath_hash(net(1), flow(ports=(0, 0)))
    assert fib_multipath_hash(net(1), flow(), first) == expected


def test_an_error_goes_with_the_flow_that_it_is_about():
    quoted = bytes(packet(A, B, (1000, 80)).data)
    router = parse_address("10.9.9.9")
    message = build_icmp(icmp_type=3, code=1, rest=0, payload=quoted[:28])
    data = build_ipv4(src=router, dst=A, protocol=1, payload=bytes(message))
    error = Skb(data, protocol=ETH_P_IP, fate=Net().new_fate())
    expected = fib_multipath_hash(net(), flow())
    assert fib_multipath_hash(net(), flow(router, A), error) == expected
    assert fib_multipath_hash(net(2), flow(router, A), error) != expected


def test_6_1_takes_no_seed():
    one, other = (fib_multipath_hash(net(0, seed, "6.1"), flow()) for seed in (5, 6))
    assert one == other
    assert fib_multipath_hash(net(0, 5), flow()) != fib_multipath_hash(net(0, 6), flow())
