"""Kinds of option values: how each is read, refused and printed.

Kernel: none; these are the XTTYPE_* parsers of iptables' libxtables (xtoptions.c, xtables.c).

Theory of operation: a kind's shape is a terminal of `values.lark`. What Lark compiles the terminals
to is kept in `values_terminals.py`, and the first test of a value is a full match of its terminal;
then `read` converts and checks limits. So the grammar file is the one authority on shapes, and a
value costs one regular expression. A refusal is worded as iptables words it; the reader adds the
place.
"""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.values_terminals import TERMINALS

T = TypeVar("T")

U32_MAX = 0xFFFFFFFF


class OptionCall(Struct, frozen=True):
    """What a kind is told about the option it reads (struct xt_option_call)."""

    extension: str
    """Name as error messages print it."""
    option: str
    """Without the leading dashes."""
    family: Family = Family.IPV4
    protocol: int = 0
    """What -p said so far; 0 for any."""
    protocol_inverted: bool = False


@functools.cache
def shape(terminal: str) -> re.Pattern[str]:
    """Return the compiled pattern of one terminal of values.lark."""
    return re.compile(TERMINALS[terminal])


class Kind(ABC, Generic[T]):
    """A kind of value; `T` is what it is read into."""

    terminal: ClassVar[str] = "WORD"
    """Terminal of values.lark."""
    may_be_empty: ClassVar[bool] = False
    """Whether `""` has the right shape (a terminal cannot be empty)."""
    arity: ClassVar[int] = 1
    """Words that the value takes; the reader joins them with one blank."""
    form: str = "VALUE"
    """How a value is written, for people."""
    absent: ClassVar[object] = None
    """What stands for a value that is left out; None where it may not be."""

    @functools.cached_property
    def fullmatch(self) -> Callable[[str], re.Match[str] | None]:
        """The shape test of this kind."""
        return shape(self.terminal).fullmatch

    def parse(self, text: str, call: OptionCall) -> T:
        """Read a value or raise RulesetError in iptables' words."""
        if self.fullmatch(text) is None and not (self.may_be_empty and not text):
            raise RulesetError(self.refusal(text, call))
        return self.read(text, call)

    def refusal(self, text: str, call: OptionCall) -> str:
        """Say what is wrong with a value of the wrong shape."""
        return f'{call.extension}: bad value for option "--{call.option}": "{text}"'

    def plain(self, call: OptionCall, *, quoted: bool) -> str | None:
        """Return a pattern of plain spellings, which `parse` takes whatever they are.

        Its texts hold neither quotes nor backslashes, nor blanks unless `quoted`. With None every
        value has to be parsed to know whether it is good.
        """
        return None

    @abstractmethod
    def read(self, text: str, call: OptionCall) -> T:
        """Convert a value whose shape is right; check its limits."""

    @abstractmethod
    def show(self, value: T) -> str:
        """Return the value as iptables-save prints it."""


class Flag(Kind[bool]):
    """An option without a value (XTTYPE_NONE)."""

    form = ""
    may_be_empty = True
    arity = 0

    def read(self, text: str, call: OptionCall) -> bool:
        """Return True: the option is there."""
        return True

    def show(self, value: bool) -> str:  # noqa: FBT001 - the value itself is a flag
        """Return nothing to print after the option."""
        return ""


FLAG = Flag()


MOST_DIGITS = 4000
"""Python refuses to convert more than 4300 decimal digits; so many are beyond every limit here."""


def c_integer(text: str) -> int:
    """Return what strtoul(text, NULL, 0) reads: decimal, 0x hexadecimal or 0 octal.

    >>> c_integer("0x10"), c_integer("010"), c_integer(" +7")
    (16, 8, 7)
    """
    digits = text.strip(" \t\n\v\f\r").removeprefix("+")
    if digits[:2] in {"0x", "0X"}:
        return int(digits, 16)
    return int(digits, 8) if digits[0] == "0" else int(digits[:MOST_DIGITS])


