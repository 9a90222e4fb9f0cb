"""The processor that handles the packet: match `cpu`.

Kernel: net/netfilter/xt_cpu.c (cpu_mt).

Differs from Linux: netemu's node has one processor, number 0.
"""

from __future__ import annotations

from netemu.netfilter.xtables.kinds import U32
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb

PROCESSOR = 0


class CpuInfo:
    """struct xt_cpu_info."""

    __slots__ = ("cpu", "invert")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        self.cpu = settings.need("cpu", int)
        self.invert = settings.inverted("cpu")


def cpu_mt(info: CpuInfo, skb: Skb, param: XtParam) -> bool:
    """Compare with the one processor."""
    return (info.cpu == PROCESSOR) != info.invert


MATCHES = (
    Match(
        name="cpu",
        kernel="xt_cpu.c",
        duty="Compares the number of the processor, which is always 0 in netemu.",
        options=(
            Option("cpu", U32(), invertible=True, mandatory=True, help="Number of the processor."),
        ),
        shares=always,
        build=CpuInfo,
        evaluate=cpu_mt,
        packets=own_answer,
    ),
)
