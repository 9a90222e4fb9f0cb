"""What SYNPROXY does with segments; the answers are compared with Linux in tests/kernel."""

from __future__ import annotations

import pytest

from netemu.ip.tcp_options import parse_tcp_options
from netemu.net import Net
from netemu.netfilter.extensions.synproxy import SynProxy, _options
from netemu.netfilter.hook import Verdict
from tests.netfilter.extensions.targets import apply, skb_of, tcp

RULE = "-p tcp -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460"
FULL = bytes.fromhex("020405b40402080a000000090000000001030305")


@pytest.mark.parametrize(
    "flags, verdict",
    [(0x10, Verdict.DROP), (0x18, Verdict.DROP), (0x12, None), (0x04, None), (0x11, None)],
)
def test_other_segments(flags, verdict):
    assert apply(RULE, tcp(flags=flags), table="filter") == verdict


def test_broken_segments_are_dropped():
    bad = tcp()
    bad.data[36] ^= 1
    assert apply(RULE, bad, table="filter") == Verdict.DROP
    assert apply(RULE, skb_of(bytes(10), 6), table="filter") == Verdict.DROP


@pytest.mark.parametrize(
    "info, options",
    [
        (SynProxy(1460, 7, True, True, False), "020405b40402080a000000150000000901030307"),
        (SynProxy(1460, 7, True, False, False), "020405b4"),
        (SynProxy(None, None, False, True, False), "0101080a0000000f00000009"),
        (SynProxy(None, None, False, False, False), ""),
    ],
)
def test_options(info, options):
    assert _options(Net(), info, parse_tcp_options(FULL), ecn=False).hex() == options
