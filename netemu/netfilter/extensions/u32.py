"""Numbers anywhere in the packet: match `u32`.

Kernel: net/netfilter/xt_u32.c (u32_mt, u32_match_it).

Theory of operation: a test reads 32 bits at a place, counted from the IP header, then takes `&`,
`<<`, `>>` and `@` in turn; `@` adds the number found so far to where the next place counts from. A
test holds when the number lies in one of its ranges, and does not when its place lies outside the
packet; all tests must hold.
"""

from __future__ import annotations

from typing import NoReturn

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kinds import U32_MAX, Kind, OptionCall, c_integer, shape
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb
from netemu.wire.fields import get32

MAX_SIZE = 10
"""Tests, numbers of a location and ranges of a test (XT_U32_MAXSIZE is one more)."""

OPERATORS = ("&", "<<", ">>", "@")
SHIFTS = ("<<", ">>")
MAX_SHIFT = 31


class U32Test(Struct, frozen=True):
    """One test (struct xt_u32_test)."""

    place: int
    operations: tuple[tuple[str, int], ...]
    ranges: tuple[tuple[int, int], ...]


U32Tests = tuple[U32Test, ...]


class U32Kind(Kind[U32Tests]):
    """`6&0xFF=1&&4&0x3FFF=0,5:9`, with blanks anywhere but inside of numbers (u32_parse)."""

    form = "TEST[&&TEST...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> U32Tests:
        """Read tests until the text ends."""
        return _Reader(text).tests()

    def show(self, value: U32Tests) -> str:
        """Print in hexadecimal without blanks, always quoted."""
        return '"' + "&&".join(_show_test(test) for test in value) + '"'


def _show_test(test: U32Test) -> str:
    location = "".join(f"{operator}0x{number:x}" for operator, number in test.operations)
    ranges = ",".join(
        f"0x{low:x}" if low == high else f"0x{low:x}:0x{high:x}" for low, high in test.ranges
    )
    return f"0x{test.place:x}{location}={ranges}"


