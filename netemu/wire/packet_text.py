"""The one-line packet language: `tcp 192.0.2.9:40000 > 10.96.0.1:443 S ttl=3`.

    tcp|udp|sctp A[:PORT] > B:PORT [FLAGS]   FLAGS of tcp as tcpdump prints them: S S. . P. F. R
    icmp A > B [echo|echo-reply]             or type=N code=N
    ip A > B proto=N                         any other protocol
    arp who-has A tell B
    arp reply A is-at MAC [to B]

    ttl= tos= id= df=0|1 len= mark= vlan= src-mac= dst-mac= payload=TEXT|0xHEX
    seq= ack= win= (tcp)   id= seq= type= code= (icmp)   ip-id=

Defaults: ttl 64, tos 0, id 1, DF, seq 1, win 64240, no options, empty payload, source port 40000,
flag S. `len=` is the length of the IP packet; the payload is filled up with zeros.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from netemu.errors import PacketTextError
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.arp import build_arp
from netemu.wire.composed import BROADCAST, ETH_P_ARP, ComposedPacket
from netemu.wire.icmp import IcmpType, build_icmp
from netemu.wire.ipv4 import Protocol, build_ipv4
from netemu.wire.sctp import build_sctp_init
from netemu.wire.tcp import Flag, build_tcp
from netemu.wire.udp import build_udp

DEFAULT_SRC_PORT = 40000
DEFAULT_WINDOW = 64240
MAXIMUM_PAYLOAD = 65535 - 20 - 32
"""What an IPv4 header and the longest transport header made here leave of total_length."""

PROTOCOLS = ("tcp", "udp", "sctp", "icmp", "ip", "arp")

_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')
_PORTED = re.compile(r"(?P<address>[^:]*)(?::(?P<port>[^:]*))?")
_FLAG_LETTERS = {
    "F": Flag.FIN,
    "S": Flag.SYN,
    "R": Flag.RST,
    "P": Flag.PSH,
    ".": Flag.ACK,
    "A": Flag.ACK,
    "U": Flag.URG,
    "E": Flag.ECE,
    "W": Flag.CWR,
}
_ICMP_NAMES = {
    "echo": IcmpType.ECHO,
    "echo-request": IcmpType.ECHO,
    "ping": IcmpType.ECHO,
    "echo-reply": IcmpType.ECHO_REPLY,
    "pong": IcmpType.ECHO_REPLY,
}

_COMMON = frozenset({"mark", "vlan", "src-mac", "dst-mac"})
_IP = _COMMON | {"ttl", "tos", "len", "ip-id", "df", "payload"}
_KEYS = {
    "tcp": _IP | {"id", "seq", "ack", "win"},
    "udp": _IP | {"id"},
    "sctp": _IP | {"id"},
    "icmp": _IP | {"id", "seq", "type", "code"},
    "ip": _IP | {"id", "proto"},
    "arp": _COMMON,
}

_LIMITS = {
    "ttl": 255,
    "tos": 255,
    "len": 65535,
    "id": 65535,
    "ip-id": 65535,
    "df": 1,
    "mark": 0xFFFFFFFF,
    "vlan": 0xFFFF,
    "seq": 0xFFFFFFFF,
    "ack": 0xFFFFFFFF,
    "win": 65535,
    "type": 255,
    "code": 255,
    "proto": 255,
}


class Word(Struct, frozen=True, kw_only=True):
    """One word of the line and the column where it begins, from 1."""

    text: str
    column: int


class _Line(Struct, kw_only=True):
    """The line being read: bare words in order, options by key."""

    text: str
    protocol: str
    words: list[Word]
    options: dict[str, Word]

    def fail(self, message: str, word: Word | None = None) -> PacketTextError:
        """Return an error at `word`, or at the line's end."""
        column = word.column if word else len(self.text) + 1
        return PacketTextError(message, file="<packet>", line=1, column=column, context=self.text)

    def take(self, what: str) -> Word:
        """Consume the next bare word."""
        if not self.words:
            raise self.fail(f"the packet ends where {what} should be")
        return self.words.pop(0)

    def expect(self, literal: str) -> None:
        """Consume a bare word that must be `literal`."""
        word = self.take(f"{literal!r}")
        if word.text != literal:
            raise self.fail(f"{word.text!r} stands where {literal!r} should be", word)

    def number(self, key: str, default: int) -> int:
        """Return an option's number, decimal or 0x hexadecimal."""
        word = self.options.get(key)
        return default if word is None else self.number_of(word, key, _LIMITS[key])

    def number_of(self, word: Word, what: str, highest: int) -> int:
        """Read a number from a word."""
        try:
            value = int(word.text, 0)
        except ValueError:
            raise self.fail(f"{what} {word.text!r} is no number", word) from None
        if not 0 <= value <= highest:
            raise self.fail(f"{what} {value} is not within 0-{highest}", word)
        return value

    def address(self, word: Word) -> bytes:
        """Read an IPv4 address."""
        try:
            address = parse_address(word.text)
        except ValueError:
            raise self.fail(f"{word.text!r} is no IPv4 address", word) from None
        if len(address) != 4:
            raise self.fail("IPv6 packets cannot be written in this language; use IPv4", word)
        return address

    def mac(self, key: str) -> bytes:
        """Read an option that is a MAC address; empty when it is left out."""
        word = self.options.get(key)
        return b"" if word is None else self.mac_of(word)

    def mac_of(self, word: Word) -> bytes:
        """Read a MAC address."""
        try:
            return parse_mac(word.text)
        except ValueError:
            raise self.fail(f"{word.text!r} is no MAC address", word) from None

    def endpoint(self, *, default_port: int | None) -> tuple[bytes, int]:
        """Consume ADDRESS:PORT."""
        word = self.take("ADDRESS:PORT")
        match = _PORTED.fullmatch(word.text)
        if match is None:
            raise self.fail(f"{word.text!r} is not ADDRESS:PORT with an IPv4 address", word)
        address = self.address(Word(text=match["address"], column=word.column))
        if match["port"] is None:
            if default_port is None:
                raise self.fail(f"{word.text!r} lacks its port; write {word.text}:80", word)
            return address, default_port
        port = Word(text=match["port"], column=word.column + match.start("port"))
        return address, self.number_of(port, "port", 65535)

    def payload(self) -> bytes:
        """Return payload=, which is text or 0x followed by hexadecimal digits."""
        word = self.options.get("payload")
        if word is None:
            return b""
        if not word.text.startswith("0x"):
            return word.text.encode()
        try:
            return bytes.fromhex(word.text[2:])
        except ValueError:
            raise self.fail(f"{word.text!r} has no whole octets in hexadecimal", word) from None


