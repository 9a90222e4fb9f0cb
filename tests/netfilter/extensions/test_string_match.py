"""xt_string: octets anywhere in the packet."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import answer, described, packet


@pytest.mark.parametrize(
    "words, expected",
    [
        ("-m string --algo bm --string GET", "yes"),
        ("-m string --algo kmp ! --string GET", "no"),
        ("-m string --algo bm --string get", "no"),
        ("-m string --algo bm --string get --icase", "yes"),
        ("-m string --algo bm --string GET --from 22", "no"),
        ("-m string --algo bm --string GET --to 23", "no"),
        ("-m string --algo bm --string GET --from 21 --to 24", "yes"),
        ('-m string --algo bm --hex-string "|e9|" --icase', "yes"),
        ('-m string --algo bm --hex-string "|e9|"', "no"),
    ],
)
def test_evaluation(words, expected):
    assert answer(words, packet(b"xGET\xc9", 17)) == expected


def test_pieces():
    """Boyer-Moore looks at every piece alone."""
    skb = packet(b"needle", 17)
    skb.frag_list = [3, 3]
    assert answer("-m string --algo bm --string needle", skb) == "no"
    assert answer("-m string --algo kmp --string needle", skb) == "yes"
    assert answer("-m string --algo bm --string dle", skb) == "yes"


def test_what_a_trace_says():
    assert described("-m string --algo bm --string b", packet(b"abc", 17)) == "found at 21"
    assert described("-m string --algo bm --string x", packet(b"abc", 17)) == "not found"
