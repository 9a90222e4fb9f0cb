"""Options overwritten with no-operations."""

from __future__ import annotations

import pytest

from netemu.netfilter.hook import Verdict
from tests.netfilter.extensions.targets import apply, is_whole, skb_of, tcp


@pytest.mark.parametrize(
    "kinds, options, after",
    [
        ("mss", "020405b4", "01010101"),
        ("3,8", "020405b40402080a000000090000000001030307", "020405b40402" + "01" * 14),
        ("2", "0103030702040500", "0103030701010101"),
        ("3", "0000000001030307", "0000000001010101"),
        ("5", "01010101", "01010101"),
        ("7", "0700010107080101", "0100010107080101"),
    ],
)
def test_strip(kinds, options, after):
    skb = tcp(options)
    assert apply(f"-p tcp -j TCPOPTSTRIP --strip-options {kinds}", skb) is None
    assert skb.data[40:].hex() == after
    assert is_whole(skb)


def test_a_broken_header_is_dropped():
    words = "-p tcp -j TCPOPTSTRIP --strip-options 3"
    assert apply(words, skb_of(bytes(19), 6)) == Verdict.DROP
