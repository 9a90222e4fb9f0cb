"""The bridge device: takes frames from its ports, learns, sends them on or up.

Kernel: net/bridge/br_input.c, br_device.c, br_if.c.

    port --> br_handle_frame --> hook PREROUTING --> br_handle_frame_finish
                 |                                      |  learn, look up
                 | 01:80:c2:00:00:0x                    +--> br_pass_frame_up --> hook INPUT --> IP
                 +--> port's own stack                  +--> br_forward, br_flood --> other ports
    IP --> br_dev_xmit --> br_forward, br_flood --> hook OUTPUT --> POSTROUTING --> port

Differs from Linux: no spanning tree runs, so ports stay in the state that they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from netemu.events import BridgeForwarded, FdbLearned
from netemu.link.bridge_forward import FrameKind, br_flood, br_forward, br_multicast_flood
from netemu.link.bridge_mdb import Mdb
from netemu.link.bridge_port import BridgePort, PortState, br_port_get, port_from_options
from netemu.link.bridge_vlan import (
    DEFAULT_PVID,
    VlanGroup,
    allowed_egress,
    allowed_ingress,
    handle_vlan,
)
from netemu.link.device import VLAN_VID_MASK, netif_receive_skb
from netemu.link.fdb import Fdb, entry_text
from netemu.link.multicast import br_multicast_rcv, multicast_is_malformed
from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net, kfree_skb_reason, nf_hook
from netemu.netfilter.hook import Family, Hook
from netemu.sim.spec import BridgeVlanSpec, FdbSpec, MdbSpec
from netemu.skb import BROADCAST_MAC, ETH_P_8021Q, ZERO_MAC, Device, PacketType, Skb
from netemu.wire.address import format_mac, is_multicast_mac

DEFAULT_AGEING = 30000
"""Ageing time in 1/100 s: 300 s (br_dev_setup)."""

_LINK_LOCAL = bytes.fromhex("0180c20000")
"""First octets of IEEE 802.1D's reserved group addresses."""

BRIDGE_GROUP, PAUSE = 0x00, 0x01
"""Last octets of reserved addresses: spanning tree, IEEE 802.3 flow control."""


class BridgeNetfilterOps:
    """Where br_netfilter hangs itself into the bridge's output (struct nf_br_ops)."""

    __slots__ = ("dev_xmit_hook",)

    def __init__(self, _net: Net) -> None:
        """Start without br_netfilter."""
        self.dev_xmit_hook: Callable[[Skb], bool] | None = None


class Listeners(NamedTuple):
    """Who gets a multicast frame while a querier is known."""

    ports: list[BridgePort]
    here: bool
    """The node's own stack, too."""


