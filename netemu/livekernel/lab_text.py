"""A frame in canonical words, for comparing two runs of a lab.

What the kernel draws at random is left out and nothing else: the IP identification and the source
port of VXLAN packets, TCP sequence numbers count from the connection's first one, time stamps are
not shown, and a checksum is only right or wrong.
"""

from __future__ import annotations

from netemu.link.device import complete_frame
from netemu.wire.address import format_address, format_mac
from netemu.wire.checksum import internet_checksum, l4_checksum
from netemu.wire.fields import get16, get32
from netemu.wire.ipv4 import IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP

SYN, ACK = 2, 16
VXLAN_PORT = 8472
VXLAN_FRAME = 16
"""Where the frame begins in a VXLAN datagram (RFC 7348 section 5)."""

NEAR = 1 << 20
"""A sequence number so close behind a first one belongs to it."""

OPTION_TIMESTAMP = 8
ICMP_ERRORS = frozenset({3, 4, 5, 11, 12})
FLAGS = "FSRPAUEC"


class LabText:
    """Puts frames into words; first sequence numbers are learnt from the SYNs among them."""

    def __init__(self) -> None:
        """Know no connection yet."""
        self._isns: list[int] = []

    def learn(self, frame: bytes) -> None:
        """Learn the first sequence number of a SYN."""
        if frame[12:14] != b"\x08\x00" or len(frame) < 54 or frame[23] != IPPROTO_TCP:
            return
        segment = 14 + (frame[14] & 15) * 4
        isn = get32(frame, segment + 4)
        if frame[segment + 13] & SYN and isn not in self._isns:
            self._isns.append(isn)

    def frame(self, frame: bytes) -> str:
        """Return a frame in words."""
        self.learn(frame)
        macs = f"{format_mac(frame[6:12])}>{format_mac(frame[:6])}"
        if frame[12:14] == b"\x08\x00":
            return f"{macs} {self._packet(frame[14:], whole=True)}"
        return f"{macs} {frame[12:].hex()}"

    def _packet(self, packet: bytes, *, whole: bool) -> str:
        """Return an IPv4 packet in words; one that an ICMP error quotes is not whole."""
        start, end = (packet[0] & 15) * 4, get16(packet, 2)
        src, dst = packet[12:16], packet[16:20]
        fragment = get16(packet, 6)
        good = "ok" if not internet_checksum(packet[:start]) else "BAD"
        text = (
            f"{format_address(src)}>{format_address(dst)} tos {packet[1]} ttl {packet[8]}"
            f" len {end} frag {fragment:#x} sum {good}"
        )
        body = packet[start:end]
        protocol = packet[9]
        if protocol == IPPROTO_TCP and len(body) >= 20:
            return f"{text} {self._tcp(body, src, dst, whole=whole)}"
        if protocol == IPPROTO_UDP and len(body) >= 8:
            inner = b""
            if get16(body, 2) == VXLAN_PORT and len(body) > VXLAN_FRAME:
                # The sum around it is that of the frame once its own is completed.
                inner = complete_frame(body[VXLAN_FRAME:])
                body = body[:VXLAN_FRAME] + inner
            check = _check(body, src, dst, protocol) if whole else ""
            if inner:
                return f"{text} vxlan {body[8:VXLAN_FRAME].hex()} ({self.frame(inner)}){check}"
            return f"{text} udp {get16(body, 0)}>{get16(body, 2)} {body[8:].hex()}{check}"
        if protocol == IPPROTO_ICMP and len(body) >= 8:
            return f"{text} {self._icmp(body)}"
        return f"{text} proto {protocol} {body.hex()}"

    def _tcp(self, body: bytes, src: bytes, dst: bytes, *, whole: bool) -> str:
        offset = (body[12] >> 4) * 4
        flags = "".join(name for bit, name in enumerate(FLAGS) if body[13] >> bit & 1)
        check = _check(body, src, dst, IPPROTO_TCP) if whole else ""
        ack = get32(body, 8)
        ack = self._number(ack) if body[13] & ACK else ack
        return (
            f"tcp {get16(body, 0)}>{get16(body, 2)} {flags} seq {self._number(get32(body, 4))}"
            f" ack {ack} win {get16(body, 14)}"
            f" opt {self._options(body[20:offset])} {body[offset:].hex()}{check}"
        )

    def _number(self, number: int) -> int:
        """Count a number from its connection's first one; the 0 of a RST to nobody stays."""
        if not number:
            return 0
        offset = min(((number - isn) & 0xFFFFFFFF for isn in self._isns), default=NEAR)
        return offset if offset < NEAR else number

    def _options(self, options: bytes) -> str:
        found, at = [], 0
        while at < len(options):
            kind = options[at]
            if kind < 2 or at + 1 >= len(options):
                found.append(str(kind))
                at += 1
                continue
            size = max(options[at + 1], 2)
            shown = options[at + 2 : at + size].hex()
            if kind == OPTION_TIMESTAMP:
                shown = "echo" if any(options[at + 6 : at + 10]) else "first"
            elif kind == 5:
                words = range(at + 2, at + size, 4)
                shown = "-".join(str(self._number(get32(options, word))) for word in words)
            found.append(f"{kind}:{shown}")
            at += size
        return ",".join(found)

    def _icmp(self, body: bytes) -> str:
        good = "" if not internet_checksum(body) else " BAD SUM"
        head = f"icmp {body[0]}/{body[1]} {body[4:8].hex()}"
        if body[0] in ICMP_ERRORS and len(body) >= 36:
            return f"{head} about ({self._packet(body[8:], whole=False)}){good}"
        return f"{head} {body[8:].hex()}{good}"


def _check(body: bytes, src: bytes, dst: bytes, protocol: int) -> str:
    """Return nothing for a right checksum."""
    return "" if l4_checksum(src, dst, protocol, body) in {0, 0xFFFF} else " BAD SUM"
