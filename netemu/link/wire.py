"""A cable between two devices: what it does to the frames of one direction.

Kernel: net/sched/sch_netem.c, whose words are used; but it works at the far side of the sender's
tap, as a real cable does, where netem is a queue in front of the device.

Theory of operation: a frame is lost, or it comes twice, or neither. The line takes one frame at a
time (`rate`), then each travels for `delay`, changed by up to `jitter` either way. A reordered
frame travels no time at all, so it overtakes. All chance comes from the sender's stream `wire`.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.net import Net, kfree_skb_reason
from netemu.sim.spec import WireSpec
from netemu.skb import Skb

NSEC_PER_SEC = 1_000_000_000
CHANCES = 1 << 32


class InFlight:
    """How many frames are on the cables of a run, so that a trace knows whether to wait."""

    __slots__ = ("frames",)

    def __init__(self) -> None:
        """Start with idle cables."""
        self.frames = 0


class Wire:
    """One direction of a cable."""

    __slots__ = ("_busy_until_ns", "_in_flight", "_net", "_spec", "cut")

    def __init__(self, net: Net, spec: WireSpec, in_flight: InFlight) -> None:
        """Carry frames that a device of `net` sends."""
        self._net = net
        self._spec = spec
        self._in_flight = in_flight
        self._busy_until_ns = 0
        self.cut = False
        """The cable is broken, though nobody was told."""

    def carry(self, skb: Skb, deliver: Callable[[Skb], None]) -> None:
        """Let a frame travel."""
        spec = self._spec
        if self.cut or self._happens(spec.loss):
            what = "the cable is cut" if self.cut else "lost on the way"
            kfree_skb_reason(self._net, skb, "LINK_LOSS", what)
            return
        if self._happens(spec.duplicate):
            self._send(skb.clone(), deliver)
        self._send(skb, deliver)

    def _happens(self, chance: float) -> bool:
        """Draw; what never happens draws nothing."""
        return chance > 0 and self._net.entropy.stream("wire").u32() < round(chance * CHANCES)

    def _send(self, skb: Skb, deliver: Callable[[Skb], None]) -> None:
        clock, spec = self._net.clock, self._spec
        start = max(clock.now_ns, self._busy_until_ns)
        sent_ns = start
        if spec.rate_bps:
            octets = len(skb.mac_header) + len(skb.data)
            sent_ns += octets * 8 * NSEC_PER_SEC // spec.rate_bps
        self._busy_until_ns = sent_ns
        delay = 0 if self._happens(spec.reorder) else self._delay_ns()
        if sent_ns + delay == clock.now_ns:
            deliver(skb)
            return
        self._in_flight.frames += 1

        def arrive() -> None:
            self._in_flight.frames -= 1
            deliver(skb)

        clock.call_at(sent_ns + delay, arrive)

    def _delay_ns(self) -> int:
        jitter = self._spec.jitter_ns
        if not jitter:
            return self._spec.delay_ns
        drawn = self._net.entropy.stream("wire").below(2 * jitter + 1)
        return max(self._spec.delay_ns - jitter + drawn, 0)