class Bridge(Device):
    """A bridge and its ports, newest port first."""

    __slots__ = (
        "_mac_is_set",
        "call_arptables",
        "call_ip6tables",
        "call_iptables",
        "fake_rtable",
        "fdb",
        "group_fwd_mask",
        "learns_link_local",
        "mdb",
        "net",
        "ports",
        "promisc",
        "snooping",
        "stp",
        "vlan_default_pvid",
        "vlan_filtering",
        "vlan_protocol",
        "vlans",
    )

    def __init__(  # noqa: PLR0913 - the properties of a device
        self,
        net: Net,
        *,
        name: str,
        ifindex: int,
        mac: bytes = ZERO_MAC,
        mtu: int = 1500,
        up: bool = True,
        options: Mapping[str, int] | None = None,
    ) -> None:
        """Make a bridge with the options of `info_data` and register it in `net`.

        Without a MAC of its own it takes the lowest one of its ports.
        """
        super().__init__(name=name, ifindex=ifindex, mac=mac, mtu=mtu, up=up, kind="bridge")
        options = options or {}
        self.net = net
        self.ports: list[BridgePort] = []
        self.fdb = Fdb(net.clock, options.get("ageing_time", DEFAULT_AGEING) * 10_000_000)
        self.stp = bool(options.get("stp_state", 0))
        self.group_fwd_mask = options.get("group_fwd_mask", 0)
        self.learns_link_local = not options.get("no_linklocal_learn", 0)
        self.snooping = bool(options.get("mcast_snooping", 1))
        self.mdb = Mdb(net.clock, options)
        self.promisc = bool(options.get("promisc", 0))
        self.call_iptables = bool(options.get("nf_call_iptables", 0))
        self.call_ip6tables = bool(options.get("nf_call_ip6tables", 0))
        self.call_arptables = bool(options.get("nf_call_arptables", 0))
        self.vlan_filtering = bool(options.get("vlan_filtering", 0))
        self.vlan_protocol = options.get("vlan_protocol", ETH_P_8021Q)
        self.vlan_default_pvid = options.get("vlan_default_pvid", DEFAULT_PVID)
        self.vlans = VlanGroup()
        """Memberships of the bridge device itself."""
        self.fake_rtable: object | None = None
        """Stands in for a route while IPv4 hooks see a bridged packet (br_netfilter)."""
        self._mac_is_set = mac != ZERO_MAC
        if self._mac_is_set:
            self.fdb.add_local(mac, None)
        net.devices[name] = self

    def add_port(self, device: Device, options: Mapping[str, int] | None = None) -> BridgePort:
        """Make `device` a port with the options of `info_slave_data` (br_add_if)."""
        port = port_from_options(device, options or {})
        self.ports.insert(0, port)
        device.master = self
        device.bridge_port = port
        device.rx_handler = self._rx_handler
        self.fdb.add_local(device.mac, port)
        if not self._mac_is_set:
            self._take_lowest_mac()
        return port

    def delete_port(self, device: Device) -> None:
        """Let a device be a port no more (br_del_if)."""
        port = br_port_get(device)
        if port is None or port not in self.ports:
            return
        self.ports.remove(port)
        device.master = device.bridge_port = device.rx_handler = None
        self.fdb.forget(port)
        if not self._mac_is_set and self.ports:
            self._take_lowest_mac()

    def load_vlans(self, specs: Iterable[BridgeVlanSpec] | None) -> None:
        """Make ports and bridge members of VLANs: of those listed, or of the default one.

        Without a listing, a bridge that does not filter has no VLANs, as in a kernel that was
        built without them.
        """
        members: list[tuple[Device, VlanGroup, BridgePort | None]] = [
            *((port.device, port.vlans, port) for port in self.ports),
            (self, self.vlans, None),
        ]
        specs = None if specs is None else list(specs)
        for device, group, port in members:
            if specs is not None:
                group.load(spec for spec in specs if spec.device == device.name)
            elif self.vlan_filtering and self.vlan_default_pvid:
                group.add(self.vlan_default_pvid, pvid=True, untagged=True)
            for vid in group.vids:
                self.fdb.add_local(device.mac, port, vid)

    def set_mac(self, mac: bytes) -> None:
        """Give the bridge a MAC of its own (br_set_mac_address)."""
        self._mac_is_set = True
        self._be_named(mac)

    def port_mac_changed(self, port: BridgePort, before: bytes) -> None:
        """Follow the MAC of a port (br_fdb_changeaddr)."""
        for vid in (0, *port.vlans.vids):
            self.fdb.delete_local(before, port, vid)
            self.fdb.add_local(port.device.mac, port, vid)
        if not self._mac_is_set:
            self._take_lowest_mac()

    def load_fdb(self, specs: Iterable[FdbSpec]) -> None:
        """Add the entries of a `bridge fdb show` listing that belong to this bridge."""
        ports = {port.device.name: port for port in self.ports}
        self.fdb.load((spec for spec in specs if spec.bridge == self.name), ports)

    def load_mdb(self, specs: Iterable[MdbSpec]) -> None:
        """Add the entries of a `bridge mdb show` listing that belong to this bridge."""
        ports = {port.device.name: port for port in self.ports}
        self.mdb.load((spec for spec in specs if spec.bridge == self.name), ports)

    def fdb_text(self) -> str:
        """Return what `bridge fdb show br NAME` prints of the forwarding database.

        The lines marked `self`, which list the multicast filters of each device, are left out.
        """
        entries = self.fdb.entries()
        owners: list[BridgePort | None] = [None, *self.ports]
        owners.sort(key=lambda port: (self if port is None else port.device).ifindex)
        lines = [
            entry_text(entry, self.name, expired=self.fdb.has_expired(entry)) + "\n"
            for owner in owners
            for entry in entries
            if entry.port is owner
        ]
        return "".join(lines)

    def xmit(self, skb: Skb) -> None:
        """Send a frame of the node itself (br_dev_xmit)."""
        net = self.net
        _clear_control_block(skb)
        hook = net.generic(BridgeNetfilterOps).dev_xmit_hook
        if hook is not None and hook(skb):
            return
        vid = self.classify(skb, self.vlans)
        if vid is None:
            return
        destination = skb.mac_header[:6]
        if is_multicast_mac(destination):
            kind = _group_kind(destination)
            if kind is FrameKind.MULTICAST:
                if self.drops_multicast(skb):
                    return
                if (listeners := self.listeners(skb, None, vid)) is not None:
                    br_multicast_flood(
                        net, self, listeners.ports, skb, local_rcv=False, local_orig=True
                    )
                    return
        else:
            kind = FrameKind.UNICAST
            entry = self.fdb.find(destination, vid)
            if entry is not None:
                br_forward(net, self, entry.port, skb, local_rcv=False, local_orig=True)
                return
        br_flood(net, self, self.ports, skb, kind, local_rcv=False, local_orig=True)

    def classify(self, skb: Skb, group: VlanGroup) -> int | None:
        """Return the VLAN of a frame that came in by a member: 0 without filtering, None: drop."""
        skb.vlan_filtered = False
        if not self.vlan_filtering:
            return 0
        vid = allowed_ingress(group, self.vlan_protocol, skb)
        if vid is None:
            name = skb.device.name if skb.device is not None else self.name
            kfree_skb_reason(self.net, skb, "NOT_SPECIFIED", f"its VLAN is not let in by {name}")
        return vid

    def learn(self, port: BridgePort, skb: Skb, vid: int) -> None:
        """Note behind which port the sender is (br_fdb_update)."""
        net = self.net
        fdb = self.fdb
        if not fdb.ageing_ns:
            return
        mac = skb.mac_header[6:12]
        known = fdb.find(mac, vid) is not None
        entry, moved_from = fdb.learn(mac, vid, port)
        if entry.local:
            if net_ratelimit(net, skb):
                net.printk(
                    skb,
                    f"{self.name}: received packet on {port.device.name} with own address as "
                    f"source address (addr:{format_mac(mac)}, vlan:{vid})",
                )
        elif net.sink is not None and (moved_from is not None or not known):
            net.tell(
                skb,
                FdbLearned(
                    bridge=self.name,
                    mac=format_mac(mac),
                    device=port.device.name,
                    moved_from=moved_from.name if moved_from is not None else "",
                ),
            )

    def drops_multicast(self, skb: Skb) -> bool:
        """Drop a multicast packet that snooping finds malformed."""
        if self.snooping and multicast_is_malformed(skb):
            kfree_skb_reason(self.net, skb, "NOT_SPECIFIED", "snooping: malformed multicast")
            return True
        return False

    def listeners(self, skb: Skb, port: BridgePort | None, vid: int) -> Listeners | None:
        """Return who gets a multicast frame, having noted what it says; None: everybody."""
        if not self.snooping:
            return None
        group = br_multicast_rcv(self.mdb, port, skb, vid)
        if group is None or not self.mdb.querier_exists():
            return None
        members = self.mdb.members(group, vid) if group else []
        ports = [member.port for member in members if member.port is not None]
        ports += [each for each in self.mdb.router_ports(self.ports) if each not in ports]
        here = any(member.port is None for member in members) or self.mdb.is_router()
        return Listeners(ports, here)

    def _rx_handler(self, skb: Skb) -> bool:
        return br_handle_frame(self, skb)

    def _take_lowest_mac(self) -> None:
        """Name the bridge after its lowest port (br_stp_recalculate_bridge_id)."""
        lowest = min(port.device.mac for port in self.ports)
        if lowest != self.mac:
            self._be_named(lowest)

    def _be_named(self, mac: bytes) -> None:
        for vid in (0, *self.vlans.vids):
            self.fdb.delete_local(self.mac, None, vid)
        self.mac = mac
        for vid in (0, *self.vlans.vids):
            self.fdb.add_local(mac, None, vid)


