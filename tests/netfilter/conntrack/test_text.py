"""What conntrack(8) prints, read and printed again."""

from __future__ import annotations

import pytest

from netemu.clock import Clock
from netemu.errors import SnapshotError
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Status
from netemu.netfilter.conntrack.table import Conntrack, Form
from netemu.netfilter.conntrack.text import parse_connections

# conntrack 1.4.7 on Linux 6.18.44
PLAIN = """\
udp      17 99 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 mark=0 zone=5 use=1
tcp      6 99 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=4 dport=2 src=3.3.3.3 dst=1.1.1.1 sport=9 dport=4 [ASSURED] mark=0 use=1
udp      17 99 src=1.1.1.1 dst=2.2.2.2 sport=3 dport=2 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 sport=2 dport=3 zone-reply=7 mark=0 use=1
tcp      6 99 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=3 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=3 [ASSURED] mark=7 use=1
udp      17 99 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 zone-orig=6 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 mark=0 use=1
gre      47 99 src=1.1.1.1 dst=2.2.2.2 srckey=0x3 dstkey=0x2 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 srckey=0x2 dstkey=0x3 mark=0 use=1
sctp     132 99 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=3 dport=2 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 sport=2 dport=3 mark=0 use=1
dccp     33 599 src=10.2.0.2 dst=10.1.0.2 sport=0 dport=0 [UNREPLIED] src=10.1.0.2 dst=10.2.0.2 sport=0 dport=0 mark=0 use=1
icmp     1 29 src=10.2.0.2 dst=10.1.0.2 type=17 code=0 id=6 [UNREPLIED] src=10.1.0.2 dst=10.2.0.2 type=18 code=0 id=6 mark=0 use=1
unknown  253 599 src=10.1.0.2 dst=10.2.0.2 packets=2 bytes=56 src=10.2.0.2 dst=10.1.0.2 packets=1 bytes=28 mark=0 use=1
udp      17 28 src=127.0.0.1 dst=127.0.0.1 sport=43003 dport=9 packets=1 bytes=30 [UNREPLIED] src=127.0.0.1 dst=127.0.0.1 sport=9 dport=43003 packets=0 bytes=0 mark=0 delta-time=1 use=1
"""

PROC = """\
ipv4     2 udp      17 99 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 mark=0 zone=5 use=2
ipv4     2 tcp      6 99 ESTABLISHED src=1.1.1.1 dst=2.2.2.2 sport=4 dport=2 src=3.3.3.3 dst=1.1.1.1 sport=9 dport=4 [ASSURED] mark=0 zone=0 use=2
ipv4     2 gre      47 99 timeout=0, stream_timeout=0 src=1.1.1.1 dst=2.2.2.2 srckey=0x3 dstkey=0x2 [UNREPLIED] src=2.2.2.2 dst=1.1.1.1 srckey=0x2 dstkey=0x3 mark=0 zone=0 use=2
"""


def loaded(text: str) -> Conntrack:
    table = Net(clock=Clock(0, 250)).generic(Conntrack)
    table.load(text, "ct")
    return table


def test_plain_text_comes_out_as_it_went_in() -> None:
    """Every column of conntrack -L survives, in the order of the file."""
    assert loaded(PLAIN).dump() == PLAIN


def test_extended_text_has_the_l3_columns() -> None:
    """-o extended adds them in front; both forms are read."""
    table = loaded(PLAIN)
    extended = "".join(f"{table.text(entry, Form.EXTENDED)}\n" for entry in table)
    assert extended == "".join(f"ipv4     2 {line}\n" for line in PLAIN.splitlines())
    assert loaded(extended).dump() == PLAIN


def test_proc_text_is_read() -> None:
    """/proc/net/nf_conntrack shows zone 0, another use count and GRE's timeouts."""
    lines = PLAIN.splitlines()
    assert loaded(PROC).dump().splitlines() == [lines[0], lines[1], lines[5]]


def test_footer_and_blank_lines_are_passed_over() -> None:
    """The footer of stderr may have been saved too."""
    footer = "conntrack v1.4.7 (conntrack-tools): 4 flow entries have been shown.\n\n"
    assert loaded(PLAIN + footer).dump() == PLAIN


def test_ipv6_is_read() -> None:
    """Nothing depends on the family."""
    line = "tcp      6 99 ESTABLISHED src=fd00::1 dst=fd00::2 sport=4 dport=2 src=fd00::2 dst=fd00::1 sport=2 dport=4 [ASSURED] mark=0 use=1"
    table = loaded(f"ipv6     10 {line}\n")
    assert table.dump() == f"{line}\n"
    assert table.text(next(iter(table)), Form.EXTENDED) == f"ipv6     10 {line}"


