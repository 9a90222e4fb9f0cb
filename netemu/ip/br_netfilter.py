"""br_netfilter: bridged IPv4 packets run through the hooks of the IP layer.

Kernel: net/bridge/br_netfilter_hooks.c.

    port in --> bridge PREROUTING --> IPv4 PREROUTING (in = bridge, physdev-in = port)
                                        |
                  destination unchanged |  changed by DNAT, and routed to ...
                  bridge on as addressed|  the same bridge: new MAC from the neighbour table
                                        |  elsewhere: MAC of the bridge, so that it goes up
                                        v
    port out <-- bridge POSTROUTING <-- bridge FORWARD
                 IPv4 POSTROUTING       IPv4 FORWARD (in = out = bridge, physdev-in, -out = ports)

Theory of operation: an IPv4 hook sees the bridge as device, a packet for another host as one for
us, and a stand-in route (`Bridge.fake_rtable`) so that it has one at all. The bridge's own hook
says STOLEN, and the okfn of the IPv4 hook brings the packet back into the bridge. A frame that then
goes up the stack has seen PREROUTING already, therefore `ip_sabotage_in` skips it there, once.

Differs from Linux: IPv6 and ARP frames are bridged without their hooks, as nothing hangs there;
the options of a hop-by-hop header are not checked.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from netemu.ip.fib_table import RouteType
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.refragment import ip_do_fragment
from netemu.ip.route import ip_route_input, skb_rtable
from netemu.ip.rtable import Rtable, ip_skb_dst_mtu
from netemu.link.bridge import Bridge, BridgeNetfilterOps, br_handle_frame_finish
from netemu.link.bridge_forward import br_dev_queue_push_xmit, br_forward_finish
from netemu.link.device import VLAN_VID_MASK
from netemu.link.vlan import Vlan
from netemu.net import Net, kfree_skb_reason, nf_hook, nf_hook_slow
from netemu.netfilter.hook import Family, Hook, HookState, Priority, Verdict
from netemu.skb import ETH_P_ARP, ETH_P_IP, ETH_P_IPV6, Device, NfBridge, PacketType, Skb
from netemu.wire.checksum import internet_checksum
from netemu.wire.fields import get16
from netemu.wire.ipv4 import IPv4

NF_BR_PRI_BRNF = 0
NF_BR_PRI_LAST = (1 << 31) - 1
"""Priorities in the bridge family (include/uapi/linux/netfilter_bridge.h)."""

ARP_HEADER_LEN = 8
"""Octets before the addresses (struct arphdr)."""

IPV6_HLEN = 40
ETH_P_PPP_SES = 0x8864
PPPOE_SES_HLEN = 8
"""A PPPoE session frame and the length of its header with the PPP protocol (RFC 2516)."""

_PPP_PROTOCOLS = {b"\x00\x21": ETH_P_IP, b"\x00\x57": ETH_P_IPV6}


class BrNetfilter:
    """Whether the hooks are registered in a namespace."""

    __slots__ = ("registered",)

    def __init__(self, _net: Net) -> None:
        """Start without hooks."""
        self.registered = False


def br_netfilter_init(net: Net) -> None:
    """Register the hooks, once per namespace; the sysctls and bridge options say what they do."""
    state = net.generic(BrNetfilter)
    if state.registered:
        return
    state.registered = True
    bridge = partial(net.hooks.register, Family.BRIDGE)
    bridge(Hook.PREROUTING, NF_BR_PRI_BRNF, partial(br_nf_pre_routing, net))
    bridge(Hook.INPUT, NF_BR_PRI_LAST, partial(br_nf_local_in, net))
    bridge(Hook.FORWARD, NF_BR_PRI_BRNF, partial(br_nf_forward, net))
    bridge(Hook.POSTROUTING, NF_BR_PRI_LAST, partial(br_nf_post_routing, net))
    net.hooks.register(Family.IPV4, Hook.PREROUTING, Priority.FIRST, partial(ip_sabotage_in, net))
    net.generic(BridgeNetfilterOps).dev_xmit_hook = partial(br_nf_dev_xmit, net)


def _bridge_of(port: Device | None) -> Bridge | None:
    """Return the bridge that a port belongs to (bridge_parent)."""
    master = port.master if port is not None else None
    return master if isinstance(master, Bridge) else None


def brnf_get_logical_dev(net: Net, skb: Skb, bridge: Bridge) -> Device:
    """Return the device that IPv4 hooks see a frame come in by: the bridge, or its VLAN device."""
    if skb.vlan_tci is None or not net.sysctl.get("net.bridge.bridge-nf-pass-vlan-input-dev"):
        return bridge
    vlan = bridge.vlan_devices.get((skb.vlan_proto, skb.vlan_tci & VLAN_VID_MASK))
    return vlan if isinstance(vlan, Vlan) else bridge


def _carried(net: Net, skb: Skb) -> int:
    """Return the ethertype that the hooks see in the frame; 0 for what they do not look into."""
    sysctl = net.sysctl
    if skb.protocol in {ETH_P_IP, ETH_P_IPV6}:
        tagged = skb.vlan_tci is not None
        seen = not tagged or sysctl.get("net.bridge.bridge-nf-filter-vlan-tagged")
        return skb.protocol if seen else 0
    if skb.protocol != ETH_P_PPP_SES:
        return 0
    seen = sysctl.get("net.bridge.bridge-nf-filter-pppoe-tagged")
    return _PPP_PROTOCOLS.get(bytes(skb.data[6:8]), 0) if seen else 0


def br_validate_ipv4(skb: Skb) -> bool:
    """Check and trim the IPv4 header as ip_rcv does; False when the packet must go."""
    data = skb.data
    if len(data) < 20:
        return False
    header = IPv4(data)
    length = header.total_length
    header_len = header.header_len
    if header_len < 20 or header.version != 4 or len(data) < header_len:
        return False
    if internet_checksum(data[:header_len]) or len(data) < length or length < header_len:
        return False
    del data[length:]
    skb.ip_flags = 0
    skb.frag_max_size = 0
    skb.options = None
    return True


def _pull_encapsulation(skb: Skb, info: NfBridge) -> None:
    """Hide a PPPoE header from the IPv4 hooks (nf_bridge_pull_encap_header)."""
    if skb.protocol == ETH_P_PPP_SES:
        info.encapsulation = bytes(skb.data[:PPPOE_SES_HLEN])
        info.orig_protocol = skb.protocol
        del skb.data[:PPPOE_SES_HLEN]
    skb.protocol = ETH_P_IP


def _push_encapsulation(skb: Skb, info: NfBridge) -> None:
    """Undo `_pull_encapsulation` (nf_bridge_update_protocol, nf_bridge_push_encap_header)."""
    if info.encapsulation:
        skb.data[:0] = info.encapsulation
        skb.protocol = info.orig_protocol
        info.encapsulation = b""


def _hide_otherhost(skb: Skb, info: NfBridge) -> None:
    if skb.pkt_type == PacketType.OTHERHOST:
        skb.pkt_type = PacketType.HOST
        info.pkt_otherhost = True


def _restore_otherhost(skb: Skb, info: NfBridge) -> None:
    if info.pkt_otherhost:
        skb.pkt_type = PacketType.OTHERHOST
        info.pkt_otherhost = False


def br_nf_pre_routing(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Run IPv4 PREROUTING for a frame that came in by a port."""
    bridge = _bridge_of(state.in_device)
    assert bridge is not None
    carried = _carried(net, skb)
    if carried == ETH_P_IPV6:
        return _br_nf_pre_routing_ipv6(net, skb, bridge)
    if not bridge.call_iptables and not net.sysctl.get("net.bridge.bridge-nf-call-iptables"):
        return Verdict.ACCEPT
    if carried != ETH_P_IP:
        return Verdict.ACCEPT
    info = NfBridge(physindev=skb.device, in_prerouting=True)
    _pull_encapsulation(skb, info)
    if not br_validate_ipv4(skb):
        kfree_skb_reason(net, skb, "IP_INHDR")
        return Verdict.STOLEN
    skb.nf_bridge = info
    _hide_otherhost(skb, info)
    device = skb.device = brnf_get_logical_dev(net, skb, bridge)
    skb.sk = None
    info.ipv4_daddr = IPv4(skb.data).dst
    finish = partial(br_nf_pre_routing_finish, net)
    nf_hook(net, Family.IPV4, Hook.PREROUTING, skb, device, None, finish)
    return Verdict.STOLEN


