"""The options of hashlimit: how they are read, refused and printed.

Kernel: net/netfilter/xt_hashlimit.c (hashlimit_mt_check_common); libxt_hashlimit.c, revision 3.

A rate in packets is kept as millionths of a second per packet, one in octets as a cost per 16
octets; both are rounded, and the saved text is made from what is kept.
"""

from __future__ import annotations

import re

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.xtables.addresses import octets_in
from netemu.netfilter.xtables.hosts import PrefixLength
from netemu.netfilter.xtables.kinds import (
    MOST_DIGITS,
    U32,
    U32_MAX,
    Kind,
    OptionCall,
    Text,
    c_integer,
)
from netemu.netfilter.xtables.kit import Option, Settings
from netemu.netfilter.xtables.token_bucket import (
    BYTE_SHIFT,
    SCALE,
    U64_MAX,
    cost_to_octets,
    user2credits,
    user2credits_octets,
)

DEFAULT_BURST = 5
MAX_BURST = 1_000_000
GC_INTERVAL_MS = 1000
OCTETS_EXPIRE_MS = 15_000
OCTETS_BURST_EXPIRE_MS = 60_000
MAX_SIZE = 1_048_576
"""HASHLIMIT_MAX_SIZE."""

NAME_ROOM = 254
"""NAME_MAX with its closing NUL."""

MODES = {"srcip": 1 << 1, "srcport": 1 << 3, "dstip": 1 << 0, "dstport": 1 << 2}
"""XT_HASHLIMIT_HASH_*, in the order in which they are printed."""

