"""xt_bpf: programs that judge the packet."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ('-m bpf --bytecode "1,6 0 0 1"', "yes"),
        ('-m bpf --bytecode "1,6 0 0 0"', "no"),
        ('-m bpf --bytecode "4,48 0 0 9,21 0 1 17,6 0 0 1,6 0 0 0"', "yes"),
        ('-m bpf --bytecode "2,32 0 0 24,6 0 0 1"', "yes"),
        ('-m bpf --bytecode "2,32 0 0 25,6 0 0 1"', "no"),
        ('-m bpf --bytecode "5,177 0 0 0,72 0 0 2,21 0 1 53,6 0 0 1,6 0 0 0"', "yes"),
        ('-m bpf --bytecode "6,1 0 0 0,0 0 0 100,60 0 0 0,6 0 0 1,6 0 0 0,6 0 0 0"', "no"),
        ('-m bpf --bytecode "5,0 0 0 1,132 0 0 0,21 0 1 4294967295,6 0 0 1,6 0 0 0"', "yes"),
        ('-m bpf --bytecode "4,40 0 0 4294963200,21 0 1 2048,6 0 0 1,6 0 0 0"', "yes"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(bytes.fromhex("03e8003500080000"), 17)) == expected
