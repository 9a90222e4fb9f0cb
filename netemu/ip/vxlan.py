"""The VXLAN device: Ethernet frames inside of UDP between hosts, as overlay networks use it.

Kernel: drivers/net/vxlan/vxlan_core.c; RFC 7348.

    vxlan1 --> table: MAC behind host H --> [IP to H | UDP 8472 | VXLAN 1 | frame] --> route to H
    vxlan1 <-- frame, its sender learnt to be behind S <-- UDP port 8472 <-- packet from S

The outer packet is one of the node's own: it has the mark of the frame inside, and runs through
OUTPUT and POSTROUTING.

Differs from Linux: a frame that is too long for the path is cut outside, but its sender is not told
(fragmentation needed, path MTU); groups are not joined, so what is sent to one is not received.
"""

from __future__ import annotations

from typing import NamedTuple

from netemu.clock import NSEC_PER_SEC
from netemu.events import FdbLearned, FrameSent
from netemu.ip.fib_table import Errno, Flowi4, RouteType
from netemu.ip.output import ip_select_ttl
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import Rtable
from netemu.ip.udp_tunnel import (
    INET_ECN_CE,
    INET_ECN_ECT_0,
    INET_ECN_ECT_1,
    INET_ECN_MASK,
    UdpCarrier,
    UdpTunnels,
    ecn_encapsulate,
    ip_dont_fragment,
    ip_tunnel_get_dsfield,
    udp_flow_src_port,
    udp_tunnel_xmit_skb,
)
from netemu.ip.vxlan_fdb import Remote, VxlanFdb
from netemu.link.device import eth_type_trans, frame_of, netif_rx, skb_checksum_help
from netemu.link.ratelimit import net_ratelimit
from netemu.link.veth import skb_scrub_packet
from netemu.net import Net, kfree_skb_reason
from netemu.sim.spec import VxlanSpec
from netemu.skb import ETH_HLEN, ETH_P_IP, ZERO_MAC, Checksum, Device, PacketType, Skb
from netemu.wire.address import (
    IPV4_ANY,
    IPV4_LOOPBACK,
    format_address,
    format_mac,
    ipv4_is_multicast,
)
from netemu.wire.fields import get32
from netemu.wire.ipv4 import IPPROTO_UDP, IPv4
from netemu.wire.udp import HEADER_LEN as UDP_HLEN

VXLAN_HLEN = 8
VXLAN_HF_VNI = 0x08000000
"""Length of the header, and the flag that says that it names a network (RFC 7348 section 5)."""


