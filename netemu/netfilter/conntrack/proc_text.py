"""Connections as /proc/net/nf_conntrack prints them.

Kernel: net/netfilter/nf_conntrack_standalone.c (ct_seq_show). conntrack(8) prints nearly the same
(`text.py`); here a connection's zone always shows, its helper never, GRE shows both its timeouts,
and the reader itself counts among the uses.
"""

from __future__ import annotations

from netemu.netfilter.conntrack.connection import (
    IPS_ASSURED,
    IPS_HW_OFFLOAD,
    IPS_OFFLOAD,
    IPS_SEEN_REPLY,
    Connection,
)
from netemu.netfilter.conntrack.text import (
    DCCP_STATES,
    PROTOCOL_NAMES,
    SCTP_STATES,
    TCP_STATES,
    tuple_text,
)
from netemu.netfilter.conntrack.tuple import Tuple
from netemu.netfilter.hook import Family
from netemu.wire.ipv4 import IPPROTO_DCCP, IPPROTO_GRE


def proc_text(
    connection: Connection,
    expires_s: int,
    *,
    age_s: int | None,
    uses: int,
    gre_timeouts_s: tuple[int, int],
) -> str:
    """Return an entry, without newline."""
    original, status = connection.original, connection.status
    protocol = original.protocol
    ipv4 = original.family == Family.IPV4
    name = PROTOCOL_NAMES.get(protocol, "unknown")
    if protocol == IPPROTO_DCCP and connection.dccp is None:
        name = "unknown"
    words = [f"{'ipv4' if ipv4 else 'ipv6':<8} {2 if ipv4 else 10} {name:<8} {protocol}"]
    if not status & (IPS_OFFLOAD | IPS_HW_OFFLOAD):
        words.append(str(expires_s))
    words += _protocol_words(connection, gre_timeouts_s)
    zone, counters = connection.zone, connection.counters
    for direction, tuple_ in enumerate((original, connection.reply)):
        words.append(_ends(tuple_))
        if zone.directions == 1 << direction:
            words.append(f"zone-{('orig', 'reply')[direction]}={zone.id}")
        if counters is not None:
            counter = counters[direction]
            words.append(f"packets={counter.packets} bytes={counter.octets}")
        if not direction and not status & IPS_SEEN_REPLY:
            words.append("[UNREPLIED]")
    if status & IPS_HW_OFFLOAD:
        words.append("[HW_OFFLOAD]")
    elif status & IPS_OFFLOAD:
        words.append("[OFFLOAD]")
    elif status & IPS_ASSURED:
        words.append("[ASSURED]")
    words.append(f"mark={connection.mark}")
    if zone.directions == 3:
        words.append(f"zone={zone.id}")
    if age_s is not None:
        words.append(f"delta-time={age_s}")
    words.append(f"use={uses + 1}")
    return " ".join(words)


def _protocol_words(connection: Connection, gre_timeouts_s: tuple[int, int]) -> list[str]:
    """Return what the protocol's tracker adds (l4proto->print_conntrack)."""
    if connection.tcp is not None:
        return [TCP_STATES[connection.tcp.state]]
    if connection.sctp is not None:
        return [SCTP_STATES[connection.sctp.state]]
    if connection.dccp is not None:
        return [DCCP_STATES[connection.dccp.state]]
    if connection.protocol == IPPROTO_GRE:
        once, answered = gre_timeouts_s
        return [f"timeout={once}, stream_timeout={answered}"]
    return []


def _ends(tuple_: Tuple) -> str:
    """Return both ends; where DCCP has no tracker it has no ports either."""
    if tuple_.protocol == IPPROTO_DCCP and not tuple_.has_ports:
        return tuple_text(tuple_).partition(" sport=")[0]
    return tuple_text(tuple_)