class _Reader:
    """Reads tests from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def tests(self) -> U32Tests:
        found: list[U32Test] = []
        while True:
            place, operations = self._location()
            ranges = self._ranges()
            if len(found) == MAX_SIZE:
                self._refuse('too many "&&"s')
            found.append(U32Test(place, operations, ranges))
            if not self._peek():
                return tuple(found)
            self.at += 2

    def _location(self) -> tuple[int, tuple[tuple[str, int], ...]]:
        """Read a place and its operations, and the `=` behind them."""
        if self._peek() == "=":
            self._refuse("location spec missing")
        self._location_goes_on()
        place = self._number()
        operations: list[tuple[str, int]] = []
        while self._location_goes_on() != "=":
            operator = self._operator()
            number = self._number()
            if len(operations) + 1 == MAX_SIZE:
                self._refuse("too many operators")
            if operator in SHIFTS and number > MAX_SHIFT:
                raise RulesetError(f"u32: the kernel refuses to shift by {number}; 0-31 would do")
            operations.append((operator, number))
        self.at += 1
        return place, tuple(operations)

    def _location_goes_on(self) -> str:
        letter = self._peek()
        if not letter:
            raise RulesetError("u32: abrupt end of input after location specifier")
        return letter

    def _operator(self) -> str:
        letter = self.text[self.at]
        if letter in "<>":
            self.at += 1
            if self.text[self.at : self.at + 1] != letter:
                self._refuse(f"a second '{letter}' was expected")
            self.at += 1
            return letter * 2
        if letter not in OPERATORS:
            self._refuse("operator expected")
        self.at += 1
        return letter

    def _ranges(self) -> tuple[tuple[int, int], ...]:
        """Read ranges up to `&&` or the end; the reader stands before either."""
        ranges: list[tuple[int, int]] = []
        while (letter := self._peek()) and letter != "&":
            if ranges:
                if letter != ",":
                    self._refuse('expected "," or "&&"')
                self.at += 1
            low = self._number()
            high = low
            if self._peek() == ":":
                self.at += 1
                high = self._number()
            if len(ranges) == MAX_SIZE:
                self._refuse('too many ","s')
            ranges.append((low, high))
        if letter and self.text[self.at + 1 : self.at + 2] != "&":
            self.at += 1
            self._refuse("a second '&' was expected")
        if not ranges:
            raise RulesetError("u32: test ended with no value specified")
        return tuple(ranges)

    def _number(self) -> int:
        found = shape("NUMBER").match(self.text, self.at)
        if found is None or c_integer(found[0]) > U32_MAX:
            self._refuse("not a number or out of range")
        self.at = found.end()
        return c_integer(found[0])

    def _peek(self) -> str:
        """Skip blanks and return the next letter, or nothing at the end."""
        while self.text[self.at : self.at + 1] in _BLANKS:
            self.at += 1
        return self.text[self.at : self.at + 1]

    def _refuse(self, what: str) -> NoReturn:
        raise RulesetError(f"u32: at char {self.at}: {what}")


_BLANKS = frozenset(" \t\n\v\f\r")


class U32Info:
    """struct xt_u32."""

    __slots__ = ("invert", "tests")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        self.tests: U32Tests = settings.need("u32", tuple)
        self.invert = settings.inverted("u32")


def u32_match_it(test: U32Test, data: bytearray) -> bool:
    """Find the number of one test and compare it."""
    value = find_number(test, data)
    return value is not None and any(low <= value <= high for low, high in test.ranges)


def find_number(test: U32Test, data: bytearray) -> int | None:
    """Return the number that a test compares; None when a place lies outside."""
    if test.place > len(data) - 4:
        return None
    value = get32(data, test.place)
    base = 0
    for operator, number in test.operations:
        if operator == "&":
            value &= number
        elif operator == "<<":
            value = value << number & U32_MAX
        elif operator == ">>":
            value >>= number
        else:
            base += value
            if base + number > len(data) - 4:
                return None
            value = get32(data, base + number)
    return value


def u32_mt(info: U32Info, skb: Skb, param: XtParam) -> bool:
    """Ask for every test."""
    return all(u32_match_it(test, skb.data) for test in info.tests) != info.invert


def u32_packets(info: U32Info, space: PacketSpace) -> int:
    """Return the packets whose header holds such numbers.

    What lies in no field of the space is told to all rules alike, as long as no rule changes what
    it may be.
    """
    found = space.both(*(_test_packets(test, space) for test in info.tests))
    return space.when(info.invert, found)


_HEADER = {
    Field.TOS: (8, 8),
    Field.LENGTH: (16, 16),
    Field.TTL: (64, 8),
    Field.PROTOCOL: (72, 8),
    Field.SOURCE: (96, 32),
    Field.DESTINATION: (128, 32),
}
"""Fields of the IPv4 header: first bit and width."""


def _test_packets(test: U32Test, space: PacketSpace) -> int:
    """Return the packets that hold one test."""
    part = _field_part(test) if space.family == Family.IPV4 else None
    if part is None:
        return space.fact(_show_test(test), Field.TTL, Field.TOS)
    field, value_shift, low_bit, width = part
    found = space.outside(space.both())
    for low, high in test.ranges:
        # The number is that part of the field, shifted to the left by `value_shift`.
        first = -(-low >> value_shift)
        last = min(high >> value_shift, (1 << width) - 1)
        found = space.either(found, _between(field, low_bit, width, first, last, space))
    return found


def _field_part(test: U32Test) -> tuple[Field, int, int, int] | None:
    """Return the part of one field that a test compares; None if it is not of that kind.

    (field, shift to the left of the number, lowest bit in the field, width)
    """
    bits: list[int | None] = [test.place * 8 + place for place in range(32)]
    for operator, number in test.operations:
        if operator == "@":
            return None
        if operator == "&":
            bits = [one if number >> (31 - place) & 1 else None for place, one in enumerate(bits)]
        elif operator == "<<":
            bits = [*bits[number:], *[None] * number]
        else:
            bits = [*[None] * number, *bits[: 32 - number]]
    places = [place for place, one in enumerate(bits) if one is not None]
    if not places or places[-1] - places[0] + 1 != len(places):
        return None
    first, last = bits[places[0]], bits[places[-1]]
    assert first is not None
    assert last is not None
    for field, (start, width) in _HEADER.items():
        if start <= first and last < start + width:
            return field, 31 - places[-1], start + width - 1 - last, len(places)
    return None


def _between(
    field: Field, low_bit: int, width: int, first: int, last: int, space: PacketSpace
) -> int:
    """Return the packets with a part of a field within limits."""
    found = space.outside(space.both())
    mask = (1 << width) - 1
    while first <= last:
        size = 0
        while first & ((2 << size) - 1) == 0 and first + (2 << size) - 1 <= last:
            size += 1
        block = mask & ~((1 << size) - 1)
        found = space.either(found, space.masked(field, first << low_bit, block << low_bit))
        first += 1 << size
    return found


def describe_u32(info: U32Info, skb: Skb, param: XtParam) -> str:
    """Say the number of every test."""
    found = [find_number(test, skb.data) for test in info.tests]
    return ", ".join(
        "outside of the packet" if value is None else f"0x{value:x}" for value in found
    )


MATCHES = (
    Match(
        name="u32",
        kernel="xt_u32.c",
        duty="Compares numbers found anywhere in the packet, counted from the IP header.",
        options=(
            Option(
                "u32",
                U32Kind(),
                invertible=True,
                mandatory=True,
                help="Tests joined by &&, each PLACE[&N|<<N|>>N|@N]...=N[:N][,N[:N]]...",
            ),
        ),
        shares=always,
        build=U32Info,
        evaluate=u32_mt,
        packets=u32_packets,
        describe=describe_u32,
    ),
)
