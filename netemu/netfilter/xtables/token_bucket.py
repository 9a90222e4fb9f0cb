"""The buckets of hashlimit: how they fill, and what a packet pays.

Kernel: net/netfilter/xt_hashlimit.c (user2credits, rateinfo_init, rateinfo_recalc,
hashlimit_byte_cost), revision 3.

All numbers are the kernel's u64, in which products may wrap; those that matter are refused when a
rule is loaded.
"""

from __future__ import annotations

from typing import Protocol

from netemu.netfilter.xtables.kinds import U32_MAX

U64_MAX = 0xFFFFFFFFFFFFFFFF

SCALE = 1_000_000
"""XT_HASHLIMIT_SCALE_v2: units of a second."""

BYTE_SHIFT = 4
"""XT_HASHLIMIT_BYTE_SHIFT: a packet pays for every 16 octets begun."""

_SECONDS_A_DAY = 86400


class Rate(Protocol):
    """What a bucket is told about its rate (struct hashlimit_cfg3)."""

    average: int
    burst: int
    interval_s: int

    @property
    def octets(self) -> bool:
        """XT_HASHLIMIT_BYTES."""

    @property
    def rate_match(self) -> bool:
        """XT_HASHLIMIT_RATE_MATCH."""


def msecs_to_jiffies(milliseconds: int, hz: int) -> int:
    """Round up to whole jiffies.

    >>> msecs_to_jiffies(1000, 250), msecs_to_jiffies(1, 250)
    (250, 1)
    """
    return -(-milliseconds * hz // 1000)


def credits_per_jiffy(hz: int) -> int:
    """Return CREDITS_PER_JIFFY: the largest power of two in MAX_CPJ."""
    most: int = U64_MAX // (hz * _SECONDS_A_DAY)
    return 1 << (most.bit_length() - 1)


def credits_per_jiffy_octets(hz: int) -> int:
    """Return CREDITS_PER_JIFFY_BYTES."""
    most: int = U32_MAX // hz
    return 1 << (most.bit_length() - 1)


def user2credits(user: int, hz: int) -> int:
    """Turn millionths of a second into credit."""
    return (user & U64_MAX) * (hz * credits_per_jiffy(hz) // SCALE) & U64_MAX


def user2credits_octets(cost: int, hz: int) -> int:
    """Turn a cost per 16 octets into credit (user2credits_byte)."""
    return (cost & U32_MAX) * hz * credits_per_jiffy_octets(hz) >> 32


def cost_to_octets(cost: int) -> int:
    """Return the octets a second that a cost stands for (cost_to_bytes, user2rate_bytes)."""
    each = U32_MAX // cost if cost else U32_MAX
    return (each - 1 << BYTE_SHIFT) & U64_MAX


class Bucket:
    """One combination of addresses and ports (struct dsthash_ent)."""

    __slots__ = (
        "burst",
        "cost",
        "credit",
        "credit_cap",
        "current_rate",
        "expires",
        "interval_s",
        "over_last",
        "previous",
        "rate",
    )

    def __init__(self, now: int) -> None:
        """Start empty; `rateinfo_init` fills."""
        self.previous = now
        self.expires = now
        self.credit = 0
        self.credit_cap = 0
        """Most credit; of rates in octets the refills that are left."""
        self.cost = 0
        self.interval_s = 0
        self.over_last = False
        """Whether the last interval was over the rate (prev_window)."""
        self.current_rate = 0
        self.rate = 0
        self.burst = 0

    def octet_cost(self, length: int, hz: int) -> int:
        """Return what a packet of so many octets pays; refill if need be (hashlimit_byte_cost)."""
        full = credits_per_jiffy_octets(hz) * hz
        cost = min(((length >> BYTE_SHIFT) + 1) * self.cost, full)
        if self.credit < cost and self.credit_cap:
            self.credit_cap -= 1
            self.credit = full
        return cost

    def shown(self, *, rate_match: bool) -> tuple[int, int, int]:
        """Return the three numbers of /proc; with rate_match they are what shares their place."""
        if rate_match:
            return self.interval_s | self.over_last << 32, self.current_rate, self.rate
        return self.credit, self.credit_cap, self.cost


def rateinfo_init(rate: Rate, now: int, hz: int) -> Bucket:
    """Make a bucket, full."""
    bucket = Bucket(now)
    if rate.rate_match:
        bucket.interval_s = rate.interval_s
        if rate.octets:
            bucket.rate = cost_to_octets(rate.average)
            bucket.burst = rate.burst * bucket.rate if rate.burst else bucket.rate
        else:
            bucket.rate = SCALE // rate.average
            bucket.burst = rate.burst + bucket.rate
    elif rate.octets:
        bucket.credit = credits_per_jiffy_octets(hz) * hz
        bucket.cost = user2credits_octets(rate.average, hz)
        bucket.credit_cap = rate.burst
    else:
        bucket.credit = user2credits(rate.average * rate.burst, hz)
        bucket.cost = user2credits(rate.average, hz)
        bucket.credit_cap = bucket.credit
    return bucket


def rateinfo_recalc(bucket: Bucket, now: int, rate: Rate, hz: int) -> None:
    """Add what the time since the last packet brought."""
    passed = now - bucket.previous
    if not passed:
        return
    if rate.rate_match:
        interval = bucket.interval_s * hz & U32_MAX
        if passed >= interval:
            bucket.previous = now
            bucket.over_last = bucket.current_rate * interval > passed * bucket.rate
            bucket.current_rate = 0
        return
    bucket.previous = now
    if rate.octets:
        cap = credits_per_jiffy_octets(hz) * hz
        gained = credits_per_jiffy_octets(hz) * passed
    else:
        cap = bucket.credit_cap
        gained = credits_per_jiffy(hz) * passed & U64_MAX
    total = bucket.credit + gained & U64_MAX
    bucket.credit = min(total, cap)
