"""FTP: a command or its answer names the address and port of the data connection.

Kernel: net/netfilter/nf_conntrack_ftp.c, nf_nat_ftp.c. RFC 959, RFC 1123 4.1.2.6, RFC 2428.

Theory of operation: the client says PORT or EPRT, where it will listen; the server answers PASV
by 227 and EPSV by 229, where it will. A line is read only at the start of a packet, and only where
the packet before ended a line, which the sequence number tells: two such places are remembered per
direction. So a direction's first line is never read. A packet that holds only a part of what is
looked for is dropped, so that the sender repeats it.

Differs from Linux: EPRT with an IPv6 address and FTP over IPv6 wait for IPv6 packets, which
netemu does not walk yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct, field

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_NAT_MASK,
    ORIGINAL,
    REPLY,
    Connection,
    CtInfo,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.expect import Expectation, Expectations
from netemu.netfilter.conntrack.helper import Helper, nf_ct_expect_related, nf_ct_helper_log
from netemu.netfilter.conntrack.tcp_window import after, before
from netemu.netfilter.conntrack.tuple import Tuple
from netemu.netfilter.helpers.mangle import (
    nf_nat_exp_find_port,
    nf_nat_follow_master,
    nf_nat_mangle_tcp_packet,
    tcp_payload_offset,
)
from netemu.netfilter.hook import Verdict
from netemu.skb import Skb
from netemu.wire.address import format_address
from netemu.wire.ipv4 import IPPROTO_TCP

LINES_REMEMBERED: Final = 2
"""NUM_SEQ_TO_REMEMBER."""

PRINTABLE: Final = range(33, 127)
"""What may be a delimiter of EPRT and EPSV, digits apart."""

U32: Final = 0xFFFFFFFF


class Endpoint(Struct, frozen=True):
    """An address and port as a line names them, and how many octets that takes."""

    address: bytes
    port: int
    length: int


Reader = Callable[[bytes, bytes], tuple[int, Endpoint] | None]
"""Rest of the line, own address -> where the endpoint begins in it and the endpoint."""


def try_number(data: bytes, count: int, separator: int, terminator: int) -> tuple[list[int], int]:
    """Return `count` numbers and the octets that they take; 0 octets when there are fewer.

    A terminator of 0 stands for any octet.
    """
    numbers = [0] * count
    index = 0
    for length, octet in enumerate(data):
        if index == count:
            break
        if 48 <= octet <= 57:
            numbers[index] = (numbers[index] * 10 + octet - 48) & U32
        elif octet == separator:
            index += 1
        elif (octet == terminator or not terminator) and index == count - 1:
            return numbers, length
        else:
            break
    return numbers, 0


def _address(numbers: list[int]) -> bytes:
    first, second, third, fourth = numbers[:4]
    word = first << 24 | second << 16 | third << 8 | fourth
    return (word & U32).to_bytes(4, "big")


def _rfc959(data: bytes, terminator: int) -> Endpoint | None:
    numbers, length = try_number(data, 6, ord(","), terminator)
    if not length:
        return None
    return Endpoint(_address(numbers), (numbers[4] << 8 | numbers[5]) & 0xFFFF, length)


def try_rfc959(data: bytes, own: bytes) -> tuple[int, Endpoint] | None:
    r"""Read `10,1,0,2,4,1\r` of PORT."""
    found = _rfc959(data, ord("\r"))
    return (0, found) if found else None


def try_rfc1123(data: bytes, own: bytes) -> tuple[int, Endpoint] | None:
    """Read an answer to PASV: the numbers may stand anywhere, and anything may follow them."""
    for start, octet in enumerate(data):
        if 48 <= octet <= 57:
            found = _rfc959(data[start:], 0)
            return (start, found) if found else None
    return None


def _is_delimiter(octet: int) -> bool:
    return octet in PRINTABLE and not 48 <= octet <= 57


def get_port(data: bytes, start: int, delimiter: int) -> tuple[int, int] | None:
    """Return a port and the position after the delimiter that ends it."""
    port = 0
    for at in range(start, len(data)):
        octet = data[at]
        if octet == delimiter:
            return (port, at + 1) if port else None
        if not 48 <= octet <= 57:
            return None
        port = (port * 10 + octet - 48) & 0xFFFF
    return None


def try_eprt(data: bytes, own: bytes) -> tuple[int, Endpoint] | None:
    """Read `|1|10.1.0.2|1025|` of EPRT."""
    if len(data) <= 3 or not _is_delimiter(data[0]) or data[2] != data[0]:
        return None
    if data[1] != ord("1"):
        return None
    numbers, length = try_number(data[3:], 4, ord("."), data[0])
    if not length:
        return None
    found = get_port(data, 3 + length + 1, data[0])
    return (0, Endpoint(_address(numbers), *found)) if found else None


def try_epsv_response(data: bytes, own: bytes) -> tuple[int, Endpoint] | None:
    """Read `|||1025|` of the answer to EPSV; the address is the sender's own."""
    if len(data) <= 3 or not _is_delimiter(data[0]) or data[1] != data[0] or data[2] != data[0]:
        return None
    found = get_port(data, 3, data[0])
    return (0, Endpoint(own, *found)) if found else None


def _comma_form(address: bytes, port: int) -> str:
    return ",".join(map(str, (*address, port >> 8, port & 0xFF)))


def _eprt_form(address: bytes, port: int) -> str:
    return f"|1|{format_address(address)}|{port}|"


def _epsv_form(address: bytes, port: int) -> str:
    return f"|||{port}|"


class Pattern(Struct, frozen=True, kw_only=True):
    """A line that names an endpoint (struct ftp_search)."""

    text: bytes
    skip: bytes = b""
    """What stands before the endpoint; empty when it follows at once."""
    read: Reader
    write: Callable[[bytes, int], str]
    """The endpoint in this line's form, for NAT."""


