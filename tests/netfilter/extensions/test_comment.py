"""xt_comment: matches everything."""

from __future__ import annotations

from tests.netfilter.extensions.packets import answer, packet, rule


def test_a_comment_matches_everything():
    assert answer('-m comment --comment "x y"', packet(b"", 17)) == "yes"


def test_a_long_comment_is_cut_to_255_octets():
    found = rule(f"-m comment --comment {'z' * 300}")
    assert found.text == f"-m comment --comment {'z' * 255}"
    found = rule(f"-m comment --comment {'é' * 128}")
    assert (
        len(found.text.encode("utf-8", "surrogateescape")) == len('-m comment --comment ""') + 255
    )
