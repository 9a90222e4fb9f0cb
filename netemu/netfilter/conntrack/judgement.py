"""What a protocol says about a packet of one of its connections.

Kernel: net/netfilter/nf_conntrack_core.c (nf_conntrack_handle_packet), where it is NF_ACCEPT or a
verdict with its sign turned; net/netfilter/nf_conntrack_proto.c (the log of invalid packets).
"""

from __future__ import annotations

from enum import Enum, auto

from netemu.net import Net
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.hook import Hook, HookState
from netemu.skb import Checksum, Skb
from netemu.wire.checksum import internet_checksum, pseudo_header_sum
from netemu.wire.ipv4 import IPPROTO_ICMP

LOG_ALL_PROTOCOLS = 255
"""Value of nf_conntrack_log_invalid that means every protocol (IPPROTO_RAW)."""


class Judgement(Enum):
    """The protocol's answer."""

    VALID = auto()
    """NF_ACCEPT."""
    INVALID = auto()
    """-NF_ACCEPT: the packet goes on without a connection."""
    DROP = auto()
    """-NF_DROP."""
    REPEAT = auto()
    """-NF_REPEAT: the old entry is gone, look again."""


def nf_l4proto_log_invalid(net: Net, skb: Skb, state: HookState, protocol: int, text: str) -> None:
    """Say why a packet is invalid: to the trace, and to the kernel log if the sysctl wants it."""
    net.generic(Conntrack).note = text
    wanted = net.sysctl.get("net.netfilter.nf_conntrack_log_invalid")
    if wanted not in (protocol, LOG_ALL_PROTOCOLS):
        return
    if net.nf_log_packet is not None:
        net.nf_log_packet(skb, state, f"nf_ct_proto_{protocol}: {text} ")


def nf_checksum_bad(skb: Skb, state: HookState, transport_offset: int, protocol: int) -> bool:
    """Return whether the L4 checksum is wrong, as far as conntrack looks: at PREROUTING only."""
    return state.hook == Hook.PREROUTING and nf_ip_checksum_bad(skb, transport_offset, protocol)


def nf_ip_checksum_bad(skb: Skb, transport_offset: int, protocol: int) -> bool:
    """Return whether the L4 checksum is wrong (nf_ip_checksum); a good one is remembered.

    The kernel adds up the IP header as well. That is ffff, and so nothing, but for a message that
    is all zeros: its checksum is good by that (asked of 6.18).
    """
    if skb.ip_summed != Checksum.NONE:
        return False
    data = skb.data
    initial = 0
    if protocol != IPPROTO_ICMP:
        length = len(data) - transport_offset
        initial = pseudo_header_sum(data[12:16], data[16:20], protocol, length)
    bad = internet_checksum(data, initial) != 0
    if not bad:
        skb.ip_summed = Checksum.UNNECESSARY
    return bad


def nf_ip_checksum_partial_bad(
    skb: Skb, transport_offset: int, protocol: int, coverage: int
) -> bool:
    """Return whether the checksum of the first `coverage` octets is wrong.

    The kernel hands length and protocol over in the wrong order, and the protocol is one octet
    wide: so the pseudo header has the length modulo 256 (nf_ip_checksum_partial, asked of 6.18).
    """
    if skb.ip_summed != Checksum.NONE:
        return False
    data = skb.data
    length = (len(data) - transport_offset) & 0xFF
    initial = pseudo_header_sum(data[12:16], data[16:20], protocol, length)
    bad = internet_checksum(data[transport_offset : transport_offset + coverage], initial) != 0
    if not bad:
        skb.ip_summed = Checksum.UNNECESSARY
    return bad