def br_handle_frame(bridge: Bridge, skb: Skb) -> bool:
    """Take a frame from a port; False leaves it to the port's own stack."""
    net = bridge.net
    if skb.pkt_type == PacketType.LOOPBACK:
        return False
    destination = skb.mac_header[:6]
    source = skb.mac_header[6:12]
    if is_multicast_mac(source) or source == ZERO_MAC:
        kfree_skb_reason(net, skb, "MAC_INVALID_SOURCE")
        return True
    _clear_control_block(skb)
    port = br_port_get(skb.device)
    assert port is not None
    if destination[:5] == _LINK_LOCAL and destination[5] < 0x10:
        passed = _handle_link_local(bridge, port, skb, destination[5])
        if passed is not None:
            return passed
    if port.state not in {PortState.FORWARDING, PortState.LEARNING}:
        detail = f"port {port.device.name} is {port.state.name.lower()}"
        kfree_skb_reason(net, skb, "BRIDGE_INGRESS_STP_STATE", detail)
        return True
    if destination == bridge.mac:
        skb.pkt_type = PacketType.HOST

    def finish(skb: Skb) -> None:
        br_handle_frame_finish(net, skb)

    nf_hook(net, Family.BRIDGE, Hook.PREROUTING, skb, skb.device, None, finish)
    return True


