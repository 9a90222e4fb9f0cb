"""IPv4 addresses of the devices, and which of them speaks for a device.

Kernel: net/ipv4/devinet.c.

Each device has its list in the order that `ip addr` shows: primary addresses first, narrower scopes
before wider ones, each secondary behind. That order decides which source address is chosen.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.net import Net
from netemu.sim.spec import AddressSpec
from netemu.skb import Device
from netemu.wire.address import IPV4_ANY, in_prefix

RT_SCOPE_UNIVERSE = 0
RT_SCOPE_SITE = 200
RT_SCOPE_LINK = 253
RT_SCOPE_HOST = 254
RT_SCOPE_NOWHERE = 255
"""Distance of a destination (include/uapi/linux/rtnetlink.h)."""

SCOPE_NUMBERS = {
    "global": RT_SCOPE_UNIVERSE,
    "universe": RT_SCOPE_UNIVERSE,
    "site": RT_SCOPE_SITE,
    "link": RT_SCOPE_LINK,
    "host": RT_SCOPE_HOST,
    "nowhere": RT_SCOPE_NOWHERE,
}
"""Words that ip(8) prints for scopes."""


def scope_number(text: str) -> int:
    """Return the number of a scope as ip(8) prints it: a word or a number.

    >>> scope_number("link"), scope_number("10")
    (253, 10)
    """
    found = SCOPE_NUMBERS.get(text)
    return int(text) if found is None else found


class IfAddr(Struct, kw_only=True):
    """One address of a device (struct in_ifaddr)."""

    device: Device
    local: bytes
    """The address itself (ifa_local)."""
    address: bytes
    """The peer of a point-to-point address, else the address itself (ifa_address)."""
    prefix_len: int
    broadcast: bytes
    scope: int
    secondary: bool = False

    def matches(self, address: bytes) -> bool:
        """Return whether `address` lies in this address's subnet (inet_ifa_match)."""
        return in_prefix(address, self.address, self.prefix_len)


class Addresses:
    """The addresses of one namespace."""

    __slots__ = ("_by_device", "_net", "by_local")

    def __init__(self, net: Net) -> None:
        """Start without addresses."""
        self._net = net
        self._by_device: dict[Device, list[IfAddr]] = {}
        self.by_local: dict[bytes, IfAddr] = {}
        """First entry of each local address (inet_lookup_ifaddr_rcu)."""

    def of(self, device: Device) -> list[IfAddr]:
        """Return the addresses of `device` in order (in_dev->ifa_list)."""
        return self._by_device.get(device, _NONE)

    def append(self, entry: IfAddr) -> None:
        """Put an entry at the end of its device's list, as a listing gives it."""
        self._by_device.setdefault(entry.device, []).append(entry)
        self.by_local.setdefault(entry.local, entry)

    def insert(self, entry: IfAddr) -> bool:
        """Put an entry where `ip addr add` puts it; False if that is refused.

        A second address of the same subnet becomes secondary and goes to the end, but must have the
        same scope; a primary one goes behind the last primary whose scope is not wider
        (__inet_insert_ifa).
        """
        entries = self._by_device.setdefault(entry.device, [])
        entry.secondary = False
        position = 0
        for index, other in enumerate(entries):
            if not other.secondary and entry.scope <= other.scope:
                position = index + 1
            if other.prefix_len == entry.prefix_len and other.matches(entry.address):
                if other.local == entry.local or other.scope != entry.scope:
                    return False
                entry.secondary = True
        entries.insert(len(entries) if entry.secondary else position, entry)
        self.by_local.setdefault(entry.local, entry)
        return True

    def remove(self, device: Device, local: bytes) -> list[IfAddr]:
        """Take an address out; return it with the secondary ones that go with it.

        Those of its subnet stay where promote_secondaries is on: the first one becomes primary.
        """
        entries = self._by_device.get(device, [])
        found = next((entry for entry in entries if entry.local == local), None)
        if found is None:
            return []
        gone = [found]
        if not found.secondary:
            others = [
                entry
                for entry in entries
                if entry.secondary
                and entry.prefix_len == found.prefix_len
                and found.matches(entry.address)
            ]
            if others and self._net.sysctl.conf_or(device.name, "promote_secondaries"):
                others[0].secondary = False
            else:
                gone += others
        entries[:] = [entry for entry in entries if entry not in gone]
        self.by_local.clear()
        for kept in self._by_device.values():
            for entry in kept:
                self.by_local.setdefault(entry.local, entry)
        return gone

    def primary_of(self, entry: IfAddr) -> IfAddr | None:
        """Return the primary address of a secondary one's subnet (inet_ifa_byprefix)."""
        for other in self.of(entry.device):
            same_len = other.prefix_len == entry.prefix_len
            if same_len and not other.secondary and other.matches(entry.address):
                return other
        return None


_NONE: list[IfAddr] = []


def ifaddr_from_spec(spec: AddressSpec, device: Device) -> IfAddr:
    """Return the entry that a snapshot's address describes."""
    return IfAddr(
        device=device,
        local=spec.address,
        address=spec.peer or spec.address,
        prefix_len=spec.prefix_len,
        broadcast=spec.broadcast,
        scope=scope_number(spec.scope),
        secondary=spec.secondary,
    )


def inet_select_addr(net: Net, device: Device, dst: bytes, scope: int) -> bytes:
    """Return the address with which `device` speaks to `dst`; 0.0.0.0 when there is none.

    The first primary address whose subnet holds `dst` wins, else the first primary one; a device
    without a fitting address borrows the first one of any device, lo first.
    """
    addresses = net.generic(Addresses)
    localnet_scope = RT_SCOPE_HOST
    # Without CONFIG all: IN_DEV_ROUTE_LOCALNET is the OR of all and the device.
    if net.sysctl.conf_or(device.name, "route_localnet"):
        localnet_scope = RT_SCOPE_LINK
    found = b""
    for entry in addresses.of(device):
        if entry.secondary or min(entry.scope, localnet_scope) > scope:
            continue
        if dst == IPV4_ANY or entry.matches(dst):
            return entry.local
        found = found or entry.local
    return found or _any_address(net, addresses, scope)


def _any_address(net: Net, addresses: Addresses, scope: int) -> bytes:
    for device in net.devices.values():
        for entry in addresses.of(device):
            if entry.secondary:
                continue
            if entry.scope != RT_SCOPE_LINK and entry.scope <= scope:
                return entry.local
    return IPV4_ANY


def inet_addr_onlink(net: Net, device: Device, first: bytes, second: bytes) -> bool:
    """Return whether one subnet of `device` holds both addresses; 0.0.0.0 as second is any."""
    return any(
        entry.matches(first) and (second == IPV4_ANY or entry.matches(second))
        for entry in net.generic(Addresses).of(device)
    )