def parse_packet(text: str) -> ComposedPacket:
    """Return the packet that one line describes.

    >>> parse_packet("udp 10.0.0.1:53 > 10.0.0.2:1024").network.hex()
    '4500001c00014000401126ce0a0000010a000002003504000008e7a6'
    """
    line = _split(text)
    if line.protocol == "arp":
        composed = _arp(line)
    else:
        composed = _ip(line)
    if line.words:
        word = line.words[0]
        raise line.fail(f"{word.text!r} is not expected here", word)
    return composed


def _split(text: str) -> _Line:
    words = [Word(text=match.group(), column=match.start() + 1) for match in _WORD.finditer(text)]
    line = _Line(text=text, protocol="", words=words, options={})
    protocol = line.take("the protocol")
    line.protocol = protocol.text.lower()
    if line.protocol not in PROTOCOLS:
        raise line.fail(
            f"{protocol.text!r} is no packet kind; there are {' '.join(PROTOCOLS)}", protocol
        )
    bare: list[Word] = []
    for word in line.words:
        key, equals, value = word.text.partition("=")
        if not equals:
            bare.append(word)
            continue
        if key not in _KEYS[line.protocol]:
            known = " ".join(f"{name}=" for name in sorted(_KEYS[line.protocol]))
            raise line.fail(f"{line.protocol} has no {key}=; there are {known}", word)
        if key in line.options:
            raise line.fail(f"{key}= is given twice", word)
        column = word.column + len(key) + 1
        line.options[key] = Word(text=value.replace('"', ""), column=column)
    line.words = bare
    return line


def _ip(line: _Line) -> ComposedPacket:
    build = _BUILDERS[line.protocol]
    src, dst, protocol, make = build(line)
    payload = line.payload()
    if len(payload) > MAXIMUM_PAYLOAD:
        too_long = f"the payload has {len(payload)} octets, more than fit into a packet"
        raise line.fail(too_long, line.options["payload"])
    room = line.number("len", 0)
    packet = _wrap(line, src, dst, protocol, make(payload))
    if "len" in line.options:
        if room < len(packet):
            shortest = f"len={room} is less than the {len(packet)} octets of headers and payload"
            raise line.fail(shortest, line.options["len"])
        payload += bytes(room - len(packet))
        packet = _wrap(line, src, dst, protocol, make(payload))
    return ComposedPacket(
        text=line.text,
        network=packet,
        src=src,
        dst=dst,
        mark=line.number("mark", 0),
        vlan=line.number("vlan", 0) if "vlan" in line.options else None,
        src_mac=line.mac("src-mac"),
        dst_mac=line.mac("dst-mac"),
    )


def _wrap(line: _Line, src: bytes, dst: bytes, protocol: int, payload: bytes) -> bytes:
    identification = 1 if line.protocol == "icmp" else line.number("id", 1)
    return bytes(
        build_ipv4(
            src=src,
            dst=dst,
            protocol=protocol,
            payload=payload,
            ttl=line.number("ttl", 64),
            tos=line.number("tos", 0),
            identification=line.number("ip-id", identification),
            dont_fragment=bool(line.number("df", 1)),
        )
    )


_Made = tuple[bytes, bytes, int, Callable[[bytes], bytes]]
"""Source, destination, protocol number, and payload -> transport segment."""


