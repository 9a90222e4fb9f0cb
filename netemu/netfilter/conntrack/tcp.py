"""TCP: states, and who may set them.

Kernel: net/netfilter/nf_conntrack_proto_tcp.c.

Theory of operation: the tracker stands between the two ends and guesses their states from what it
sees pass. A packet's flags give a row of `TRANSITIONS`, the state a column, the direction a half;
what stands there is the next state, or that the packet is invalid, or that it should be let
through without believing it. A packet that may change the state must also lie within the window
(`tcp_window.py`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_ASSURED,
    IPS_CONFIRMED,
    IPS_FIXED_TIMEOUT,
    IPS_SEEN_REPLY,
    ORIGINAL,
    REPLY,
    Connection,
    CtInfo,
    TcpSide,
    TcpTracking,
    ctinfo_direction,
)
from netemu.netfilter.conntrack.judgement import (
    Judgement,
    nf_checksum_bad,
    nf_l4proto_log_invalid,
)
from netemu.netfilter.conntrack.seqadj import nf_ct_seq_offset
from netemu.netfilter.conntrack.table import (
    Conntrack,
    nf_ct_delete,
    nf_ct_kill_acct,
    nf_ct_refresh_acct,
)
from netemu.netfilter.conntrack.tcp_window import (
    BE_LIBERAL,
    CLOSE_INIT,
    DATA_UNACKNOWLEDGED,
    EXP_CHALLENGE_ACK,
    MAXACK_SET,
    SACK_PERM,
    SIMULTANEOUS_OPEN,
    WINDOW_SCALE,
    Flags,
    Segment,
    WindowVerdict,
    before,
    tcp_in_window,
    tcp_options,
)
from netemu.netfilter.conntrack.text import TCP_STATES
from netemu.netfilter.hook import HookState
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_TCP
from netemu.wire.tcp import MIN_HEADER_LEN


class TcpState(IntEnum):
    """State of a connection (enum tcp_conntrack)."""

    NONE = 0
    SYN_SENT = 1
    """SYN seen."""
    SYN_RECV = 2
    """SYN/ACK seen."""
    ESTABLISHED = 3
    FIN_WAIT = 4
    """FIN seen."""
    CLOSE_WAIT = 5
    """ACK seen after a FIN."""
    LAST_ACK = 6
    """FIN seen from both sides."""
    TIME_WAIT = 7
    """The last ACK seen."""
    CLOSE = 8
    """RST seen."""
    SYN_SENT2 = 9
    """SYN seen from both sides: simultaneous open."""
    INVALID = 10
    """Not a state: the packet makes no sense (TCP_CONNTRACK_MAX)."""
    IGNORE = 11
    """Not a state: let the packet pass, do not believe it."""


class Index(IntEnum):
    """Row of the table: what a packet's flags make it (enum tcp_bit_set)."""

    SYN = 0
    SYNACK = 1
    FIN = 2
    ACK = 3
    RST = 4
    NONE = 5


NO, SS, SR, ES, FW, CW, LA, TW, CL, S2, IV, IG = (int(state) for state in TcpState)

TRANSITIONS: Final = (
    (  # original direction
        #  NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
        (SS, SS, IG, IG, IG, IG, IG, SS, SS, S2),  # syn
        (IV, IV, SR, IV, IV, IV, IV, IV, IV, SR),  # syn+ack
        (IV, IV, FW, FW, LA, LA, LA, TW, CL, IV),  # fin
        (ES, IV, ES, ES, CW, CW, TW, TW, CL, IV),  # ack
        (IV, CL, CL, CL, CL, CL, CL, CL, CL, CL),  # rst
        (IV, IV, IV, IV, IV, IV, IV, IV, IV, IV),  # none
    ),
    (  # reply direction
        #  NO  SS  SR  ES  FW  CW  LA  TW  CL  S2
        (IV, S2, IV, IV, IV, IV, IV, SS, IV, S2),  # syn
        (IV, SR, IG, IG, IG, IG, IG, IG, IG, SR),  # syn+ack
        (IV, IV, FW, FW, LA, LA, LA, TW, CL, IV),  # fin
        (IV, IG, SR, ES, CW, CW, TW, TW, CL, IG),  # ack
        (IV, CL, CL, CL, CL, CL, CL, CL, CL, CL),  # rst
        (IV, IV, IV, IV, IV, IV, IV, IV, IV, IV),  # none
    ),
)
"""tcp_conntracks: [direction][index][state] -> next state, IV or IG."""

