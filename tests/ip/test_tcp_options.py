"""TCP options as they stand in segments."""

from __future__ import annotations

import pytest

from netemu.ip.tcp_options import ack_options, parse_tcp_options, synack_options


@pytest.mark.parametrize(
    "octets,expected",
    [
        ("", (None, None, False, None)),
        ("020405b4", (1460, None, False, None)),
        ("020405b40402080a0000004d0000000001030307", (1460, 7, True, (77, 0))),
        ("0303ff", (None, 14, False, None)),
        ("00020405b4", (None, None, False, None)),
        ("0101020405b4", (1460, None, False, None)),
        ("0204", (None, None, False, None)),
        ("0201", (None, None, False, None)),
        ("02030504020405b4", (None, None, True, None)),
        ("fe04abcd020405b4", (1460, None, False, None)),
        ("02", (None, None, False, None)),
    ],
)
def test_options_are_read_as_far_as_they_make_sense(
    octets: str, expected: tuple[object, ...]
) -> None:
    found = parse_tcp_options(bytes.fromhex(octets))
    assert expected == (found.mss, found.window_scale, found.sack_permitted, found.timestamp)


def test_a_syn_ack_writes_them_in_the_kernels_order() -> None:
    both = synack_options(mss=1460, sack=True, timestamp=(1, 2), window_scale=7)
    assert both.hex() == "020405b4" + "0402" + "080a0000000100000002" + "01030307"
    lone = synack_options(mss=536, sack=False, timestamp=(1, 2), window_scale=None)
    assert lone.hex() == "02040218" + "0101" + "080a0000000100000002"


def test_three_ranges_fit_beside_a_time_stamp() -> None:
    blocks = [(start, start + 1) for start in range(0, 50, 10)]
    assert len(ack_options(timestamp=None, sack_blocks=blocks)) == 4 + 4 * 8
    assert len(ack_options(timestamp=(1, 2), sack_blocks=blocks)) == 12 + 4 + 3 * 8