class Vxlan(Device):
    """One VXLAN network of a node."""

    __slots__ = ("carrier_net", "fdb", "lower", "net", "spec")

    tags_in_metadata = False

    def __init__(  # noqa: PLR0913 - the properties of a device
        self,
        net: Net,
        spec: VxlanSpec,
        *,
        name: str,
        ifindex: int,
        mac: bytes,
        mtu: int = 1450,
        up: bool = True,
        noarp: bool = False,
    ) -> None:
        """Make the device and register it in `net`; `attach` opens its socket."""
        super().__init__(
            name=name, ifindex=ifindex, mac=mac, mtu=mtu, up=up, kind="vxlan", noarp=noarp
        )
        self.net = net
        self.spec = spec
        self.carrier_net = net
        """Namespace whose packets carry the frames: the one in which the device was made."""
        self.lower = ""
        self.fdb = VxlanFdb(
            net.clock, spec.ageing_s * NSEC_PER_SEC, sending_refreshes=net.kernel == "6.1"
        )
        net.devices[name] = self

    def attach(self, carrier_net: Net, lower: str) -> None:
        """Open the UDP socket in `carrier_net`; `lower` is the device to send by, or empty."""
        self.carrier_net = carrier_net
        self.lower = lower
        carrier_net.generic(VxlanSockets).add(self)
        if any(self.spec.remote):
            self.fdb.append(ZERO_MAC, Remote(address=self.spec.remote, via=lower), "permanent")

    def xmit(self, skb: Skb) -> None:
        """Send a copy to every host that the table names (vxlan_xmit)."""
        net = self.net
        if net.sink is not None:
            net.tell(skb, FrameSent(device=self.name, frame=frame_of(skb), port=False))
        entry = self.fdb.find_for_sending(skb.mac_header[:6])
        if entry is None:
            mac = format_mac(skb.mac_header[:6])
            kfree_skb_reason(net, skb, "NO_TX_TARGET", f"{self.name} knows no host for {mac}")
            return
        first, *others = entry.remotes
        for remote in others:
            self._xmit_one(skb.clone(), remote)
        self._xmit_one(skb, first)

    def _xmit_one(self, skb: Skb, remote: Remote) -> None:
        """Send the frame to one host (vxlan_xmit_one)."""
        net, spec = self.carrier_net, self.spec
        dst_port = remote.port or spec.port
        vni = remote.vni or spec.vni
        inner_tos = ip_tunnel_get_dsfield(skb)
        tos = inner_tos if spec.tos == 1 else spec.tos
        src_port = udp_flow_src_port(net, skb, *spec.src_ports)
        lower = net.devices.get(remote.via)
        flow = Flowi4(
            daddr=remote.address,
            saddr=spec.local or IPV4_ANY,
            oif=0 if lower is None else lower.ifindex,
            mark=skb.mark,
            tos=tos,
            protocol=IPPROTO_UDP,
            src_port=src_port,
            dst_port=dst_port,
        )
        route = ip_route_output_key(net, flow, skb)
        if isinstance(route, Errno) or route.device is self:
            why = f"no route to the host {format_address(remote.address)}"
            kfree_skb_reason(self.net, skb, "IP_OUTNOROUTES", why)
            return
        if route.kind == RouteType.LOCAL and spec.localbypass:
            self._bypass(skb, vni, dst_port)
            return
        carrier = UdpCarrier(
            saddr=flow.saddr,
            daddr=remote.address,
            src_port=src_port,
            dst_port=dst_port,
            tos=ecn_encapsulate(tos, inner_tos),
            ttl=self._ttl(skb, remote, route),
            dont_fragment=spec.df == "set" or (spec.df == "inherit" and ip_dont_fragment(skb)),
            checksum=spec.checksum,
        )
        skb_checksum_help(skb)
        skb.data[:0] = (
            VXLAN_HF_VNI.to_bytes(4, "big") + (vni << 8).to_bytes(4, "big") + skb.mac_header
        )
        udp_tunnel_xmit_skb(
            net, route, skb, carrier, crosses_namespace=self.carrier_net is not self.net
        )

    def _ttl(self, skb: Skb, remote: Remote, route: Rtable) -> int:
        spec = self.spec
        if spec.ttl_inherit and skb.protocol == ETH_P_IP and len(skb.data) >= 20:
            return IPv4(skb.data).ttl
        if spec.ttl:
            return spec.ttl
        return 1 if ipv4_is_multicast(remote.address) else ip_select_ttl(self.carrier_net, route)

    def _bypass(self, skb: Skb, vni: int, port: int) -> None:
        """Hand a frame to another VXLAN device of this very host (vxlan_encap_bypass)."""
        target = self.carrier_net.generic(VxlanSockets).find(port, vni)
        if target is None:
            why = f"this host has no VXLAN device {vni} at port {port}"
            kfree_skb_reason(self.net, skb, "VXLAN_VNI_NOT_FOUND", why)
            return
        if target.spec.learning and not target.learn(skb, IPV4_LOOPBACK):
            return
        skb.device = target
        skb.pkt_type = PacketType.HOST
        netif_rx(target.net, skb)

    def receive(self, skb: Skb, saddr: bytes, outer_tos: int) -> None:
        """Take the frame that a packet carried (vxlan_rcv behind the header)."""
        net = self.net
        skb_scrub_packet(skb, crosses_namespace=self.carrier_net is not net)
        skb.mac_header = bytes(skb.data[:ETH_HLEN])
        del skb.data[:ETH_HLEN]
        skb.ip_summed = Checksum.NONE
        eth_type_trans(skb, self)
        if skb.mac_header[6:12] == self.mac:
            kfree_skb_reason(net, skb, "LOCAL_MAC", f"{self.name} sent the frame itself")
            return
        if self.spec.learning and not self.learn(skb, saddr):
            return
        if not _ecn_decapsulate(skb, outer_tos):
            kfree_skb_reason(net, skb, "IP_TUNNEL_ECN")
            return
        if not self.up:
            kfree_skb_reason(net, skb, "DEV_READY", f"{self.name} is down")
            return
        netif_rx(net, skb)

    def learn(self, skb: Skb, saddr: bytes) -> bool:
        """Note behind which host the sender is; False when the frame ended (vxlan_snoop)."""
        net = self.net
        mac = skb.mac_header[6:12]
        if mac[0] & 1 or mac == ZERO_MAC:
            kfree_skb_reason(net, skb, "MAC_INVALID_SOURCE")
            return False
        known = self.fdb.find(mac) is not None
        if not known and not self.up:
            return True
        passed, before = self.fdb.learn(mac, saddr)
        if not passed:
            why = f"{format_mac(mac)} is set to be behind another host"
            kfree_skb_reason(net, skb, "VXLAN_ENTRY_EXISTS", why)
            return False
        if before and net_ratelimit(net, skb):
            net.printk(
                skb,
                f"{self.name}: {format_mac(mac)} migrated from {format_address(before)} to "
                f"{format_address(saddr)}",
            )
        if net.sink is not None and (before or not known):
            old = format_address(before) if before else ""
            net.tell(
                skb,
                FdbLearned(
                    bridge=self.name,
                    mac=format_mac(mac),
                    device=format_address(saddr),
                    moved_from=old,
                ),
            )
        return True


