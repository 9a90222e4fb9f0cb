"""DCCP as Linux 6.1 tracks it: states by packet type and by who began.

Kernel: net/netfilter/nf_conntrack_proto_dccp.c (v6.1; 6.18 has no tracker of its own for DCCP).
RFC 4340.

Theory of operation: the end that sends the Request is the client. A packet's type and its sender's
role give a row of `TRANSITIONS`, the state a column. The table lets a packet through without
believing it where the tracker may be out of step; a Response to such a Request brings it back.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_ASSURED,
    IPS_CONFIRMED,
    IPS_SEEN_REPLY,
    Connection,
    CtInfo,
    DccpTracking,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.judgement import (
    Judgement,
    nf_ip_checksum_bad,
    nf_ip_checksum_partial_bad,
    nf_l4proto_log_invalid,
)
from netemu.netfilter.conntrack.table import nf_ct_kill_acct, nf_ct_refresh_acct
from netemu.netfilter.hook import Hook, HookState
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_DCCP

SHORT_HEADER_LEN: Final = 12
LONG_HEADER_LEN: Final = 16
"""With the 48-bit sequence numbers of X=1 (struct dccp_hdr_ext)."""

ACK_LEN: Final = 8


class Type(IntEnum):
    """Packet types (RFC 4340 section 5.1)."""

    REQUEST = 0
    RESPONSE = 1
    DATA = 2
    ACK = 3
    DATAACK = 4
    CLOSEREQ = 5
    CLOSE = 6
    RESET = 7
    SYNC = 8
    SYNCACK = 9


LONG_TYPES: Final = frozenset(Type) - {Type.DATA, Type.ACK, Type.DATAACK}
"""Types that need 48-bit sequence numbers."""

CLIENT: Final = 0
SERVER: Final = 1

NO, RQ, RS, PO, OP, CR, CG, TW, IG, IV = range(10)
"""NONE REQUEST RESPOND PARTOPEN OPEN CLOSEREQ CLOSING TIMEWAIT, ignored, and invalid."""

TRANSITIONS: Final = (
    (  # the client's packets
        # NO  RQ  RS  PO  OP  CR  CG  TW
        (RQ, RQ, RS, IG, IG, IG, IG, RQ),  # Request
        (IV, IG, IG, IG, IG, IG, IG, IV),  # Response
        (IV, IV, IV, IV, OP, CR, CG, IV),  # Data
        (IV, IV, PO, PO, OP, CR, CG, IV),  # Ack
        (IV, IV, PO, PO, OP, CR, CG, IV),  # DataAck
        (IV, IV, IV, IV, IV, IV, IV, IV),  # CloseReq
        (IV, IV, IV, CG, CG, CG, IV, IV),  # Close
        (IV, TW, TW, TW, TW, TW, TW, IG),  # Reset
        (IV, IG, IG, IG, IG, IG, IG, IG),  # Sync
        (IV, IG, IG, IG, IG, IG, IG, IG),  # SyncAck
    ),
    (  # the server's packets
        # NO  RQ  RS  PO  OP  CR  CG  TW
        (IV, IG, IG, IG, IG, IG, IG, RQ),  # Request
        (IV, RS, RS, IG, IG, IG, IG, IV),  # Response
        (IV, IV, IV, OP, OP, IV, CG, IV),  # Data
        (IV, IV, IV, OP, OP, IV, CG, IV),  # Ack
        (IV, IV, IV, OP, OP, IV, CG, IV),  # DataAck
        (IV, IV, IV, CR, CR, CR, CR, IV),  # CloseReq
        (IV, IV, IV, CG, CG, IV, CG, IV),  # Close
        (IV, TW, TW, TW, TW, TW, TW, TW),  # Reset
        (IV, IG, IG, IG, IG, IG, IG, IG),  # Sync
        (IV, IG, IG, IG, IG, IG, IG, IG),  # SyncAck
    ),
)
"""dccp_state_table: [role][type][state] -> next state; each place was asked of 6.1.192."""

_TIMEOUT_KEYS: Final = tuple(
    f"net.netfilter.nf_conntrack_dccp_timeout_{name}"
    for name in (
        "request",  # NONE has none of its own
        "request",
        "respond",
        "partopen",
        "open",
        "closereq",
        "closing",
        "timewait",
    )
)
"""By state."""


def nf_conntrack_dccp_packet(
    net: Net, connection: Connection, skb: Skb, offset: int, ctinfo: CtInfo, state: HookState
) -> Judgement:
    """Judge a packet, move the state and restart the timeout."""
    fault = _dccp_error(net, skb, offset, state)
    if not fault and not connection.status & IPS_CONFIRMED:
        fault = _dccp_new(net, connection, skb.data[offset + 8] >> 1 & 0x0F)
    if fault:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_DCCP, fault)
        return Judgement.INVALID
    kind = skb.data[offset + 8] >> 1 & 0x0F
    if kind == Type.RESET and not connection.status & IPS_SEEN_REPLY:
        nf_ct_kill_acct(net, connection, ctinfo, skb, "RST")
        return Judgement.VALID
    tracking = connection.dccp
    assert tracking is not None
    direction = ctinfo_direction(ctinfo)
    role = tracking.role[direction]
    old = tracking.state
    new = TRANSITIONS[role][kind][old]
    if new == IV:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_DCCP, "invalid state transition")
        return Judgement.INVALID
    answered = tracking.last_dir != direction and tracking.last_type == Type.REQUEST
    if new == IG and answered and kind == Type.RESPONSE:
        _become_server(tracking, direction)
        tracking.handshake_seq = _sequence(skb, offset)
        new = RS
    tracking.last_dir, tracking.last_type = direction, kind
    if new == IG:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_DCCP, "invalid packet")
        return Judgement.VALID
    if new == RQ and old == TW and role == SERVER:
        _become_server(tracking, not direction)
    elif new == RS and old == RQ:
        tracking.handshake_seq = _sequence(skb, offset)
    elif new == PO and old == RS and kind == Type.ACK:
        if _acknowledged(skb, offset) == tracking.handshake_seq:
            connection.status |= IPS_ASSURED
    tracking.state = new
    timeout = net.sysctl.get(_TIMEOUT_KEYS[new]) * net.clock.hz
    nf_ct_refresh_acct(net, connection, ctinfo, skb, timeout)
    return Judgement.VALID


def _become_server(tracking: DccpTracking, direction: int) -> None:
    tracking.role[direction] = SERVER
    tracking.role[not direction] = CLIENT


def _dccp_new(net: Net, connection: Connection, kind: int) -> str:
    """Begin to track; return why a packet cannot begin a connection (dccp_new)."""
    state = TRANSITIONS[CLIENT][kind][NO]
    if state == IV:
        return "invalid state transition"
    connection.dccp = DccpTracking()
    return ""


def _dccp_error(net: Net, skb: Skb, offset: int, state: HookState) -> str:
    """Return what is wrong with a header (dccp_error), empty if nothing is."""
    data = skb.data
    length = len(data) - offset
    if length < SHORT_HEADER_LEN or not SHORT_HEADER_LEN <= data[offset + 4] * 4 <= length:
        return "nf_ct_dccp: truncated/malformed packet"
    coverage = data[offset + 5] & 0x0F
    covered = (coverage - 1) * 4 if coverage else length
    if covered > length:
        return "nf_ct_dccp: bad checksum coverage"
    if (
        state.hook == Hook.PREROUTING
        and net.sysctl.get("net.netfilter.nf_conntrack_checksum")
        and _checksum_bad(skb, offset, covered, length)
    ):
        return "nf_ct_dccp: bad checksum"
    kind = data[offset + 8] >> 1 & 0x0F
    if kind > Type.SYNCACK:
        return "nf_ct_dccp: reserved packet type"
    is_long = data[offset + 8] & 1
    if kind in LONG_TYPES and not is_long:
        return "nf_ct_dccp: type lacks 48bit sequence numbers"
    needed = (LONG_HEADER_LEN if is_long else SHORT_HEADER_LEN) + (
        0 if kind in {Type.REQUEST, Type.DATA} else ACK_LEN
    )
    return "nf_ct_dccp: truncated/malformed packet" if length < needed else ""


def _checksum_bad(skb: Skb, offset: int, covered: int, length: int) -> bool:
    if covered == length:
        return nf_ip_checksum_bad(skb, offset, IPPROTO_DCCP)
    return nf_ip_checksum_partial_bad(skb, offset, IPPROTO_DCCP, covered)


def _sequence(skb: Skb, offset: int) -> int:
    """Return the sequence number of a packet with X=1 (dccp_hdr_seq)."""
    return int.from_bytes(skb.data[offset + 10 : offset + 16], "big")


def _acknowledged(skb: Skb, offset: int) -> int:
    """Return the acknowledgement number (dccp_hdr_ack_seq); 48 or 24 bits of it."""
    data = skb.data
    if data[offset + 8] & 1:
        return int.from_bytes(data[offset + 18 : offset + 24], "big")
    return int.from_bytes(data[offset + 13 : offset + 16], "big")