def _br_nf_pre_routing_ipv6(net: Net, skb: Skb, bridge: Bridge) -> Verdict:
    """Check an IPv6 header as the kernel does before its hooks, and cut off what follows."""
    if not bridge.call_ip6tables and not net.sysctl.get("net.bridge.bridge-nf-call-ip6tables"):
        return Verdict.ACCEPT
    start = PPPOE_SES_HLEN if skb.protocol == ETH_P_PPP_SES else 0
    data = skb.data
    end = start + IPV6_HLEN
    if len(data) >= end:
        end += get16(data, start + 4)
    if len(data) < end or data[start] >> 4 != 6:
        kfree_skb_reason(net, skb, "IP_INHDR")
        return Verdict.STOLEN
    del data[end:]
    return Verdict.ACCEPT


def br_nf_pre_routing_finish(net: Net, skb: Skb) -> None:
    """Bring a packet back into the bridge after PREROUTING; DNAT may send it elsewhere.

    The kernel means to bridge a frame after DNAT even where ip_forward is off, but the lookup then
    succeeds with a route that leads nowhere, so that the frame goes up and dies there (Linux 6.18).
    """
    info = _info_of(skb)
    device = skb.device
    bridge = _bridge_of(info.physindev)
    assert device is not None
    assert bridge is not None
    info.frag_max_size = skb.frag_max_size
    _restore_otherhost(skb, info)
    info.in_prerouting = False
    okfn: Callable[[Skb], None] = partial(br_handle_frame_finish, net)
    header = IPv4(skb.data)
    if header.dst == info.ipv4_daddr:
        skb.dst = _fake_rtable(bridge)
    else:
        reason = ip_route_input(net, skb, header.dst, header.src, header.tos, device)
        if reason:
            kfree_skb_reason(net, skb, reason)
            return
        route = skb_rtable(skb)
        assert route is not None
        if route.device is device:
            okfn = partial(br_nf_pre_routing_finish_bridge, net)
        else:
            # Not behind this bridge: the stack must route it.
            skb.mac_header = bridge.mac + skb.mac_header[6:]
            skb.pkt_type = PacketType.HOST
    skb.device = info.physindev
    _push_encapsulation(skb, info)
    _br_nf_hook_thresh(net, Hook.PREROUTING, skb, skb.device, None, okfn)


