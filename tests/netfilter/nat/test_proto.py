"""Rewriting headers: checksums are updated, never computed anew."""

from __future__ import annotations

import pytest

from netemu.clock import Clock
from netemu.events import HeaderRewritten
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.hook import Verdict
from netemu.netfilter.nat.proto import nf_nat_ipv4_manip_pkt, nf_nat_manip_pkt
from netemu.netfilter.nat.range import Manip
from netemu.skb import ETH_P_IP, Checksum, Fate, Skb
from netemu.wire.checksum import fold, internet_checksum, l4_checksum, pseudo_header_sum
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

A, B, C = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), bytes([172, 16, 255, 254])


def packet(protocol: int) -> Skb:
    if protocol == 6:
        l4 = build_tcp(src=A, dst=B, src_port=1000, dst_port=80, payload=b"odd")
    elif protocol == 17:
        l4 = build_udp(src=A, dst=B, src_port=1000, dst_port=80, payload=b"odd")
    else:
        l4 = build_icmp(icmp_type=8, rest=7 << 16 | 1, payload=b"odd")
    data = build_ipv4(src=A, dst=B, protocol=protocol, payload=bytes(l4))
    return Skb(data, protocol=ETH_P_IP, fate=Fate(packet_id=1))


def verified(skb: Skb) -> bool:
    data = skb.data
    l4 = data[20:]
    if data[9] == 1:
        l4_right = internet_checksum(l4) == 0
    else:
        l4_right = l4_checksum(data[12:16], data[16:20], data[9], l4) == 0
    return internet_checksum(data[:20]) == 0 and l4_right


@pytest.mark.parametrize("protocol", [1, 6, 17])
@pytest.mark.parametrize("manip", [Manip.SRC, Manip.DST])
def test_checksums_stay_right(protocol: int, manip: Manip) -> None:
    """Of IP and of what it carries."""
    skb = packet(protocol)
    target = Tuple(C, C, protocol, 4242, 4243)
    assert nf_nat_ipv4_manip_pkt(skb, 0, target, manip)
    assert verified(skb)
    at = 16 if manip else 12
    assert skb.data[at : at + 4] == C


@pytest.mark.parametrize("protocol", [1, 6, 17])
def test_wrong_checksums_stay_wrong(protocol: int) -> None:
    """By the same amount, so that the end notices."""
    skb = packet(protocol)
    at = 20 + {1: 2, 6: 16, 17: 6}[protocol]
    skb.data[at] ^= 0x55
    nf_nat_ipv4_manip_pkt(skb, 0, Tuple(C, C, protocol, 4242, 4243), Manip.SRC)
    assert not verified(skb)
    skb.data[at] ^= 0x55
    assert internet_checksum(skb.data[:20]) == 0


@pytest.mark.parametrize("protocol,check_at", [(6, 36), (17, 26)])
def test_partial_checksum_follows_the_addresses_only(protocol: int, check_at: int) -> None:
    """It is the sum of the pseudo header; whoever completes it adds the ports."""
    skb = packet(protocol)
    skb.ip_summed = Checksum.PARTIAL
    length = len(skb.data) - 20
    partial = fold(pseudo_header_sum(A, B, protocol, length))
    skb.data[check_at : check_at + 2] = partial.to_bytes(2, "big")
    nf_nat_ipv4_manip_pkt(skb, 0, Tuple(C, C, protocol, 4242, 4243), Manip.SRC)
    wanted = fold(pseudo_header_sum(C, B, protocol, length))
    assert int.from_bytes(skb.data[check_at : check_at + 2], "big") == wanted


def test_udp_without_checksum_stays_without() -> None:
    """0 means that there is none."""
    skb = packet(17)
    skb.data[26:28] = bytes(2)
    nf_nat_ipv4_manip_pkt(skb, 0, Tuple(C, C, 17, 4242, 4243), Manip.DST)
    assert skb.data[26:28] == bytes(2)


def test_udp_checksum_of_zero_is_written_as_ones() -> None:
    """A computed 0 becomes 0xffff."""
    for port in range(65536):
        skb = packet(17)
        nf_nat_ipv4_manip_pkt(skb, 0, Tuple(A, B, 17, port, 80), Manip.SRC)
        assert skb.data[26:28] != bytes(2)
        if skb.data[26:28] == b"\xff\xff":
            break
    else:
        pytest.fail("no port gives the checksum 0")


def test_truncated_header_is_refused() -> None:
    """Eight octets of TCP must be there; with fewer than 20 the checksum is out of reach."""
    skb = packet(6)
    del skb.data[28:]
    assert nf_nat_ipv4_manip_pkt(skb, 0, Tuple(C, C, 6, 4242, 4243), Manip.SRC)
    del skb.data[27:]
    assert not nf_nat_ipv4_manip_pkt(skb, 0, Tuple(C, C, 6, 4242, 4243), Manip.SRC)


@pytest.mark.parametrize(
    "manip,direction,what,before,after",
    [
        (Manip.DST, 0, "dnat", "10.0.0.2:80", "172.16.255.254:8080"),
        (Manip.SRC, 1, "un-dnat", "10.0.0.1:1000", "10.0.0.2:80"),
    ],
)
def test_rewriting_is_told(
    manip: Manip, direction: int, what: str, before: str, after: str
) -> None:
    """With both ends as a reader writes them."""
    net = Net(clock=Clock(0, 250))
    told: list[object] = []
    net.sink = lambda stamp, event: told.append(event)
    original = Tuple(A, B, 6, 1000, 80)
    connection = Connection(original, inverse(original._replace(dst=C, dst_part=8080)))
    skb = packet(6)
    assert nf_nat_manip_pkt(net, skb, connection, manip, direction) == Verdict.ACCEPT
    assert told == [HeaderRewritten(what=what, before=before, after=after)]
