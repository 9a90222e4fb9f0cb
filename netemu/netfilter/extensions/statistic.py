"""Match packets by chance or by count: match `statistic`.

Kernel: net/netfilter/xt_statistic.c (statistic_mt, statistic_mt_check).

kube-proxy spreads a Service over its endpoints with `--mode random`: the first of three rules gets
1/3, the second 1/2, the last all that is left. The counter of `--mode nth` belongs to the rule and
starts anew when the table is loaded.
"""

from __future__ import annotations

from fractions import Fraction

from netemu.errors import RulesetError
from netemu.events import ChanceDrawn
from netemu.net import Net
from netemu.netfilter.xtables.kinds import U32, Choice, Probability
from netemu.netfilter.xtables.kit import Match, Option, Settings
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import PacketSpace
from netemu.skb import Skb

CHANCES = 1 << 31
"""A draw has 31 bits."""


class Statistic:
    """struct xt_statistic_info with the counter of its master copy."""

    __slots__ = ("count", "every_less_one", "invert", "nth", "packet", "probability")

    def __init__(self, settings: Settings) -> None:
        """Start the count so that packet number `--packet` of each round is the hit."""
        self.nth = settings.need("mode", str) == "nth"
        self.probability = settings.get("probability", int, 0)
        """In units of 2**-31."""
        self.every_less_one = settings.get("every", int, 1) - 1
        self.packet = settings.get("packet", int, 0)
        self.count = self.every_less_one - self.packet
        self.invert = settings.inverted("probability") or settings.inverted("every")


def statistic_attach(net: Net, info: Statistic) -> None:
    """Start the count anew: the table is loaded (statistic_mt_check)."""
    info.count = info.every_less_one - info.packet


def statistic_mt(info: Statistic, skb: Skb, param: XtParam) -> bool:
    """Draw 31 random bits, or count to `--every`."""
    if info.nth:
        info.count = 0 if info.count == info.every_less_one else info.count + 1
        return (info.count == 0) != info.invert
    draw = param.net.entropy.stream("statistic").u32() & 0x7FFFFFFF
    matched = (draw < info.probability) != info.invert
    if param.net.sink is not None:
        param.net.tell(
            skb,
            ChanceDrawn(match="statistic", value=draw, threshold=info.probability, matched=matched),
        )
    return matched


def statistic_packets(info: Statistic, space: PacketSpace) -> int:
    """Return a draw with its exact probability; a count may stand anywhere."""
    if info.nth:
        return space.free(space.text, Fraction(1, info.every_less_one + 1))
    if info.probability in {0, CHANCES}:
        return space.when(info.invert != (info.probability == CHANCES), space.outside(space.both()))
    return space.when(info.invert, space.free(space.text, Fraction(info.probability, CHANCES)))


def describe_statistic(info: Statistic, skb: Skb, param: XtParam) -> str:
    """Say where the count of the rule stands; a random draw tells itself."""
    return f"count {info.count} of {info.every_less_one + 1}" if info.nth else "random draw"


def _is_random(settings: Settings) -> bool:
    """A draw leaves nothing behind; a count does."""
    return settings.need("mode", str) == "random"


def _check_statistic(settings: Settings) -> None:
    """Test what statistic_check of libxt_statistic tests."""
    if settings.need("mode", str) == "random":
        if "probability" not in settings:
            raise RulesetError("--probability must be specified when using random mode")
        return
    if "every" not in settings and "packet" not in settings:
        raise RulesetError("--every and --packet must be specified when using nth mode")
    if settings.get("packet", int, 0) >= settings.get("every", int, 0):
        raise RulesetError("the --packet p must be 0 <= p <= n-1")


MATCHES = (
    Match(
        name="statistic",
        kernel="xt_statistic.c",
        duty="Matches a random share of packets, or every n-th one.",
        options=(
            Option(
                "mode",
                Choice("random", "nth"),
                mandatory=True,
                help="By chance or by count.",
                says="by mode {value}",
            ),
            Option(
                "probability",
                Probability(),
                invertible=True,
                excludes=("every", "packet"),
                help="Share of packets, kept in units of 2**-31.",
                says="chance says so, with probability {value}",
            ),
            Option(
                "every",
                U32(low=1),
                invertible=True,
                excludes=("probability",),
                requires=("packet",),
                help="Length of a round in packets.",
                says="it is one of every {value} packets",
            ),
            Option(
                "packet",
                U32(),
                excludes=("probability",),
                help="Which packet of the round matches, from 0.",
                says="the one with number {value}, from 0",
            ),
        ),
        check=_check_statistic,
        shares=_is_random,
        attach=statistic_attach,
        build=Statistic,
        evaluate=statistic_mt,
        packets=statistic_packets,
        describe=describe_statistic,
    ),
)
