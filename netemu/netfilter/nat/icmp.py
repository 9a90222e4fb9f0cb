"""ICMP errors about translated connections.

Kernel: net/netfilter/nf_nat_proto.c (nf_nat_icmp_reply_translation).

The packet that an error quotes was translated on its way out; the end that sent it knows only what
it looked like before. So the quoted packet is translated back, the opposite side of what is
changed outside, and the outer address like that of any packet of the connection.
"""

from __future__ import annotations

from netemu.events import HeaderRewritten
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_NAT_DONE_MASK,
    IPS_NAT_MASK,
    Connection,
    CtInfo,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.judgement import nf_ip_checksum_bad
from netemu.netfilter.conntrack.tuple import half_text, inverse
from netemu.netfilter.hook import Hook
from netemu.netfilter.nat.proto import nf_nat_ipv4_manip_pkt
from netemu.netfilter.nat.range import Manip, hook_to_manip, status_bit
from netemu.skb import Checksum, Skb
from netemu.wire.address import format_address
from netemu.wire.checksum import internet_checksum
from netemu.wire.fields import set16
from netemu.wire.ipv4 import IPPROTO_ICMP

ICMP_REDIRECT = 5


def nf_nat_icmp_reply_translation(
    net: Net, skb: Skb, connection: Connection, ctinfo: CtInfo, hook: Hook
) -> bool:
    """Translate an ICMP error; False when it must be dropped."""
    data = skb.data
    offset = skb.transport_offset
    inner_offset = offset + 8
    if len(data) < inner_offset + 20:
        return False
    if nf_ip_checksum_bad(skb, offset, IPPROTO_ICMP):
        return False
    if data[offset] == ICMP_REDIRECT:
        status = connection.status
        if status & IPS_NAT_DONE_MASK != IPS_NAT_DONE_MASK or status & IPS_NAT_MASK:
            return False
    manip = hook_to_manip(hook)
    direction = ctinfo_direction(ctinfo)
    if not connection.status & status_bit(manip, direction):
        return True
    other = connection.tuple_of(not direction)
    inner_manip = Manip(not manip)
    inner_at = inner_offset + (16 if inner_manip else 12)
    inner_before = bytes(data[inner_at : inner_at + 4])
    if not nf_nat_ipv4_manip_pkt(skb, inner_offset, other, inner_manip):
        return False
    if skb.ip_summed != Checksum.PARTIAL:
        set16(data, offset + 2, 0)
        set16(data, offset + 2, internet_checksum(memoryview(data)[offset:]))
    target = inverse(other)._replace(protocol=IPPROTO_ICMP)
    outer_at = 16 if manip else 12
    outer_before = bytes(data[outer_at : outer_at + 4])
    if not nf_nat_ipv4_manip_pkt(skb, 0, target, manip):
        return False
    if net.sink is not None:
        net.tell(
            skb,
            HeaderRewritten(
                what="icmp payload",
                before=format_address(inner_before),
                after=half_text(other, source=inner_manip == Manip.SRC),
            ),
        )
        after = bytes(data[outer_at : outer_at + 4])
        if after != outer_before:
            net.tell(
                skb,
                HeaderRewritten(
                    what="dnat" if manip else "snat",
                    before=format_address(outer_before),
                    after=format_address(after),
                ),
            )
    return True
