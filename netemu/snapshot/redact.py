"""Takes public addresses, host names and comments out of a snapshot, consistently.

Theory of operation: each bit of an address is flipped or kept by a keyed hash of the bits before
it (Xu, Fan, Ammar, Moon 2002, "Prefix-preserving IP address anonymization"): two addresses that
share n leading bits still do so afterwards, so every route and rule matches what it matched. The
key is drawn anew for each snapshot.

What must survive is never flipped: bits at which a kept range (private, loopback, multicast,
documentation, ...) parts from the rest, so that public stays public and kept stays as it is; and
host bits within the node's own subnets and within printed ranges, so that broadcast addresses stay
broadcast addresses and `A-B` stays in order. MAC addresses stay: without them captures do not fit.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from netemu.snapshot.items import ITEM
from netemu.wire.address import (
    format_address,
    in_prefix,
    network_of,
    parse_address,
    parse_prefix,
)

Prefix = tuple[bytes, int]

KEPT: tuple[Prefix, ...] = tuple(
    parse_prefix(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "::/3",
        "2001:db8::/32",
        "4000::/2",
        "8000::/1",
    )
)
"""IANA special-purpose registries (RFC 6890); of IPv6 only 2000::/3 is public."""

EMBEDDING = tuple(parse_prefix(text)[0][:12] for text in ("::ffff:0:0/96", "64:ff9b::/96"))
"""IPv6 prefixes whose last four octets are an IPv4 address (RFC 4291, RFC 6052)."""

_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]+(?:\d+(?:\.\d+){3})?")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_LENGTH = re.compile(r"/(\d{1,3})(?!\w)")
_RANGE = re.compile(rf"({_IPV4.pattern})-({_IPV4.pattern})")
_JSON_SUBNET = re.compile(
    r'"local":"(?P<address>[0-9A-Fa-f.:]+)",[^{}]*?"prefixlen":(?P<length>\d+)'
)
_TEXT_SUBNET = re.compile(r"\binet6? (?P<address>[0-9A-Fa-f.:]+)/(?P<length>\d+)")
_COMMENT = re.compile(r'(--comment |\bcomment (?="))("(?:\\.|[^"\\])*"|[^\s"]+)')
_SECRET = re.compile(r"stable_secret|fastopen_key|random\.")
_HOST_KEYS = ("kernel.hostname", "kernel.domainname")

OWN_COMMENT = "netemu:"
"""Comments that begin so are directives and stay."""


class Redactor:
    """One consistent renaming of addresses, names and comments."""

    def __init__(self, *, key: bytes | None = None, names: Iterable[str] = ()) -> None:
        """Draw a key unless one is given; `names` are host names to replace."""
        self.key = key or secrets.token_bytes(32)
        self.subnets: set[Prefix] = set()
        self.names = {name for name in names if len(name) > 1 and name not in _PLAIN_NAMES}
        self._known: dict[bytes, bytes] = {}

    def files(self, files: Mapping[str, str]) -> dict[str, str]:
        """Return the files of a snapshot, redacted."""
        for name, text in files.items():
            self.learn(name, text)
        return {name: self.file(name, text) for name, text in files.items()}

    def learn(self, name: str, text: str) -> None:
        """Note the subnets, ranges and host names that a file tells."""
        for pattern in (_JSON_SUBNET, _TEXT_SUBNET):
            for found in pattern.finditer(text):
                self._learn_subnet(found["address"], int(found["length"]))
        for low, high in _RANGE.findall(text):
            self._learn_range(low, high)
        if name.rpartition("/")[2] == ITEM["sysctl"].name:
            for line in text.splitlines():
                key, _, value = line.partition(" = ")
                if key in _HOST_KEYS and value not in _PLAIN_NAMES:
                    self.names.add(value)

    def _learn_subnet(self, text: str, length: int) -> None:
        try:
            address = parse_address(text)
        except ValueError:
            return
        if length <= len(address) * 8 - 2:
            self.subnets.add((network_of(address, length), length))

    def _learn_range(self, low_text: str, high_text: str) -> None:
        try:
            low, high = parse_address(low_text), parse_address(high_text)
        except ValueError:
            return
        differing = int.from_bytes(low, "big") ^ int.from_bytes(high, "big")
        length = 32 - differing.bit_length()
        self.subnets.add((network_of(low, length), length))

    def file(self, name: str, text: str) -> str:
        """Return one file's text, redacted."""
        if name.rpartition("/")[2] == ITEM["sysctl"].name:
            text = "".join(line for line in text.splitlines(keepends=True) if _is_network(line))
        text = _COMMENT.sub(self._comment, text)
        text = _replace_addresses(text, self)
        for number, host in enumerate(sorted(self.names, key=len, reverse=True), 1):
            text = re.sub(rf"(?<![\w.-]){re.escape(host)}(?![\w-])", f"host{number}", text)
        return text

    def _comment(self, found: re.Match[str]) -> str:
        content = found[2].strip('"')
        if content.startswith(OWN_COMMENT):
            return found[0]
        digest = blake2b(content.encode(), key=self.key, digest_size=4).hexdigest()
        quoted = '"' if found[2].startswith('"') else ""
        return f"{found[1]}{quoted}comment-{digest}{quoted}"

    def address(self, address: bytes) -> bytes:
        """Return what stands for an address from now on."""
        found = self._known.get(address)
        if found is None:
            found = self._known[address] = self._address(address)
        return found

    def _address(self, address: bytes) -> bytes:
        if len(address) == 16 and address[:12] in EMBEDDING:
            return address[:12] + self.address(address[12:])
        if any(in_prefix(address, *kept) for kept in KEPT):
            return address
        bits = len(address) * 8
        number = int.from_bytes(address, "big")
        flipped = 0
        for length in range(self._network_bits(address)):
            leading = number >> (bits - length)
            if self._may_flip(leading, length, bits) and self._flip(leading, length, bits):
                flipped |= 1 << (bits - 1 - length)
        return (number ^ flipped).to_bytes(len(address), "big")

    def _network_bits(self, address: bytes) -> int:
        """Return how many leading bits may change: all, or those before the host bits."""
        lengths = [length for net, length in self.subnets if in_prefix(address, net, length)]
        return min(lengths, default=len(address) * 8)

    def _may_flip(self, leading: int, length: int, bits: int) -> bool:
        """Return whether no kept range lies below the `length` leading bits."""
        return not any(
            len(net) * 8 == bits
            and kept > length
            and int.from_bytes(net, "big") >> (bits - length) == leading
            for net, kept in KEPT
        )

    def _flip(self, leading: int, length: int, bits: int) -> bool:
        text = f"{bits}/{length}/{leading}".encode()
        return bool(blake2b(text, key=self.key, digest_size=1).digest()[0] & 1)


_PLAIN_NAMES = frozenset({"", "(none)", "localhost", "none"})


def _is_network(line: str) -> bool:
    return line.startswith("net.") and not _SECRET.search(line)


def _replace_addresses(text: str, redactor: Redactor) -> str:
    """Return the text with every address replaced; a prefix keeps its host bits zero."""

    def replaced(found: re.Match[str]) -> str:
        try:
            address = parse_address(found[0])
        except ValueError:
            return found[0]
        renamed = redactor.address(address)
        length = _LENGTH.match(found.string, found.end())
        if length and int(length[1]) <= len(address) * 8:
            bits = int(length[1])
            if address == network_of(address, bits):
                renamed = network_of(renamed, bits)
        return format_address(renamed) if renamed != address else found[0]

    return _IPV4.sub(replaced, _IPV6.sub(replaced, text))