def _fake_rtable(bridge: Bridge) -> Rtable:
    """Return the route that a bridged packet shows to the hooks (br_netfilter_rtable_init)."""
    found = bridge.fake_rtable
    if found is None:
        found = bridge.fake_rtable = Rtable(kind=RouteType.UNSPEC, device=bridge)
    assert isinstance(found, Rtable)
    return found


def br_nf_pre_routing_finish_bridge(net: Net, skb: Skb) -> None:
    """Address a frame to the neighbour that DNAT chose behind the same bridge."""
    bridge = _bridge_of(skb.device)
    info = _info_of(skb)
    route = skb_rtable(skb)
    assert bridge is not None
    assert route is not None
    table = net.generic(NeighbourTable)
    next_hop = route.nexthop(IPv4(skb.data).dst)
    cached = table.cached_mac(next_hop, bridge)
    if cached is not None:
        skb.mac_header = cached + skb.mac_header[6:]
        skb.device = info.physindev
        br_handle_frame_finish(net, skb)
        return
    # The neighbour layer sends by the bridge device, where br_nf_dev_xmit takes the frame back.
    info.neigh_header = skb.mac_header[6:]
    info.bridged_dnat = True
    table.output(skb, bridge, next_hop)


def br_nf_dev_xmit(net: Net, skb: Skb) -> bool:
    """Take back a frame that went through the neighbour layer; False leaves it to the bridge."""
    info = skb.nf_bridge
    if info is None or not info.bridged_dnat:
        return False
    info.bridged_dnat = False
    skb.mac_header = skb.mac_header[:6] + info.neigh_header
    skb.device = info.physindev
    info.physoutdev = None
    br_handle_frame_finish(net, skb)
    return True


def br_nf_local_in(net: Net, skb: Skb, _state: HookState) -> Verdict:
    """Confirm the connection of a broadcast before a copy of it goes up the stack."""
    if skb.nfct is None or skb.pkt_type == PacketType.HOST or net.nf_ct_confirm is None:
        return Verdict.ACCEPT
    return net.nf_ct_confirm(skb)


