"""The TRACE line of a rule that matched.

Kernel: net/ipv4/netfilter/ip_tables.c (trace_packet, get_chainname_rulenum),
net/netfilter/nf_log.c (nf_log_trace).
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.hook import HookState
from netemu.netfilter.xtables.entry import Entry
from netemu.netfilter.xtables.log import DEFAULT_MASK, bound_logger, nf_log_ip_packet
from netemu.skb import Skb


def trace_packet(net: Net, skb: Skb, state: HookState, table: str, entry: Entry) -> None:
    """Log that `entry` matched a packet under TRACE; nothing when no logger is bound."""
    if not bound_logger(net):
        return
    prefix = f"TRACE: {table}:{entry.chain.name}:{entry.trace_comment}:{entry.number} "
    nf_log_ip_packet(net, skb, state.in_device, state.out_device, DEFAULT_MASK, prefix)
