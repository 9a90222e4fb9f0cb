"""One line about a packet, in the words of the one-line packet language.

tcp 192.0.2.9:40000 > 10.96.0.1:443 S
icmp 10.0.0.1 > 10.0.0.2 echo id=1 seq=1
"""

from __future__ import annotations

from netemu.wire.address import format_address, format_mac
from netemu.wire.arp import ARP
from netemu.wire.fields import Octets
from netemu.wire.icmp import ERROR_TYPES, IcmpType
from netemu.wire.ipv4 import Protocol

_FLAG_LETTERS = (
    (0x02, "S"),
    (0x01, "F"),
    (0x04, "R"),
    (0x08, "P"),
    (0x20, "U"),
    (0x40, "E"),
    (0x80, "W"),
)
_TAGS = {0x8100, 0x88A8}
_ETHERTYPES = {0x0800: "ip", 0x0806: "arp", 0x86DD: "ipv6", 0x88CC: "lldp", 0x8100: "802.1Q"}
_PORTED = {Protocol.TCP, Protocol.UDP, Protocol.SCTP, Protocol.DCCP, Protocol.UDPLITE}

_UNREACH = ("net", "host", "protocol", "port", "frag-needed", "source-route")


def describe_frame(frame: Octets) -> str:
    """Return one line about an Ethernet frame."""
    if len(frame) < 14:
        return f"{len(frame)} octets, no whole Ethernet header"
    ethertype, at = frame[12] << 8 | frame[13], 14
    tag = ""
    while ethertype in _TAGS and len(frame) >= at + 4:
        tag += f" vlan={(frame[at] << 8 | frame[at + 1]) & 0x0FFF}"
        ethertype, at = frame[at + 2] << 8 | frame[at + 3], at + 4
    return describe_packet(bytes(frame[at:]), ethertype) + tag


def describe_packet(packet: bytes, ethertype: int = 0x0800) -> str:
    """Return one line about a packet from its network header."""
    if ethertype == 0x0800:
        return _ipv4(packet)
    if ethertype == 0x0806:
        return _arp(packet)
    if ethertype == 0x86DD and len(packet) >= 40:
        return f"ipv6 {format_address(packet[8:24])} > {format_address(packet[24:40])}"
    return _ETHERTYPES.get(ethertype, f"ethertype 0x{ethertype:04x}")


def _ipv4(packet: bytes) -> str:
    header_len = (packet[0] & 0x0F) * 4 if packet else 0
    if len(packet) < 20 or packet[0] >> 4 != 4 or header_len < 20:
        return "ip, malformed header"
    src, dst = format_address(packet[12:16]), format_address(packet[16:20])
    number = packet[9]
    try:
        name = Protocol(number).name.lower()
    except ValueError:
        name = f"ip-proto-{number}"
    offset = (packet[6] << 8 | packet[7]) & 0x1FFF
    more = bool(packet[6] & 0x20)
    fragment = f" frag {offset * 8}{'+' if more else ''}" if offset or more else ""
    body = packet[header_len:]
    if offset:
        return f"{name} {src} > {dst}{fragment}"
    if number in _PORTED and len(body) >= 4:
        ports = int.from_bytes(body[:2], "big"), int.from_bytes(body[2:4], "big")
        flags = f" {_tcp_flags(body[13])}" if number == Protocol.TCP and len(body) >= 14 else ""
        return f"{name} {src}:{ports[0]} > {dst}:{ports[1]}{flags}{fragment}"
    if number == Protocol.ICMP and len(body) >= 8:
        return f"icmp {src} > {dst} {_icmp(body)}{fragment}"
    return f"{name} {src} > {dst}{fragment}"


def _tcp_flags(octet: int) -> str:
    letters = "".join(letter for bit, letter in _FLAG_LETTERS if octet & bit)
    return letters + ("." if octet & 0x10 else "") or "none"


def _icmp(body: bytes) -> str:
    kind, code = body[0], body[1]
    if kind in {IcmpType.ECHO, IcmpType.ECHO_REPLY}:
        word = "echo" if kind == IcmpType.ECHO else "echo-reply"
        return (
            f"{word} id={int.from_bytes(body[4:6], 'big')} seq={int.from_bytes(body[6:8], 'big')}"
        )
    if kind == IcmpType.DEST_UNREACH and code < len(_UNREACH):
        text = (
            f"{_UNREACH[code]} unreachable"
            if code != 4
            else f"frag needed, mtu {int.from_bytes(body[6:8], 'big')}"
        )
    else:
        try:
            text = IcmpType(kind).name.lower().replace("_", "-")
        except ValueError:
            text = f"type={kind}"
        text += f" code={code}" if code else ""
    if kind in ERROR_TYPES and len(body) > 28:
        text += f" about ({_ipv4(body[8:])})"
    return text


def _arp(packet: bytes) -> str:
    if len(packet) < 28:
        return "arp, cut short"
    view = ARP(bytearray(packet))
    sender, target = format_address(view.sender_ip), format_address(view.target_ip)
    if view.operation == 1:
        return f"arp who-has {target} tell {sender}"
    if view.operation == 2:
        return f"arp reply {sender} is-at {format_mac(view.sender_mac)} to {target}"
    return f"arp operation {view.operation}"
