"""The neighbour table: states, queue, timers, texts.

States and texts as Linux 6.18 and iproute2 6.1 show them; the queue's limits were measured there.
"""

from __future__ import annotations

import pytest

from netemu.events import Event, NeighbourStateChanged, Stamp
from netemu.ip.neighbour import NeighbourProtocol, NeighbourTable, Nud, neigh_output
from netemu.ip.nud import Neighbour, skb_truesize
from netemu.link.port import Port
from netemu.net import Net
from netemu.sim.spec import NeighbourSpec
from netemu.skb import Fate, Skb

HOP = bytes((10, 0, 0, 9))
MAC = bytes.fromhex("02aa00000009")
OTHER = bytes.fromhex("02aa0000000a")
S = 1_000_000_000


class Lab:
    """One port and a protocol that notes its questions."""

    def __init__(self, **sysctls: str) -> None:
        self.net = Net()
        for name, value in sysctls.items():
            self.net.sysctl.set(f"net.ipv4.neigh.default.{name}", value)
        self.port = Port(self.net, name="eth0", ifindex=2, mac=bytes.fromhex("020000000001"))
        self.asked: list[tuple[float, Nud]] = []
        self.table = self.net.generic(NeighbourTable)
        self.table.protocols[4] = NeighbourProtocol(
            constructor=lambda entry: None, solicit=self.solicit
        )

    def solicit(self, entry: Neighbour, skb: Skb | None) -> None:
        self.asked.append((self.net.clock.now_ns / S, entry.state))

    def send(self, payload: bytes = b"packet") -> Fate:
        skb = Skb(payload, protocol=0x0800, fate=self.net.new_fate())
        neigh_output(self.net, skb, self.port, HOP)
        return skb.fate

    @property
    def entry(self) -> Neighbour:
        found = self.table.find(HOP, self.port)
        assert found is not None
        return found

    def answer(self, mac: bytes = MAC, new: Nud = Nud.REACHABLE, *, override: bool = False) -> None:
        self.table.update(self.entry, mac, new, override=override)

    def run(self, seconds: float) -> None:
        self.net.clock.run_until(int(seconds * S))


def test_packets_wait_for_the_answer_and_leave_in_order() -> None:
    """The first packet asks at once; all leave first in, first out when the answer comes."""
    lab = Lab()
    fates = [lab.send(bytes((number,))) for number in range(3)]
    assert lab.asked == [(0.0, Nud.INCOMPLETE)]
    assert [fate.verdict for fate in fates] == ["STOLEN"] * 3
    left: list[bytes] = []
    lab.port.on_frame = lambda _skb, frame: left.append(frame)
    lab.answer()
    header = MAC + lab.port.mac + b"\x08\x00"
    assert left == [header + bytes((number,)) for number in range(3)]
    assert lab.table.text() == "10.0.0.9 dev eth0 lladdr 02:aa:00:00:00:09 REACHABLE \n"


def test_nobody_answers() -> None:
    """Three questions a second apart, failure after the third second, sender told, then anew."""
    lab = Lab()
    told: list[Skb] = []
    lab.table.link_failure = told.append
    fates = [lab.send(), lab.send()]
    lab.run(2.9)
    assert lab.table.text() == "10.0.0.9 dev eth0 INCOMPLETE \n"
    lab.run(3)
    assert [at for at, _ in lab.asked] == [0, 1, 2]
    assert [fate.reason for fate in fates] == ["NEIGH_FAILED"] * 2
    assert len(told) == 2
    assert lab.table.text() == "10.0.0.9 dev eth0 FAILED \n"
    lab.send()
    assert lab.entry.state == Nud.INCOMPLETE


@pytest.mark.parametrize(
    ("length", "fits"), [(28, 256), (226, 256), (227, 166), (674, 166), (675, 92), (1500, 92)]
)
def test_the_queue_drops_the_oldest(length: int, fits: int) -> None:
    """As many packets as fit into 212992 octets of memory wait (measured on Linux 6.18)."""
    lab = Lab()
    fates = [lab.send(bytes(length)) for _ in range(420)]
    dropped = [fate for fate in fates if fate.reason == "NEIGH_QUEUEFULL"]
    assert fates[: 420 - fits] == dropped


