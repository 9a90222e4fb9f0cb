"""A light that blinks as packets pass: target `LED`.

Kernel: net/netfilter/xt_LED.c (led_tg).

Differs from Linux: there are no lights; a trace tells which one would have lit.
"""

from __future__ import annotations

import re

from netemu.errors import RulesetError
from netemu.events import RecordSent
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import U32_MAX, Kind, OptionCall, Text, c_integer, shape
from netemu.netfilter.xtables.kit import Option, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

TRIGGER_LEN = 16
FOREVER = -1
_INFINITE = re.compile("inf", re.IGNORECASE)


class Delay(Kind[int]):
    """Milliseconds, or `inf`, which is printed as -1."""

    form = "MS|inf"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Read a number, or a word that begins with `inf`."""
        if _INFINITE.match(text):
            return FOREVER
        if shape("NUMBER").fullmatch(text) is None or c_integer(text) > U32_MAX:
            raise RulesetError(f"Delay value must be within range 0..{U32_MAX}")
        number = c_integer(text)
        return number - (1 << 32) if number >> 31 else number

    def show(self, value: int) -> str:
        """Print a signed number."""
        return str(value)


class TriggerName(Text):
    """A name that is printed in quotes, whatever it is (LED_save)."""

    def show(self, value: str) -> str:
        """Escape quotes and backslashes."""
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'


def led_tg(trigger: str, skb: Skb, param: XtParam) -> Verdict | None:
    """Tell and go on."""
    if param.net.sink is not None:
        param.net.tell(skb, RecordSent(to=f"led netfilter-{trigger}", text=""))
    return None


TARGETS = (
    Target(
        name="LED",
        kernel="xt_LED.c",
        duty="Lets a light blink when a packet passes, then goes on.",
        options=(
            Option(
                "led-trigger-id",
                TriggerName(most=TRIGGER_LEN),
                mandatory=True,
                help="Name of the trigger, after netfilter-.",
            ),
            Option("led-delay", Delay(), silent=0, help="Milliseconds that the light stays on."),
            Option("led-always-blink", help="Blinks even when the light is on."),
        ),
        shares=always,
        build=lambda settings: settings.need("led-trigger-id", str),
        apply=led_tg,
        effect=changes_nothing,
    ),
)
