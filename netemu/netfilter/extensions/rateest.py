"""How fast packets come: target `RATEEST`, which counts, and match `rateest`, which compares.

Kernel: net/netfilter/xt_RATEEST.c (xt_rateest_tg), net/netfilter/xt_rateest.c (xt_rateest_mt).

A match asks estimators that a RATEEST rule made before: one for the rates of the rule, or two for
each other. With --rateest-delta what is left of a given rate counts, not the rate.
"""

from __future__ import annotations

import math
import re

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.estimator import Estimator, Estimators
from netemu.netfilter.xtables.kinds import U32_MAX, Kind, OptionCall, Text, c_integer, shape
from netemu.netfilter.xtables.kit import Match, Option, Settings, Target
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing, own_answer
from netemu.skb import Skb

NAME_LEN = 15
USEC_PER_SEC = 1_000_000

_NUMBER = re.compile(
    r"[ \t\n\v\f\r]*([+-]?"
    r"(?>0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?"
    r"|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|inf(?:inity)?|nan))(.*)",
    re.DOTALL | re.IGNORECASE,
)
"""What strtod(3) takes, and the rest."""

_TIME_UNITS = {
    "": 1,
    **dict.fromkeys(("s", "sec", "secs"), USEC_PER_SEC),
    **dict.fromkeys(("ms", "msec", "msecs"), 1000),
    **dict.fromkeys(("us", "usec", "usecs"), 1),
}
"""Microseconds; a bare number is in microseconds, too."""

_RATE_UNITS = {
    "": 1,
    **{
        f"{prefix}{word}": bits * factor
        for word, bits in (("bit", 1), ("bps", 8))
        for prefix, factor in (
            ("", 1),
            ("ki", 1 << 10),
            ("k", 10**3),
            ("mi", 1 << 20),
            ("m", 10**6),
            ("gi", 1 << 30),
            ("g", 10**9),
            ("ti", 1 << 40),
            ("t", 10**12),
        )
    },
}
"""Bits."""


def c_unsigned(value: float) -> int:
    """Return what an x86 makes of a double that is stored in 32 bits."""
    return int(value) & U32_MAX if abs(value) < 1 << 63 else 0


def _double(text: str) -> float:
    return float.fromhex(text) if "x" in text.lower() else float(text)


class Interval(Kind[int]):
    """A time, in microseconds (RATEEST_get_time)."""

    form = "TIME[us|ms|s]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Read a number and its unit."""
        found = _NUMBER.fullmatch(text)
        factor = None if found is None else _TIME_UNITS.get(found[2].casefold())
        if found is None or factor is None:
            what = call.option.removeprefix("rateest-")
            raise RulesetError(f'RATEEST: bad {what} value "{text}"; 250ms or 1s would do')
        return c_unsigned(_double(found[1]) * factor)

    def show(self, value: int) -> str:
        """Print with the unit that fits (RATEEST_print_time)."""
        if value >= USEC_PER_SEC:
            return f"{value / USEC_PER_SEC:.1f}s"
        return f"{value / 1000:.1f}ms" if value >= 1000 else f"{value}us"


class Rate(Kind[int]):
    """A rate, in octets a second (rateest_get_rate); may be left out."""

    form = "RATE[bit|kbit|mbit|bps...]"
    terminal = "TEXT"
    may_be_empty = True
    absent = 0

    def read(self, text: str, call: OptionCall) -> int:
        """Read a number and its unit."""
        found = _NUMBER.fullmatch(text)
        factor = None if found is None else _RATE_UNITS.get(found[2].casefold())
        if found is None or factor is None:
            raise RulesetError(f"rateest: could not parse rate `{text}'; 5kbit would do")
        return c_unsigned(_double(found[1]) * factor / 8)

    def show(self, value: int) -> str:
        """Print in bits (rateest_print_rate)."""
        bits = value * 8
        if bits >= 10**9:
            return f"{bits / 10**6:.0f}Mbit"
        return f"{bits / 1000:.0f}Kbit" if bits >= 10**6 else f"{bits}bit"


class PacketRate(Kind[int]):
    """Packets a second; may be left out."""

    form = "NUMBER"
    terminal = "TEXT"
    may_be_empty = True
    absent = 0

    def read(self, text: str, call: OptionCall) -> int:
        """Read a number of 32 bits."""
        if shape("NUMBER").fullmatch(text) is None or c_integer(text) > U32_MAX:
            raise RulesetError(f"rateest: could not parse pps `{text}'; 0-{U32_MAX} would do")
        return c_integer(text)

    def show(self, value: int) -> str:
        """Print in decimal."""
        return str(value)


# -- the target ------------------------------------------------------------------------------


class RateEst(Struct):
    """struct xt_rateest_target_info."""

    name: str
    interval: int
    ewma_log: int
    estimator: Estimator | None = None


