"""Connections as conntrack(8) and /proc/net/nf_conntrack print them, and back.

Kernel: net/netfilter/nf_conntrack_standalone.c (ct_seq_show). conntrack(8) prints through
libnetfilter_conntrack (src/conntrack/snprintf_default.c); the two differ in the columns in front
and in `zone=`, `use=`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from netemu.errors import SnapshotError
from netemu.netfilter.conntrack.connection import (
    DEFAULT_ZONE,
    IPS_ASSURED,
    IPS_DST_NAT,
    IPS_DST_NAT_DONE,
    IPS_HW_OFFLOAD,
    IPS_OFFLOAD,
    IPS_SEEN_REPLY,
    IPS_SRC_NAT,
    IPS_SRC_NAT_DONE,
    Connection,
    Counter,
    DccpTracking,
    SctpTracking,
    TcpTracking,
    Zone,
)
from netemu.netfilter.conntrack.tuple import ICMP_PAIR, PORT_PROTOCOLS, Tuple, inverse
from netemu.netfilter.hook import Family
from netemu.wire.address import format_address, parse_address
from netemu.wire.ipv4 import IPPROTO_DCCP, IPPROTO_GRE, IPPROTO_ICMP, IPPROTO_SCTP, IPPROTO_TCP

PROTOCOL_NAMES: Final = {
    1: "icmp",
    6: "tcp",
    17: "udp",
    33: "dccp",
    47: "gre",
    58: "icmpv6",
    132: "sctp",
    136: "udplite",
}
"""l4proto_name; anything else is `unknown`."""

TCP_STATES: Final = (
    "NONE",
    "SYN_SENT",
    "SYN_RECV",
    "ESTABLISHED",
    "FIN_WAIT",
    "CLOSE_WAIT",
    "LAST_ACK",
    "TIME_WAIT",
    "CLOSE",
    "SYN_SENT2",
)
"""tcp_conntrack_names, by number."""

SCTP_STATES: Final = (
    "NONE",
    "CLOSED",
    "COOKIE_WAIT",
    "COOKIE_ECHOED",
    "ESTABLISHED",
    "SHUTDOWN_SENT",
    "SHUTDOWN_RECD",
    "SHUTDOWN_ACK_SENT",
    "HEARTBEAT_SENT",
)
"""sctp_conntrack_names, by number."""


DCCP_STATES: Final = (
    "NONE",
    "REQUEST",
    "RESPOND",
    "PARTOPEN",
    "OPEN",
    "CLOSEREQ",
    "CLOSING",
    "TIMEWAIT",
)
"""dccp_state_names, by number (6.1)."""


def connection_text(
    connection: Connection,
    expires_s: int,
    *,
    age_s: int | None = None,
    extended: bool = False,
    uses: int = 1,
) -> str:
    """Return an entry as `conntrack -L` prints it, without newline.

    `age_s` counts from confirmation; it is shown under nf_conntrack_timestamp only. `uses` is one
    more than the connections that this one expected.
    """
    original = connection.original
    status = connection.status
    protocol = original.protocol
    words = [f"{PROTOCOL_NAMES.get(protocol, 'unknown'):<8} {protocol}"]
    if extended:
        ipv4 = original.family == Family.IPV4
        words[0] = f"{'ipv4' if ipv4 else 'ipv6':<8} {2 if ipv4 else 10} {words[0]}"
    if not status & (IPS_OFFLOAD | IPS_HW_OFFLOAD):
        words.append(str(expires_s))
    if protocol == IPPROTO_TCP and connection.tcp is not None:
        words.append(TCP_STATES[connection.tcp.state])
    elif protocol == IPPROTO_SCTP and connection.sctp is not None:
        words.append(SCTP_STATES[connection.sctp.state])
    elif protocol == IPPROTO_DCCP and connection.dccp is not None:
        words.append(DCCP_STATES[connection.dccp.state])
    counters = connection.counters
    zone = connection.zone
    words.append(tuple_text(original))
    if zone.id and zone.directions == 1:
        words.append(f"zone-orig={zone.id}")
    if counters is not None:
        words.append(f"packets={counters[0].packets} bytes={counters[0].octets}")
    if not status & IPS_SEEN_REPLY:
        words.append("[UNREPLIED]")
    words.append(tuple_text(connection.reply))
    if zone.id and zone.directions == 2:
        words.append(f"zone-reply={zone.id}")
    if counters is not None:
        words.append(f"packets={counters[1].packets} bytes={counters[1].octets}")
    if status & IPS_HW_OFFLOAD:
        words.append("[HW_OFFLOAD]")
    elif status & IPS_OFFLOAD:
        words.append("[OFFLOAD]")
    elif status & IPS_ASSURED:
        words.append("[ASSURED]")
    words.append(f"mark={connection.mark}")
    if zone.id and zone.directions == 3:
        words.append(f"zone={zone.id}")
    if age_s is not None:
        words.append(f"delta-time={age_s}")
    if connection.helper:
        words.append(f"helper={connection.helper}")
    words.append(f"use={uses}")
    return " ".join(words)


def tuple_text(tuple_: Tuple) -> str:
    """Return `src=A dst=B` with what the protocol adds."""
    ends = f"src={format_address(tuple_.src)} dst={format_address(tuple_.dst)}"
    protocol = tuple_.protocol
    if protocol in PORT_PROTOCOLS or protocol == IPPROTO_DCCP:
        return f"{ends} sport={tuple_.src_part} dport={tuple_.dst_part}"
    if protocol == IPPROTO_ICMP:
        kind = f"type={tuple_.icmp_type} code={tuple_.icmp_code}"
        return f"{ends} {kind} id={tuple_.src_part}"
    if protocol == IPPROTO_GRE:
        return f"{ends} srckey=0x{tuple_.src_part:x} dstkey=0x{tuple_.dst_part:x}"
    return ends


class ParsedConnection(Struct, frozen=True, kw_only=True):
    """An entry read from text."""

    connection: Connection
    expires_s: int
    age_s: int | None = None


OFFLOADED_S: Final = 86400
"""An entry without a timeout is kept alive by a flow table (nf_ct_offload_timeout)."""

_LIBERAL: Final = 8
_SACK_PERM: Final = 0x02
_CLOSE_INIT: Final = 4
"""IP_CT_TCP_FLAG_*: `conntrack -I`, which knows no windows, makes both sides liberal, lets SACK
count, and lets a SYN reopen a connection that is closed (asked of conntrack 1.4.7 and 6.18)."""

_TIME_WAIT: Final = 7

_STATE_NAMES: Final = {
    IPPROTO_TCP: TCP_STATES,
    IPPROTO_SCTP: SCTP_STATES,
    IPPROTO_DCCP: DCCP_STATES,
}

_TOKEN: Final = re.compile(r"\S+")
_FOOTER: Final = re.compile(r"conntrack v\S+ \(conntrack-tools\): ")
_FLAGS: Final = ("[UNREPLIED]", "[ASSURED]", "[OFFLOAD]", "[HW_OFFLOAD]")
_TRAILERS: Final = frozenset({"use", "secctx", "secmark", "helper", "labels", "id"})
"""Words after the tuples that are read over; `helper` is kept."""


def parse_connections(text: str, file: str) -> Iterator[ParsedConnection]:
    """Read `conntrack -L` text: plain, `-o extended`, or /proc/net/nf_conntrack.

    Raises SnapshotError at the first word that does not belong there.
    """
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not _FOOTER.match(line):
            yield _Line(line, number, file).parse()


class _Line:
    """One line under the reader."""

    def __init__(self, line: str, number: int, file: str) -> None:
        self.line = line
        self.number = number
        self.file = file
        self.words = [(found.group(), found.start() + 1) for found in _TOKEN.finditer(line)]
        self.at = 0
        self.age_s: int | None = None

    def fail(self, message: str) -> SnapshotError:
        column = self.words[self.at][1] if self.at < len(self.words) else len(self.line) + 1
        return SnapshotError(
            message, file=self.file, line=self.number, column=column, context=self.line
        )

    @property
    def word(self) -> str:
        return self.words[self.at][0] if self.at < len(self.words) else ""

    def take(self) -> str:
        word = self.word
        self.at += 1
        return word

    def number_word(self, what: str, high: int = 0xFFFFFFFF) -> int:
        word = self.word
        if not word.isdecimal() or int(word) > high:
            raise self.fail(f"{what} expected, found {word or 'the end of the line'!r}")
        self.at += 1
        return int(word)

    def value(self, key: str, low_base: int = 10, high: int = 0xFFFF) -> int:
        """Take `key=NUMBER`."""
        text = self.text_value(key)
        try:
            found = int(text, low_base)
        except ValueError:
            found = -1
        if not 0 <= found <= high:
            self.at -= 1
            raise self.fail(f"{key}= takes a number from 0 to {high}, not {text!r}")
        return found

    def text_value(self, key: str) -> str:
        name, equals, text = self.word.partition("=")
        if name != key or not equals:
            raise self.fail(f"{key}= expected, found {self.word or 'the end of the line'!r}")
        self.at += 1
        return text

    def address(self, key: str) -> bytes:
        text = self.text_value(key)
        try:
            return parse_address(text)
        except ValueError as error:
            self.at -= 1
            raise self.fail(f"{key}= takes an address, not {text!r}") from error

    def tuple_(self, protocol: int) -> Tuple:
        src, dst = self.address("src"), self.address("dst")
        if len(src) != len(dst):
            self.at -= 1
            raise self.fail("source and destination are of different families")
        if protocol in PORT_PROTOCOLS or self.word.startswith("sport="):
            return Tuple(src, dst, protocol, self.value("sport"), self.value("dport"))
        if self.word.startswith("type="):
            kind, code = self.value("type", high=255), self.value("code", high=255)
            return Tuple(src, dst, protocol, self.value("id"), kind << 8 | code)
        if self.word.startswith("srckey="):
            return Tuple(src, dst, protocol, self.value("srckey", 16), self.value("dstkey", 16))
        return Tuple(src, dst, protocol, 0, 0)

    def parse(self) -> ParsedConnection:
        """Read the whole line."""
        if self.word in {"ipv4", "ipv6"}:
            self.at += 1
            self.number_word("number of the L3 protocol")
        name = self.take()
        if name not in PROTOCOL_NAMES.values() and name != "unknown":
            self.at -= 1
            raise self.fail(f"protocol expected (tcp, udp, icmp, ...), found {name!r}")
        protocol = self.number_word("protocol number", 255)
        expires_s = OFFLOADED_S
        if self.word.isdecimal():
            expires_s = self.number_word("timeout in seconds")
        if protocol == IPPROTO_GRE and self.word.startswith("timeout="):
            self.at += 2  # /proc/net/nf_conntrack adds GRE's own two timeouts
        state = None
        if protocol in {IPPROTO_TCP, IPPROTO_SCTP, IPPROTO_DCCP} and "=" not in self.word:
            state = self.state(protocol)
        connection = self.tuples(protocol)
        if protocol == IPPROTO_TCP:
            connection.tcp = TcpTracking()
            connection.tcp.state = state or 0
            for side in connection.tcp.seen:
                side.flags = (
                    _LIBERAL
                    | _SACK_PERM
                    | (_CLOSE_INIT if connection.tcp.state >= _TIME_WAIT else 0)
                )
        if protocol == IPPROTO_SCTP:
            connection.sctp = SctpTracking()
            connection.sctp.state = state or 0
        if protocol == IPPROTO_DCCP and state is not None:
            connection.dccp = DccpTracking()
            connection.dccp.state = state
        return ParsedConnection(connection=connection, expires_s=expires_s, age_s=self.age_s)

    def state(self, protocol: int) -> int:
        names = _STATE_NAMES[protocol]
        word = self.take()
        if word not in names:
            self.at -= 1
            raise self.fail(f"no state of {PROTOCOL_NAMES[protocol]}: {word!r}")
        return names.index(word)

    def tuples(self, protocol: int) -> Connection:
        """Read both tuples and all that follows."""
        flags: set[str] = set()
        zones = dict.fromkeys(("zone-orig", "zone-reply", "zone"), 0)
        original = self.tuple_(protocol)
        sent = self.extras(flags, zones)
        reply = self.tuple_(protocol)
        received = self.extras(flags, zones)
        connection = Connection(original, reply, _zone(zones))
        if sent is not None and received is not None:
            connection.counters = (sent, received)
        while self.at < len(self.words):
            self.trailer(connection, flags, zones)
        connection.zone = _zone(zones)
        connection.status = loaded_status(original, reply)
        if "[UNREPLIED]" not in flags:
            connection.status |= IPS_SEEN_REPLY
        if "[ASSURED]" in flags:
            connection.status |= IPS_ASSURED
        if "[OFFLOAD]" in flags:
            connection.status |= IPS_OFFLOAD
        if "[HW_OFFLOAD]" in flags:
            connection.status |= IPS_HW_OFFLOAD
        connection.stream_from = -1
        return connection

    def extras(self, flags: set[str], zones: dict[str, int]) -> Counter | None:
        """Read what may stand between the tuples."""
        counter = None
        while True:
            key = self.word.partition("=")[0]
            if self.word in _FLAGS:
                flags.add(self.take())
            elif key in {"zone-orig", "zone-reply"}:
                zones[key] = self.value(key)
            elif key == "packets":
                packets = self.value("packets", high=(1 << 64) - 1)
                counter = Counter(packets, self.value("bytes", high=(1 << 64) - 1))
            else:
                return counter

    def trailer(self, connection: Connection, flags: set[str], zones: dict[str, int]) -> None:
        key = self.word.partition("=")[0]
        if self.word in _FLAGS:
            flags.add(self.take())
        elif key == "mark":
            connection.mark = self.value("mark", high=0xFFFFFFFF)
        elif key == "zone":
            zones["zone"] = self.value("zone")
        elif key == "delta-time":
            self.age_s = self.value("delta-time", high=0xFFFFFFFF)
        elif key == "helper":
            connection.helper = self.text_value("helper")
        elif key in _TRAILERS:
            self.at += 1
        else:
            raise self.fail(f"unknown word {self.word!r}")


def _zone(zones: dict[str, int]) -> Zone:
    if zones["zone-orig"]:
        return Zone(zones["zone-orig"], 1)
    if zones["zone-reply"]:
        return Zone(zones["zone-reply"], 2)
    return Zone(zones["zone"]) if zones["zone"] else DEFAULT_ZONE


def loaded_status(original: Tuple, reply: Tuple) -> int:
    """Return the NAT bits that `conntrack -I` gives an entry with these tuples.

    Both kinds count as done where there is NAT at all. Where there is none the entry is as
    ctnetlink makes it (ctnetlink_setup_nat): its packets still ask the nat chains while they are
    NEW, but nothing can be bound to a confirmed entry any more.
    """
    status = 0
    if original.protocol == IPPROTO_ICMP and original.icmp_type not in ICMP_PAIR:
        return status
    plain = inverse(original)
    if (plain.src, plain.src_part) != (reply.src, reply.src_part):
        if original.protocol != IPPROTO_ICMP or plain.src != reply.src:
            status |= IPS_DST_NAT
    if (plain.dst, plain.dst_part) != (reply.dst, reply.dst_part) or (
        original.protocol == IPPROTO_ICMP and plain.src_part != reply.src_part
    ):
        status |= IPS_SRC_NAT
    return status | IPS_SRC_NAT_DONE | IPS_DST_NAT_DONE if status else 0
