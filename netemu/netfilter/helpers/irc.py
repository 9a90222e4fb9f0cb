r"""IRC: a client offers a file or a chat by a message that names its own address and port.

Kernel: net/netfilter/nf_conntrack_irc.c, nf_nat_irc.c. The message is CTCP's
`PRIVMSG nick :\1DCC SEND file ADDRESS PORT\1`, the address a decimal number.

Anybody may open the connection, so its source is left open.
"""

from __future__ import annotations

import re
from typing import Final

from msgspec import Struct

from netemu.link.ratelimit import net_ratelimit
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

MAX_SEARCH_SIZE: Final = 4095
MAX_DCC_CHANNELS: Final = 8
"""Default of the module's parameter."""

PRIVMSG_LEN: Final = 10
"""`PRIVMSG x `: in less than this no message is looked for."""

SHORTEST: Final = 26
r"""` :\1DCC SENT t AAAAAAAA P\1\n`: so much must follow where a message is looked for."""

DCC: Final = b"\x01DCC "
COMMANDS: Final = (b"SEND ", b"CHAT ", b"MOVE ", b"TSEND ", b"SCHAT ")

_NUMBERS: Final = re.compile(rb"(\d*) *(\d*)")


class Offer(Struct, frozen=True):
    """What a message offers."""

    address: bytes
    port: int
    start: int
    """Where address and port stand in the payload."""
    length: int


def find_offer(payload: bytes) -> Offer | None:
    """Return the offer in a payload, None without one that can be read."""
    end = len(payload)
    at = 0
    while at < end - PRIVMSG_LEN and payload[at] in b" \r\n":
        at += 1
    if at < end - PRIVMSG_LEN:
        if payload[at : at + 8].upper() != b"PRIVMSG ":
            return None
        at += 8
    at = payload.find(b" :", at)
    if not 0 <= at < end - SHORTEST or not payload.startswith(DCC, at + 2):
        return None
    at += 2 + len(DCC)
    for command in COMMANDS:
        if payload.startswith(command, at):
            return parse_dcc(payload, at + len(command))
    return None


def parse_dcc(payload: bytes, at: int) -> Offer | None:
    """Read address and port behind the first word."""
    blank = payload.find(b" ", at)
    if not 0 <= blank <= len(payload) - 12 or payload.find(b"\n", blank) < 0:
        return None
    found = _NUMBERS.match(payload, blank + 1)
    assert found is not None
    address = int(found[1] or 0) & 0xFFFFFFFF
    port = int(found[2] or 0) & 0xFFFF
    return Offer(address.to_bytes(4, "big"), port, found.start(), found.end() - found.start())


def irc_help(
    net: Net, skb: Skb, transport_offset: int, connection: Connection, ctinfo: CtInfo
) -> Verdict:
    """Read a packet of the client."""
    start = tcp_payload_offset(skb, transport_offset, ctinfo)
    if start is None or ctinfo_direction(ctinfo) != ORIGINAL:
        return Verdict.ACCEPT
    offer = find_offer(bytes(skb.data[start : start + MAX_SEARCH_SIZE]))
    if offer is None:
        return Verdict.ACCEPT
    source, seen = connection.original.src, connection.reply.dst
    if offer.address not in (source, seen) or not offer.port:
        if net_ratelimit(net, skb):
            told = f"{format_address(offer.address)}:{offer.port}"
            text = f"Forged DCC command from {format_address(source)}: {told}"
            net.printk(skb, f"nf_conntrack_irc: {text}")
        return Verdict.ACCEPT
    target = Tuple(bytes(4), seen, IPPROTO_TCP, 0, offer.port)
    expectation = Expectation(master=connection, tuple_=target, src_mask=bytes(4))
    if connection.status & IPS_NAT_MASK:
        return _nat(net, skb, transport_offset, ctinfo, expectation, offer)
    if nf_ct_expect_related(net, expectation, skb) is not None:
        nf_ct_helper_log(net, skb, connection, "cannot add expectation")
        return Verdict.DROP
    return Verdict.ACCEPT


def _nat(
    net: Net,
    skb: Skb,
    transport_offset: int,
    ctinfo: CtInfo,
    expectation: Expectation,
    offer: Offer,
) -> Verdict:
    """Offer the address that NAT gives the client instead (nf_nat_irc.c help)."""
    connection = expectation.master
    expectation.saved_part = offer.port
    expectation.direction = REPLY
    expectation.expectfn = nf_nat_follow_master
    port = nf_nat_exp_find_port(net, expectation, offer.port, skb)
    if not port:
        nf_ct_helper_log(net, skb, connection, "all ports in use")
        return Verdict.DROP
    new = f"{int.from_bytes(connection.reply.dst, 'big')} {port}".encode()
    if not nf_nat_mangle_tcp_packet(
        net, skb, connection, ctinfo, transport_offset, offer.start, offer.length, new
    ):
        nf_ct_helper_log(net, skb, connection, "cannot mangle packet")
        net.generic(Expectations).unexpect(expectation)
        return Verdict.DROP
    return Verdict.ACCEPT


HELPER = Helper(
    name="irc",
    kernel="nf_conntrack_irc.c",
    protocol=IPPROTO_TCP,
    help=irc_help,
    max_expected=MAX_DCC_CHANNELS,
)
