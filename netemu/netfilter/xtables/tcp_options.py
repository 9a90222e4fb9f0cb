"""TCP options as the targets that change them walk through them.

Kernel: net/netfilter/xt_TCPMSS.c and xt_TCPOPTSTRIP.c (optlen).
"""

from __future__ import annotations

from netemu.wire.tcp import DATA_OFFSET, MIN_HEADER_LEN, TCPOPT_NOP


def optlen(data: bytearray, at: int) -> int:
    """Return the length of the option at `at`; one of length zero counts as one octet."""
    if data[at] <= TCPOPT_NOP or data[at + 1] == 0:
        return 1
    return data[at + 1]


def whole_header_len(data: bytearray, at: int) -> int | None:
    """Return the length of the TCP header at `at`; None when it is not all there or too short."""
    if len(data) - at < MIN_HEADER_LEN:
        return None
    length = (data[at + DATA_OFFSET] >> 4) * 4
    return length if MIN_HEADER_LEN <= length <= len(data) - at else None
