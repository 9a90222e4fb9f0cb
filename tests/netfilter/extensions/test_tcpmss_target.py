"""MSS options lowered and added, as Linux 6.18 does."""

from __future__ import annotations

import pytest

from netemu.netfilter.hook import Verdict
from tests.netfilter.extensions.targets import apply, is_whole, skb_of, tcp

RULE = "-p tcp -m tcp --syn -j TCPMSS --set-mss"


@pytest.mark.parametrize(
    "options, mss, payload, after",
    [
        ("020405b4", 1000, b"", "020403e8"),
        ("02040064", 1000, b"", "02040064"),
        ("020405b4", 1000, b"abc", "020403e8"),
        ("", 1000, b"", "02040218"),
        ("", 100, b"", "02040064"),
        ("", 1000, b"abc", ""),
        ("0103030702040500", 1000, b"", "01030307020403e8"),
        ("01" * 40, 1000, b"", "01" * 40),
        ("01" * 36, 1000, b"", "02040218" + "01" * 36),
    ],
)
def test_set_mss(options, mss, payload, after):
    skb = tcp(options, payload=payload)
    assert apply(f"{RULE} {mss}", skb) is None
    header_len = (skb.data[32] >> 4) * 4
    assert skb.data[40 : 20 + header_len].hex() == after
    assert bytes(skb.data[20 + header_len :]) == payload
    assert is_whole(skb)


def test_at_an_odd_offset_the_checksum_goes_wrong():
    """Linux 6.18 adds the new value up as if it stood at an even offset."""
    skb = tcp("01020405b4010101")
    check = skb.data[36:38]
    apply(f"{RULE} 1000", skb)
    assert skb.data[40:].hex() == "01020403e8010101"
    assert skb.data[36:38] != check
    assert not is_whole(skb)


def test_a_broken_header_is_dropped():
    assert apply(f"{RULE} 5", skb_of(bytes(19), 6)) == Verdict.DROP
    assert apply(f"{RULE} 5", skb_of(bytes(12) + b"\x40" + bytes(7), 6)) == Verdict.DROP


def test_a_later_fragment_is_left_alone():
    skb = skb_of(bytes(8), 6)
    skb.data[7] = 1
    assert apply(f"{RULE} 5", skb) is None