def _endpoints(line: _Line) -> tuple[bytes, int, bytes, int]:
    src, src_port = line.endpoint(default_port=DEFAULT_SRC_PORT)
    line.expect(">")
    dst, dst_port = line.endpoint(default_port=None)
    return src, src_port, dst, dst_port


def _tcp(line: _Line) -> _Made:
    src, src_port, dst, dst_port = _endpoints(line)
    flags = _tcp_flags(line)

    def make(payload: bytes) -> bytes:
        return bytes(
            build_tcp(
                src=src,
                dst=dst,
                src_port=src_port,
                dst_port=dst_port,
                seq=line.number("seq", 1),
                ack=line.number("ack", 0),
                flags=flags,
                window=line.number("win", DEFAULT_WINDOW),
                payload=payload,
            )
        )

    return src, dst, Protocol.TCP, make


def _tcp_flags(line: _Line) -> int:
    if not line.words:
        return Flag.SYN
    word = line.words.pop(0)
    letters = word.text.strip("[]")
    if letters == "none":
        return 0
    flags = 0
    for letter in letters:
        if letter not in _FLAG_LETTERS:
            known = " ".join(_FLAG_LETTERS)
            raise line.fail(f"{letter!r} is no TCP flag; there are {known}, and none", word)
        flags |= _FLAG_LETTERS[letter]
    return flags


def _udp(line: _Line) -> _Made:
    src, src_port, dst, dst_port = _endpoints(line)

    def make(payload: bytes) -> bytes:
        return bytes(
            build_udp(src=src, dst=dst, src_port=src_port, dst_port=dst_port, payload=payload)
        )

    return src, dst, Protocol.UDP, make


def _sctp(line: _Line) -> _Made:
    src, src_port, dst, dst_port = _endpoints(line)

    def make(payload: bytes) -> bytes:
        return build_sctp_init(src_port=src_port, dst_port=dst_port, parameters=payload)

    return src, dst, Protocol.SCTP, make


def _icmp(line: _Line) -> _Made:
    src = line.address(line.take("the source address"))
    line.expect(">")
    dst = line.address(line.take("the destination address"))
    icmp_type: int = IcmpType.ECHO
    if line.words:
        word = line.words.pop(0)
        if word.text not in _ICMP_NAMES:
            known = " ".join(_ICMP_NAMES)
            raise line.fail(f"{word.text!r} is none of {known}; use type= code=", word)
        icmp_type = _ICMP_NAMES[word.text]
    icmp_type = line.number("type", icmp_type)
    code = line.number("code", 0)
    rest = line.number("id", 1) << 16 | line.number("seq", 1) & 0xFFFF

    def make(payload: bytes) -> bytes:
        return bytes(build_icmp(icmp_type=icmp_type, code=code, rest=rest, payload=payload))

    return src, dst, Protocol.ICMP, make


def _other(line: _Line) -> _Made:
    src = line.address(line.take("the source address"))
    line.expect(">")
    dst = line.address(line.take("the destination address"))
    if "proto" not in line.options:
        raise line.fail("ip needs proto=NUMBER")
    return src, dst, line.number("proto", 0), bytes


_BUILDERS: dict[str, Callable[[_Line], _Made]] = {
    "tcp": _tcp,
    "udp": _udp,
    "sctp": _sctp,
    "icmp": _icmp,
    "ip": _other,
}


def _arp(line: _Line) -> ComposedPacket:
    kind = line.take("'who-has' or 'reply'")
    if kind.text == "who-has":
        target = line.address(line.take("the address asked for"))
        line.expect("tell")
        sender = line.address(line.take("the sender's address"))
        return _arp_packet(line, operation=1, sender=sender, target=target)
    if kind.text != "reply":
        raise line.fail(f"{kind.text!r} stands where 'who-has' or 'reply' should be", kind)
    sender = line.address(line.take("the address"))
    line.expect("is-at")
    sender_mac = line.mac_of(line.take("the MAC address"))
    target = bytes(4)
    if line.words:
        line.expect("to")
        target = line.address(line.take("the address of the receiver"))
    return _arp_packet(line, operation=2, sender=sender, target=target, sender_mac=sender_mac)


def _arp_packet(
    line: _Line, *, operation: int, sender: bytes, target: bytes, sender_mac: bytes = b""
) -> ComposedPacket:
    given = sender_mac or line.mac("src-mac")
    dst_mac = line.mac("dst-mac")
    asks = operation == 1
    body = build_arp(
        operation=operation,
        sender_mac=given or bytes(6),
        sender_ip=sender,
        target_mac=bytes(6) if asks else dst_mac or bytes(6),
        target_ip=target,
    )
    return ComposedPacket(
        text=line.text,
        network=bytes(body),
        ethertype=ETH_P_ARP,
        src=sender,
        dst=target,
        mark=line.number("mark", 0),
        vlan=line.number("vlan", 0) if "vlan" in line.options else None,
        src_mac=line.mac("src-mac") or sender_mac,
        dst_mac=dst_mac or (BROADCAST if asks else b""),
        arp_sender_open=not given,
    )
