"""Kinds of values that name ports, and lists of names.

Kernel: none; xtables_parse_port and XTTYPE_PORT, PORTRC of libxtables.
"""

from __future__ import annotations

from collections.abc import Mapping

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import MOST_DIGITS, Kind, OptionCall, Span, c_integer, shape
from netemu.netfilter.xtables.names import service_port

PORT_MAX = 0xFFFF

PLAIN_PORT = "(?:[1-5][0-9]{0,4}|6(?:[0-4][0-9]{0,3}|[5-9][0-9]{0,2})?|[7-9][0-9]{0,3}|0)"
"""Pattern of ports in decimal, the last 535 of five digits left out."""

TRANSPORTS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
"""Protocols with ports, by IP protocol number."""


def parse_port(text: str, transport: str) -> int:
    """Return a port given by number or service name (xtables_parse_port)."""
    if shape("NUMBER").fullmatch(text) is not None and c_integer(text) <= PORT_MAX:
        return c_integer(text)
    port = service_port(text, transport)
    if port is None:
        raise RulesetError(
            f"invalid port/service `{text}' specified; 0-65535 or a {transport or 'service'} "
            "name of /etc/services would do"
        )
    return port


class PortRange(Kind[Span]):
    """`port`, `low:high`, `:high` or `low:` (parse_tcp_ports, parse_udp_ports)."""

    form = "PORT[:PORT]"
    terminal = "PORT_RANGE"
    may_be_empty = True

    def __init__(self, transport: str) -> None:
        """Resolve service names over `transport`."""
        self.transport = transport

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtables_parse_port does."""
        return f"invalid port/service `{text.partition(':')[2]}' specified"

    def plain(self, call: OptionCall, *, quoted: bool) -> str | None:
        """Return single ports."""
        return PLAIN_PORT

    def read(self, text: str, call: OptionCall) -> Span:
        """Fill an absent end with the limit."""
        first, colon, last = text.partition(":")
        if not colon:
            port = parse_port(text, self.transport)
            return Span(port, port)
        low = parse_port(first, self.transport) if first else 0
        high = parse_port(last, self.transport) if last else PORT_MAX
        if low > high:
            raise RulesetError("invalid portrange (min > max)")
        return Span(low, high)

    def show(self, value: Span) -> str:
        """Print a single port alone."""
        return str(value.low) if value.low == value.high else f"{value.low}:{value.high}"


class ResolvedPorts(Kind[Span]):
    """`port`, `low:high`, `:high` or `low:`; the ends may stand in any order (XTTYPE_PORTRC)."""

    form = "PORT[:PORT]"
    terminal = "PORT_RANGE"
    may_be_empty = True

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtopt_parse_mport does."""
        return f'{call.extension}: Too many components for option "--{call.option}" (max: 2)'

    def plain(self, call: OptionCall, *, quoted: bool) -> str | None:
        """Return single ports."""
        return PLAIN_PORT

    def read(self, text: str, call: OptionCall) -> Span:
        """Fill an absent end with the limit."""
        first, colon, last = text.partition(":")
        low = resolve_port(first) if first else 0
        if not colon:
            return Span(low, low)
        return Span(low, resolve_port(last) if last else PORT_MAX)

    def show(self, value: Span) -> str:
        """Print a single port alone."""
        return str(value.low) if value.low == value.high else f"{value.low}:{value.high}"


def resolve_port(text: str) -> int:
    """Return a port as getaddrinfo(3) reads it (xtables_getportbyname).

    A number is what strtoul and a conversion to int leave of it, so 70000 is port 4464; a name is
    looked up for any transport.

    >>> resolve_port("070"), resolve_port("70000"), resolve_port("tftp")
    (70, 4464, 69)
    """
    digits = text.lstrip(" \t\n\v\f\r")
    negative = digits[:1] == "-"
    digits = digits.removeprefix("-" if negative else "+")
    if digits.isascii() and digits.isdigit():
        number = int(digits.lstrip("0")[:MOST_DIGITS] or "0")
        if number > _ULONG_MAX:
            number = _ULONG_MAX
        elif negative:
            number = -number
        number &= 0xFFFFFFFF
        port = number & PORT_MAX if number <= _INT_MAX else None
    else:
        port = service_port(text)
    if port is None:
        raise RulesetError(f'Port "{text}" does not resolve to anything; 0-65535 would do')
    return port


_INT_MAX = 0x7FFFFFFF
_ULONG_MAX = 0xFFFFFFFFFFFFFFFF


class NameList(Kind[int]):
    """Names joined by commas, each standing for bits (`--ctstate NEW,RELATED`)."""

    form = "NAME[,NAME...]"
    terminal = "NAME_LIST"

    def __init__(
        self,
        names: Mapping[str, int],
        *,
        shown: Mapping[str, int] | None = None,
        fold_case: bool = True,
        bad: str = "bad value",
    ) -> None:
        """`names` are read, `shown` (default: the same) are printed in their order.

        `bad` begins the message about an unknown name.
        """
        self.names = {name.casefold(): bits for name, bits in names.items()} if fold_case else names
        self.shown = shown if shown is not None else names
        self.fold_case = fold_case
        self.bad = bad

    def read(self, text: str, call: OptionCall) -> int:
        """Or the bits together."""
        bits = 0
        for name in text.split(","):
            found = self.names.get(name.casefold() if self.fold_case else name)
            if found is None:
                raise RulesetError(
                    f"{call.extension}: {self.bad} `{name}'; it takes {', '.join(self.shown)}"
                )
            bits |= found
        return bits

    def show(self, value: int) -> str:
        """Print the names whose bits are all set."""
        return ",".join(name for name, bits in self.shown.items() if value & bits == bits and bits)