def logs_of(interval_us: int, average_us: int) -> tuple[int, int]:
    """Return binary logarithms of the interval in seconds and of the average's weight.

    The interval is rounded up to 1/4, 1/2, 1, 2, 4 or 8 s (RATEEST_final_check).
    """
    steps = next((step for step in range(6) if interval_us <= (1 << step) * 250_000), None)
    if steps is None:
        raise RulesetError("RATEEST: interval value is too large, 8s would do")
    # Beyond 30, 1 << ewma_log is no positive int any more.
    ewma_log = next((log for log in range(1, 31) if _weighs(log, interval_us, average_us)), 0)
    if ewma_log <= 1:
        raise RulesetError("RATEEST: ewmalog value is out of range; twice the interval would do")
    return steps - 2, ewma_log - 1


def _weighs(log: int, interval_us: int, average_us: int) -> bool:
    """Return whether an average of this weight goes back further than wanted."""
    return interval_us / -math.log(1.0 - 1.0 / (1 << log)) > average_us


def build_rateest(settings: Settings) -> RateEst:
    """Take the options apart."""
    interval, ewma_log = _logs(settings)
    return RateEst(settings.need("rateest-name", str), interval, ewma_log)


def _logs(settings: Settings) -> tuple[int, int]:
    interval = settings.get("rateest-interval", int, 0)
    return logs_of(interval, settings.get("rateest-ewmalog", int, 0))


def rateest_tg(info: RateEst, skb: Skb, param: XtParam) -> Verdict | None:
    """Count and go on."""
    assert info.estimator is not None
    info.estimator.count(len(skb.data))
    return None


def attach_rateest(net: Net, info: RateEst) -> None:
    """Make the estimator, or share the one of that name (xt_rateest_tg_checkentry)."""
    estimators = net.generic(Estimators).by_name
    found = estimators.get(info.name)
    if found is None:
        found = estimators[info.name] = Estimator(net, info.interval, info.ewma_log)
    elif (found.interval, found.ewma_log) != (info.interval, info.ewma_log):
        raise RulesetError(f"RATEEST: estimator `{info.name}' exists with another interval")
    info.estimator = found


def _check_rateest(settings: Settings) -> None:
    _logs(settings)


def _save_rateest(settings: Settings) -> str:
    """Print what the kernel keeps, not what was written."""
    interval, ewma_log = _logs(settings)
    period = (USEC_PER_SEC << (interval + 2)) // 4
    average = period << ewma_log & U32_MAX
    kind = Interval()
    return (
        f"--rateest-name {settings.need('rateest-name', str)} "
        f"--rateest-interval {kind.show(period)} --rateest-ewmalog {kind.show(average)}"
    )


# -- the match -------------------------------------------------------------------------------

MODES = ("rateest-lt", "rateest-gt", "rateest-eq")