VALID_FLAGS: Final = frozenset(
    {
        Flags.SYN,
        Flags.SYN | Flags.URG,
        Flags.SYN | Flags.ACK,
        Flags.RST,
        Flags.RST | Flags.ACK,
        Flags.FIN | Flags.ACK,
        Flags.FIN | Flags.ACK | Flags.URG,
        Flags.ACK,
        Flags.ACK | Flags.URG,
    }
)
"""tcp_valid_flags; PSH, ECE and CWR are always allowed."""

_FLAGS_THAT_COUNT: Final = 0xFF & ~(Flags.PSH | Flags.ECE | Flags.CWR)

_TIMEOUT_KEYS: Final = tuple(
    f"net.netfilter.nf_conntrack_tcp_timeout_{name}"
    for name in (
        "syn_sent",  # NONE has no timeout of its own; nothing stays in it
        "syn_sent",
        "syn_recv",
        "established",
        "fin_wait",
        "close_wait",
        "last_ack",
        "time_wait",
        "close",
        "syn_sent",  # SYN_SENT2: 120 s as well, and no sysctl
    )
)
_RETRANS_KEY: Final = "net.netfilter.nf_conntrack_tcp_timeout_max_retrans"
_UNACK_KEY: Final = "net.netfilter.nf_conntrack_tcp_timeout_unacknowledged"

SYN_SENT2_TIMEOUT_S = 120
"""Has no sysctl (tcp_timeouts)."""

_PLAIN: Final = frozenset({ES, FW, CW, LA})
"""Next states without special cases."""

_CLOSING: Final = frozenset({FW, LA, TW, CL, CW})
"""States that may be dropped early (tcp_can_early_drop)."""


def get_conntrack_index(flags: int) -> int:
    """Return the row of the table for a flag octet."""
    if flags & Flags.RST:
        return Index.RST
    if flags & Flags.SYN:
        return Index.SYNACK if flags & Flags.ACK else Index.SYN
    if flags & Flags.FIN:
        return Index.FIN
    return Index.ACK if flags & Flags.ACK else Index.NONE


def timeout_jiffies(net: Net, state: int) -> int:
    """Return the timeout of a state."""
    seconds = SYN_SENT2_TIMEOUT_S if state == S2 else net.sysctl.get(_TIMEOUT_KEYS[state])
    return seconds * net.clock.hz


def nf_conntrack_tcp_packet(
    net: Net, connection: Connection, skb: Skb, offset: int, ctinfo: CtInfo, state: HookState
) -> Judgement:
    """Judge a TCP packet, move the state and restart the timeout."""
    if len(skb.data) < offset + MIN_HEADER_LEN:
        return Judgement.INVALID
    fault = tcp_error(net, skb, offset, state)
    if fault:
        nf_l4proto_log_invalid(net, skb, state, IPPROTO_TCP, fault)
        return Judgement.INVALID
    segment = Segment(skb.data, offset)
    if not connection.status & IPS_CONFIRMED and not tcp_new(net, connection, skb, segment, state):
        return Judgement.INVALID
    tcp = connection.tcp
    assert tcp is not None
    return _Packet(net, connection, tcp, skb, segment, ctinfo, state).judge()


def tcp_error(net: Net, skb: Skb, offset: int, state: HookState) -> str:
    """Return what is wrong with a TCP header, empty if nothing is."""
    data = skb.data
    header_len = (data[offset + 12] >> 4) * 4
    if header_len < MIN_HEADER_LEN or len(data) - offset < header_len:
        return "truncated packet"
    if net.sysctl.get("net.netfilter.nf_conntrack_checksum") and nf_checksum_bad(
        skb, state, offset, IPPROTO_TCP
    ):
        return "bad checksum"
    if data[offset + 13] & _FLAGS_THAT_COUNT not in VALID_FLAGS:
        return "invalid tcp flag combination"
    return ""