class Unsigned(Kind[int]):
    """A number within limits (XTTYPE_UINT8 to UINT64)."""

    terminal = "NUMBER"

    def __init__(self, low: int, high: int, *, hexadecimal: bool = False) -> None:
        """Accept `low` to `high`, both included."""
        self.low = low
        self.high = high
        self.hexadecimal = hexadecimal
        self.form = f"{low}-{high}"

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtopt_parse_int does."""
        return (
            f'{call.extension}: bad value for option "--{call.option}", '
            f"or out of range ({self.low}-{self.high})"
        )

    def read(self, text: str, call: OptionCall) -> int:
        """Convert and compare with the limits."""
        value = c_integer(text)
        if not self.low <= value <= self.high:
            raise RulesetError(self.refusal(text, call))
        return value

    def show(self, value: int) -> str:
        """Print in decimal, or in hexadecimal where iptables does."""
        return f"0x{value:x}" if self.hexadecimal else str(value)


def U8(low: int = 0, high: int = 0xFF) -> Unsigned:
    """XTTYPE_UINT8."""
    return Unsigned(low, high)


def U16(low: int = 0, high: int = 0xFFFF) -> Unsigned:
    """XTTYPE_UINT16."""
    return Unsigned(low, high)


def U32(low: int = 0, high: int = U32_MAX) -> Unsigned:
    """XTTYPE_UINT32."""
    return Unsigned(low, high)


def U64(low: int = 0, high: int = 0xFFFFFFFFFFFFFFFF) -> Unsigned:
    """XTTYPE_UINT64."""
    return Unsigned(low, high)


class Span(Struct, frozen=True):
    """A range of numbers, both ends included."""

    low: int
    high: int


class UnsignedRange(Kind[Span]):
    """`a:b`, `a:`, `:b` or `a` (XTTYPE_UINT8RC to UINT64RC)."""

    terminal = "NUMBER_RANGE"
    may_be_empty = True

    def __init__(self, high: int) -> None:
        """Accept numbers from 0 to `high`."""
        self.high = high
        self.form = f"0-{high}[:0-{high}]"

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtopt_parse_mint does."""
        return (
            f'{call.extension}: bad value for option "--{call.option}" near "{text}", '
            f"or out of range (0-{self.high})"
        )

    def read(self, text: str, call: OptionCall) -> Span:
        """Fill an absent end with the limit; a single number is both ends."""
        first, colon, last = text.partition(":")
        low = c_integer(first) if first else 0
        high = (c_integer(last) if last else self.high) if colon else low
        if max(low, high) > self.high:
            raise RulesetError(self.refusal(text, call))
        return Span(low, high)

    def show(self, value: Span) -> str:
        """Print a single number alone."""
        return str(value.low) if value.low == value.high else f"{value.low}:{value.high}"


class Masked(Struct, frozen=True):
    """A number and the bits of it that count."""

    value: int
    mask: int


