"""Who of a bridge's ports wants which group: memberships, routers, and whether anybody asks.

Kernel: net/bridge/br_multicast.c, br_mdb.c.

Theory of operation: memberships count only while a querier is known, since without one they would
age though hosts still listen. A group's members get its frames, and so do ports behind which a
router is, which are those that queries come from. Timers are compared with the clock when they are
asked for; a group without members is gone.

Differs from Linux: members get a frame in the order in which they joined, where the kernel goes by
the addresses of its records; no queries are sent by a bridge of mcast_querier; sources of IGMP
version 3 are not looked at, a report of theirs counts as one for the whole group; MLD is not
emulated, so IPv6 multicast is flooded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from netemu.clock import Clock
from netemu.link.bridge_port import BridgePort
from netemu.sim.spec import MdbSpec
from netemu.wire.address import format_address

CENTISECOND_NS = 10_000_000
"""Unit of a bridge's multicast intervals (USER_HZ)."""

ROUTER_DISABLED, ROUTER_LEARNT, ROUTER_ALWAYS = 0, 1, 2
"""Never, while queries come from there, always (MDB_RTR_TYPE_* of linux/if_bridge.h)."""

Group = tuple[int, bytes]
"""VLAN and address."""


class Member(Struct, kw_only=True):
    """One membership (struct net_bridge_port_group)."""

    port: BridgePort | None
    """None for the bridge itself: the node's own stack listens."""
    until_ns: int | None
    """None: permanent."""


class Mdb:
    """The multicast database of one bridge (struct net_bridge_mcast)."""

    __slots__ = (
        "_clock",
        "_delay_until_ns",
        "_groups",
        "_last_member_count",
        "_last_member_ns",
        "_membership_ns",
        "_other_query_until_ns",
        "_own_querier",
        "_querier",
        "_querier_ns",
        "_router",
        "_router_until_ns",
        "_routers",
    )

    def __init__(self, clock: Clock, options: Mapping[str, int]) -> None:
        """Start without members, with the intervals of `info_data`."""
        self._clock = clock
        self._membership_ns = options.get("mcast_membership_intvl", 26000) * CENTISECOND_NS
        self._querier_ns = options.get("mcast_querier_intvl", 25500) * CENTISECOND_NS
        self._last_member_count = options.get("mcast_last_member_cnt", 2)
        self._last_member_ns = (
            options.get("mcast_last_member_intvl", 100) * self._last_member_count * CENTISECOND_NS
        )
        self._own_querier = bool(options.get("mcast_querier", 0))
        self._router = options.get("mcast_router", ROUTER_LEARNT)
        self._groups: dict[Group, list[Member]] = {}
        self._routers: dict[BridgePort, int] = {}
        """Ports behind which queries were heard, and until when that counts."""
        self._router_until_ns = clock.now_ns
        self._other_query_until_ns = clock.now_ns
        self._delay_until_ns = clock.now_ns - 1
        self._querier = b""

    def load(self, specs: Iterable[MdbSpec], ports: Mapping[str, BridgePort]) -> None:
        """Take a listing; its temporary entries count as reported just now."""
        for spec in specs:
            port = ports.get(spec.device)
            until_ns = None if spec.permanent else self._clock.now_ns + self._membership_ns
            if not spec.group:
                # A router port that is not one for ever was heard asking.
                if port is not None:
                    self.hear_query(port, b"", 0)
                continue
            member = Member(port=port, until_ns=until_ns)
            self._groups.setdefault((spec.vlan, spec.group), []).append(member)

    # ------------------------------------------------------------------ what is heard

    def join(self, group: bytes, vlan: int, port: BridgePort | None) -> None:
        """Note a report (br_multicast_add_group)."""
        until_ns = self._clock.now_ns + self._membership_ns
        members = self._alive((vlan, group))
        for member in members:
            if member.port is port:
                if member.until_ns is not None:
                    member.until_ns = until_ns
                return
        members.append(Member(port=port, until_ns=until_ns))
        self._groups[vlan, group] = members

    def leave(self, group: bytes, vlan: int, port: BridgePort | None) -> None:
        """Note that a host left, maybe the last one (br_multicast_leave_group)."""
        members = self._alive((vlan, group))
        if port is not None and port.fast_leave:
            members[:] = [each for each in members if each.port is not port or not each.until_ns]
            return
        if self._is_pending(self._other_query_until_ns):
            return  # the querier will ask, and see who is left
        self._shorten(members, self._last_member_ns, port)

    def hear_query(self, port: BridgePort, source: bytes, max_delay_ns: int) -> None:
        """Note a general query (br_multicast_query_received)."""
        now = self._clock.now_ns
        asked = self._is_pending(self._other_query_until_ns)
        if asked and self._querier.strip(b"\0") and source > self._querier:
            return  # the one with the lowest address is listened to
        self._querier = source
        if not asked:
            self._delay_until_ns = now + max_delay_ns
        self._other_query_until_ns = now + self._querier_ns
        if port.multicast_router in {ROUTER_DISABLED, ROUTER_ALWAYS}:
            return
        self._routers[port] = now + self._querier_ns

    def hear_group_query(self, group: bytes, vlan: int, max_delay_ns: int) -> None:
        """Note a query for one group: who does not answer it is a member no more."""
        within_ns = max_delay_ns * self._last_member_count
        self._shorten(self._alive((vlan, group)), within_ns, None, every=True)

    def _shorten(
        self, members: list[Member], within_ns: int, port: BridgePort | None, *, every: bool = False
    ) -> None:
        until_ns = self._clock.now_ns + within_ns
        for member in members:
            if member.until_ns is not None and (every or member.port is port):
                member.until_ns = min(member.until_ns, until_ns)

    # ------------------------------------------------------------------ what is asked

    def members(self, group: bytes, vlan: int) -> list[Member]:
        """Return who listens (br_mdb_entry_skb_get)."""
        return self._alive((vlan, group))

    def querier_exists(self) -> bool:
        """Return whether memberships count (br_multicast_querier_exists)."""
        if self._clock.now_ns <= self._delay_until_ns:
            return False
        return self._own_querier or self._is_pending(self._other_query_until_ns)

    def is_router(self) -> bool:
        """Return whether the node itself wants all groups (br_multicast_is_router)."""
        return self._router == ROUTER_ALWAYS

    def router_ports(self, ports: Iterable[BridgePort]) -> list[BridgePort]:
        """Return the ports behind which routers are."""
        return [
            port
            for port in ports
            if port.multicast_router == ROUTER_ALWAYS
            or (port in self._routers and self._is_pending(self._routers[port]))
        ]

    def text(self, bridge: str) -> str:
        """Return the lines of `bridge mdb show`, in no order that counts."""
        lines = []
        for vlan, group in list(self._groups):
            for member in self._alive((vlan, group)):
                name = bridge if member.port is None else member.port.device.name
                state = "permanent" if member.until_ns is None else "temp"
                line = f"dev {bridge} port {name} grp {format_address(group)} {state}"
                lines.append(line + (f" vid {vlan}" if vlan else "") + "\n")
        return "".join(lines)

    def _alive(self, key: Group) -> list[Member]:
        members = self._groups.get(key)
        if members is None:
            return []
        members[:] = [
            each for each in members if each.until_ns is None or self._is_pending(each.until_ns)
        ]
        if not members:
            del self._groups[key]
        return members

    def _is_pending(self, until_ns: int) -> bool:
        return self._clock.now_ns < until_ns