def tcp_new(net: Net, connection: Connection, skb: Skb, segment: Segment, state: HookState) -> bool:
    """Begin to track; False for a packet that cannot begin a connection."""
    new_state = TRANSITIONS[ORIGINAL][get_conntrack_index(segment.flags)][NO]
    if new_state >= IV:
        if net.kernel == "6.1":
            net.generic(Conntrack).note = "invalid new"
        else:
            nf_l4proto_log_invalid(net, skb, state, IPPROTO_TCP, "invalid new")
        return False
    if new_state != SS and not net.sysctl.get("net.netfilter.nf_conntrack_tcp_loose"):
        return False
    tcp = connection.tcp = TcpTracking()
    sender = tcp.seen[ORIGINAL]
    sender.td_end = segment.end
    sender.td_maxwin = segment.window or 1
    if new_state == SS:
        sender.td_maxend = sender.td_end
        tcp_options(segment, sender)
    else:
        # Mid-stream: the window scale is not known, so the window is not held against anybody.
        sender.td_maxend = (sender.td_end + sender.td_maxwin) & 0xFFFFFFFF
        for side in tcp.seen:
            side.flags = SACK_PERM | BE_LIBERAL
        net.generic(Conntrack).note = "picked up mid-stream"
    tcp.last_index = Index.NONE
    return True


def nf_conntrack_tcp_established(connection: Connection, tcp: TcpTracking) -> bool:
    """Return whether both ends agreed on the connection."""
    return tcp.state == ES and bool(connection.status & IPS_ASSURED)


