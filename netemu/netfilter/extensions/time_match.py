"""The date and the time of day: match `time`.

Kernel: net/netfilter/xt_time.c (time_mt, localtime_1, localtime_2, localtime_3).

Theory of operation: the simulated clock is the kernel's real time, in UTC. Bounds are whole seconds
and included. A time of day whose start lies behind its stop runs over midnight; then --contiguous
counts what is past midnight to the day before.

Differs from Linux: the kernel's own time zone, which --kerneltz asks for, is UTC too.
"""

from __future__ import annotations

from datetime import UTC, datetime

from netemu.clock import NSEC_PER_SEC
from netemu.errors import RulesetError
from netemu.netfilter.xtables.calendar import (
    ALL_MONTHDAYS,
    ALL_WEEKDAYS,
    DATE_MAX,
    DAYTIME_MAX,
    SECONDS_PER_DAY,
    WEEKDAYS,
    Date,
    DayTime,
    MonthDays,
    WeekDays,
    show_date,
    show_daytime,
)
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.skb import Skb


class TimeInfo:
    """struct xt_time_info."""

    __slots__ = (
        "contiguous",
        "date_start",
        "date_stop",
        "daytime_start",
        "daytime_stop",
        "kernel_zone",
        "monthdays",
        "weekdays",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart; a `!` turns the days round at once."""
        self.date_start = settings.get("datestart", int, 0)
        self.date_stop = settings.get("datestop", int, DATE_MAX)
        self.daytime_start = settings.get("timestart", int, 0)
        self.daytime_stop = settings.get("timestop", int, DAYTIME_MAX)
        self.monthdays = settings.get("monthdays", int, ALL_MONTHDAYS)
        if settings.inverted("monthdays"):
            self.monthdays ^= ALL_MONTHDAYS
        self.weekdays = settings.get("weekdays", int, ALL_WEEKDAYS)
        if settings.inverted("weekdays"):
            self.weekdays ^= ALL_WEEKDAYS
        self.kernel_zone = "kerneltz" in settings
        self.contiguous = "contiguous" in settings


def now_s(param: XtParam) -> int:
    """Return the seconds since 1970 (ktime_get_real_seconds)."""
    return param.net.clock.now_ns // NSEC_PER_SEC


def time_mt(info: TimeInfo, skb: Skb, param: XtParam) -> bool:
    """Compare date, time of day, day of the week and day of the month."""
    stamp = now_s(param)
    if not info.date_start <= stamp <= info.date_stop:
        return False
    daytime = stamp % SECONDS_PER_DAY
    if info.daytime_start < info.daytime_stop:
        if not info.daytime_start <= daytime <= info.daytime_stop:
            return False
    else:
        if info.daytime_stop < daytime < info.daytime_start:
            return False
        if info.contiguous and daytime <= info.daytime_stop:
            stamp -= SECONDS_PER_DAY
    date = datetime.fromtimestamp(stamp, UTC)
    if not info.weekdays >> date.isoweekday() & 1:
        return False
    return info.monthdays == ALL_MONTHDAYS or bool(info.monthdays >> date.day & 1)


def describe_time(info: TimeInfo, skb: Skb, param: XtParam) -> str:
    """Say the simulated date and time."""
    date = datetime.fromtimestamp(now_s(param), UTC)
    return f"{WEEKDAYS[date.isoweekday() - 1]} {date:%Y-%m-%d %H:%M:%S}"


def _check_time(settings: Settings) -> None:
    info = TimeInfo(settings)
    if info.contiguous and info.daytime_start < info.daytime_stop:
        raise RulesetError(
            "time: --contiguous only makes sense when stoptime is smaller than starttime"
        )


def _save_time(settings: Settings) -> str:
    """Print what is not the whole of its kind; the last date always but for 0."""
    info = TimeInfo(settings)
    words = []
    if (info.daytime_start, info.daytime_stop) != (0, DAYTIME_MAX):
        start, stop = show_daytime(info.daytime_start), show_daytime(info.daytime_stop)
        words += [f"--timestart {start}", f"--timestop {stop}"]
    if info.monthdays != ALL_MONTHDAYS:
        words.append(f"--monthdays {MonthDays().show(info.monthdays)}")
    if info.weekdays != ALL_WEEKDAYS:
        words.append(f"--weekdays {WeekDays().show(info.weekdays)}")
    if info.date_start:
        words.append(f"--datestart {show_date(info.date_start)}")
    if info.date_stop:
        words.append(f"--datestop {show_date(info.date_stop)}")
    words += [f"--{name}" for name in ("kerneltz", "contiguous") if name in settings]
    return " ".join(words)


MATCHES = (
    Match(
        name="time",
        kernel="xt_time.c",
        duty="Compares the simulated clock with dates, times of day and days, all in UTC.",
        options=(
            Option("timestart", DayTime(), help="From this time of day, hh:mm[:ss]."),
            Option("timestop", DayTime(), help="Up to this time of day."),
            Option("monthdays", MonthDays(), invertible=True, help="On these days of the month."),
            Option(
                "weekdays", WeekDays(), invertible=True, help="On Mon,Tue,... or 1 (Monday) to 7."
            ),
            Option("datestart", Date(), help="From YYYY[-MM[-DD[Thh[:mm[:ss]]]]]."),
            Option("datestop", Date(), help="Up to this date."),
            Option("kerneltz", help="In the kernel's time zone, which is UTC in netemu."),
            Option("localtz", into="kerneltz", help="Old name of --kerneltz."),
            Option("utc", excludes=("kerneltz", "localtz"), help="In UTC, as without it."),
            Option("contiguous", help="What is past midnight counts to the day before."),
        ),
        check=_check_time,
        save=_save_time,
        shares=always,
        build=TimeInfo,
        evaluate=time_mt,
        packets=same_for_all,
        describe=describe_time,
    ),
)
