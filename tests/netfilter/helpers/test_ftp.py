"""Lines of FTP that name an endpoint, and where lines begin."""

from __future__ import annotations

import pytest

from netemu.netfilter.helpers.ftp import SEARCH, Endpoint, LineEnds, find_pattern

PORT, EPRT = SEARCH[0]
PASV, EPSV = SEARCH[1]
OWN = bytes([10, 2, 0, 2])
CLIENT = bytes([10, 1, 0, 2])


@pytest.mark.parametrize(
    "pattern,line,start,endpoint",
    [
        (PORT, b"PORT 10,1,0,2,4,1\r\n", 5, Endpoint(CLIENT, 1025, 12)),
        # RFC 2428 section 2's own example, with our address.
        (EPRT, b"EPRT |1|10.1.0.2|6275|\r\n", 5, Endpoint(CLIENT, 6275, 17)),
        # RFC 1123 4.1.2.6: the parentheses may lack.
        (PASV, b"227 =10,2,0,2,4,5\r\n", 5, Endpoint(OWN, 1029, 12)),
        # RFC 2428 section 3.
        (EPSV, b"229 Entering Extended Passive Mode (|||6446|)\r\n", 36, Endpoint(OWN, 6446, 8)),
    ],
)
def test_lines_of_the_rfcs(pattern, line, start, endpoint):
    found = find_pattern(line, pattern, OWN)
    assert (found.start, found.endpoint) == (start, endpoint)


@pytest.mark.parametrize("line", [b"EPRT |2|::1|5000|\r\n", b"EPRT 11110.1.0.215000|\r\n", b"EP"])
def test_what_cannot_be_read_is_partial(line):
    """The helper drops such a packet."""
    assert find_pattern(line, EPRT, OWN) is True


def test_other_lines_are_none():
    assert find_pattern(b"USER x\r\n", PORT, OWN) is False


def test_of_three_line_ends_the_oldest_is_forgotten():
    lines = LineEnds()
    for seq in (0xFFFFFFF0, 5, 20):
        lines.update(0, seq)
    assert [lines.begins_line(0, seq) for seq in (0xFFFFFFF0, 5, 20)] == [False, True, True]


def test_the_first_packet_of_a_loaded_connection_begins_a_line():
    lines = LineEnds(unknown={0, 1})
    assert [lines.begins_line(0, 7), lines.begins_line(0, 7), lines.begins_line(1, 9)] == [
        True,
        False,
        True,
    ]