_UNITS = (("day", 86400), ("hour", 3600), ("min", 60), ("sec", 1))
_WORDS = (("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400))
_FACTORS = {"m": 1024 * 1024, "k": 1024}
_CHECK_HZ = 250
"""The check for overflow depends on HZ; netemu's kernel profiles have 250."""


class HashlimitRate(Struct, frozen=True):
    """A rate as it is written: of packets or of octets."""

    average: int
    """Millionths of a second per packet, or cost per 16 octets."""
    seconds: int
    """Of the unit it was given in."""
    octets: bool = False


def _atoll(text: str) -> int:
    """Return what atoll(3) makes of the beginning of a text, as a u64."""
    digits = re.match(r"[ \t\n\v\f\r]*([+-]?[0-9]+)", text)
    number = int(digits[1][:MOST_DIGITS]) if digits else 0
    return max(-(1 << 63), min((1 << 63) - 1, number)) & U64_MAX


class RateKind(Kind[HashlimitRate]):
    """`100/minute`, `512kb/s` (parse_bytes, parse_rate)."""

    form = "NUMBER[/s|/min|/hour|/day]|OCTETS[kb|mb]/s"
    terminal = "TEXT"
    may_be_empty = True

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtables_param_act does."""
        return (
            f'hashlimit: Bad value for "--{call.option}" option: "{text}"; N, N/second, N/minute, '
            "N/hour, N/day, Nb/s, Nkb/s or Nmb/s would do"
        )

    def read(self, text: str, call: OptionCall) -> HashlimitRate:
        """Try octets first: whatever has `b/s` in it behind a number."""
        before, octets, _ = text.partition("b/s")
        number = _atoll(text)
        if octets and before and number:
            return HashlimitRate(self._cost(number, before[-1], text), 15, octets=True)
        _, slash, unit = text.partition("/")
        seconds: int | None = 1
        if slash:
            start = unit.casefold()
            seconds = next(
                (size for word, size in _WORDS if start and word.startswith(start)), None
            )
        if seconds is None or not number:
            raise RulesetError(self.refusal(text, call))
        average = SCALE * seconds // number
        if not average:
            raise RulesetError(f'Rate too fast "{text}"; 1000000/second is the fastest')
        return HashlimitRate(average, seconds)

    @staticmethod
    def _cost(number: int, unit: str, text: str) -> int:
        octets = number * _FACTORS.get(unit, 1) & U64_MAX
        pieces = (octets >> BYTE_SHIFT & U32_MAX) + 1 & U32_MAX
        if not pieces:
            raise RulesetError(f'hashlimit: Rate too high "{text}"; iptables cannot divide by it')
        return U32_MAX // pieces

    def show(self, value: HashlimitRate) -> str:
        """Print the rate alone."""
        return _octets_words(value.average) if value.octets else _rate_words(value.average)[0]


def _rate_words(average: int) -> tuple[str, int]:
    """Print with the largest unit that divides well; return its milliseconds too (print_rate)."""
    shown = 0
    for place in range(1, len(_UNITS)):
        scaled = _UNITS[place][1] * SCALE
        if average > scaled or scaled // average < scaled % average:
            break
        shown = place
    name, seconds = _UNITS[shown]
    return f"{seconds * SCALE // average}/{name}", seconds * 1000


def _octets_words(cost: int) -> str:
    """Print the octets a second of a cost, rounded where that leaves the cost alone.

    iptables rounds in 32 bits, so large rates stay in octets.
    """
    octets = cost_to_octets(cost)
    for unit, size in _FACTORS.items():
        rounded = octets & ~(size - 1) & U32_MAX
        if octets >= size and U32_MAX // ((rounded >> BYTE_SHIFT) + 1) == cost:
            return f"{octets // size}{unit}b/s"
    return f"{octets}b/s"


def _burst_words(octets: int) -> str:
    for unit, size in _FACTORS.items():
        if octets >= size:
            return f"{octets // size}{unit}b"
    return f"{octets}b"


class Burst(Kind[int]):
    """A number of packets, or of octets with `k` or `m` behind it (parse_burst)."""

    form = "NUMBER[kb|mb]"
    terminal = "TEXT"
    may_be_empty = True
    _SHAPE = re.compile(
        r"([ \t\n\v\f\r]*\+?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*))(.*)", re.DOTALL
    )

    def read(self, text: str, call: OptionCall) -> int:
        """Look at the letter behind the number only."""
        found = self._SHAPE.fullmatch(text)
        number = c_integer(found[1]) if found else 0
        if not found or not 1 <= number <= U64_MAX or (not found[2] and number > MAX_BURST):
            raise RulesetError(_bad_burst())
        return number * _FACTORS.get(found[2][:1], 1) & U64_MAX

    def show(self, value: int) -> str:
        """Print the number."""
        return str(value)


def _bad_burst() -> str:
    return f'bad value for option "--hashlimit-burst", or out of range (1-{MAX_BURST})'


class Mode(Kind[int]):
    """`srcip,dstport`: what a packet is sorted by; empty words are passed over (parse_mode)."""

    form = "srcip|srcport|dstip|dstport[,...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Or the bits together."""
        bits = 0
        for word in filter(None, re.split("[,|]", text)):
            if word not in MODES:
                raise RulesetError(
                    f'hashlimit: Bad value for "--hashlimit-mode" option: "{text}"; '
                    f"it takes {', '.join(MODES)}"
                )
            bits |= MODES[word]
        return bits

    def show(self, value: int) -> str:
        """Print the words."""
        return ",".join(word for word, bit in MODES.items() if value & bit)


class Interval(Kind[int]):
    """Seconds, as atoi(3) reads them (parse_interval)."""

    form = "NUMBER"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Refuse 0 and less."""
        number = _atoll(text) & U32_MAX
        if not 0 < number < 1 << 31:
            raise RulesetError(
                f'hashlimit: Bad value for "--hashlimit-rate-interval" option: "{text}"; '
                "a number of seconds would do"
            )
        return number

    def show(self, value: int) -> str:
        """Print the number."""
        return str(value)


class Config:
    """What a rule says, as it is kept (struct hashlimit_cfg3)."""

    __slots__ = (
        "above",
        "average",
        "burst",
        "dstmask",
        "expire_ms",
        "gc_interval_ms",
        "interval_s",
        "mode",
        "most",
        "octets",
        "rate_match",
        "size",
        "srcmask",
    )

    def __init__(self, settings: Settings) -> None:
        """Work out what the options leave open (hashlimit_mt_check of libxt_hashlimit)."""
        above = "hashlimit-above" in settings
        name = "hashlimit-above" if above else "hashlimit-upto"
        rate = settings.need(name, HashlimitRate)
        bits = octets_in(settings.family) * 8
        self.above = above != settings.inverted(name)
        self.octets = rate.octets
        self.rate_match = "hashlimit-rate-match" in settings
        self.mode = settings.get("hashlimit-mode", int, 0)
        self.average = rate.average
        self.burst = settings.get("hashlimit-burst", int, DEFAULT_BURST)
        self.interval_s = settings.get("hashlimit-rate-interval", int, 0)
        self.size = min(settings.get("hashlimit-htable-size", int, 0), MAX_SIZE)
        self.most = min(settings.get("hashlimit-htable-max", int, 0), MAX_SIZE)
        self.gc_interval_ms = settings.get("hashlimit-htable-gcinterval", int, GC_INTERVAL_MS)
        self.srcmask = settings.get("hashlimit-srcmask", int, bits)
        self.dstmask = settings.get("hashlimit-dstmask", int, bits)
        expire_ms = rate.seconds * 1000
        if self.octets:
            self.burst = _refills(settings, rate)
            expire_ms = OCTETS_BURST_EXPIRE_MS if self.burst else OCTETS_EXPIRE_MS
        self.expire_ms = settings.get("hashlimit-htable-expire", int, expire_ms)
        if self.rate_match and not self.octets:
            self.average //= rate.seconds
        if self.rate_match and not self.interval_s:
            self.interval_s = 1 if self.octets else rate.seconds


def _refills(settings: Settings, rate: HashlimitRate) -> int:
    """Turn a burst in octets into a number of refills; 4 GiB and more lose their upper bits."""
    burst = settings.get("hashlimit-burst", int)
    if burst is None:
        return 0
    octets = cost_to_octets(rate.average)
    if not octets:
        raise RulesetError("hashlimit: iptables cannot divide a burst by so low a rate")
    if burst < octets:
        raise RulesetError(f"burst cannot be smaller than {octets}b")
    return (burst & U32_MAX) // octets + bool(burst % octets)


def check_hashlimit(settings: Settings) -> None:
    """Test what libxt_hashlimit and the kernel's checkentry test."""
    if not ("hashlimit-upto" in settings or "hashlimit-above" in settings):
        raise RulesetError("You have to specify --hashlimit")
    config = Config(settings)
    if not config.octets and config.burst > MAX_BURST:
        raise RulesetError(_bad_burst())
    name = settings.need("hashlimit-name", str)
    if name in {".", ".."} or "/" in name:
        raise RulesetError(f"hashlimit: the kernel refuses `{name}' as the name of a table")
    if not config.gc_interval_ms or not config.expire_ms:
        raise RulesetError("hashlimit: the kernel refuses an interval of 0 milliseconds")
    _check_overflow(config)


def _check_overflow(config: Config) -> None:
    """Refuse what the kernel's numbers cannot hold."""
    if config.rate_match:
        bad = not config.average
    elif config.octets:
        bad = not user2credits_octets(config.average, _CHECK_HZ)
    else:
        filled = user2credits(config.average * config.burst, _CHECK_HZ)
        bad = filled < user2credits(config.average, _CHECK_HZ)
    if bad:
        raise RulesetError(
            "Numerical result out of range: the kernel cannot hold this rate and burst; "
            "a lower --hashlimit-burst or another rate would do"
        )


def save_hashlimit(settings: Settings) -> str:
    """Print what the kernel was told (hashlimit_mt_save)."""
    config = Config(settings)
    bits = octets_in(settings.family) * 8
    words = ["--hashlimit-above" if config.above else "--hashlimit-upto"]
    if config.octets:
        words.append(_octets_words(config.average))
        quantum = OCTETS_EXPIRE_MS
        if config.burst:
            quantum = OCTETS_BURST_EXPIRE_MS
            octets = cost_to_octets(config.average) * config.burst & U64_MAX
            words.append(f"--hashlimit-burst {_burst_words(octets)}")
    else:
        rate, quantum = _rate_words(config.average)
        words += [rate, f"--hashlimit-burst {config.burst}"]
    if config.mode:
        words.append(f"--hashlimit-mode {Mode().show(config.mode)}")
    words.append(f"--hashlimit-name {settings.need('hashlimit-name', str)}")
    for name, value, silent in (
        ("htable-size", config.size, 0),
        ("htable-max", config.most, 0),
        ("htable-gcinterval", config.gc_interval_ms, GC_INTERVAL_MS),
        ("htable-expire", config.expire_ms, quantum),
        ("srcmask", config.srcmask, bits),
        ("dstmask", config.dstmask, bits),
    ):
        if value != silent:
            words.append(f"--hashlimit-{name} {value}")
    if config.rate_match:
        words.append("--hashlimit-rate-match")
        if config.interval_s != 1:
            words.append(f"--hashlimit-rate-interval {config.interval_s}")
    return " ".join(words)


def hashlimit_options() -> tuple[Option, ...]:
    """Return the options of the match."""
    mask = PrefixLength(gaps=False)
    return (
        Option(
            "hashlimit-upto",
            RateKind(),
            aliases=("hashlimit",),
            invertible=True,
            excludes=("hashlimit-above",),
            help="Matches while a bucket's rate is at most this.",
        ),
        Option(
            "hashlimit-above",
            RateKind(),
            invertible=True,
            excludes=("hashlimit-upto",),
            help="Matches what is over this rate.",
        ),
        Option("hashlimit-burst", Burst(), help="Packets at once, 5; or octets at once."),
        Option(
            "hashlimit-mode", Mode(), help="What has a bucket of its own; all in one if absent."
        ),
        Option(
            "hashlimit-name",
            Text(least=1, cut=NAME_ROOM, raw=True),
            mandatory=True,
            help="The table; rules of one name share it.",
        ),
        Option("hashlimit-htable-size", U32(), help="Slots of the table."),
        Option("hashlimit-htable-max", U32(), help="Buckets; packets that need more are dropped."),
        Option("hashlimit-htable-gcinterval", U32(), help="Milliseconds between cleanings."),
        Option("hashlimit-htable-expire", U32(), help="Milliseconds that an idle bucket stays."),
        Option("hashlimit-srcmask", mask, help="Senders under this prefix share a bucket."),
        Option("hashlimit-dstmask", mask, help="Receivers under this prefix share a bucket."),
        Option("hashlimit-rate-match", help="Compares rates without taking anything away."),
        Option("hashlimit-rate-interval", Interval(), help="Seconds over which it compares."),
    )
