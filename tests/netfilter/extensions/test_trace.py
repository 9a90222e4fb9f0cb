"""The target TRACE."""

from __future__ import annotations


def test_trace_marks_the_packet_and_goes_on(bench, skb) -> None:
    packet = skb()
    assert bench.target("-j TRACE", table="raw", chain="PREROUTING")(packet) is None
    assert packet.nf_trace
    assert bench.net.log == []