class _Packet:
    """One packet under judgement: nf_conntrack_tcp_packet in parts."""

    __slots__ = (
        "connection",
        "ctinfo",
        "direction",
        "hook_state",
        "index",
        "net",
        "new_state",
        "old_state",
        "segment",
        "skb",
        "tcp",
    )

    def __init__(  # noqa: PLR0913 - what the kernel function has in its locals
        self,
        net: Net,
        connection: Connection,
        tcp: TcpTracking,
        skb: Skb,
        segment: Segment,
        ctinfo: CtInfo,
        hook_state: HookState,
    ) -> None:
        self.net = net
        self.connection = connection
        self.tcp = tcp
        self.skb = skb
        self.segment = segment
        self.ctinfo = ctinfo
        self.hook_state = hook_state
        self.direction = ctinfo_direction(ctinfo)
        self.index = get_conntrack_index(segment.flags)
        self.old_state = tcp.state
        self.new_state = TRANSITIONS[self.direction][self.index][tcp.state]

    def judge(self) -> Judgement:
        """Go through the special cases of the next state, then the window, then accept."""
        if self.new_state in _PLAIN:
            return self.check_window() or self.accept()
        return self.judge_special()

    def judge_special(self) -> Judgement:
        """Go through the special cases of each next state, then as others."""
        tcp = self.tcp
        check_window = True
        match self.new_state:
            case TcpState.SYN_SENT if self.old_state >= TW:
                if self.may_reopen():
                    killed = nf_ct_delete(self.net, self.connection, "reopened", self.skb)
                    return Judgement.REPEAT if killed else Judgement.DROP
                return self.ignore()
            case TcpState.IGNORE:
                if not self.answers_ignored_syn():
                    return self.ignore()
                self.resync()
            case TcpState.INVALID:
                self.log(
                    f"packet (index {int(self.index)}) in dir {self.direction} invalid, "
                    f"state {TCP_STATES[self.old_state]}"
                )
                return Judgement.INVALID
            case TcpState.TIME_WAIT if self.is_challenge_ack():
                tcp.last_flags &= ~EXP_CHALLENGE_ACK
                self.log("challenge-ack ignored")
                return Judgement.VALID
            case TcpState.SYN_SENT2:
                tcp.last_flags |= SIMULTANEOUS_OPEN
            case TcpState.SYN_RECV:
                if (
                    self.direction == REPLY
                    and self.index == Index.ACK
                    and tcp.last_flags & SIMULTANEOUS_OPEN
                ):
                    self.new_state = ES
            case TcpState.CLOSE if self.index == Index.RST:
                answer = self.judge_rst()
                if answer is None:
                    return Judgement.INVALID
                check_window = answer
        return (self.check_window() if check_window else None) or self.accept()

    def log(self, text: str) -> None:
        nf_l4proto_log_invalid(self.net, self.skb, self.hook_state, IPPROTO_TCP, text)

    def may_reopen(self) -> bool:
        """Return whether a SYN opens a closed connection anew."""
        tcp = self.tcp
        if (tcp.seen[0].flags | tcp.seen[1].flags) & CLOSE_INIT:
            return True
        return tcp.last_dir == self.direction and tcp.last_index == Index.RST

    def answers_ignored_syn(self) -> bool:
        """Return whether a SYN/ACK acknowledges a SYN that was ignored before."""
        tcp = self.tcp
        return (
            self.index == Index.SYNACK
            and tcp.last_index == Index.SYN
            and tcp.last_dir != self.direction
            and self.segment.ack == tcp.last_end
        )

    def resync(self) -> None:
        """Both ends are in sync and we are not: take over what the ignored SYN said."""
        tcp = self.tcp
        self.old_state = SS
        self.new_state = SR
        side = tcp.seen[tcp.last_dir]
        side.td_end = side.td_maxend = tcp.last_end
        side.td_maxwin = tcp.last_win or 1
        side.td_scale = tcp.last_wscale
        tcp.last_flags &= ~EXP_CHALLENGE_ACK
        side.flags = tcp.last_flags
        own = tcp.seen[self.direction]
        own.td_end = own.td_maxend = own.td_maxwin = own.td_maxack = own.td_scale = 0
        own.flags &= BE_LIBERAL

    def ignore(self) -> Judgement:
        """Let the packet pass and remember it, in case an answer proves it right."""
        tcp = self.tcp
        segment = self.segment
        tcp.last_index = self.index
        tcp.last_dir = self.direction
        tcp.last_seq = segment.seq
        tcp.last_end = segment.end
        tcp.last_win = segment.window
        if self.index == Index.SYN and self.direction == ORIGINAL:
            offered = TcpSide()
            tcp_options(segment, offered)
            tcp.last_flags = offered.flags & (WINDOW_SCALE | SACK_PERM)
            tcp.last_wscale = offered.td_scale if offered.flags & WINDOW_SCALE else 0
            # An ACK in LAST_ACK is taken for the last one; it may be a challenge to this SYN.
            if self.old_state == LA:
                tcp.last_flags |= EXP_CHALLENGE_ACK
        if self.old_state == SS and self.index == Index.ACK and self.direction == REPLY:
            tcp.last_ack = segment.ack
        self.log(
            f"packet (index {int(self.index)}) in dir {self.direction} ignored, "
            f"state {TCP_STATES[self.old_state]}"
        )
        return Judgement.VALID

    def is_challenge_ack(self) -> bool:
        """Return whether an ACK is the RFC 5961 answer to an ignored SYN."""
        tcp = self.tcp
        return (
            self.old_state == LA
            and self.index == Index.ACK
            and tcp.last_dir != self.direction
            and tcp.last_index == Index.SYN
            and bool(tcp.last_flags & EXP_CHALLENGE_ACK)
        )

    def judge_rst(self) -> bool | None:
        """Return whether a RST needs the window check; None when it is invalid."""
        tcp = self.tcp
        if tcp.state in _CLOSING:
            # The tuple may be in use again; what is remembered would be of the old connection.
            return False
        other = tcp.seen[not self.direction]
        segment = self.segment
        if other.flags & MAXACK_SET and tcp.last_index != Index.SYN:
            established = nf_conntrack_tcp_established(self.connection, tcp)
            if segment.seq == 0 and not established:
                return True
            if before(segment.seq, other.td_maxack) and not self.net.sysctl.get(
                "net.netfilter.nf_conntrack_tcp_ignore_invalid_rst"
            ):
                self.log("invalid rst")
                return None
            if not established or segment.seq == other.td_maxack:
                return True
            # Part of a train: data, then the RST right behind it.
            if (
                tcp.last_index == Index.ACK
                and tcp.last_dir == self.direction
                and segment.seq == tcp.last_end
            ):
                return True
            # Not the exact number: the end will answer with a challenge ACK.
            self.new_state = self.old_state
        status = self.connection.status
        half_open = (
            # From the other side: a RST behind one's own SYN of a simultaneous open is checked.
            status & IPS_SEEN_REPLY
            and tcp.last_index == Index.SYN
            and tcp.last_dir != self.direction
        ) or (not status & IPS_ASSURED and tcp.last_index == Index.ACK)
        if half_open and segment.ack == tcp.last_end:
            return False
        # The answer to a challenge ACK that was let through.
        return not (
            self.old_state == SS
            and tcp.last_index == Index.ACK
            and tcp.last_dir == REPLY
            and segment.seq == tcp.last_ack
        )

    def check_window(self) -> Judgement | None:
        """Return what an out-of-window packet is; None within the window."""
        verdict = tcp_in_window(
            self.tcp,
            self.direction,
            self.segment,
            pure_ack=self.index == Index.ACK,
            receiver_offset=nf_ct_seq_offset(
                self.connection, not self.direction, self.segment.ack - 1
            ),
        )
        if verdict.action is WindowVerdict.ACCEPT:
            return None
        if self.tcp.seen[self.direction].flags & BE_LIBERAL:
            return None
        if self.net.sysctl.get("net.netfilter.nf_conntrack_tcp_be_liberal"):
            return None
        self.log(verdict.text)
        if verdict.action is WindowVerdict.IGNORE:
            return Judgement.VALID
        self.handle_invalid()
        return Judgement.INVALID

    def handle_invalid(self) -> None:
        """Let an entry die sooner whose ends both close out of the window."""
        tcp = self.tcp
        if self.connection.status & (IPS_ASSURED | IPS_FIXED_TIMEOUT) != IPS_ASSURED:
            return
        if self.index not in (Index.RST, Index.FIN):
            return
        if tcp.last_dir == self.direction or tcp.last_index not in (Index.FIN, Index.RST):
            tcp.last_index = self.index
            tcp.last_dir = self.direction
            return
        clock = self.net.clock
        expires = self.connection.timeout - clock.jiffies
        timeout = self.net.sysctl.get(_UNACK_KEY) * clock.hz
        if expires >= 120 * clock.hz and expires > timeout:
            text = (
                f"packet (index {int(self.index)}, dir {self.direction}) response for index "
                f"{int(tcp.last_index)} lower timeout to {timeout}"
            )
            self.log("lowered timeout to UNACK" if self.net.kernel == "6.1" else text)
            self.connection.timeout = clock.jiffies + timeout

    def accept(self) -> Judgement:
        """Believe the packet."""
        tcp = self.tcp
        net = self.net
        connection = self.connection
        new_state = self.new_state
        tcp.last_index = self.index
        tcp.last_dir = self.direction
        tcp.state = new_state
        if self.old_state != new_state and new_state == FW:
            tcp.seen[self.direction].flags |= CLOSE_INIT
        timeout = self.choose_timeout()
        if not connection.status & IPS_SEEN_REPLY:
            if self.segment.flags & Flags.RST:
                nf_ct_kill_acct(net, connection, self.ctinfo, self.skb, "answered with RST")
                return Judgement.VALID
            if self.index == Index.SYN and self.old_state == SS:
                # A client that tries for ever must not keep its entry for ever.
                return Judgement.VALID
            if new_state == ES:
                timeout = min(timeout, net.sysctl.get(_UNACK_KEY) * net.clock.hz)
        elif not connection.status & IPS_ASSURED and self.old_state in (SR, ES) and new_state == ES:
            connection.status |= IPS_ASSURED
        nf_ct_refresh_acct(net, connection, self.ctinfo, self.skb, timeout)
        return Judgement.VALID

    def choose_timeout(self) -> int:
        """Return the timeout in jiffies: the state's, or less while data waits for its ACK."""
        net = self.net
        tcp = self.tcp
        sysctl = net.sysctl
        timeout = timeout_jiffies(net, self.new_state)
        retrans_timeout = sysctl.get(_RETRANS_KEY) * net.clock.hz
        if timeout > retrans_timeout and tcp.retrans >= sysctl.get(
            "net.netfilter.nf_conntrack_tcp_max_retrans"
        ):
            return retrans_timeout
        if self.index == Index.RST:
            return timeout_jiffies(net, CL)
        unack_timeout = sysctl.get(_UNACK_KEY) * net.clock.hz
        if (
            timeout > unack_timeout
            and (tcp.seen[0].flags | tcp.seen[1].flags) & DATA_UNACKNOWLEDGED
        ):
            return unack_timeout
        if timeout > retrans_timeout and tcp.last_win == 0:
            return retrans_timeout
        return timeout


def tcp_can_early_drop(connection: Connection) -> bool:
    """Return whether an assured entry may go when the table is full."""
    return connection.tcp is not None and connection.tcp.state in _CLOSING


def nf_conntrack_tcp_set_closing(net: Net, connection: Connection) -> None:
    """Close a confirmed connection: its end answers with a RST."""
    tcp = connection.tcp
    if not connection.status & IPS_CONFIRMED or tcp is None:
        return
    old_state = tcp.state
    tcp.state = CL
    if old_state != CL and not connection.status & IPS_FIXED_TIMEOUT:
        connection.timeout = net.clock.jiffies + timeout_jiffies(net, CL)
