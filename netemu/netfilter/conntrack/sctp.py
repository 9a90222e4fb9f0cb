"""SCTP: states by the chunks of a packet, guarded by verification tags.

Kernel: net/netfilter/nf_conntrack_proto_sctp.c. RFC 9260 section 8.5 (verification tags).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_ASSURED,
    IPS_CONFIRMED,
    ORIGINAL,
    REPLY,
    Connection,
    CtInfo,
    SctpTracking,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.judgement import Judgement, nf_l4proto_log_invalid
from netemu.netfilter.conntrack.table import nf_ct_refresh_acct
from netemu.netfilter.hook import Hook, HookState
from netemu.skb import Checksum, Skb
from netemu.wire.crc32c import crc32c
from netemu.wire.ipv4 import IPPROTO_SCTP

HEADER_LEN: Final = 12

DATA, INIT, INIT_ACK, HEARTBEAT, HEARTBEAT_ACK, ABORT = 0, 1, 2, 4, 5, 6
SHUTDOWN, SHUTDOWN_ACK, ERROR, COOKIE_ECHO, COOKIE_ACK, SHUTDOWN_COMPLETE = 7, 8, 9, 10, 11, 14
"""Chunk types (RFC 9260 section 3.2)."""

CHUNK_FLAG_T: Final = 1
"""The sender had no tag of its own and used the other's."""

NO, CL, CW, CE, ES, SS, SR, SA, HS, IV = range(10)
"""NONE CLOSED COOKIE_WAIT COOKIE_ECHOED ESTABLISHED SHUTDOWN_SENT SHUTDOWN_RECD
SHUTDOWN_ACK_SENT HEARTBEAT_SENT, and invalid."""

TRANSITIONS: Final = (
    {  # original direction
        #                  NO  CL  CW  CE  ES  SS  SR  SA  HS
        INIT:              (CL, CL, CW, CE, ES, CL, CL, SA, CW),
        INIT_ACK:          (CL, CL, CW, CE, ES, SS, SR, SA, CL),
        ABORT:             (CL, CL, CL, CL, CL, CL, CL, CL, CL),
        SHUTDOWN:          (CL, CL, CW, CE, SS, SS, SR, SA, CL),
        SHUTDOWN_ACK:      (SA, CL, CW, CE, ES, SA, SA, SA, SA),
        ERROR:             (CL, CL, CW, CE, ES, SS, SR, SA, CL),
        COOKIE_ECHO:       (CL, CL, CE, CE, ES, SS, SR, SA, CL),
        COOKIE_ACK:        (CL, CL, CW, ES, ES, SS, SR, SA, CL),
        SHUTDOWN_COMPLETE: (CL, CL, CW, CE, ES, SS, SR, CL, CL),
        HEARTBEAT:         (HS, CL, CW, CE, ES, SS, SR, SA, HS),
        HEARTBEAT_ACK:     (CL, CL, CW, CE, ES, SS, SR, SA, HS),
    },
    {  # reply direction
        #                  NO  CL  CW  CE  ES  SS  SR  SA  HS
        INIT:              (IV, CL, CW, CE, ES, SS, SR, SA, IV),
        INIT_ACK:          (IV, CW, CW, CE, ES, SS, SR, SA, IV),
        ABORT:             (IV, CL, CL, CL, CL, CL, CL, CL, IV),
        SHUTDOWN:          (IV, CL, CW, CE, SR, SS, SR, SA, IV),
        SHUTDOWN_ACK:      (IV, CL, CW, CE, ES, SA, SA, SA, IV),
        ERROR:             (IV, CL, CW, CL, ES, SS, SR, SA, IV),
        COOKIE_ECHO:       (IV, CL, CE, CE, ES, SS, SR, SA, IV),
        COOKIE_ACK:        (IV, CL, CW, ES, ES, SS, SR, SA, IV),
        SHUTDOWN_COMPLETE: (IV, CL, CW, CE, ES, SS, SR, CL, IV),
        HEARTBEAT:         (IV, CL, CW, CE, ES, SS, SR, SA, HS),
        HEARTBEAT_ACK:     (IV, CL, CW, CE, ES, SS, SR, SA, ES),
    },
)  # fmt: skip
"""sctp_conntracks: [direction][chunk][state] -> next state; other chunks change nothing."""

_TIMEOUT_KEYS: Final = tuple(
    f"net.netfilter.nf_conntrack_sctp_timeout_{name}"
    for name in (
        "closed",  # NONE: timeouts[0] is that of CLOSED
        "closed",
        "cookie_wait",
        "cookie_echoed",
        "established",
        "shutdown_sent",
        "shutdown_recd",
        "shutdown_ack_sent",
        "heartbeat_sent",
    )
)

_TAG_CHECKED_LATER: Final = frozenset(
    {INIT, SHUTDOWN_COMPLETE, COOKIE_ECHO, ABORT, SHUTDOWN_ACK, HEARTBEAT, HEARTBEAT_ACK}
)
"""A packet with one of these need not carry its direction's tag."""