def _handle_link_local(bridge: Bridge, port: BridgePort, skb: Skb, octet: int) -> bool | None:
    """Treat a reserved group address: None forwards it like any other frame.

    True says that the frame is gone, False that the port's own stack takes it.
    """
    net = bridge.net
    mask = port.group_fwd_mask
    if octet == PAUSE:
        kfree_skb_reason(net, skb, "MAC_IEEE_MAC_CONTROL")
        return True
    if octet == BRIDGE_GROUP:
        if not bridge.stp or mask & 1:
            return None
        _local_finish(bridge, port, skb)
        return False
    if (mask | bridge.group_fwd_mask) & (1 << octet):
        return None
    if octet == 0x0E:
        # LLDP skips the hook.
        _local_finish(bridge, port, skb)
        return False
    passed: list[Skb] = []
    nf_hook(net, Family.BRIDGE, Hook.INPUT, skb, skb.device, None, passed.append)
    if not passed:
        return True
    _local_finish(bridge, port, skb)
    return False


def _local_finish(bridge: Bridge, port: BridgePort, skb: Skb) -> None:
    """Learn from a frame that is not forwarded (__br_handle_local_finish)."""
    learns = port.state in {PortState.LEARNING, PortState.FORWARDING}
    vid = _vlan_to_learn(bridge, port, skb)
    if vid is not None and port.learning and learns and bridge.learns_link_local:
        bridge.learn(port, skb, vid)


def _vlan_to_learn(bridge: Bridge, port: BridgePort, skb: Skb) -> int | None:
    """Return the VLAN of a frame that is not forwarded; None when not the port's (br_should_learn).

    The frame stays as it is, as the port's own stack takes it.
    """
    if not bridge.vlan_filtering:
        return 0
    ours = skb.vlan_tci is not None and skb.vlan_proto == bridge.vlan_protocol
    vid = skb.vlan_tci & VLAN_VID_MASK if skb.vlan_tci is not None and ours else 0
    if not vid:
        return port.vlans.pvid or None
    return vid if vid in port.vlans.vids else None