def test_offloaded_entry_has_no_timeout() -> None:
    """Its number is left out; the flow table keeps it alive."""
    line = "udp      17 src=1.1.1.1 dst=2.2.2.2 sport=4 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=4 [OFFLOAD] mark=0 use=1"
    assert loaded(f"{line}\n").dump() == f"{line}\n"


@pytest.mark.parametrize(
    "line,status",
    [
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 mark=0", Status(0)),
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=3.3.3.3 dst=1.1.1.1 sport=2 dport=1 mark=0", Status.DST_NAT),
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=3 dport=1 mark=0", Status.DST_NAT),
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=4.4.4.4 sport=2 dport=1 mark=0", Status.SRC_NAT),
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=9 mark=0", Status.SRC_NAT),
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=3.3.3.3 dst=4.4.4.4 sport=2 dport=1 mark=0", Status.SRC_NAT | Status.DST_NAT),
        ("icmp 1 9 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=5 src=2.2.2.2 dst=1.1.1.1 type=0 code=0 id=6 mark=0", Status.SRC_NAT),
        ("icmp 1 9 src=1.1.1.1 dst=2.2.2.2 type=8 code=0 id=5 src=3.3.3.3 dst=1.1.1.1 type=0 code=0 id=5 mark=0", Status.DST_NAT),
    ],
)  # fmt: skip
def test_nat_is_told_by_the_tuples(line: str, status: Status) -> None:
    """Which sides were translated shows in where the reply tuple is not the inverse."""
    (parsed,) = parse_connections(line, "ct")
    nat = Status.SRC_NAT | Status.DST_NAT
    assert parsed.connection.flags & nat == status


@pytest.mark.parametrize(
    "line,column,message",
    [
        ("tpc 6 9 SYN_SENT", 1, "protocol expected"),
        ("tcp six 9", 5, "protocol number expected"),
        ("tcp 300 9", 5, "protocol number expected"),
        ("tcp 6 9 SYN-SENT src=1.1.1.1", 9, "no state of tcp"),
        ("tcp 6 9 SYN_SENT scr=1.1.1.1", 18, "src= expected"),
        ("tcp 6 9 SYN_SENT src=1.1.1 dst=1.1.1.1", 18, "src= takes an address"),
        ("tcp 6 9 SYN_SENT src=1.1.1.1 dst=::1 sport=1 dport=2", 30, "different families"),
        ("tcp 6 9 SYN_SENT src=1.1.1.1 dst=2.2.2.2 sport=70000", 42, "sport= takes a number"),
        ("tcp 6 9 SYN_SENT src=1.1.1.1 dst=2.2.2.2 sport=x", 42, "sport= takes a number"),
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2", 49, "src= expected"),
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 [UNREPLYED] src=2.2.2.2", 50, "src= expected"),
        ("udp 17 9 src=1.1.1.1 dst=2.2.2.2 sport=1 dport=2 src=2.2.2.2 dst=1.1.1.1 sport=2 dport=1 marc=0", 90, "unknown word"),
        ("ipv4 two udp 17", 6, "number of the L3 protocol expected"),
    ],
)  # fmt: skip
def test_bad_lines_say_where(line: str, column: int, message: str) -> None:
    """A line that cannot be read is refused with its place."""
    with pytest.raises(SnapshotError) as caught:
        loaded(f"{PLAIN}{line}\n")
    error = caught.value
    assert message in error.message
    assert (error.file, error.line, error.column) == ("ct", 12, column)
    assert str(error).startswith(f"ct:12:{column}: ")


def test_the_proc_form_shows_zones_and_gre_timeouts() -> None:
    """As Linux 6.18's /proc/net/nf_conntrack had it for such a connection."""
    line = "gre 47 30 src=10.1.0.2 dst=10.2.0.2 srckey=0x0 dstkey=0x0 [UNREPLIED] src=10.2.0.2 "
    line += "dst=10.2.0.1 srckey=0x0 dstkey=0x0 mark=0 use=1"
    table = loaded(line)
    assert table.dump(Form.PROC) == (
        "ipv4     2 gre      47 30 timeout=30, stream_timeout=180 src=10.1.0.2 dst=10.2.0.2 "
        "srckey=0x0 dstkey=0x0 [UNREPLIED] src=10.2.0.2 dst=10.2.0.1 srckey=0x0 dstkey=0x0 "
        "mark=0 zone=0 use=2\n"
    )
