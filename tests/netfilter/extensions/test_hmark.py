"""Marks hashed as Linux 6.18 hashes them; the values are what its LOG showed."""

from __future__ import annotations

import pytest

from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo, nf_ct_set
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.skb import ETH_P_IP, Skb
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4
from tests.netfilter.extensions.targets import apply

ALL = "--hmark-tuple src,dst,sport,dport,proto --hmark-mod 1000 --hmark-rnd 0xdeadbeef"
NEAR, FAR = parse_address("10.1.0.2"), parse_address("10.2.0.2")


def packet(protocol: int, payload: str, *, back: bool = False) -> Skb:
    src, dst = (FAR, NEAR) if back else (NEAR, FAR)
    data = build_ipv4(src=src, dst=dst, protocol=protocol, payload=bytes.fromhex(payload))
    return Skb(data, protocol=ETH_P_IP, fate=Net().new_fate())


THERE = packet(17, "03e8003500080000")
BACK = packet(17, "003503e800080000", back=True)
ECHO = packet(1, "0800000000070001")
ERROR = packet(
    1,
    "03010000000000004500001c00010000401100000a0100020a02000203e8003500080000",
    back=True,
)


@pytest.mark.parametrize(
    "words, skb, mark",
    [
        (f"{ALL} --hmark-offset 5", THERE, 0x8B),
        (f"{ALL} --hmark-offset 5", BACK, 0x8B),
        (ALL, ERROR, 0x8B - 5),
        (ALL, ECHO, 0xB3),
        (
            "--hmark-tuple src,dst,spi --hmark-mod 1000 --hmark-rnd 3",
            packet(50, "1122334455667788"),
            0x2D2,
        ),
        (
            "--hmark-spi-mask 0xffff --hmark-spi 0x10000 --hmark-mod 100000 --hmark-rnd 3",
            packet(51, "112233445566778899aabbcc"),
            0x82FF,
        ),
    ],
)
def test_mark(words: str, skb: Skb, mark: int) -> None:
    assert apply(f"-j HMARK {words}", skb) is None
    assert skb.mark == mark


def test_connection() -> None:
    skb = packet(17, "03e8003500080000")
    words = "--hmark-tuple ct,src,dst,sport,dport,proto --hmark-mod 0xffffffff --hmark-rnd 3"
    skb.mark = 9
    apply(f"-j HMARK {words}", skb)
    assert skb.mark == 9
    there = Tuple(NEAR, FAR, 17, 1000, 53)
    nf_ct_set(skb, Connection(there, inverse(there)), CtInfo.NEW)
    apply(f"-j HMARK {words}", skb)
    assert skb.mark == 0xB2FE6591


def test_a_fragment_has_no_ports() -> None:
    whole, first = packet(17, "03e8003500080000"), packet(17, "03e8003500080000")
    first.data[6] |= 0x20
    for skb in (whole, first):
        apply(f"-j HMARK {ALL}", skb)
    assert whole.mark != first.mark
