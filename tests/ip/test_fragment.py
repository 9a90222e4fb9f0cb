"""Reassembly queues; whole packets are in fragments.script."""

from __future__ import annotations

from typing import Any

import pytest

from netemu.ip.fragment import DefragUser, FragmentQueues, ip_defrag
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import IPv4, build_ipv4

SRC, DST = parse_address("10.1.0.2"), parse_address("10.2.0.2")


def piece(lab: Any, number: int, offset: int, *, more: bool, ident: int = 1) -> Skb:
    packet = build_ipv4(
        src=SRC,
        dst=DST,
        protocol=17,
        payload=bytes([number]) * 8,
        identification=ident,
        more_fragments=more,
        fragment_offset=offset,
    )
    skb = Skb(packet, protocol=ETH_P_IP, fate=lab.net.new_fate(), device=lab.net.devices["a0"])
    skb.mark = number
    return skb


def test_the_last_fragment_to_come_carries_the_packet(lab: Any) -> None:
    first, second = piece(lab, 1, 0, more=True), piece(lab, 2, 1, more=False)
    assert not ip_defrag(lab.net, second, DefragUser.CONNTRACK_IN)
    assert ip_defrag(lab.net, first, DefragUser.CONNTRACK_IN)
    assert bytes(first.data[20:]) == b"\x01" * 8 + b"\x02" * 8
    assert (first.frag_max_size, first.frag_list) == (28, [8, 8])
    assert not lab.net.generic(FragmentQueues).queues
    first.fate.drop_reason = "NETFILTER_DROP"
    assert (second.fate.verdict, second.fate.reason) == ("DROP", "NETFILTER_DROP")


def test_metadata_are_those_of_the_first_fragment(lab: Any) -> None:
    first, second = piece(lab, 1, 0, more=True), piece(lab, 2, 1, more=False)
    assert not ip_defrag(lab.net, first, DefragUser.CONNTRACK_IN)
    assert ip_defrag(lab.net, second, DefragUser.CONNTRACK_IN)
    assert second.mark == 1
    assert IPv4(second.data).total_length == 36


def test_users_have_queues_of_their_own(lab: Any) -> None:
    for user in (DefragUser.LOCAL_DELIVER, DefragUser.CONNTRACK_IN, DefragUser.CONNTRACK_IN + 1):
        assert not ip_defrag(lab.net, piece(lab, 1, 0, more=True), user)
    assert not ip_defrag(lab.net, piece(lab, 2, 1, more=False), DefragUser.CONNTRACK_OUT)
    assert len(lab.net.generic(FragmentQueues).queues) == 4


@pytest.mark.parametrize("between,complete", [(62, True), (63, True), (64, False)])
def test_too_many_fragments_between_begin_anew(lab: Any, between: int, complete: bool) -> None:
    """ipfrag_max_dist is 64."""
    user = DefragUser.LOCAL_DELIVER
    ip_defrag(lab.net, piece(lab, 1, 0, more=True), user)
    for number in range(between):
        ip_defrag(lab.net, piece(lab, 9, 0, more=True, ident=100 + number), user)
    assert complete == ip_defrag(lab.net, piece(lab, 2, 1, more=False), user)
    assert ("FRAG_TOO_FAR" in lab.drops) != complete


def test_a_queue_ends_after_ipfrag_time(make_lab: Any, router: Any) -> None:
    lab = make_lab(router({"net.ipv4.ipfrag_time": "30"}))
    ip_defrag(lab.net, piece(lab, 1, 0, more=True), DefragUser.CONNTRACK_IN)
    lab.wait(29.9)
    assert lab.net.generic(FragmentQueues).queues
    lab.wait(0.2)
    assert not lab.net.generic(FragmentQueues).queues
    assert lab.drops == ["FRAG_REASM_TIMEOUT"]
    assert lab.out == []


def test_memory_is_bounded(make_lab: Any, router: Any) -> None:
    """A queue of one small fragment takes 1032 octets; above the limit even the last part of a
    packet is dropped, until the time of the others is up.
    """
    lab = make_lab(router({"net.ipv4.ipfrag_high_thresh": "1100", "net.ipv4.ipfrag_time": "30"}))
    queues = lab.net.generic(FragmentQueues)
    user = DefragUser.LOCAL_DELIVER
    for ident, memory in ((1, 1032), (2, 2064), (3, 2064)):
        assert not ip_defrag(lab.net, piece(lab, 1, 0, more=True, ident=ident), user)
        assert queues.memory == memory
    assert not ip_defrag(lab.net, piece(lab, 2, 1, more=False, ident=1), user)
    assert lab.drops == ["NOT_SPECIFIED"] * 2
    lab.wait(30.1)
    assert queues.memory == 0
    assert not ip_defrag(lab.net, piece(lab, 1, 0, more=True, ident=4), user)
    assert ip_defrag(lab.net, piece(lab, 2, 1, more=False, ident=4), user)
    assert queues.memory == 0


@pytest.mark.parametrize(
    ("sizes", "left"),
    [
        ([1400, 1408], [1400, 1408]),
        ([160] * 14 + [88], [640, *[160] * 10, 88]),
        ([24, 24, 24, 24, 12], None),
        ([184, 184, 184, 56], None),
        ([8, 8, 192], [16, 192]),
        ([152] * 8 + [112, 40], [608, *[152] * 4, 112, 40]),
    ],
)
def test_the_first_buffer_takes_in_what_finds_room(
    lab: Any, sizes: list[int], left: list[int] | None
) -> None:
    """As Linux 6.1 put them together for INPUT: seen where IPVS sent them on."""
    lab.net.kernel = "6.1"
    whole, at = None, 0
    for size in sizes:
        packet = build_ipv4(
            src=SRC, dst=DST, protocol=17, payload=bytes(size), identification=9,
            more_fragments=at + size < sum(sizes), fragment_offset=at // 8,
        )  # fmt: skip
        whole = Skb(packet, protocol=ETH_P_IP, fate=lab.net.new_fate())
        at += size
        assert ip_defrag(lab.net, whole, DefragUser.LOCAL_DELIVER) == (at == sum(sizes))
    assert whole is not None
    assert whole.frag_list == left
