"""A range of security parameter indices, as several IPsec matches compare them.

Kernel: net/netfilter/xt_esp.c, xt_ipcomp.c, net/ipv4/netfilter/ipt_ah.c (spi_match).
"""

from __future__ import annotations

from netemu.netfilter.xtables.kinds import U32_MAX, Span

ANY_SPI = Span(0, U32_MAX)


class SpiInfo:
    """struct xt_esp, and what looks like it in other matches."""

    __slots__ = ("high", "invert", "low")

    def __init__(self, span: Span, *, invert: bool) -> None:
        """Keep both ends."""
        self.low = span.low
        self.high = span.high
        self.invert = invert

    def holds(self, spi: int) -> bool:
        """Return whether the number lies in the range (spi_match)."""
        return (self.low <= spi <= self.high) != self.invert