def br_nf_forward(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Take a frame that goes from port to port."""
    if skb.protocol == ETH_P_ARP:
        return br_nf_forward_arp(net, skb)
    return br_nf_forward_ip(net, skb, state)


def br_nf_forward_arp(net: Net, skb: Skb) -> Verdict:
    """Drop what is too short for ARP; no arptables rules hang behind it here."""
    sysctl = net.sysctl
    bridge = _bridge_of(skb.device)
    assert bridge is not None
    if not bridge.call_arptables and not sysctl.get("net.bridge.bridge-nf-call-arptables"):
        return Verdict.ACCEPT
    tagged = skb.vlan_tci is not None
    if tagged and not sysctl.get("net.bridge.bridge-nf-filter-vlan-tagged"):
        return Verdict.ACCEPT
    if len(skb.data) < ARP_HEADER_LEN:
        kfree_skb_reason(net, skb, "PKT_TOO_SMALL", "cut short before the ARP operation")
        return Verdict.STOLEN
    return Verdict.ACCEPT


def br_nf_forward_ip(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Run IPv4 FORWARD for a frame that goes from port to port."""
    if skb.nf_bridge is None or _carried(net, skb) != ETH_P_IP:
        return Verdict.ACCEPT
    # Copies of a flooded frame share the record, but each has its own way out.
    info = skb.nf_bridge = replace(skb.nf_bridge)
    bridge = _bridge_of(state.out_device)
    assert bridge is not None
    _pull_encapsulation(skb, info)
    _hide_otherhost(skb, info)
    if not br_validate_ipv4(skb):
        kfree_skb_reason(net, skb, "IP_INHDR")
        return Verdict.STOLEN
    skb.frag_max_size = info.frag_max_size
    info.physoutdev = skb.device
    finish = partial(_br_nf_forward_finish, net)
    in_device = brnf_get_logical_dev(net, skb, bridge)
    nf_hook(net, Family.IPV4, Hook.FORWARD, skb, in_device, bridge, finish)
    return Verdict.STOLEN


def _br_nf_forward_finish(net: Net, skb: Skb) -> None:
    info = _info_of(skb)
    info.frag_max_size = skb.frag_max_size
    _restore_otherhost(skb, info)
    _push_encapsulation(skb, info)
    okfn = partial(br_forward_finish, net)
    _br_nf_hook_thresh(net, Hook.FORWARD, skb, info.physindev, skb.device, okfn)


def br_nf_post_routing(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Run IPv4 POSTROUTING for a bridged frame; a routed one has passed it in the IP layer."""
    info = skb.nf_bridge
    if info is None or info.physoutdev is None or _carried(net, skb) != ETH_P_IP:
        return Verdict.ACCEPT
    bridge = _bridge_of(state.out_device)
    assert bridge is not None
    _hide_otherhost(skb, info)
    _pull_encapsulation(skb, info)
    finish = partial(br_nf_dev_queue_xmit, net)
    nf_hook(net, Family.IPV4, Hook.POSTROUTING, skb, None, bridge, finish)
    return Verdict.STOLEN


def br_nf_dev_queue_xmit(net: Net, skb: Skb) -> None:
    """Send a frame that passed POSTROUTING, cut up again if it was put together here."""
    info = _info_of(skb)
    device = skb.device
    assert device is not None
    mtu = device.mtu
    reserved = len(info.encapsulation)
    _restore_otherhost(skb, info)
    if info.frag_max_size and info.frag_max_size < mtu:
        mtu = info.frag_max_size
    # The kernel counts the PPPoE header twice: in the length and as room to keep free.
    fits = skb.gso or len(skb.data) + 2 * reserved <= mtu
    _push_encapsulation(skb, info)
    if fits or skb.protocol != ETH_P_IP:
        skb.nf_bridge = None
        br_dev_queue_push_xmit(net, skb)
        return
    if not br_validate_ipv4(skb):
        kfree_skb_reason(net, skb, "IP_INHDR")
        return
    skb.frag_max_size = info.frag_max_size
    _br_nf_ip_fragment(net, skb)


def _br_nf_ip_fragment(net: Net, skb: Skb) -> None:
    """Cut a frame; one that must not be cut is dropped without a word to its sender."""
    mtu = ip_skb_dst_mtu(skb)
    forbidden = IPv4(skb.data).dont_fragment and not skb.ignore_df
    if forbidden or skb.frag_max_size > mtu:
        kfree_skb_reason(net, skb, "PKT_TOO_BIG", f"longer than {mtu} octets on a bridge")
        return
    skb.nf_bridge = None
    ip_do_fragment(net, skb, partial(br_dev_queue_push_xmit, net))


def ip_sabotage_in(net: Net, skb: Skb, state: HookState) -> Verdict:
    """Skip PREROUTING for a packet that has run through it as a bridged frame."""
    info = skb.nf_bridge
    if info is None or info.sabotage_in_done or info.in_prerouting:
        return Verdict.ACCEPT
    info.sabotage_in_done = True
    net.hook_name = ""  # what follows is no part of the hook any more
    state.okfn(skb)
    return Verdict.STOLEN


def _info_of(skb: Skb) -> NfBridge:
    info = skb.nf_bridge
    assert info is not None
    return info


def _br_nf_hook_thresh(
    net: Net,
    hook: Hook,
    skb: Skb,
    in_device: Device | None,
    out_device: Device | None,
    okfn: Callable[[Skb], None],
) -> None:
    """Run the bridge's hook functions behind our own, then go on."""
    state = HookState(
        family=Family.BRIDGE, hook=hook, in_device=in_device, out_device=out_device, okfn=okfn
    )
    if nf_hook_slow(net, skb, state, NF_BR_PRI_BRNF) == Verdict.ACCEPT:
        okfn(skb)
