"""Contexts go from the packet to its connection and back."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.conntrack.connection import Connection, CtInfo, nf_ct_set
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from tests.netfilter.extensions.packets import DESTINATION, SOURCE, rule
from tests.netfilter.extensions.targets import apply, udp


def test_save_and_restore():
    there = Tuple(SOURCE, DESTINATION, 17, 1000, 53)
    connection = Connection(there, inverse(there))
    first, second = udp(), udp()
    for skb in (first, second):
        nf_ct_set(skb, connection, CtInfo.NEW)
    apply("-j SECMARK --selctx system_u:object_r:dns_packet_t:s0", first)
    apply("-j CONNSECMARK --save", first)
    apply("-j CONNSECMARK --restore", second)
    assert second.secmark == connection.secmark == "system_u:object_r:dns_packet_t:s0"


def test_nothing_happens_without_a_connection():
    skb = udp()
    assert apply("-j CONNSECMARK --restore", skb) is None
    assert skb.secmark == ""


def test_text():
    assert rule("-j SECMARK --selctx a:b:s0", table="mangle").text == "-j SECMARK --selctx a:b:s0"
    with pytest.raises(RulesetError):
        rule('-j SECMARK --selctx ""', table="mangle")
    with pytest.raises(RulesetError):
        rule("-j SECMARK --selctx a")
