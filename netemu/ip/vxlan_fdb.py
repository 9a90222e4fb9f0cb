"""The table of a VXLAN device: behind which host a MAC is.

Kernel: drivers/net/vxlan/vxlan_core.c (struct vxlan_fdb, vxlan_snoop, vxlan_cleanup).

A MAC may have several remote hosts; the entry of MAC zero says where frames to unknown MACs and to
groups go, a copy to each.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct, field

from netemu.clock import NSEC_PER_SEC, Clock, Timer
from netemu.sim.spec import VxlanFdbSpec
from netemu.skb import ZERO_MAC
from netemu.wire.address import format_address, format_mac

AGE_INTERVAL_NS = 10 * NSEC_PER_SEC
"""Passes of the collector are at most 10 s apart (FDB_AGE_INTERVAL)."""


class Remote(Struct, frozen=True, kw_only=True):
    """One host behind which a MAC is (struct vxlan_rdst)."""

    address: bytes
    port: int = 0
    """0: the device's own."""
    vni: int = 0
    via: str = ""
    """Device that the outer packet leaves by; empty: as the route says."""


class VxlanFdbEntry(Struct, kw_only=True, eq=False):
    """One MAC (struct vxlan_fdb)."""

    mac: bytes
    state: str
    """permanent, static, or empty for a learnt one."""
    updated_ns: int
    remotes: list[Remote] = field(default_factory=list)


class VxlanFdb:
    """The entries of one VXLAN device."""

    __slots__ = ("_clock", "_entries", "_timer", "ageing_ns", "sending_refreshes")

    def __init__(self, clock: Clock, ageing_ns: int, *, sending_refreshes: bool = False) -> None:
        """Start empty; learnt entries age after `ageing_ns`, 0: never.

        Up to Linux 6.13 `sending_refreshes` an entry as hearing from the MAC does.
        """
        self.sending_refreshes = sending_refreshes
        self._clock = clock
        self._entries: dict[bytes, VxlanFdbEntry] = {}
        self._timer: Timer | None = None
        self.ageing_ns = ageing_ns

    def find(self, mac: bytes) -> VxlanFdbEntry | None:
        """Return the entry of a MAC."""
        return self._entries.get(mac)

    def find_for_sending(self, mac: bytes) -> VxlanFdbEntry | None:
        """Return where a frame goes: the entry of its MAC, else that of MAC zero."""
        entry = self._entries.get(mac) or self._entries.get(ZERO_MAC)
        if entry is not None and self.sending_refreshes:
            entry.updated_ns = self._clock.now_ns
        return entry

    def append(self, mac: bytes, remote: Remote, state: str) -> None:
        """Add a host behind which a MAC is (`bridge fdb append`); a known one changes nothing."""
        entry = self._entries.get(mac)
        if entry is None:
            entry = self._entries[mac] = VxlanFdbEntry(
                mac=mac, state=state, updated_ns=self._clock.now_ns
            )
        if remote not in entry.remotes:
            entry.remotes.append(remote)
        if not entry.state:
            self._arm(AGE_INTERVAL_NS)

    def load(self, specs: Iterable[VxlanFdbSpec]) -> None:
        """Add the entries of a listing; learnt ones count as refreshed just now."""
        for spec in specs:
            remote = Remote(address=spec.dst, port=spec.port, vni=spec.vni, via=spec.via)
            self.append(spec.mac, remote, spec.state)

    def learn(self, mac: bytes, address: bytes) -> tuple[bool, bytes]:
        """Note that `mac` sent from the host `address` (vxlan_snoop).

        Return whether the frame may go on, and the host that the MAC moved from, if it did.
        """
        entry = self._entries.get(mac)
        if entry is None:
            self.append(mac, Remote(address=address), "")
            return True, b""
        entry.updated_ns = self._clock.now_ns
        before = entry.remotes[0]
        if before.address == address and not before.via:
            return True, b""
        if entry.state:
            return False, b""
        entry.remotes[0] = Remote(address=address, port=before.port, vni=before.vni, via=before.via)
        return True, before.address

    def text(self, device: str) -> str:
        """Return the lines of `bridge fdb show dev DEVICE` about remote hosts."""
        lines = []
        for entry in self._entries.values():
            for remote in entry.remotes:
                host = format_address(remote.address)
                words = [format_mac(entry.mac), "dev", device, "dst", host]
                words += ["port", str(remote.port)] if remote.port else []
                words += ["vni", str(remote.vni)] if remote.vni else []
                words += ["via", remote.via] if remote.via else []
                lines.append(f"{' '.join(words)} self {entry.state}\n")
        return "".join(lines)

    def _arm(self, delay_ns: int) -> None:
        if self._timer is None and self.ageing_ns:
            self._timer = self._clock.call_later(delay_ns, self._cleanup)

    def _cleanup(self) -> None:
        """Remove what is not refreshed any more (vxlan_cleanup)."""
        self._timer = None
        now = self._clock.now_ns
        next_ns = AGE_INTERVAL_NS
        learnt = [entry for entry in self._entries.values() if not entry.state]
        for entry in learnt:
            left_ns = entry.updated_ns + self.ageing_ns - now
            if left_ns <= 0:
                del self._entries[entry.mac]
            else:
                next_ns = min(next_ns, left_ns)
        if any(entry.mac in self._entries for entry in learnt):
            self._arm(next_ns)