def br_handle_frame_finish(net: Net, skb: Skb) -> None:
    """Learn the sender, then send the frame up, on, or everywhere."""
    port = br_port_get(skb.device)
    if port is None or port.state == PortState.DISABLED:
        kfree_skb_reason(net, skb, "BRIDGE_INGRESS_STP_STATE", "the port is disabled")
        return
    bridge = port.device.master
    assert isinstance(bridge, Bridge)
    vid = bridge.classify(skb, port.vlans)
    if vid is None:
        return
    if port.locked and not _is_unlocked(bridge, port, skb, vid):
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", f"port {port.device.name} is locked")
        return
    if port.learning:
        bridge.learn(port, skb, vid)
    if port.state == PortState.LEARNING:
        kfree_skb_reason(net, skb, "BRIDGE_INGRESS_STP_STATE", "the port only learns")
        return
    destination = skb.mac_header[:6]
    if is_multicast_mac(destination):
        kind = _group_kind(destination)
        # Checked before a LEARNING port drops the frame; both end in a drop.
        if kind is FrameKind.MULTICAST and bridge.drops_multicast(skb):
            return
        listeners = bridge.listeners(skb, port, vid) if kind is FrameKind.MULTICAST else None
        if listeners is None:
            br_flood(net, bridge, bridge.ports, skb, kind, local_rcv=True, local_orig=False)
            br_pass_frame_up(bridge, skb, promisc=bridge.promisc)
            return
        here = listeners.here or bridge.promisc
        br_multicast_flood(net, bridge, listeners.ports, skb, local_rcv=here, local_orig=False)
        if here:
            br_pass_frame_up(bridge, skb, promisc=bridge.promisc)
        return
    _handle_unicast(bridge, skb, destination, vid)


def _handle_unicast(bridge: Bridge, skb: Skb, destination: bytes, vid: int) -> None:
    net = bridge.net
    promisc = bridge.promisc
    entry = bridge.fdb.find(destination, vid)
    if entry is not None and entry.local:
        if net.sink is not None:
            names = (bridge.name,)
            net.tell(skb, BridgeForwarded(bridge=bridge.name, how="local", devices=names))
        br_pass_frame_up(bridge, skb)
        return
    if entry is not None:
        br_forward(net, bridge, entry.port, skb, local_rcv=promisc, local_orig=False)
    else:
        br_flood(
            net,
            bridge,
            bridge.ports,
            skb,
            FrameKind.UNICAST,
            local_rcv=promisc,
            local_orig=False,
        )
    if promisc:
        br_pass_frame_up(bridge, skb, promisc=True)


def _is_unlocked(bridge: Bridge, port: BridgePort, skb: Skb, vid: int) -> bool:
    entry = bridge.fdb.find(skb.mac_header[6:12], vid)
    return entry is not None and entry.port is port and not entry.local


def br_pass_frame_up(bridge: Bridge, skb: Skb, *, promisc: bool = False) -> None:
    """Let the node's own stack receive the frame as coming from the bridge device.

    A copy that only a promiscuous bridge hears is not tracked (br_nf_local_in).
    """
    net = bridge.net
    in_vlan = allowed_egress(bridge.vlans, skb)
    if not in_vlan and not bridge.promisc:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", f"{bridge.name} itself is not in its VLAN")
        return
    if promisc:
        skb.nfct = None
        skb.ctinfo = 0
    in_device = skb.device
    skb.device = bridge
    if in_vlan:
        handle_vlan(bridge.vlans, skb)

    def finish(skb: Skb) -> None:
        if skb.dst is bridge.fake_rtable:
            skb.dst = None
        netif_receive_skb(net, skb)

    nf_hook(net, Family.BRIDGE, Hook.INPUT, skb, in_device, None, finish)


def _group_kind(destination: bytes) -> FrameKind:
    return FrameKind.BROADCAST if destination == BROADCAST_MAC else FrameKind.MULTICAST


def _clear_control_block(skb: Skb) -> None:
    """The bridge uses the control block that the IP layer kept its flags in."""
    skb.ip_flags = 0
    skb.frag_max_size = 0
    skb.options = None
