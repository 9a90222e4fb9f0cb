"""CHECKSUM completes partial checksums and touches no other."""

from __future__ import annotations

from netemu.skb import Checksum
from netemu.wire.checksum import fold, pseudo_header_sum
from tests.netfilter.extensions.packets import DESTINATION, SOURCE
from tests.netfilter.extensions.targets import apply, is_whole, tcp

RULE = "-j CHECKSUM --checksum-fill"


def test_partial():
    skb = tcp()
    skb.ip_summed = Checksum.PARTIAL
    partial = fold(pseudo_header_sum(SOURCE, DESTINATION, 6, len(skb.data) - 20))
    skb.data[36:38] = partial.to_bytes(2, "big")
    assert apply(RULE, skb) is None
    assert skb.ip_summed != Checksum.PARTIAL
    assert is_whole(skb)


def test_wrong_stays_wrong():
    skb = tcp()
    skb.data[36] ^= 1
    apply(RULE, skb)
    assert not is_whole(skb)