class Chunk(NamedTuple):
    """A chunk's header and where it stands."""

    kind: int
    flags: int
    length: int
    offset: int


def chunks(data: bytearray, offset: int) -> Iterator[Chunk]:
    """Go through the chunks whose header is there (for_each_sctp_chunk)."""
    position = offset + HEADER_LEN
    while position + 4 <= len(data):
        length = data[position + 2] << 8 | data[position + 3]
        yield Chunk(data[position], data[position + 1], length, position)
        position += (length + 3) & ~3


def nf_conntrack_sctp_packet(
    net: Net, connection: Connection, skb: Skb, offset: int, ctinfo: CtInfo, state: HookState
) -> Judgement:
    """Judge an SCTP packet chunk by chunk."""
    fault = _sctp_error(net, skb, offset, state)
    if fault:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_SCTP, fault)
        return Judgement.INVALID
    kinds, fault = _basic_checks(skb.data, offset)
    if fault:
        _log(net, skb, state, fault)
    if not kinds:
        return Judgement.INVALID
    vtag = int.from_bytes(skb.data[offset + 4 : offset + 8], "big")
    if not connection.status & IPS_CONFIRMED:
        if kinds & {ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK}:
            return Judgement.INVALID
        if not _sctp_new(connection, skb.data, offset, vtag):
            return Judgement.INVALID
    sctp = connection.sctp
    assert sctp is not None
    direction = ctinfo_direction(ctinfo)
    own_vtag = sctp.vtag[direction]
    if not kinds & _TAG_CHECKED_LATER and vtag != own_vtag:
        numbers = f"{_as_memory(vtag):x} vs {_as_memory(own_vtag):x}"
        _log(net, skb, state, f"verification tag check failed {numbers} for dir {direction}")
        return Judgement.INVALID
    packet = _Packet(connection, sctp, skb.data, direction, vtag, DATA in kinds)
    new_state = NO
    for chunk in chunks(skb.data, offset):
        found = packet.chunk(chunk)
        if found is None:
            if packet.fault:
                _log(net, skb, state, packet.fault)
            return Judgement.INVALID
        new_state = found
    if not packet.ignore:
        timeout_s = net.sysctl.get(_TIMEOUT_KEYS[new_state])
        nf_ct_refresh_acct(net, connection, ctinfo, skb, timeout_s * net.clock.hz)
    return Judgement.VALID


def _sctp_error(net: Net, skb: Skb, offset: int, state: HookState) -> str:
    """Return what is wrong with an SCTP header (sctp_error)."""
    data = skb.data
    if len(data) < offset + HEADER_LEN:
        return "nf_ct_sctp: short packet "
    if (
        state.hook == Hook.PREROUTING
        and skb.ip_summed == Checksum.NONE
        and net.sysctl.get("net.netfilter.nf_conntrack_checksum")
    ):
        segment = bytearray(data[offset:])
        segment[8:12] = bytes(4)
        if crc32c(segment).to_bytes(4, "little") != data[offset + 8 : offset + 12]:
            return "nf_ct_sctp: bad CRC "
        skb.ip_summed = Checksum.UNNECESSARY
    return ""


def _log(net: Net, skb: Skb, state: HookState, text: str) -> None:
    """Say why a packet is invalid; 6.1 keeps silent."""
    if net.kernel != "6.1":
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_SCTP, text)


def _as_memory(value: int) -> int:
    """Return a number as a little-endian machine sees its network bytes; so the kernel logs it."""
    return int.from_bytes(value.to_bytes(4, "big"), "little")


def _basic_checks(data: bytearray, offset: int) -> tuple[set[int], str]:
    """Return the kinds of chunks, or none and what is wrong with one (do_basic_checks)."""
    kinds: set[int] = set()
    alone = False
    for count, chunk in enumerate(chunks(data, offset)):
        alone = alone or chunk.kind in {INIT, INIT_ACK, SHUTDOWN_COMPLETE}
        first_only = alone or chunk.kind in {COOKIE_ACK, COOKIE_ECHO}
        if (first_only and count) or not chunk.length:
            length = int.from_bytes(chunk.length.to_bytes(2, "big"), "little")
            return set(), (
                f"do_basic_checks failed. chunk num {count}, type {chunk.kind}, "
                f"len {length} flag {int(alone)}\n"
            )
        kinds.add(chunk.kind)
    return kinds, ""


