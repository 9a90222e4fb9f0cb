"""So many packets in a time: match `limit`.

Kernel: net/netfilter/xt_limit.c (limit_mt, limit_mt_check, user2credits).

Theory of operation: a token bucket in whole numbers. A rule holds credit; every jiffy adds
CREDITS_PER_JIFFY up to the cap, and a packet that matches pays the cost. Rates are kept as 1/10000
seconds per packet, all arithmetic is modulo 2**32, and what would overflow is refused at load. A
rule starts with all its credit, anew whenever the table is loaded.
"""

from __future__ import annotations

import re

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.xtables.kinds import MOST_DIGITS, U32, U32_MAX, Kind, OptionCall
from netemu.netfilter.xtables.kit import Match, Native, Option, Settings
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import PacketSpace
from netemu.skb import Skb

SCALE = 10000
"""XT_LIMIT_SCALE: units of a second."""

DEFAULT_RATE = 3600 * SCALE // 3
"""3/hour."""

DEFAULT_BURST = 5
MAX_BURST = 10000
"""What libxt_limit accepts for --limit-burst."""

_UNITS = (("day", 86400), ("hour", 3600), ("min", 60), ("sec", 1))
"""As printed, with the seconds of each."""

_WORDS = (("second", 1), ("minute", 60), ("hour", 3600), ("day", 86400))
_DIGITS = re.compile(r"\s*([+-]?[0-9]+)")


class Rate(Kind[int]):
    """`100/minute`: kept as 1/10000 seconds per packet (parse_rate)."""

    form = "NUMBER[/s|/min|/hour|/day]"
    terminal = "RATE"

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as parse_rate's caller does."""
        return f'bad rate "{text}"\'; N, N/second, N/minute, N/hour or N/day would do'

    def read(self, text: str, call: OptionCall) -> int:
        """Divide the unit by the number, as 32-bit integers."""
        number_text, slash, unit = text.partition("/")
        seconds: int | None = 1
        if slash:
            seconds = next(
                (size for word, size in _WORDS if word.startswith(unit.casefold())), None
            )
        digits = _DIGITS.match(number_text)
        number = _atoi(digits[1]) if digits else 0
        if seconds is None or not number:
            raise RulesetError(self.refusal(text, call))
        period = SCALE * seconds // number
        if not period:
            raise RulesetError(f'Rate too fast "{text}"; 10000/second is the fastest')
        return period

    def show(self, value: int) -> str:
        """Print with the largest unit that divides well (print_rate)."""
        number, name, _ = _largest_unit(value)
        return f"{number}/{name}"


def _largest_unit(period: int) -> tuple[int, str, int]:
    """Return packets, unit and its seconds (print_rate, add_nft_limit)."""
    shown = 0
    for place in range(1, len(_UNITS)):
        scaled = _UNITS[place][1] * SCALE
        if period > scaled or scaled // period < scaled % period:
            break
        shown = place
    name, seconds = _UNITS[shown]
    return seconds * SCALE // period, name, seconds


def _atoi(digits: str) -> int:
    """Return what atoi(3) makes of digits, stored in a u32: saturated at 63 bits, then cut."""
    limit = (1 << 63) - 1
    return max(-limit - 1, min(limit, int(digits[:MOST_DIGITS]))) & U32_MAX


def credits_per_jiffy(hz: int) -> int:
    """Return CREDITS_PER_JIFFY: the largest power of two in MAX_CPJ.

    >>> credits_per_jiffy(250), credits_per_jiffy(1000)
    (128, 32)
    """
    most: int = U32_MAX // (hz * 86400)
    return 1 << (most.bit_length() - 1)


def user2credits(user: int, hz: int) -> int:
    """Turn 1/10000 seconds into credit."""
    a_second = hz * credits_per_jiffy(hz)
    if user > U32_MAX // a_second:
        return (user // SCALE) * a_second & U32_MAX
    return user * a_second // SCALE


class LimitInfo:
    """struct xt_rateinfo with its private part."""

    __slots__ = ("average", "burst", "cap", "cost", "credit", "per_jiffy", "previous")

    def __init__(self, settings: Settings) -> None:
        """Keep the rate; `limit_attach` knows the clock and fills the bucket."""
        self.average = settings.need("limit", int)
        self.burst = settings.need("limit-burst", int)
        self.credit = 0
        self.cap = 0
        self.cost = 0
        self.per_jiffy = 0
        self.previous = 0


def limit_attach(net: Net, info: LimitInfo) -> None:
    """Fill the bucket (limit_mt_check)."""
    hz = net.clock.hz
    info.per_jiffy = credits_per_jiffy(hz)
    info.cap = user2credits(info.average * info.burst & U32_MAX, hz)
    info.cost = user2credits(info.average, hz)
    info.credit = info.cap
    info.previous = net.clock.jiffies


def limit_mt(info: LimitInfo, skb: Skb, param: XtParam) -> bool:
    """Add what the time since the last packet brought, then try to pay."""
    now = param.net.clock.jiffies
    gained = (now - info.previous) * info.per_jiffy & U32_MAX
    info.previous = now
    info.credit = min(info.credit + gained & U32_MAX, info.cap)
    if info.credit < info.cost:
        return False
    info.credit -= info.cost
    return True


def limit_packets(info: LimitInfo, space: PacketSpace) -> int:
    """Return what depends on the packets before."""
    return space.free(space.text)


def describe_limit(info: LimitInfo, skb: Skb, param: XtParam) -> str:
    """Say what is left in the bucket."""
    return f"credit {info.credit}, a packet costs {info.cost}"


_CHECK_HZ = 250
"""The check for overflow depends on HZ; netemu's kernel profiles have 250."""


def _check_limit(settings: Settings) -> None:
    """Refuse what the kernel's 32 bits cannot hold; nftables counts in 64."""
    if settings.nft:
        return
    average = settings.need("limit", int)
    burst = settings.need("limit-burst", int)
    filled = user2credits(average * burst & U32_MAX, _CHECK_HZ)
    if not burst or filled < user2credits(average, _CHECK_HZ):
        raise RulesetError(
            "Numerical result out of range: the kernel's 32 bits cannot hold this rate and "
            "burst; a lower --limit-burst or a higher rate would do"
        )


def _read_back(settings: Settings, before: Settings | None) -> Settings:
    """Return what iptables-nft reads back of nftables' own limit: a burst of 0 is 5."""
    number, _, seconds = _largest_unit(settings.need("limit", int))
    rate, burst = settings.given["limit"], settings.given["limit-burst"]
    settings.given["limit"] = rate._replace(value=SCALE * seconds // number)
    if not burst.value:
        settings.given["limit-burst"] = burst._replace(value=DEFAULT_BURST)
    return settings


MATCHES = (
    Match(
        name="limit",
        kernel="xt_limit.c",
        duty="Matches at a limited rate, with a burst at the start.",
        options=(
            Option(
                "limit",
                Rate(),
                default=DEFAULT_RATE,
                help="Average rate.",
                says="matching packets are no more than {value} on average",
            ),
            Option(
                "limit-burst",
                U32(high=MAX_BURST),
                default=DEFAULT_BURST,
                silent=DEFAULT_BURST,
                help="Packets that may match at once.",
                says="after a burst of {value}",
            ),
        ),
        check=_check_limit,
        nft=Native(_read_back),
        attach=limit_attach,
        build=LimitInfo,
        evaluate=limit_mt,
        packets=limit_packets,
        describe=describe_limit,
    ),
)
