"""How long nothing passed: target `IDLETIMER`.

Kernel: net/netfilter/xt_IDLETIMER.c (idletimer_tg_target, idletimer_tg_checkentry).

Rules of one label share a timer, which every packet winds up again. When it runs down, Linux writes
to /sys/class/xt_idletimer/timers/LABEL.

Differs from Linux: there is no such file; `IdleTimers.expires_ms` tells what it would hold. Timers
belong to a namespace here, on Linux to the machine.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import U32, Text
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

LABEL_LEN = 27
"""MAX_IDLETIMER_LABEL_SIZE less the closing NUL."""

MAX_TIMEOUT = 0x7FFFFFFF // 1000 - 1
RESERVED = frozenset({"power", "subsystem", "uevent"})
"""Names that sysfs has there already (idletimer_check_sysfs_name)."""

MSEC_PER_SEC = 1000


class IdleTimer(Struct, frozen=True):
    """struct idletimer_tg_info_v1."""

    label: str
    timeout_s: int
    alarm: bool


class Running(Struct):
    """A timer (struct idletimer_tg)."""

    alarm: bool
    expires_ns: int


class IdleTimers:
    """The timers of one namespace, by label."""

    __slots__ = ("_net", "running")

    def __init__(self, net: Net) -> None:
        """Start without timers; found by `net.generic(IdleTimers)`."""
        self._net = net
        self.running: dict[str, Running] = {}

    def wind_up(self, info: IdleTimer) -> None:
        """Let the timer run for its rule's time from now on (reset_timer)."""
        timer = self.running[info.label]
        timer.expires_ns = self._net.clock.now_ns + info.timeout_s * 10**9

    def expires_ms(self, label: str) -> int:
        """Return the milliseconds that a timer still runs, 0 when it ran down."""
        left = self.running[label].expires_ns - self._net.clock.now_ns
        return max(left, 0) // 10**6


def idletimer_tg(info: IdleTimer, skb: Skb, param: XtParam) -> Verdict | None:
    """Wind the timer up and go on."""
    param.net.generic(IdleTimers).wind_up(info)
    return None


def attach_idletimer(net: Net, info: IdleTimer) -> None:
    """Make the timer or wind up the one of that label (idletimer_tg_checkentry)."""
    timers = net.generic(IdleTimers)
    timer = timers.running.setdefault(info.label, Running(info.alarm, 0))
    if timer.alarm != info.alarm:
        raise RulesetError(f"IDLETIMER: timer `{info.label}' exists with or without --alarm")
    timers.wind_up(info)


def _check_idletimer(settings: Settings) -> None:
    """Test what idletimer_tg_helper tests."""
    timeout = settings.need("timeout", int)
    if not 0 < timeout <= MAX_TIMEOUT:
        raise RulesetError(f"IDLETIMER: the kernel takes timeouts of 1-{MAX_TIMEOUT} seconds")
    label = settings.need("label", str)
    if label in {"", ".", ".."} | RESERVED or "/" in label:
        raise RulesetError(f"IDLETIMER: the kernel refuses `{label}' as the name of a file")


TARGETS = (
    Target(
        name="IDLETIMER",
        kernel="xt_IDLETIMER.c",
        duty="Winds up a timer that tells how long no packet passed, then goes on.",
        options=(
            Option("timeout", U32(), mandatory=True, help="Seconds that the timer runs."),
            Option(
                "label",
                Text(cut=LABEL_LEN, raw=True),
                mandatory=True,
                help="The timer's name, which rules may share; cut to 27 octets.",
            ),
            Option("alarm", help="The timer wakes a sleeping machine."),
        ),
        check=_check_idletimer,
        shares=always,
        build=lambda settings: IdleTimer(
            settings.need("label", str), settings.need("timeout", int), "alarm" in settings
        ),
        apply=idletimer_tg,
        effect=changes_nothing,
        attach=attach_idletimer,
    ),
)
