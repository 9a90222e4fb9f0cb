"""The limit on the kernel's own log messages about packets.

Kernel: net/core/utils.c (net_ratelimit), lib/ratelimit.c.

At most net.core.message_burst (10) messages in net.core.message_cost (5) seconds; a cost of 0
lifts the limit.
"""

from __future__ import annotations

from netemu.clock import NSEC_PER_SEC
from netemu.net import Net
from netemu.skb import Skb


class NetRatelimit:
    """How much was said since the interval began.

    Differs from Linux: there all namespaces of a machine share one limit.
    """

    __slots__ = ("_begin_ns", "_missed", "_net", "_printed")

    def __init__(self, net: Net) -> None:
        """Start with an interval that is over."""
        self._net = net
        self._begin_ns: int | None = None
        self._printed = 0
        self._missed = 0

    def allow(self, skb: Skb) -> bool:
        """Return whether one more message may be logged, counting it."""
        sysctl = self._net.sysctl
        interval_ns = sysctl.get("net.core.message_cost") * NSEC_PER_SEC
        if not interval_ns:
            return True
        now = self._net.clock.now_ns
        if self._begin_ns is None or now > self._begin_ns + interval_ns:
            if self._missed:
                self._net.printk(skb, f"net_ratelimit: {self._missed} callbacks suppressed")
            self._begin_ns = now
            self._printed = 0
            self._missed = 0
        if self._printed < sysctl.get("net.core.message_burst"):
            self._printed += 1
            return True
        self._missed += 1
        return False


def net_ratelimit(net: Net, skb: Skb) -> bool:
    """Return whether one more message about packets may be logged."""
    return net.generic(NetRatelimit).allow(skb)