class MaskedU32(Kind[Masked]):
    """`value/mask`, a bare value meaning all 32 bits (XTTYPE_MARKMASK32)."""

    form = "VALUE[/MASK]"
    terminal = "MASKED_NUMBER"

    def __init__(self, *, always_mask: bool = False) -> None:
        """`always_mask` prints the mask even when it is full, as targets do."""
        self.always_mask = always_mask

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtopt_parse_markmask does."""
        return f'{call.extension}: bad mark value for option "--{call.option}", or out of range'

    def read(self, text: str, call: OptionCall) -> Masked:
        """Convert both halves."""
        value_text, slash, mask_text = text.partition("/")
        value = c_integer(value_text)
        mask = c_integer(mask_text) if slash else U32_MAX
        if value > U32_MAX:
            raise RulesetError(self.refusal(text, call))
        if mask > U32_MAX:
            raise RulesetError(
                f'{call.extension}: bad mask value for option "--{call.option}", or out of range'
            )
        return Masked(value, mask)

    def show(self, value: Masked) -> str:
        """Print in hexadecimal, the mask only when it is not full or always asked for."""
        if value.mask == U32_MAX and not self.always_mask:
            return f"0x{value.value:x}"
        return f"0x{value.value:x}/0x{value.mask:x}"


class Choice(Kind[str]):
    """One of a few words; `synonyms` are further spellings of one of them."""

    def __init__(self, *words: str, synonyms: dict[str, str] | None = None) -> None:
        """List the words as they are printed."""
        self.words = words
        self.synonyms = synonyms or {}
        self.form = "|".join(words)

    def refusal(self, text: str, call: OptionCall) -> str:
        """Name the words that would do."""
        return (
            f'{call.extension}: bad value "{text}" for option "--{call.option}"; '
            f"it takes {', '.join(self.words)}"
        )

    def read(self, text: str, call: OptionCall) -> str:
        """Return the word as it is printed."""
        if text in self.words:
            return text
        if text in self.synonyms:
            return self.synonyms[text]
        raise RulesetError(self.refusal(text, call))

    def show(self, value: str) -> str:
        """Print the word."""
        return value


_BARE = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPED = re.compile(r"""(["\\'])""")


def quoted(text: str) -> str:
    r"""Return a string as xtables_save_string prints it.

    >>> print(quoted("a-b"), quoted('say "hi"'), quoted(""))
    a-b "say \"hi\"" ""
    """
    if _BARE.fullmatch(text):
        return text
    return '"' + _ESCAPED.sub(r"\\\1", text) + '"'


def octets_of(text: str) -> bytes:
    """Return the bytes that stood in the file; half a character that no file holds stays so."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def text_of(octets: bytes) -> str:
    """Return bytes as text that `octets_of` turns back."""
    return octets.decode("utf-8", "surrogateescape")


_OCTETS_A_CHARACTER = 4
"""At most, in UTF-8."""


class Text(Kind[str]):
    """A string (XTTYPE_STRING), cut to or refused beyond a number of octets."""

    form = "TEXT"
    terminal = "TEXT"
    may_be_empty = True

    def __init__(self, *, least: int = 0, most: int = 0, cut: int = 0, raw: bool = False) -> None:
        """Refuse outside `least` to `most` octets; cut to `cut` octets; `raw` prints unquoted."""
        self.least = least
        self.most = most
        self.cut = cut
        self.raw = raw

    def plain(self, call: OptionCall, *, quoted: bool) -> str | None:
        """Return printable ASCII, an octet a character."""
        most = self.most or ""
        return f"[{' ' if quoted else ''}!#-\\[\\]-~]{{{max(self.least, 1)},{most}}}"

    def read(self, text: str, call: OptionCall) -> str:
        """Count in octets, as C does."""
        if not self.least and not self.most and len(text) * _OCTETS_A_CHARACTER <= self.cut:
            return text
        octets = octets_of(text)
        if self.least and len(octets) < self.least:
            raise RulesetError(f"Argument must have a minimum length of {self.least} characters")
        if self.most and len(octets) > self.most:
            raise RulesetError(f"Argument must have a maximum length of {self.most} characters")
        if self.cut and len(octets) > self.cut:
            return text_of(octets[: self.cut])
        return text

    def show(self, value: str) -> str:
        """Print with quotes where iptables-save puts them."""
        return value if self.raw else quoted(value)


def _c_double(text: str) -> float:
    """Return what strtod(3) reads; no number counts as 0, which is what lround makes of it."""
    digits = text.strip(" \t\n\v\f\r").lower()
    if "nan" in digits:
        return 0.0
    return float.fromhex(digits) if "x" in digits else float(digits)


class Probability(Kind[int]):
    """A fraction of 1, kept in units of 2**-31 as the kernel does."""

    form = "0-1"
    terminal = "FRACTION"

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtopt_parse_double does."""
        return f'{call.extension}: bad value for option "--{call.option}", or out of range (0-1)'

    def read(self, text: str, call: OptionCall) -> int:
        """Return lround(0x80000000 * p)."""
        value = _c_double(text)
        if not 0 <= value <= 1:
            raise RulesetError(self.refusal(text, call))
        return int(value * 0x80000000 + 0.5)

    def show(self, value: int) -> str:
        """Print 11 decimals."""
        return f"{value / 0x80000000:.11f}"
