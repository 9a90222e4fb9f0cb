"""SNMP: a question to everybody is answered by each agent.

Kernel: net/netfilter/nf_conntrack_snmp.c. RFC 3411.
"""

from __future__ import annotations

from typing import Final

from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo
from netemu.netfilter.conntrack.helper import Helper
from netemu.netfilter.helpers.broadcast import nf_conntrack_broadcast_help
from netemu.netfilter.hook import Verdict
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_UDP

PORT: Final = 161
TIMEOUT_S: Final = 30
"""Default of the module's parameter."""


def snmp_help(
    net: Net, skb: Skb, transport_offset: int, connection: Connection, ctinfo: CtInfo
) -> Verdict:
    """Expect the answers to a broadcast question."""
    return nf_conntrack_broadcast_help(net, skb, connection, ctinfo, port=PORT, timeout_s=TIMEOUT_S)


HELPER = Helper(
    name="snmp",
    kernel="nf_conntrack_snmp.c",
    protocol=IPPROTO_UDP,
    help=snmp_help,
    timeout_s=TIMEOUT_S,
)
