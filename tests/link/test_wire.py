"""Cables: delay, rate, loss, doubles, overtaking, all from the seed."""

from __future__ import annotations

from netemu.clock import Clock
from netemu.entropy import Entropy
from netemu.link.wire import InFlight, Wire
from netemu.net import Net
from netemu.sim.spec import WireSpec
from netemu.skb import Skb


def run(
    count: int = 10, *, seed: int = 0, octets: int = 86, **properties: float
) -> list[tuple[int, int]]:
    """Send numbered frames at once; return (number, nanoseconds) of those that arrive."""
    clock = Clock()
    net = Net(clock=clock, entropy=Entropy(seed))
    flying = InFlight()
    spec = WireSpec(one="a", other="b", **properties)  # type: ignore[arg-type]
    wire = Wire(net, spec, flying)
    arrived: list[tuple[int, int]] = []
    for number in range(count):
        skb = Skb(bytes([number]) * octets, protocol=0x0800, fate=net.new_fate())
        skb.mac_header = bytes(14)
        wire.carry(skb, lambda got: arrived.append((got.data[0], clock.now_ns)))
    clock.run_until(10**12)
    assert flying.frames == 0
    return arrived


def test_frames_travel_and_keep_their_order() -> None:
    assert run(3, delay_ns=1000) == [(0, 1000), (1, 1000), (2, 1000)]


def test_a_slow_line_takes_one_frame_at_a_time() -> None:
    """100 octets at 1 Mbit/s take 800 us, and the delay comes on top."""
    assert run(3, rate_bps=1_000_000, delay_ns=5000) == [
        (0, 805_000),
        (1, 1_605_000),
        (2, 2_405_000),
    ]


def test_loss_and_doubles_come_from_the_seed() -> None:
    lost = run(200, loss=0.3)
    assert 110 < len(lost) < 170
    assert lost == run(200, loss=0.3)
    assert lost != run(200, loss=0.3, seed=1)
    twice = run(200, duplicate=0.25)
    assert 230 < len(twice) < 270
    assert [number for number, _ in run(3, duplicate=1.0)] == [0, 0, 1, 1, 2, 2]


def test_reordered_frames_overtake() -> None:
    arrived = [number for number, _ in run(50, delay_ns=1000, reorder=0.2)]
    assert sorted(arrived) == list(range(50))
    assert arrived != sorted(arrived)
    early = [number for number, when in run(50, delay_ns=1000, reorder=0.2) if when == 0]
    assert arrived[: len(early)] == early


def test_jitter_stays_in_its_bounds() -> None:
    times = [when for _, when in run(200, delay_ns=10_000, jitter_ns=2000)]
    assert min(times) >= 8000
    assert max(times) <= 12_000
    assert max(times) - min(times) > 3000


def test_a_cut_cable_loses_all() -> None:
    assert run(5, loss=1.0) == []
