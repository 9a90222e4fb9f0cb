"""What an administrator changes while a node runs: links, addresses, MACs, routes, rules.

Kernel: net/core/dev.c (__dev_notify_flags), net/ipv4/fib_frontend.c (fib_netdev_event,
fib_inetaddr_event), net/ipv4/arp.c (arp_netdev_event), net/ipv4/devinet.c (inetdev_event),
net/bridge/br.c (br_device_event), drivers/net/veth.c (veth_open, veth_close).

Differs from Linux: neighbours behind a lost carrier are forgotten at once, there up to a second
later (net/core/link_watch.c).
"""

from __future__ import annotations

from netemu.errors import UsageError
from netemu.ip.arp import arp_announce
from netemu.ip.devinet import Addresses
from netemu.ip.fib import Fib
from netemu.ip.neighbour import NeighbourTable
from netemu.link.bridge import Bridge
from netemu.link.bridge_port import br_port_get
from netemu.link.veth import Veth
from netemu.net import Net
from netemu.netfilter.nat.masquerade import masq_device_event, masq_inet_event
from netemu.sim.spec import AddressSpec, NeighbourSpec, RouteSpec
from netemu.skb import Device
from netemu.wire.address import format_address


def set_link(net: Net, device: Device, *, up: bool) -> None:
    """Bring a device up or down (`ip link set DEV up|down`)."""
    if device.up == up:
        return
    device.up = up
    if isinstance(device, Veth):
        _carry(device, on=up)
    else:
        device.carrier = up
    if up:
        net.generic(Fib).device_up(device)
        _notify(net, device)
    else:
        _leave_bridge_silent(device)
        net.generic(Fib).device_down(device)
        net.generic(NeighbourTable).flush(device, keep_permanent=False)
        masq_device_event(net, device)


def _carry(device: Veth, *, on: bool) -> None:
    """Give both ends of a pair a carrier, or take it (veth_open, veth_close)."""
    peer = device.peer
    device.carrier = on and peer is not None and peer.up
    if peer is None:
        return
    had = peer.carrier
    peer.carrier = device.carrier
    if had and not peer.carrier:
        _leave_bridge_silent(peer)
        if peer.net.sysctl.conf(peer.name, "arp_evict_nocarrier"):
            peer.net.generic(NeighbourTable).flush(peer, keep_permanent=True)


def _leave_bridge_silent(device: Device) -> None:
    """Forget what a bridge learnt behind a port without carrier (br_stp_disable_port)."""
    port, bridge = br_port_get(device), device.master
    if port is not None and isinstance(bridge, Bridge):
        bridge.fdb.flush(port)


def _notify(net: Net, device: Device) -> None:
    """Announce the addresses of a device, where arp_notify asks for it (inetdev_event)."""
    if device.noarp or not net.sysctl.conf_or(device.name, "arp_notify"):
        return
    for entry in net.generic(Addresses).of(device):
        arp_announce(net, device, entry.local)


def set_mac(net: Net, device: Device, mac: bytes) -> None:
    """Change the MAC of a device (`ip link set DEV address MAC`)."""
    before = device.mac
    if before == mac:
        return
    if isinstance(device, Bridge):
        device.set_mac(mac)
    else:
        device.mac = mac
    port, bridge = br_port_get(device), device.master
    if port is not None and isinstance(bridge, Bridge):
        bridge.port_mac_changed(port, before)
    net.generic(NeighbourTable).flush(device, keep_permanent=True)
    _notify(net, device)


def add_address(net: Net, spec: AddressSpec) -> None:
    """Give a device an address (`ip addr add`). Raises UsageError if it has it already."""
    if not net.generic(Fib).add_address(spec):
        message = f"{spec.device} has {format_address(spec.address)} already"
        raise UsageError(message)


def delete_address(net: Net, device: Device, address: bytes) -> None:
    """Take an address from a device (`ip addr del`). Raises UsageError if it has it not."""
    if not net.generic(Fib).delete_address(device, address):
        message = f"{device.name} has no address {format_address(address)}"
        raise UsageError(message)
    if not net.generic(Addresses).of(device):
        net.generic(Fib).device_down(device, force=True)
        net.generic(NeighbourTable).flush(device, keep_permanent=False)
    masq_inet_event(net, device, address)


def announce(net: Net, device: Device, address: bytes) -> None:
    """Send a gratuitous ARP, as whoever takes over an address does."""
    arp_announce(net, device, address)


def add_route(net: Net, spec: RouteSpec) -> None:
    """Add a route (`ip route append`)."""
    net.generic(Fib).add_route(spec)


def delete_route(net: Net, spec: RouteSpec) -> None:
    """Remove a route (`ip route del`). Raises UsageError if there is none."""
    if not net.generic(Fib).delete_route(spec):
        prefix = f"{format_address(spec.prefix)}/{spec.prefix_len}"
        message = f"there is no route to {prefix}"
        raise UsageError(message)


def add_neighbour(net: Net, spec: NeighbourSpec) -> None:
    """Set a neighbour by hand (`ip neigh replace`)."""
    net.generic(NeighbourTable).load([spec])


def delete_device(net: Net, device: Device) -> None:
    """Remove a device, and the other end of its pair (`ip link del`)."""
    peer = device.peer if isinstance(device, Veth) else None
    _unregister(net, device)
    if peer is not None:
        _unregister(peer.net, peer)


def _unregister(net: Net, device: Device) -> None:
    """Take a device out of its namespace (unregister_netdevice)."""
    set_link(net, device, up=False)
    bridge = device.master
    if isinstance(bridge, Bridge):
        bridge.delete_port(device)
    for entry in list(net.generic(Addresses).of(device)):
        net.generic(Fib).delete_address(device, entry.local)
    net.generic(Fib).device_down(device, force=True)
    net.devices.pop(device.name, None)


def cut_cable(device: Device, *, cut: bool) -> None:
    """Let frames vanish between a device and its peer, though both have a carrier.

    Raises UsageError for a device without a cable.
    """
    if not isinstance(device, Veth) or device.peer is None or device.wire is None:
        message = f"{device.name} has no cable"
        raise UsageError(message)
    device.wire.cut = cut
    if device.peer.wire is not None:
        device.peer.wire.cut = cut
