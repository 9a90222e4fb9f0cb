"""Next hops and their MACs: the neighbour table and its state machine (NUD).

Kernel: net/core/neighbour.c; RFC 4861 section 7.3 for the states. Address families share it: ARP
and NDP each give a `NeighbourProtocol`.

              packet to send                        answer
    NONE, FAILED ---------> INCOMPLETE ----------------------------> REACHABLE
                 3 requests, 1 s apart |                  answer ^      | reachable_time over
                                       v                         |      v
                                     FAILED <--- PROBE <--- DELAY <--- STALE
                                      3 unicast requests   5 s   packet to send

Theory of operation: a packet for an entry that is not valid waits in the entry's queue, oldest
first out when the queue is full. STALE entries are used at once and checked afterwards. `used` is
refreshed on the slow path only: once an entry has sent a packet its header is cached (`hh`), and
while it is CONNECTED packets take that header without touching the entry, as in the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from netemu.clock import NSEC_PER_SEC
from netemu.events import Event, NeighbourStateChanged, NeighbourUsed, PacketQueued, Stamp
from netemu.ip.neighbour_gc import NeighbourGc
from netemu.ip.nud import (
    CONNECTED,
    IN_TIMER,
    SENDING,
    VALID,
    Neighbour,
    NeighbourProtocol,
    Nud,
    skb_truesize,
)
from netemu.link.device import dev_queue_xmit
from netemu.net import Net, kfree_skb_reason
from netemu.sim.spec import NeighbourSpec
from netemu.skb import Device, Skb
from netemu.wire.address import format_address, format_mac
from netemu.wire.ethernet import ethernet_header

__all__ = ["Neighbour", "NeighbourProtocol", "NeighbourTable", "Nud", "neigh_output"]

MSEC_NS = 1_000_000
MIN_TIMER_NS = 10 * MSEC_NS
"""Timers are at least HZ/100 apart (neigh_timer_handler)."""

RAND_INTERVAL_NS = 300 * NSEC_PER_SEC
"""reachable_time is drawn anew every 300 s (neigh_periodic_work)."""


class NeighbourTable:
    """All neighbours of one namespace."""

    __slots__ = (
        "_entries",
        "_gc",
        "_net",
        "_reachable",
        "assume_delay_ns",
        "assume_neighbours",
        "link_failure",
        "protocols",
    )

    def __init__(self, net: Net) -> None:
        """Start empty."""
        self._net = net
        self._entries: dict[tuple[bytes, Device], Neighbour] = {}
        self._reachable: dict[Device, tuple[int, int]] = {}
        self._gc = NeighbourGc(net, self)
        self.protocols: dict[int, NeighbourProtocol] = {}
        """By length of the address: 4 for ARP, 16 for NDP."""
        self.link_failure: Callable[[Skb], None] | None = None
        """Tells the sender of a packet that its next hop did not answer (dst_link_failure)."""
        self.assume_neighbours = False
        """Make up the MAC of a neighbour that nobody answers for."""
        self.assume_delay_ns = 0
        """How long an answer is waited for before the MAC is made up."""

    def find(self, address: bytes, device: Device) -> Neighbour | None:
        """Return the entry of a next hop (neigh_lookup)."""
        return self._entries.get((_key(address, device), device))

    def find_or_create(self, address: bytes, device: Device) -> Neighbour | None:
        """Return the entry of a next hop, made if need be; None when the table is full."""
        address = _key(address, device)
        found = self._entries.get((address, device))
        if found is not None:
            return found
        if not self._gc.make_room(len(self._entries)):
            return None
        entry = Neighbour(address, device, self._net.clock.now_ns)
        entry.confirmed_ns -= 2 * self._parameter(entry, "base_reachable_time_ms") * MSEC_NS
        protocol = self.protocols.get(len(address))
        if protocol is not None:
            protocol.constructor(entry)
        self._entries[address, device] = entry
        self._gc.watch(len(self._entries))
        return entry

    def delete(self, entry: Neighbour) -> None:
        """Remove an entry and what waits in it."""
        self._stop_timer(entry)
        self._purge(entry)
        self._entries.pop((entry.address, entry.device), None)

    def flush(self, device: Device, *, keep_permanent: bool) -> None:
        """Forget the neighbours behind a device (neigh_ifdown, neigh_carrier_down)."""
        for entry in [entry for entry in self._entries.values() if entry.device is device]:
            if not (keep_permanent and entry.state & Nud.PERMANENT):
                self.delete(entry)

    def entries(self) -> list[Neighbour]:
        """Return all entries in order of creation."""
        return list(self._entries.values())

    def load(self, specs: Iterable[NeighbourSpec]) -> None:
        """Add the entries of a listing, as if `ip neigh replace` had done so just before.

        So a REACHABLE one counts as confirmed, and one in DELAY or PROBE has been asked once.
        Entries without an answer (INCOMPLETE, FAILED) know nothing and are left out.
        """
        for spec in specs:
            device = self._net.devices.get(spec.device)
            state = Nud[spec.state.upper()]
            if device is None or not state & VALID:
                continue
            entry = self.find_or_create(spec.address, device)
            if entry is None:
                continue
            entry.state = Nud.NONE
            asking = state in {Nud.DELAY, Nud.PROBE}
            new = Nud.PROBE if asking else state
            self._apply(entry, spec.mac or entry.mac, new, same_mac=False, skb=None)
            now = self._net.clock.now_ns
            if state & CONNECTED:
                entry.confirmed_ns = now
            if asking:
                entry.probes = 1
                self._start_timer(entry, now + self._retrans_ns(entry))

    def text(self) -> str:
        """Return what `ip neigh` prints, in order of creation; NOARP and NONE are not listed."""
        lines = []
        for entry in self.entries():
            if not entry.state or entry.state == Nud.NOARP:
                continue
            lladdr = f" lladdr {format_mac(entry.mac)}" if entry.state & VALID else ""
            head = f"{format_address(entry.address)} dev {entry.device.name}"
            lines.append(f"{head}{lladdr} {entry.state.name} \n")
        return "".join(lines)

    def output(self, skb: Skb, device: Device, next_hop: bytes) -> None:
        """Send a packet to `next_hop` on `device` (ip_finish_output2, neigh_output)."""
        skb.device = device
        entry = self.find_or_create(next_hop, device)
        if entry is not None and skb.dst_pending_confirm:
            entry.confirmed_ns = self._net.clock.now_ns
        if entry is None:
            kfree_skb_reason(self._net, skb, "NEIGH_CREATEFAIL", "the neighbour table is full")
        elif entry.state & CONNECTED and entry.hh:
            self._xmit(entry, skb)
        else:
            self.resolve_output(entry, skb)

    def cached_mac(self, address: bytes, device: Device) -> bytes | None:
        """Return the MAC of a next hop that a packet may take without touching its entry."""
        entry = self.find(address, device)
        usable = entry is not None and entry.state & CONNECTED and entry.hh
        return entry.mac if entry is not None and usable else None

    def resolve_output(self, entry: Neighbour, skb: Skb) -> None:
        """Send or queue a packet (neigh_resolve_output)."""
        if self.event_send(entry, skb):
            entry.hh = True
            self._xmit(entry, skb)

    def event_send(self, entry: Neighbour, skb: Skb | None) -> bool:
        """Note that the entry is needed; True when its MAC may be used (neigh_event_send)."""
        now = entry.used_ns = self._net.clock.now_ns
        if entry.state & SENDING:
            return True
        probe_now = False
        if entry.state == Nud.STALE:
            entry.updated_ns = now
            self._set_state(entry, Nud.DELAY, skb)
            self._start_timer(entry, now + self._delay_ns(entry))
            return True
        if entry.state != Nud.INCOMPLETE:
            if not self._may_probe(entry):
                entry.updated_ns = now
                self._set_state(entry, Nud.FAILED, skb)
                if skb is not None:
                    kfree_skb_reason(self._net, skb, "NEIGH_FAILED", "no probes are allowed")
                return False
            self._begin_resolution(entry, skb)
            probe_now = True
        if skb is not None:
            self._enqueue(entry, skb)
        if probe_now:
            self._probe(entry)
        return False

    def confirm(self, address: bytes, device: Device) -> None:
        """Note that an upper protocol got an answer from the next hop (neigh_confirm)."""
        entry = self.find(address, device)
        if entry is not None:
            entry.confirmed_ns = self._net.clock.now_ns

    def event_ns(self, address: bytes, mac: bytes, device: Device, skb: Skb | None) -> None:
        """Learn from a neighbour's own request (neigh_event_ns)."""
        entry = self.find_or_create(address, device)
        if entry is not None:
            self.update(entry, mac, Nud.STALE, override=True, skb=skb)

    def update(
        self,
        entry: Neighbour,
        mac: bytes,
        new: Nud,
        *,
        override: bool,
        skb: Skb | None = None,
    ) -> None:
        """Take over what a neighbour said of itself (neigh_update, not by an administrator)."""
        old = entry.state
        if old & (Nud.NOARP | Nud.PERMANENT):
            return
        assert new & VALID
        now = self._net.clock.now_ns
        same_mac = bool(old & VALID) and mac == entry.mac
        if new & CONNECTED:
            entry.confirmed_ns = now
        if old & VALID:
            if not same_mac and not (override or entry.assumed):
                return
            if same_mac and new == Nud.STALE:
                new = old
        entry.assumed = False
        self._apply(entry, mac, new, same_mac=same_mac, skb=skb)

    def _apply(
        self, entry: Neighbour, mac: bytes, new: Nud, *, same_mac: bool, skb: Skb | None
    ) -> None:
        """Set MAC and state, then send what waited."""
        old = entry.state
        now = self._net.clock.now_ns
        if new != old or not same_mac:
            entry.updated_ns = now
        if not same_mac:
            entry.mac = mac
            if not new & CONNECTED:
                base = self._parameter(entry, "base_reachable_time_ms") * MSEC_NS
                entry.confirmed_ns = now - 2 * base
        if new == old:
            return
        self._stop_timer(entry)
        if new == Nud.PROBE:
            entry.probes = 0
        if new & IN_TIMER:
            wait = self.reachable_ns(entry.device) if new == Nud.REACHABLE else 0
            self._start_timer(entry, now + wait)
        self._set_state(entry, new, skb)
        if not old & VALID:
            self._flush(entry)

    def _flush(self, entry: Neighbour) -> None:
        while entry.state & VALID and entry.queue:
            self.resolve_output(entry, _released(entry.queue.popleft()))
        self._purge(entry)

    def reachable_ns(self, device: Device) -> int:
        """Return how long an answer counts: random around base_reachable_time, per device."""
        now = self._net.clock.now_ns
        drawn = self._reachable.get(device)
        if drawn is None or now > drawn[0] + RAND_INTERVAL_NS:
            base = self._net.sysctl.neigh(device.name, "base_reachable_time_ms")
            jiffies = base * self._net.clock.hz // 1000
            random = self._net.entropy.stream("neighbour").below(jiffies) + jiffies // 2
            drawn = self._reachable[device] = (now, self._net.clock.jiffies_to_ns(random))
        return drawn[1]

    # ------------------------------------------------------------------ timers

    def _timer_handler(self, entry: Neighbour) -> None:
        """Advance an entry whose time has come (neigh_timer_handler)."""
        entry.timer = None
        now = self._net.clock.now_ns
        state = entry.state
        if state == Nud.REACHABLE:
            due = self._leave_reachable(entry, now)
        elif state == Nud.DELAY:
            due = self._leave_delay(entry, now)
        else:
            due = now + self._retrans_ns(entry)
        probing = entry.state in {Nud.INCOMPLETE, Nud.PROBE}
        if probing and entry.probes >= self._max_probes(entry):
            self._set_state(entry, Nud.FAILED, None)
            self._invalidate(entry)
            return
        if entry.state & IN_TIMER:
            self._start_timer(entry, max(due, now + MIN_TIMER_NS))
        if probing:
            self._probe(entry)

    def _leave_reachable(self, entry: Neighbour, now: int) -> int:
        confirmed_until = entry.confirmed_ns + self.reachable_ns(entry.device)
        if now < confirmed_until:
            return confirmed_until
        delay = self._delay_ns(entry)
        entry.updated_ns = now
        if now <= entry.used_ns + delay:
            self._set_state(entry, Nud.DELAY, None)
        else:
            self._set_state(entry, Nud.STALE, None)
        return now + delay

    def _leave_delay(self, entry: Neighbour, now: int) -> int:
        entry.updated_ns = now
        if now <= entry.confirmed_ns + self._delay_ns(entry):
            self._set_state(entry, Nud.REACHABLE, None)
            return entry.confirmed_ns + self.reachable_ns(entry.device)
        entry.probes = 0
        self._set_state(entry, Nud.PROBE, None)
        return now + self._retrans_ns(entry)

    def _invalidate(self, entry: Neighbour) -> None:
        """Give up on what waits (neigh_invalidate)."""
        entry.updated_ns = self._net.clock.now_ns
        # Telling the sender may need this very entry, which then is no longer FAILED.
        while entry.state == Nud.FAILED and entry.queue:
            skb = entry.queue.popleft()
            if self.link_failure is not None:
                self.link_failure(skb)
            name = format_address(entry.address)
            reason = f"nobody answers for {name}"
            kfree_skb_reason(self._net, _released(skb), "NEIGH_FAILED", reason)
        self._purge(entry)

    def _purge(self, entry: Neighbour) -> None:
        while entry.queue:
            kfree_skb_reason(self._net, _released(entry.queue.popleft()), "QUEUE_PURGE")
        entry.queue_octets = 0

    def _begin_resolution(self, entry: Neighbour, skb: Skb | None) -> None:
        clock = self._net.clock
        entry.probes = self._parameter(entry, "ucast_solicit")
        self._stop_timer(entry)
        entry.updated_ns = clock.now_ns
        self._set_state(entry, Nud.INCOMPLETE, skb)
        self._start_timer(entry, clock.now_ns + self._retrans_ns(entry))
        if self.assume_neighbours:
            clock.call_later(self.assume_delay_ns, lambda: self._assume(entry))

    def _assume(self, entry: Neighbour) -> None:
        """Make up the MAC of a neighbour that has not answered: 02:00 and its last four octets."""
        if entry.state == Nud.INCOMPLETE:
            entry.assumed = True
            entry.confirmed_ns = self._net.clock.now_ns
            mac = b"\x02\x00" + entry.address[-4:]
            waiting = entry.queue[-1] if entry.queue else None
            self._apply(entry, mac, Nud.REACHABLE, same_mac=False, skb=waiting)

    def _probe(self, entry: Neighbour) -> None:
        protocol = self.protocols.get(len(entry.address))
        if protocol is not None:
            protocol.solicit(entry, entry.queue[-1] if entry.queue else None)
        entry.probes += 1

    def _enqueue(self, entry: Neighbour, skb: Skb) -> None:
        limit = self._parameter(entry, "unres_qlen_bytes")
        size = skb_truesize(skb)
        while entry.queue and entry.queue_octets + size > limit:
            oldest = entry.queue.popleft()
            entry.queue_octets -= skb_truesize(oldest)
            kfree_skb_reason(self._net, _released(oldest), "NEIGH_QUEUEFULL")
        entry.queue.append(skb)
        if skb.nfct is not None:
            skb.nfct.holders += 1
        entry.queue_octets += size
        if self._net.sink is not None:
            name = format_address(entry.address)
            where = f"neighbour {name} on {entry.device.name}"
            self._net.tell(skb, PacketQueued(where=where))

    def _xmit(self, entry: Neighbour, skb: Skb) -> None:
        net = self._net
        device = entry.device
        skb.device = device
        skb.mac_header = ethernet_header(entry.mac, device.mac, skb.protocol)
        if net.sink is not None:
            event = NeighbourUsed(
                device=device.name,
                address=format_address(entry.address),
                state=entry.state.name or "",
                mac=format_mac(entry.mac),
            )
            net.tell(skb, event)
        dev_queue_xmit(net, skb)

    def _set_state(self, entry: Neighbour, new: Nud, skb: Skb | None) -> None:
        before, entry.state = entry.state, new
        if self._net.sink is not None:
            event = NeighbourStateChanged(
                device=entry.device.name,
                address=format_address(entry.address),
                before=before.name or "NONE",
                after=new.name or "NONE",
                mac=format_mac(entry.mac) if new & VALID else "",
                assumed=entry.assumed,
            )
            self._tell(event, skb)

    def _tell(self, event: Event, skb: Skb | None) -> None:
        net = self._net
        if skb is not None:
            net.tell(skb, event)
        elif net.sink is not None:
            # A timer's doing belongs to no packet.
            now = net.clock.now_ns
            net.sink(Stamp(time_ns=now, node=net.name, packet_id=0, parent_id=0), event)

    def _start_timer(self, entry: Neighbour, when_ns: int) -> None:
        self._stop_timer(entry)
        clock = self._net.clock
        entry.timer = clock.add_timer(when_ns - clock.now_ns, lambda: self._timer_handler(entry))

    def _stop_timer(self, entry: Neighbour) -> None:
        if entry.timer is not None:
            entry.timer.cancel()
            entry.timer = None

    # -------------------------------------------------------------- parameters

    def _parameter(self, entry: Neighbour, name: str) -> int:
        return self._net.sysctl.neigh(entry.device.name, name)

    def _may_probe(self, entry: Neighbour) -> bool:
        allowed = self._parameter(entry, "mcast_solicit") + self._parameter(entry, "app_solicit")
        return allowed > 0

    def _max_probes(self, entry: Neighbour) -> int:
        last = "mcast_resolicit" if entry.state == Nud.PROBE else "mcast_solicit"
        names = ("ucast_solicit", "app_solicit", last)
        return sum(self._parameter(entry, name) for name in names)

    def _retrans_ns(self, entry: Neighbour) -> int:
        return max(self._parameter(entry, "retrans_time_ms") * MSEC_NS, MIN_TIMER_NS)

    def _delay_ns(self, entry: Neighbour) -> int:
        return self._parameter(entry, "delay_first_probe_time") * NSEC_PER_SEC


def neigh_output(net: Net, skb: Skb, device: Device, next_hop: bytes) -> None:
    """Resolve `next_hop` on `device`, put the link header before the packet and send it."""
    net.generic(NeighbourTable).output(skb, device, next_hop)


def _key(address: bytes, device: Device) -> bytes:
    """All IPv4 next hops on lo share one entry (__ipv4_neigh_lookup_noref)."""
    return bytes(4) if device.loopback and len(address) == 4 else bytes(address)


def _released(skb: Skb) -> Skb:
    """Return a packet that waits no more, and thus holds its connection no more by waiting."""
    if skb.nfct is not None:
        skb.nfct.holders -= 1
    return skb