def test_truesize_of_large_frames_follows_the_allocator() -> None:
    """Beyond the largest cache the size itself counts."""
    fate = Net().new_fate()
    sizes = [
        skb_truesize(Skb(bytes(length), protocol=0x0800, fate=fate)) for length in (9000, 200000)
    ]
    assert sizes == [256 + 16384, 256 + (200000 + 30 + 63) // 64 * 64 + 320]


def test_reachable_becomes_stale_then_delay_then_probe_then_failed() -> None:
    """An unused entry grows stale; use probes it by unicast after five seconds, three times."""
    lab = Lab()
    lab.send()
    lab.answer()
    reachable = lab.table.reachable_ns(lab.port) / S
    assert 15 <= reachable < 45
    lab.run(reachable - 0.01)
    assert lab.entry.state == Nud.REACHABLE
    lab.run(reachable)
    assert lab.entry.state == Nud.STALE
    lab.run(100)
    lab.asked.clear()
    fate = lab.send()
    assert fate.verdict == "ACCEPT"
    assert lab.entry.state == Nud.DELAY
    lab.run(120)
    assert lab.asked == [(105.0, Nud.PROBE), (106.0, Nud.PROBE), (107.0, Nud.PROBE)]
    assert lab.entry.state == Nud.FAILED


def test_confirmation_by_tcp_ends_the_delay() -> None:
    """An entry confirmed within the delay is reachable again without a question."""
    lab = Lab()
    lab.send()
    lab.answer(new=Nud.STALE)
    assert lab.entry.state == Nud.DELAY
    lab.run(2)
    lab.table.confirm(HOP, lab.port)
    lab.run(5)
    assert lab.entry.state == Nud.REACHABLE
    assert len(lab.asked) == 1


def test_recent_use_turns_reachable_into_delay() -> None:
    """The first packet after the answer still counts as use; later ones take the cached header."""
    lab = Lab(base_reachable_time_ms="2000")
    lab.send()
    lab.answer()
    lab.run(3)
    assert lab.entry.state == Nud.DELAY
    lab = Lab(base_reachable_time_ms="20000")
    lab.send()
    lab.answer()
    while lab.entry.state == Nud.REACHABLE:
        lab.run(lab.net.clock.now_ns / S + 1)
        if lab.entry.state == Nud.REACHABLE:
            lab.send()
    assert lab.entry.state == Nud.STALE


@pytest.mark.parametrize(
    ("mac", "new", "override", "expected"),
    [
        (MAC, Nud.STALE, False, ("REACHABLE", MAC)),
        (OTHER, Nud.STALE, False, ("REACHABLE", MAC)),
        (OTHER, Nud.REACHABLE, False, ("REACHABLE", MAC)),
        (OTHER, Nud.STALE, True, ("STALE", OTHER)),
        (OTHER, Nud.REACHABLE, True, ("REACHABLE", OTHER)),
    ],
)
def test_what_a_valid_entry_makes_of_news(
    mac: bytes, new: Nud, override: bool, expected: tuple[str, bytes]
) -> None:
    """Another MAC needs override; the same MAC from a request changes nothing."""
    lab = Lab()
    lab.send()
    lab.answer()
    lab.answer(mac, new, override=override)
    assert (lab.entry.state.name, lab.entry.mac) == expected


def test_permanent_and_noarp_entries_ignore_news() -> None:
    """Entries that an administrator made stay."""
    for state in ("PERMANENT", "NOARP"):
        lab = Lab()
        lab.table.load([NeighbourSpec(device="eth0", address=HOP, mac=MAC, state=state)])
        lab.answer(OTHER, override=True)
        assert lab.entry.mac == MAC
        assert lab.send().verdict == "ACCEPT"
        assert lab.asked == []


def test_loaded_entries_are_as_just_added() -> None:
    """REACHABLE counts from now, DELAY and PROBE have asked once, failed ones are left out."""
    lab = Lab()
    names = ("REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE")
    lab.table.load(
        NeighbourSpec(device="eth0", address=bytes((10, 0, 0, number)), mac=MAC, state=name)
        for number, name in enumerate(names, 1)
    )
    states = [entry.state.name for entry in lab.table.entries()]
    assert states == ["REACHABLE", "STALE", "PROBE", "PROBE"]
    lab.run(3)
    assert lab.asked == [(at, Nud.PROBE) for at in (1.0, 1.0, 2.0, 2.0)]
    assert "10.0.0.3 dev eth0 FAILED \n10.0.0.4 dev eth0 FAILED \n" in lab.table.text()


def test_a_neighbour_that_nobody_answers_for_may_be_assumed() -> None:
    """The MAC is made up at the same instant, marked so, and gives way to a real answer."""
    lab = Lab()
    seen: list[NeighbourStateChanged] = []

    def sink(_stamp: Stamp, event: Event) -> None:
        if isinstance(event, NeighbourStateChanged):
            seen.append(event)

    lab.net.sink = sink
    lab.table.assume_neighbours = True
    fate = lab.send()
    lab.run(0)
    assert fate.frames[0].frame[:6] == bytes.fromhex("02000a000009")
    assert [(event.after, event.assumed) for event in seen] == [
        ("INCOMPLETE", False),
        ("REACHABLE", True),
    ]
    lab.answer(OTHER)
    assert (lab.entry.mac, lab.entry.assumed) == (OTHER, False)


def test_an_answer_in_time_leaves_nothing_to_assume() -> None:
    """With a delay, assuming waits for the real answer."""
    lab = Lab()
    lab.table.assume_neighbours = True
    lab.table.assume_delay_ns = S
    fate = lab.send()
    lab.run(0.5)
    lab.answer()
    lab.run(5)
    assert fate.frames[0].frame[:6] == MAC


def test_no_probes_allowed_is_failure_at_once() -> None:
    """With mcast_solicit and app_solicit 0 there is nobody to ask."""
    lab = Lab(mcast_solicit="0")
    assert lab.send().reason == "NEIGH_FAILED"
    assert lab.entry.state == Nud.FAILED


def test_full_table() -> None:
    """At gc_thresh3 entries in use a new next hop cannot be taken up."""
    lab = Lab(gc_thresh1="1", gc_thresh2="2", gc_thresh3="3")
    for number in range(1, 4):
        skb = Skb(b"x", protocol=0x0800, fate=lab.net.new_fate())
        neigh_output(lab.net, skb, lab.port, bytes((10, 0, 0, number)))
    assert lab.send().reason == "NEIGH_CREATEFAIL"
    assert lab.net.log == ["neighbour: arp_cache: neighbor table overflow!"]
    lab.run(10)
    assert lab.send().verdict == "STOLEN"


def test_unused_entries_are_collected_once_there_are_many() -> None:
    """Beyond gc_thresh1 entries those idle for gc_stale_time go; PERMANENT ones stay."""
    lab = Lab(gc_thresh1="2")
    for number, state in ((1, "STALE"), (2, "PERMANENT")):
        address = bytes((10, 0, 0, number))
        lab.table.load([NeighbourSpec(device="eth0", address=address, mac=MAC, state=state)])
    lab.run(59)
    assert len(lab.table.entries()) == 2
    lab.run(61)
    assert [entry.state.name for entry in lab.table.entries()] == ["PERMANENT"]


def test_reachable_time_is_drawn_anew_every_five_minutes() -> None:
    """Draws come from the seeded stream, per device."""
    lab = Lab()
    first = lab.table.reachable_ns(lab.port)
    assert lab.table.reachable_ns(lab.port) == first
    lab.run(301)
    assert lab.table.reachable_ns(lab.port) != first


def test_deleting_an_entry_ends_what_waits() -> None:
    """Packets of a removed entry are purged and its timer never fires."""
    lab = Lab()
    fate = lab.send()
    lab.table.delete(lab.entry)
    lab.run(5)
    assert fate.reason == "QUEUE_PURGE"
    assert len(lab.asked) == 1
