"""Where packets are cut; whole scenes are in fragments.script."""

from __future__ import annotations

from typing import Any

import pytest

from netemu.ip.fib_table import RouteType
from netemu.ip.refragment import ip_do_fragment
from netemu.ip.rtable import IPSKB_FRAG_PMTU, Rtable
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import parse_address
from netemu.wire.checksum import internet_checksum
from netemu.wire.ipv4 import IPv4, build_ipv4

Row = tuple[int, int, bool, bool]


def packet(lab: Any, length: int, mtu: int) -> Skb:
    data = build_ipv4(
        src=parse_address("10.1.0.2"),
        dst=parse_address("10.2.0.2"),
        protocol=17,
        payload=bytes(index & 255 for index in range(length)),
        identification=7,
    )
    skb = Skb(data, protocol=ETH_P_IP, fate=lab.net.new_fate())
    skb.dst = Rtable(kind=RouteType.UNICAST, device=lab.net.devices["b0"], mtu=mtu)
    return skb


def cut(lab: Any, skb: Skb) -> list[Row]:
    """(offset, octets, MF, DF) of each piece; checksums and payload are asserted."""
    whole = bytes(skb.data[20:])
    rows = []

    def output(piece: Skb) -> None:
        view = IPv4(piece.data)
        assert internet_checksum(piece.data[:20]) == 0
        assert view.identification == 7
        start = view.fragment_offset * 8
        assert bytes(piece.data[20:]) == whole[start : start + len(piece.data) - 20]
        rows.append((start, len(piece.data) - 20, view.more_fragments, view.dont_fragment))

    ip_do_fragment(lab.net, skb, output)
    return rows


def test_at_multiples_of_eight_below_the_mtu(lab: Any) -> None:
    assert cut(lab, packet(lab, 300, 150)) == [
        (0, 128, True, False),
        (128, 128, True, False),
        (256, 44, False, False),
    ]


@pytest.mark.parametrize(
    "sizes,kept",
    [([80, 120, 100], True), ([80, 84, 136], False), ([80, 144, 76], False), ([80, 120], False)],
)
def test_where_it_was_cut_before_if_that_fits(lab: Any, sizes: list[int], kept: bool) -> None:
    skb = packet(lab, 300, 150)
    skb.frag_list = sizes
    skb.frag_max_size = 150
    assert kept == ([octets for _, octets, _, _ in cut(lab, skb)] == sizes)


def test_df_of_the_fragments_is_kept_where_they_are_cut_anew(lab: Any) -> None:
    skb = packet(lab, 200, 120)
    skb.ip_flags |= IPSKB_FRAG_PMTU
    assert {df for _, _, _, df in cut(lab, skb)} == {True}


def test_a_mtu_without_room_ends_the_packet(lab: Any) -> None:
    assert cut(lab, packet(lab, 200, 27)) == []
    assert lab.drops == ["NOT_SPECIFIED"]
