"""The forwarding database of a bridge: which MAC lies behind which port.

Kernel: net/bridge/br_fdb.c.

Theory of operation: a lookup uses what is there, expired or not; only the collector removes an
entry, as soon as it has not been refreshed for the ageing time. The collector sleeps until the
earliest possible expiry. Entries are kept in order of creation and listed newest first, as the
kernel's list has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from netemu.clock import Clock, Timer
from netemu.link.bridge_port import BridgePort
from netemu.sim.spec import FdbSpec
from netemu.skb import Device
from netemu.wire.address import format_mac

MIN_GC_NS = 10_000_000
"""Passes of the collector are at least 10 ms apart (br_fdb_cleanup)."""


class FdbEntry(Struct, kw_only=True, eq=False):
    """One entry (struct net_bridge_fdb_entry)."""

    mac: bytes
    vlan: int
    port: BridgePort | None
    """None for an address of the bridge device itself."""
    updated_ns: int
    local: bool = False
    """An address of our own: frames to it go up the stack (BR_FDB_LOCAL)."""
    static: bool = False
    """Never ages (BR_FDB_STATIC)."""


class Fdb:
    """The entries of one bridge."""

    __slots__ = ("_clock", "_entries", "_gc_timer", "ageing_ns")

    def __init__(self, clock: Clock, ageing_ns: int) -> None:
        """Start empty; entries age after `ageing_ns`, 0 stands for no learning at all."""
        self._clock = clock
        self._entries: dict[tuple[bytes, int], FdbEntry] = {}
        self._gc_timer: Timer | None = None
        self.ageing_ns = ageing_ns

    def find(self, mac: bytes, vlan: int) -> FdbEntry | None:
        """Return the entry of an address (br_fdb_find_rcu)."""
        return self._entries.get((mac, vlan))

    def has_expired(self, entry: FdbEntry) -> bool:
        """Return whether an entry only waits for the collector."""
        return not entry.static and entry.updated_ns + self.ageing_ns <= self._clock.now_ns

    def entries(self) -> list[FdbEntry]:
        """Return all entries, newest first."""
        return list(reversed(self._entries.values()))

    def learn(self, mac: bytes, vlan: int, port: BridgePort) -> tuple[FdbEntry, Device | None]:
        """Note that `mac` sent by `port`; return the entry and the device that it moved from.

        For a new entry and for one that stayed the device is None; a local entry stays as it is.
        """
        entry = self.find(mac, vlan)
        if entry is None:
            return self.add(mac, vlan, port), None
        if entry.local:
            return entry, None
        entry.updated_ns = self._clock.now_ns
        before = entry.port
        entry.port = port
        moved = before is not None and before is not port
        return entry, before.device if before is not None and moved else None

    def add(
        self,
        mac: bytes,
        vlan: int,
        port: BridgePort | None,
        *,
        local: bool = False,
        static: bool = False,
    ) -> FdbEntry:
        """Make an entry; one of the same address is replaced."""
        self._entries.pop((mac, vlan), None)
        entry = self._entries[mac, vlan] = FdbEntry(
            mac=mac,
            vlan=vlan,
            port=port,
            updated_ns=self._clock.now_ns,
            local=local,
            static=static or local,
        )
        if not entry.static:
            self._arm(self.ageing_ns)
        return entry

    def add_local(self, mac: bytes, port: BridgePort | None, vlan: int = 0) -> None:
        """Make an address our own; the first port with it keeps it (fdb_add_local)."""
        found = self.find(mac, vlan)
        if found is None or not found.local:
            self.add(mac, vlan, port, local=True)

    def delete_local(self, mac: bytes, port: BridgePort | None, vlan: int = 0) -> None:
        """Forget an address of our own."""
        found = self.find(mac, vlan)
        if found is not None and found.local and found.port is port:
            del self._entries[mac, vlan]

    def flush(self, port: BridgePort) -> None:
        """Forget what was learnt behind a port that went down (br_fdb_delete_by_port)."""
        for key, entry in list(self._entries.items()):
            if entry.port is port and not entry.static:
                del self._entries[key]

    def forget(self, port: BridgePort) -> None:
        """Remove all entries of a port that is a port no more."""
        for key, entry in list(self._entries.items()):
            if entry.port is port:
                del self._entries[key]

    def load(self, specs: Iterable[FdbSpec], ports: Mapping[str, BridgePort]) -> None:
        """Add a listing, which has the newest entry first; all count as refreshed just now.

        An entry of a device that is no port is the bridge's own.
        """
        for spec in reversed(list(specs)):
            self.add(
                spec.mac,
                spec.vlan,
                ports.get(spec.device),
                local=spec.state == "permanent",
                static=spec.state == "static",
            )

    def _arm(self, delay_ns: int) -> None:
        if self._gc_timer is None:
            self._gc_timer = self._clock.call_later(max(delay_ns, MIN_GC_NS), self._cleanup)

    def _cleanup(self) -> None:
        """Remove what is not refreshed any more (br_fdb_cleanup)."""
        self._gc_timer = None
        now = self._clock.now_ns
        ageing = [entry for entry in self._entries.values() if not entry.static]
        for entry in ageing:
            if self.has_expired(entry):
                del self._entries[entry.mac, entry.vlan]
        left = [entry.updated_ns for entry in ageing if entry.updated_ns + self.ageing_ns > now]
        if left:
            self._arm(min(left) + self.ageing_ns - now)


def entry_text(entry: FdbEntry, bridge: str, *, expired: bool = False) -> str:
    """Return the line of `bridge fdb show`; a learnt entry ends with a blank, as the tool's does.

    Asked of iproute2 6.1 on Linux 6.18.
    """
    device = bridge if entry.port is None else entry.port.device.name
    vlan = f" vlan {entry.vlan}" if entry.vlan else ""
    state = "permanent" if entry.local else "static" if entry.static else "stale" if expired else ""
    return f"{format_mac(entry.mac)} dev {device}{vlan} master {bridge} {state}"
