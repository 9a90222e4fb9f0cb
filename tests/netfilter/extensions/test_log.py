"""The target LOG; the text itself is tested in tests/netfilter/xtables/test_log.py."""

from __future__ import annotations

import pytest

from netemu.netfilter.xtables.log import LogFlags


@pytest.mark.parametrize(
    "options, flags",
    [
        ("", 0),
        ("--log-tcp-sequence", LogFlags.TCPSEQ),
        ("--log-tcp-options", LogFlags.TCPOPT),
        ("--log-ip-options", LogFlags.IPOPT),
        ("--log-uid", LogFlags.UID),
        ("--log-macdecode", LogFlags.MACDECODE),
        ("--log-uid --log-ip-options --log-level debug", LogFlags.UID | LogFlags.IPOPT),
    ],
)
def test_flags(bench, options: str, flags: int) -> None:
    assert bench.rule(f"-j LOG {options}").target.settings.logflags == flags


def test_line_begins_with_the_prefix_cut_to_29_octets(bench, skb, device) -> None:
    bench.out_device = device("eth1")
    target = bench.target('-j LOG --log-prefix "a prefix that is too long by 3: "')
    assert target(skb(protocol=47)) is None
    (line,) = bench.net.log
    assert line == (
        "a prefix that is too long by IN= OUT=eth1 SRC=10.0.0.1 DST=10.0.0.2 LEN=40 TOS=0x00 "
        "PREC=0x00 TTL=64 ID=0 PROTO=47 "
    )


def test_logs_even_where_trace_has_no_logger(bench, skb) -> None:
    """LOG goes straight to nf_log_syslog, whatever net.netfilter.nf_log.2 says."""
    bench.net.sysctl.set("net.netfilter.nf_log.2", "NONE")
    bench.target("-j LOG")(skb())
    assert len(bench.net.log) == 1
