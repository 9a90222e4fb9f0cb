"""A frame in one line, for messages: its headers named, then its bytes."""

from __future__ import annotations

from netemu.livekernel.masks import PROTO_ICMP, PROTO_TCP, PROTO_UDP, network_offset
from netemu.wire.address import format_address, format_mac
from netemu.wire.fields import get16, get32

ETHERTYPE_ARP = 0x0806
FLAGS = "FSRPAUEC"


def describe_frame(frame: bytes) -> str:
    """Return headers and hex of a frame."""
    macs = f"{format_mac(frame[6:12])} > {format_mac(frame[:6])}" if len(frame) >= 12 else ""
    start = network_offset(frame)
    if start is not None:
        text = _packet(frame, start)
    elif len(frame) >= 42 and get16(frame, 12) == ETHERTYPE_ARP:
        text = (
            f"arp op {get16(frame, 20)} {format_address(frame[28:32])}"
            f" ({format_mac(frame[22:28])}) > {format_address(frame[38:42])}"
        )
    else:
        text = f"{len(frame)} octets"
    return f"{macs} {text}\n          {frame.hex()}"


def _packet(frame: bytes, start: int) -> str:
    source, target = (format_address(frame[start + at : start + at + 4]) for at in (12, 16))
    protocol = frame[start + 9]
    segment = start + (frame[start] & 15) * 4
    fragment = get16(frame, start + 6)
    text = f"{source} > {target} ttl {frame[start + 8]} id {get16(frame, start + 4)}"
    text += " DF" * bool(fragment & 0x4000)
    if fragment & 0x3FFF:
        text += f" fragment {(fragment & 0x1FFF) * 8}{'+' if fragment & 0x2000 else ''}"
    if fragment & 0x1FFF or len(frame) < segment + 8:
        return f"{text} protocol {protocol}"
    ports = f"{get16(frame, segment)} > {get16(frame, segment + 2)}"
    if protocol == PROTO_ICMP:
        return f"{text} icmp {frame[segment]}/{frame[segment + 1]}"
    if protocol == PROTO_UDP:
        return f"{text} udp {ports}"
    if protocol == PROTO_TCP and len(frame) >= segment + 20:
        flags = "".join(name for bit, name in enumerate(FLAGS) if frame[segment + 13] >> bit & 1)
        numbers = f"seq {get32(frame, segment + 4)} ack {get32(frame, segment + 8)}"
        return f"{text} tcp {ports} {flags} {numbers}"
    return f"{text} protocol {protocol}"
