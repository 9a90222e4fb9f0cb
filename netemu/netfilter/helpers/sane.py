"""SANE: a scanner's server names the port of the data connection.

Kernel: net/netfilter/nf_conntrack_sane.c. SANE standard 5.2.9 (SANE_NET_START).

The kernel's helper knows no NAT, so under NAT the connection is expected where the server says.
"""

from __future__ import annotations

from typing import Final

from netemu.net import Net
from netemu.netfilter.conntrack.connection import ORIGINAL, Connection, CtInfo, ctinfo_direction
from netemu.netfilter.conntrack.expect import Expectation
from netemu.netfilter.conntrack.helper import Helper, nf_ct_expect_related, nf_ct_helper_log
from netemu.netfilter.helpers.mangle import tcp_payload_offset
from netemu.netfilter.hook import Verdict
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_TCP

SANE_NET_START: Final = (7).to_bytes(4, "big")
REQUEST_LEN: Final = 8
"""Code and handle."""

REPLY_LEN: Final = 8
"""Status, two octets of zero, port."""


def sane_help(
    net: Net, skb: Skb, transport_offset: int, connection: Connection, ctinfo: CtInfo
) -> Verdict:
    """Read a request to start, and the answer to it."""
    start = tcp_payload_offset(skb, transport_offset, ctinfo)
    if start is None:
        return Verdict.ACCEPT
    payload = bytes(skb.data[start:])
    if ctinfo_direction(ctinfo) == ORIGINAL:
        if len(payload) == REQUEST_LEN:
            connection.help_data = payload[:4] == SANE_NET_START
        return Verdict.ACCEPT
    if connection.help_data is not True:
        return Verdict.ACCEPT
    connection.help_data = False
    if len(payload) < REPLY_LEN or any(payload[:6]):
        return Verdict.ACCEPT
    target = connection.original._replace(src_part=0, dst_part=get16(payload, 6))
    if nf_ct_expect_related(net, Expectation(master=connection, tuple_=target), skb) is not None:
        nf_ct_helper_log(net, skb, connection, "cannot add expectation")
        return Verdict.DROP
    return Verdict.ACCEPT


HELPER = Helper(name="sane", kernel="nf_conntrack_sane.c", protocol=IPPROTO_TCP, help=sane_help)