class _Key(NamedTuple):
    port: int
    vni: int


class VxlanSockets:
    """The VXLAN devices whose packets a namespace carries (struct vxlan_net)."""

    __slots__ = ("_devices", "_net")

    def __init__(self, net: Net) -> None:
        """Start without devices."""
        self._net = net
        self._devices: dict[_Key, Vxlan] = {}

    def add(self, device: Vxlan) -> None:
        """Let `device` have what comes for its network; devices of one port share a socket."""
        port = device.spec.port
        self._devices[_Key(port, device.spec.vni)] = device
        self._net.generic(UdpTunnels).receivers[port] = self._receive

    def find(self, port: int, vni: int) -> Vxlan | None:
        """Return the device of a network (vxlan_find_vni)."""
        return self._devices.get(_Key(port, vni))

    def _receive(self, skb: Skb) -> None:
        """Take a checked UDP packet to one of our ports (vxlan_rcv)."""
        net = self._net
        header = IPv4(skb.data)
        start = header.header_len + UDP_HLEN
        saddr, tos = header.src, header.tos
        port = int.from_bytes(skb.data[header.header_len + 2 : header.header_len + 4], "big")
        if len(skb.data) < start + VXLAN_HLEN:
            kfree_skb_reason(net, skb, "PKT_TOO_SMALL", "shorter than a VXLAN header")
            return
        flags, network = get32(skb.data, start), get32(skb.data, start + 4)
        if not flags & VXLAN_HF_VNI:
            kfree_skb_reason(net, skb, "VXLAN_INVALID_HDR", "it names no network")
            return
        device = self.find(port, network >> 8)
        if device is None:
            why = f"no VXLAN device has network {network >> 8} at port {port}"
            kfree_skb_reason(net, skb, "VXLAN_VNI_NOT_FOUND", why)
            return
        if flags & ~VXLAN_HF_VNI or network & 0xFF:
            kfree_skb_reason(net, skb, "VXLAN_INVALID_HDR", "reserved bits are set")
            return
        if len(skb.data) < start + VXLAN_HLEN + ETH_HLEN:
            kfree_skb_reason(net, skb, "PKT_TOO_SMALL", "the frame inside is cut short")
            return
        del skb.data[: start + VXLAN_HLEN]
        device.receive(skb, saddr, tos)


def _ecn_decapsulate(skb: Skb, outer: int) -> bool:
    """Carry the outer congestion mark to the packet inside; False where it cannot (RFC 6040)."""
    if skb.protocol != ETH_P_IP or len(skb.data) < 20:
        return True
    header = IPv4(skb.data)
    mark, inner = outer & INET_ECN_MASK, header.tos & INET_ECN_MASK
    if not inner:
        return mark != INET_ECN_CE
    if mark == INET_ECN_CE or (mark == INET_ECN_ECT_1 and inner == INET_ECN_ECT_0):
        header.tos = header.tos & ~INET_ECN_MASK | mark
        header.update_check()
    return True
