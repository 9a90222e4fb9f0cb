"""TFTP: the server answers a request from a port of its own choice.

Kernel: net/netfilter/nf_conntrack_tftp.c, nf_nat_tftp.c. RFC 1350.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.connection import IPS_NAT_MASK, REPLY, Connection, CtInfo
from netemu.netfilter.conntrack.expect import Expectation
from netemu.netfilter.conntrack.helper import Helper, nf_ct_expect_related, nf_ct_helper_log
from netemu.netfilter.helpers.mangle import nf_nat_follow_master
from netemu.netfilter.hook import Verdict
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPPROTO_UDP

UDP_HEADER_LEN = 8
REQUESTS = (1, 2)
"""Opcodes: read and write."""


def tftp_help(
    net: Net, skb: Skb, transport_offset: int, connection: Connection, ctinfo: CtInfo
) -> Verdict:
    """Expect the server's answer to a request."""
    at = transport_offset + UDP_HEADER_LEN
    if len(skb.data) < at + 2 or get16(skb.data, at) not in REQUESTS:
        return Verdict.ACCEPT
    expectation = Expectation(master=connection, tuple_=connection.reply._replace(src_part=0))
    if connection.status & IPS_NAT_MASK:
        expectation.saved_part = connection.original.src_part
        expectation.direction = REPLY
        expectation.expectfn = nf_nat_follow_master
    if nf_ct_expect_related(net, expectation, skb) is not None:
        nf_ct_helper_log(net, skb, connection, "cannot add expectation")
        return Verdict.DROP
    return Verdict.ACCEPT


HELPER = Helper(name="tftp", kernel="nf_conntrack_tftp.c", protocol=IPPROTO_UDP, help=tftp_help)
