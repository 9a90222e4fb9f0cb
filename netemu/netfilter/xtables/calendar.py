"""Kinds of values that name dates, times of day and days.

Kernel: none; time_parse_date, time_parse_minutes, time_parse_monthdays and time_parse_weekdays of
iptables' libxt_time.

They read numbers with strtoul(3), so that a missing one is 0 and blanks or a plus sign may stand
before it. Day 0 is the last of the month before, and February has 31 days which run into March.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, NoReturn

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import MOST_DIGITS, U32_MAX, Kind, OptionCall

SECONDS_PER_DAY = 86400
DAYTIME_MAX = SECONDS_PER_DAY - 1
DATE_MAX = 0x7FFFFFFF
"""Default of --datestop (INT_MAX)."""

ALL_MONTHDAYS = 0xFFFFFFFE
ALL_WEEKDAYS = 0xFE
"""Bits 1 to 31, and 1 (Monday) to 7."""

WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")

YEAR_MIN = 1970
YEAR_MAX = 2038

_DECIMAL = re.compile(r"[ \t\n\v\f\r]*([+-]?[0-9]+)")
_C_NUMBER = re.compile(
    r"[ \t\n\v\f\r]*([+-]?)(?:0[xX]([0-9a-fA-F]+)|(0[0-7]*)|([1-9][0-9]*))", re.ASCII
)
_ULONG_MAX = 0xFFFFFFFFFFFFFFFF


class Number(NamedTuple):
    """What strtoul(3), cut to 32 bits, makes of the beginning of a text."""

    value: int
    rest: str


def leading_decimal(text: str) -> Number:
    """Read decimal digits; without any, 0 and the whole text.

    >>> leading_decimal("05:06"), leading_decimal("T")
    (Number(value=5, rest=':06'), Number(value=0, rest='T'))
    """
    found = _DECIMAL.match(text)
    if found is None:
        return Number(0, text)
    return Number(_ulong(int(found[1][:MOST_DIGITS])), text[found.end() :])


def leading_number(text: str) -> Number:
    """Read a decimal, hexadecimal or octal number."""
    found = _C_NUMBER.match(text)
    if found is None:
        return Number(0, text)
    sign, hexadecimal, octal, decimal = found.groups()
    value = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    return Number(_ulong(-value if sign == "-" else value), text[found.end() :])


def _ulong(value: int) -> int:
    """Saturate at 64 bits; a sign turns the result round."""
    size = min(abs(value), _ULONG_MAX)
    return (size if value >= 0 else -size) & U32_MAX


class Date(Kind[int]):
    """`YYYY[-MM[-DD[Thh[:mm[:ss]]]]]`, kept as seconds since 1970 in UTC."""

    form = "YYYY[-MM[-DD[Thh[:mm[:ss]]]]]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Read as many parts as there are, each up to its own limit."""
        fields = [0, 1, 1, 0, 0, 0]
        rest = text
        for place, (most, separator) in enumerate(_DATE_PARTS):
            fields[place], rest = leading_decimal(rest)
            if fields[place] > most or (rest and rest[0] != separator):
                _bad_date(text)
            if not rest:
                break
            rest = rest[1:]
        if fields[0] < YEAR_MIN:
            _bad_date(text)
        seconds = _mktime(*fields)
        if seconds < 0:
            raise RulesetError(f'mktime returned an error for "{text}"; it lies before 1970')
        return seconds

    def show(self, value: int) -> str:
        """Print the whole date."""
        return show_date(value)


_DATE_PARTS = ((YEAR_MAX, "-"), (12, "-"), (31, "T"), (23, ":"), (59, ":"), (59, ""))


def _bad_date(text: str) -> NoReturn:
    raise RulesetError(
        f'Invalid date "{text}" specified. Should be YYYY[-MM[-DD[Thh[:mm[:ss]]]]], '
        f"{YEAR_MIN} to {YEAR_MAX}"
    )


def _mktime(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int:
    """Return the seconds since 1970; month 0 is December, day 0 the last of the month before."""
    if not month:
        year, month = year - 1, 12
    days = (date(year, month, 1) + timedelta(days=day - 1) - date(1970, 1, 1)).days
    return days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second


def show_date(seconds: int) -> str:
    """Print seconds since 1970.

    >>> show_date(0x7FFFFFFF)
    '2038-01-19T03:14:07'
    """
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


class DayTime(Kind[int]):
    """`hh:mm[:ss]`, kept as seconds since midnight."""

    form = "hh:mm[:ss]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Read two or three parts."""
        hour, rest = leading_decimal(text)
        if hour > 23 or not rest.startswith(":"):
            _bad_daytime(text)
        minute, rest = leading_decimal(rest[1:])
        if minute > 59 or (rest and rest[0] != ":"):
            _bad_daytime(text)
        second = 0
        if rest:
            second, rest = leading_decimal(rest[1:])
            if second > 59 or rest:
                _bad_daytime(text)
        return hour * 3600 + minute * 60 + second

    def show(self, value: int) -> str:
        """Print all three parts."""
        return show_daytime(value)


def _bad_daytime(text: str) -> NoReturn:
    raise RulesetError(
        f'invalid time "{text}" specified, should be hh:mm[:ss] format and within the boundaries'
    )


def show_daytime(seconds: int) -> str:
    """Print seconds since midnight.

    >>> show_daytime(3723)
    '01:02:03'
    """
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _segments(text: str) -> list[str]:
    """Cut at commas; nothing stands behind the last one."""
    parts = text.split(",")
    return parts if parts[-1] else parts[:-1]


class MonthDays(Kind[int]):
    """`1,2,31`: bits 1 to 31; of every number two letters are looked at."""

    form = "DAY[,DAY...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Or the bits together."""
        bits = 0
        for segment in _segments(text):
            day, rest = leading_number(segment[:2])
            if rest or day > 31:
                raise RulesetError(
                    f"{segment[:2]} is not a valid day for --monthdays; 1 to 31 would do"
                )
            bits |= 1 << day
        return bits

    def show(self, value: int) -> str:
        """List the days."""
        return ",".join(str(day) for day in range(1, 32) if value >> day & 1)


class WeekDays(Kind[int]):
    """`Mon,Tue` or `1,2`: bits 1 to 7; of every name two letters are looked at."""

    form = "DAY[,DAY...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Or the bits together; bits above the seventh are lost, as in the kernel's octet."""
        bits = 0
        for segment in _segments(text):
            bits |= _weekday(segment[:3])
        return bits & 0xFF

    def show(self, value: int) -> str:
        """List the names."""
        return ",".join(name for day, name in enumerate(WEEKDAYS, 1) if value >> day & 1)


def _weekday(text: str) -> int:
    day, rest = leading_number(text)
    if not rest:
        if not day:
            raise RulesetError("No, the week does NOT begin with Sunday. Monday is 1, Sunday 7")
        return 1 << day % 32
    for number, name in enumerate(WEEKDAYS, 1):
        if name[:2] == text[:2]:
            return 1 << number
    raise RulesetError(f"{text} is not a valid day specifier; it takes {', '.join(WEEKDAYS)}")