class RateEstMatch:
    """struct xt_rateest_match_info."""

    __slots__ = (
        "bps",
        "delta",
        "first",
        "invert",
        "mode",
        "name1",
        "name2",
        "pps",
        "rates1",
        "rates2",
        "second",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart; `attach_match` finds the estimators."""
        self.name1 = settings.need("rateest1", str)
        self.name2 = settings.get("rateest2", str)
        self.delta = "rateest-delta" in settings
        self.bps = _uses(settings, "bps")
        self.pps = _uses(settings, "pps")
        self.rates1 = _rates(settings, "1")
        self.rates2 = _rates(settings, "2")
        self.mode = _mode(settings)
        self.invert = _inverted(settings)
        self.first: Estimator | None = None
        self.second: Estimator | None = None


def _uses(settings: Settings, what: str) -> bool:
    return f"rateest-{what}1" in settings or f"rateest-{what}2" in settings


def _rates(settings: Settings, number: str) -> tuple[int, int]:
    bps = settings.get(f"rateest-bps{number}", int, 0)
    return bps, settings.get(f"rateest-pps{number}", int, 0)


def _mode(settings: Settings) -> str:
    """Return the comparison that was named last, or nothing."""
    modes = [use.option.name for use in settings.order if use.option.name in MODES]
    return modes[-1] if modes else ""


def _inverted(settings: Settings) -> bool:
    """Any `!` turns the result round."""
    return any(use.inverted for use in settings.order)


def rateest_mt(info: RateEstMatch, skb: Skb, param: XtParam) -> bool:
    """Compare rates of octets, then of packets."""
    assert info.first is not None
    left = _left(info, info.first, info.rates1)
    right = info.rates2 if info.second is None else _left(info, info.second, info.rates2)
    used = (info.bps, info.pps)
    chosen = [ends for ends, use in zip(zip(left, right, strict=True), used, strict=True) if use]
    if info.mode == "rateest-lt":
        result = all(first < second for first, second in chosen)
    elif info.mode == "rateest-gt":
        result = all(first > second for first, second in chosen)
    else:
        result = all(first == second for first, second in chosen)
    return result != info.invert


def _left(info: RateEstMatch, estimator: Estimator, given: tuple[int, int]) -> tuple[int, int]:
    """Return an estimator's rates, or what they leave of the given ones."""
    octets, packets = (rate & U32_MAX for rate in estimator.read())
    if not info.delta:
        return octets, packets
    return max(given[0] - octets, 0), max(given[1] - packets, 0)


def describe_rateest(info: RateEstMatch, skb: Skb, param: XtParam) -> str:
    """Say the rates of the estimators."""
    parts = []
    for name, estimator in ((info.name1, info.first), (info.name2, info.second)):
        if estimator is not None:
            octets, packets = estimator.read()
            parts.append(f"{name} {octets * 8}bit {packets}pps")
    return ", ".join(parts)


def attach_match(net: Net, info: RateEstMatch) -> None:
    """Find the estimators (xt_rateest_mt_checkentry)."""
    estimators = net.generic(Estimators).by_name
    for name in (info.name1, info.name2):
        if name is not None and name not in estimators:
            raise RulesetError(
                f"rateest: there is no estimator `{name}'; a RATEEST rule must come before"
            )
    info.first = estimators[info.name1]
    info.second = None if info.name2 is None else estimators[info.name2]


def _check_match(settings: Settings) -> None:
    """Test what xt_rateest_mt_checkentry tests."""
    if not _mode(settings):
        raise RulesetError(f"rateest: the kernel needs one of --{', --'.join(MODES)}")
    if not _uses(settings, "bps") and not _uses(settings, "pps"):
        raise RulesetError("rateest: the kernel needs --rateest-bps or --rateest-pps")


def _save_match(settings: Settings) -> str:
    """Print as rateest_save does: the comparison once for each of octets and packets."""
    delta = "rateest-delta" in settings
    relative = "rateest2" in settings
    parts = ["--rateest-delta"] if delta else []
    parts.append(f"--rateest{'1' if relative else ''} {settings.need('rateest1', str)}")
    mode = ("! " if _inverted(settings) else "") + f"--{_mode(settings)}"
    kinds: tuple[tuple[str, Kind[int]], ...] = (("bps", Rate()), ("pps", PacketRate()))
    for place, (what, kind) in enumerate(kinds):
        if not _uses(settings, what):
            continue
        first, second = (kind.show(_rates(settings, number)[place]) for number in "12")
        if delta:
            parts.append(f"--rateest-{what}1 {first} {mode} --rateest-{what}2 {second}")
        else:
            parts.append(f"{mode} --rateest-{what}" + ("" if relative else f" {second}"))
    if relative:
        parts.append(f"--rateest2 {settings.need('rateest2', str)}")
    return " ".join(parts)


_NAME = Text(cut=NAME_LEN, raw=True)

MATCHES = (
    Match(
        name="rateest",
        kernel="xt_rateest.c",
        duty="Compares estimated rates with given ones or with each other.",
        options=(
            Option("rateest-delta", help="Compares what is left of the given rates."),
            Option("rateest1", _NAME, aliases=("rateest",), mandatory=True, help="An estimator."),
            Option("rateest-bps1", Rate(), help="Rate of the first, for --rateest-delta."),
            Option("rateest-pps1", PacketRate(), help="Packets of the first, likewise."),
            Option("rateest-lt", invertible=True, help="Less than."),
            Option("rateest-gt", invertible=True, help="Greater than."),
            Option("rateest-eq", invertible=True, help="Equal to."),
            Option(
                "rateest-bps2",
                Rate(),
                aliases=("rateest-bps",),
                help="Compares octets a second, with this rate or with the second estimator.",
            ),
            Option(
                "rateest-pps2",
                PacketRate(),
                aliases=("rateest-pps",),
                help="Compares packets a second, likewise.",
            ),
            Option("rateest2", _NAME, help="Another estimator."),
        ),
        check=_check_match,
        save=_save_match,
        build=RateEstMatch,
        evaluate=rateest_mt,
        packets=own_answer,
        attach=attach_match,
        describe=describe_rateest,
    ),
)

TARGETS = (
    Target(
        name="RATEEST",
        kernel="xt_RATEEST.c",
        duty="Counts the packet for a rate estimator, then goes on.",
        options=(
            Option("rateest-name", _NAME, mandatory=True, help="The estimator; cut to 15 octets."),
            Option("rateest-interval", Interval(), help="How often the rate is taken."),
            Option("rateest-ewmalog", Interval(), help="Time over which it is averaged."),
        ),
        check=_check_rateest,
        save=_save_rateest,
        build=build_rateest,
        apply=rateest_tg,
        effect=changes_nothing,
        attach=attach_rateest,
    ),
)