SEARCH: Final = (
    (  # original direction: the client's commands
        Pattern(text=b"PORT", skip=b" ", read=try_rfc959, write=_comma_form),
        Pattern(text=b"EPRT", skip=b" ", read=try_eprt, write=_eprt_form),
    ),
    (  # reply direction: the server's answers
        Pattern(text=b"227 ", read=try_rfc1123, write=_comma_form),
        Pattern(text=b"229 ", skip=b"(", read=try_epsv_response, write=_epsv_form),
    ),
)


class Found(Struct, frozen=True):
    """An endpoint in a payload."""

    pattern: Pattern
    start: int
    endpoint: Endpoint


def find_pattern(data: bytes, pattern: Pattern, own: bytes) -> Found | bool:
    """Return what a payload names; True where it is only a part of it, False for other lines."""
    text = pattern.text
    if len(data) <= len(text):
        return bool(data) and text[: len(data)].lower() == data.lower()
    if data[: len(text)].lower() != text.lower():
        return False
    start = len(text)
    if pattern.skip:
        start = data.find(pattern.skip, start) + 1
        if not start:
            return True
    found = pattern.read(data[start:], own)
    if found is None:
        return True
    return Found(pattern, start + found[0], found[1])


class LineEnds(Struct):
    """Sequence numbers at which lines begin, per direction (struct nf_ct_ftp_master)."""

    seen: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    unknown: set[int] = field(default_factory=set)
    """Directions in which nothing was seen of a loaded connection (NF_CT_FTP_SEQ_PICKUP)."""

    def begins_line(self, direction: int, seq: int) -> bool:
        """Return whether a packet begins a line; the first of a loaded connection counts as so."""
        if seq in self.seen[direction]:
            return True
        known = direction not in self.unknown
        self.unknown.discard(direction)
        return not known

    def update(self, direction: int, seq: int) -> None:
        """Remember one; of more than two the oldest goes (update_nl_seq)."""
        known = self.seen[direction]
        if seq in known:
            return
        if len(known) < LINES_REMEMBERED:
            known.append(seq)
            return
        oldest = 0 if before(known[0], known[1]) else 1
        if after(seq, known[oldest]):
            known[oldest] = seq


def ftp_help(
    net: Net, skb: Skb, transport_offset: int, connection: Connection, ctinfo: CtInfo
) -> Verdict:
    """Read a packet of a control connection."""
    start = tcp_payload_offset(skb, transport_offset, ctinfo)
    if start is None:
        return Verdict.ACCEPT
    data = skb.data
    payload = bytes(data[start:])
    seq = int.from_bytes(data[transport_offset + 4 : transport_offset + 8], "big")
    direction = ctinfo_direction(ctinfo)
    if connection.help_data is None:
        connection.help_data = LineEnds()
    lines = connection.help_data
    assert isinstance(lines, LineEnds)
    verdict = Verdict.ACCEPT
    if lines.begins_line(direction, seq):
        found = _search(payload, direction, connection)
        if isinstance(found, Pattern):
            text = f"partial matching of `{found.text.decode()}'"
            nf_ct_helper_log(net, skb, connection, text)
            return Verdict.DROP
        if found is not None:
            verdict = _expect(net, skb, transport_offset, connection, ctinfo, found)
    if payload.endswith(b"\n"):
        lines.update(direction, (seq + len(payload)) & U32)
    return verdict


def _search(payload: bytes, direction: int, connection: Connection) -> Found | Pattern | None:
    """Return what a payload names, or the pattern that it is only a part of."""
    own = connection.tuple_of(direction).src
    for pattern in SEARCH[direction]:
        found = find_pattern(payload, pattern, own)
        if found is True:
            return pattern
        if isinstance(found, Found):
            return found
    return None


def _expect(
    net: Net,
    skb: Skb,
    transport_offset: int,
    connection: Connection,
    ctinfo: CtInfo,
    found: Found,
) -> Verdict:
    """Expect the data connection; under NAT at another address, which the packet then names."""
    direction = ctinfo_direction(ctinfo)
    other = connection.tuple_of(not direction)
    endpoint = found.endpoint
    if endpoint.address != connection.tuple_of(direction).src:
        # Somebody else's address, as in FXP: not expected (module parameter loose=0).
        return Verdict.ACCEPT
    target = Tuple(other.src, other.dst, IPPROTO_TCP, 0, endpoint.port)
    expectation = Expectation(master=connection, tuple_=target)
    if not connection.status & IPS_NAT_MASK:
        if nf_ct_expect_related(net, expectation, skb) is not None:
            nf_ct_helper_log(net, skb, connection, "cannot add expectation")
            return Verdict.DROP
        return Verdict.ACCEPT
    expectation.saved_part = endpoint.port
    expectation.direction = not direction
    expectation.expectfn = nf_nat_follow_master
    port = nf_nat_exp_find_port(net, expectation, endpoint.port, skb)
    if not port:
        nf_ct_helper_log(net, skb, connection, "all ports in use")
        return Verdict.DROP
    new = found.pattern.write(other.dst, port).encode()
    if not nf_nat_mangle_tcp_packet(
        net, skb, connection, ctinfo, transport_offset, found.start, endpoint.length, new
    ):
        nf_ct_helper_log(net, skb, connection, "cannot mangle packet")
        net.generic(Expectations).unexpect(expectation)
        return Verdict.DROP
    return Verdict.ACCEPT


HELPER = Helper(
    name="ftp",
    kernel="nf_conntrack_ftp.c",
    protocol=IPPROTO_TCP,
    help=ftp_help,
    load=lambda: LineEnds(unknown={ORIGINAL, REPLY}),
)
