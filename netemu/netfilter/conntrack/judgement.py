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


def nf_checksum_bad(
    skb: Skb, state: HookState, transport_offset: int, protocol: int, coverage: int = 0
) -> bool:
    """Return whether the L4 checksum is wrong, as far as conntrack looks: at PREROUTING only."""
    return state.hook == Hook.PREROUTING and nf_ip_checksum_bad(
        skb, transport_offset, protocol, coverage
    )


def nf_ip_checksum_bad(skb: Skb, transport_offset: int, protocol: int, coverage: int = 0) -> bool:
    """Return whether the L4 checksum is wrong (nf_ip_checksum); a good one is remembered.

    `coverage` counts the octets that UDP-Lite covers; 0 means all.
    """
    if skb.ip_summed != Checksum.NONE:
        return False
    data = skb.data
    initial = 0
    if protocol != IPPROTO_ICMP:
        length = len(data) - transport_offset
        initial = pseudo_header_sum(data[12:16], data[16:20], protocol, length)
    end = transport_offset + coverage if coverage else len(data)
    bad = internet_checksum(data[transport_offset:end], initial) != 0
    if not bad:
        skb.ip_summed = Checksum.UNNECESSARY
    return bad