def _sctp_new(connection: Connection, data: bytearray, offset: int, vtag: int) -> bool:
    """Begin to track; False for a packet that cannot begin a connection."""
    sctp = connection.sctp = SctpTracking()
    for chunk in chunks(data, offset):
        row = TRANSITIONS[ORIGINAL].get(chunk.kind)
        if row is None:
            return False
        if chunk.kind == INIT:
            init_tag = _init_tag(data, chunk)
            if vtag or init_tag is None:
                return False
            sctp.vtag[REPLY] = init_tag
        elif chunk.kind == HEARTBEAT:
            sctp.vtag[ORIGINAL] = vtag
        elif chunk.kind == SHUTDOWN_ACK:
            sctp.vtag[REPLY] = vtag
    return True


def _init_tag(data: bytearray, chunk: Chunk) -> int | None:
    """Return the tag that an INIT or INIT ACK announces; None if the chunk is cut short."""
    at = chunk.offset + 4
    return int.from_bytes(data[at : at + 4], "big") if len(data) >= at + 16 else None


class _Packet:
    """The chunks of one packet under judgement."""

    __slots__ = ("connection", "data", "direction", "fault", "has_data", "ignore", "sctp", "vtag")

    def __init__(
        self,
        connection: Connection,
        sctp: SctpTracking,
        data: bytearray,
        direction: int,
        vtag: int,
        has_data: bool,  # noqa: FBT001
    ) -> None:
        self.connection = connection
        self.sctp = sctp
        self.data = data
        self.direction = direction
        self.vtag = vtag
        self.has_data = has_data
        self.ignore = False
        """The packet passes, but does not restart the timeout."""
        self.fault = ""

    def chunk(self, chunk: Chunk) -> int | None:
        """Apply one chunk and return the next state; None if it makes the packet invalid."""
        sctp = self.sctp
        verdict = self.check_tag(chunk)
        if verdict is not None:
            return sctp.state if verdict else None
        old_state = sctp.state
        row = TRANSITIONS[self.direction].get(chunk.kind)
        new_state = old_state if row is None else row[old_state]
        if new_state == IV:
            self.fault = f"Invalid, old_state {old_state}, dir {self.direction}, type {chunk.kind}"
            return None
        if chunk.kind in {INIT, INIT_ACK}:
            if not self.note_tag(chunk):
                return None
            # A client that tries for ever must not keep its entry for ever.
            if chunk.kind == INIT and old_state == new_state == CL:
                self.ignore = bool(self.connection.status & IPS_CONFIRMED)
        sctp.state = new_state
        if old_state != new_state == ES:
            self.connection.status |= IPS_ASSURED
        return new_state

    def note_tag(self, chunk: Chunk) -> bool:
        """Note the tag that an INIT or INIT ACK announces; False for one out of place.

        Where both ends begin at once, each INIT ACK must repeat its end's INIT.
        """
        sctp = self.sctp
        direction = self.direction
        init_tag = _init_tag(self.data, chunk)
        if init_tag is None:
            return False
        if chunk.kind == INIT:
            # One with the known tag is a late or repeated one and says nothing new.
            if sctp.state == NO or sctp.vtag[not direction] != init_tag:
                if sctp.init[direction] and sctp.init[not direction]:
                    sctp.init[not direction] = False
                sctp.init[direction] = True
        else:
            known = sctp.vtag[not direction]
            collision = sctp.init[direction] and sctp.init[not direction]
            if known != init_tag and (collision or (known and not sctp.init[not direction])):
                return False
        sctp.vtag[not direction] = init_tag
        return True

    def check_tag(self, chunk: Chunk) -> bool | None:
        """Apply RFC 9260 section 8.5.1: None to go on, True to pass over, False for invalid."""
        own = self.sctp.vtag[self.direction]
        if chunk.kind == INIT:
            return None if self.vtag == 0 else False
        if chunk.kind in {ABORT, SHUTDOWN_COMPLETE}:
            other = self.sctp.vtag[not self.direction]
            wanted = other if chunk.flags & CHUNK_FLAG_T else own
            return None if self.vtag == wanted else False
        if chunk.kind == COOKIE_ECHO:
            return None if self.vtag == own else False
        if chunk.kind == COOKIE_ACK:
            self.sctp.init = [False, False]
        if chunk.kind in {HEARTBEAT, HEARTBEAT_ACK}:
            return self.check_heartbeat_tag(chunk.kind, own)
        return None

    def check_heartbeat_tag(self, kind: int, own: int) -> bool | None:
        """Heartbeats open secondary paths and survive a restarted end."""
        sctp = self.sctp
        if own == 0:
            sctp.vtag[self.direction] = self.vtag
        elif self.vtag == own:
            sctp.heartbeat_vtag_failed = False
        elif self.has_data or self.ignore:
            return False
        elif kind == HEARTBEAT:
            sctp.heartbeat_vtag_failed = True
            sctp.last_dir = self.direction
            self.ignore = True
            return True
        elif not sctp.heartbeat_vtag_failed or sctp.last_dir == self.direction:
            return False
        else:
            sctp.heartbeat_vtag_failed = False
            sctp.vtag[self.direction] = self.vtag
            sctp.vtag[not self.direction] = 0
        return None
