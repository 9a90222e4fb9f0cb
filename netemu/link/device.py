"""What all devices share: a frame's way in, its way out, and checksum offload.

Kernel: net/core/dev.c, net/ethernet/eth.c (eth_type_trans), net/core/skbuff.c (skb_vlan_untag).
"""

from __future__ import annotations

from netemu.events import FrameReceived
from netemu.net import Net, kfree_skb_reason
from netemu.skb import (
    BROADCAST_MAC,
    ETH_HLEN,
    ETH_P_8021AD,
    ETH_P_8021Q,
    ETH_P_IP,
    ETH_P_IPV6,
    Checksum,
    Device,
    Fate,
    PacketType,
    Skb,
    VlanUpper,
)
from netemu.wire.checksum import fold, internet_checksum, pseudo_header_sum
from netemu.wire.ethernet import insert_tag
from netemu.wire.fields import Octets, get16, set16
from netemu.wire.ipv4 import IPPROTO_TCP, IPPROTO_UDP

ETH_P_802_3_MIN = 0x0600
"""The smallest ethertype; below it the field is an 802.3 length (include/uapi/linux/if_ether.h)."""

ETH_P_802_3 = 0x0001
ETH_P_802_2 = 0x0004
"""Pseudo ethertypes of raw and LLC 802.3 frames."""

MAXIMUM_PASSES = 10_000
"""So many passes between devices no frame has that is not caught in a loop."""

VLAN_HLEN = 4
VLAN_VID_MASK = 0x0FFF

_VLAN_PROTOCOLS = frozenset((ETH_P_8021Q, ETH_P_8021AD))
_CHECKSUM_OFFSET = {IPPROTO_TCP: 16, IPPROTO_UDP: 6}


def eth_type_trans(skb: Skb, device: Device) -> None:
    """Set device, packet type and protocol of `skb` from its link header."""
    skb.device = device
    header = skb.mac_header
    skb.pkt_type = eth_skb_pkt_type(header[:6], device)
    skb.protocol = _protocol_of(get16(header, 12), skb.data)


def eth_skb_pkt_type(destination: bytes, device: Device) -> PacketType:
    """Return for whom a frame to `destination` is meant, as `device` sees it."""
    if destination == device.mac:
        return PacketType.HOST
    if destination[0] & 1:
        broadcast = destination == BROADCAST_MAC
        return PacketType.BROADCAST if broadcast else PacketType.MULTICAST
    return PacketType.OTHERHOST


def _protocol_of(ethertype: int, payload: Octets) -> int:
    if ethertype >= ETH_P_802_3_MIN:
        return ethertype
    # Novell's raw 802.3 frames begin with ffff where LLC would stand.
    return ETH_P_802_3 if bytes(payload[:2]) == b"\xff\xff" else ETH_P_802_2


def receive_frame(net: Net, device: Device, frame: bytes, *, fate: Fate) -> None:
    """Take in a whole frame, without its checksum sequence, at `device`."""
    skb = Skb(frame[ETH_HLEN:], protocol=0, fate=fate, device=device)
    skb.mac_header = bytes(frame[:ETH_HLEN])
    skb.frame_len = len(frame)
    if len(frame) < ETH_HLEN:
        kfree_skb_reason(net, skb, "PKT_TOO_SMALL", "shorter than an Ethernet header")
        return
    eth_type_trans(skb, device)
    _tell_received(net, skb, device)
    _note_offload(skb, device)
    netif_receive_skb(net, skb)


def _note_offload(skb: Skb, device: Device) -> None:
    """Recognise what a NIC's offloads leave in a capture: bare sums and merged segments."""
    offset = VLAN_HLEN if skb.protocol in _VLAN_PROTOCOLS else 0
    protocol = get16(skb.data, 2) if offset and len(skb.data) >= offset else skb.protocol
    found = _l4_segment(skb.data, protocol, offset)
    if found is None:
        return
    start, length, field, pseudo = found
    if get16(skb.data, start + field) == fold(pseudo):
        skb.ip_summed = Checksum.PARTIAL
    skb.gso = start - offset + length > device.mtu


def _l4_segment(data: Octets, protocol: int, offset: int) -> tuple[int, int, int, int] | None:
    """Return (start, length, offset of the checksum, pseudo-header sum) of a whole TCP or UDP."""
    if protocol == ETH_P_IP:
        return _ipv4_segment(data, offset)
    if protocol == ETH_P_IPV6:
        return _ipv6_segment(data, offset)
    return None


def _ipv4_segment(data: Octets, offset: int) -> tuple[int, int, int, int] | None:
    if len(data) < offset + 20:
        return None
    field = _CHECKSUM_OFFSET.get(data[offset + 9])
    start = offset + (data[offset] & 0x0F) * 4
    length = offset + get16(data, offset + 2) - start
    fragment = get16(data, offset + 6) & 0x3FFF
    if field is None or fragment or length < field + 2 or start + length > len(data):
        return None
    source, destination = data[offset + 12 : offset + 16], data[offset + 16 : offset + 20]
    return start, length, field, pseudo_header_sum(source, destination, data[offset + 9], length)


def _ipv6_segment(data: Octets, offset: int) -> tuple[int, int, int, int] | None:
    start = offset + 40
    if len(data) < start:
        return None
    field = _CHECKSUM_OFFSET.get(data[offset + 6])
    length = get16(data, offset + 4)
    if field is None or length < field + 2 or start + length > len(data):
        return None
    source, destination = data[offset + 8 : offset + 24], data[offset + 24 : offset + 40]
    return start, length, field, pseudo_header_sum(source, destination, data[offset + 6], length)


def skb_checksum_help(skb: Skb) -> None:
    """Complete a partial checksum in place; whatever is not PARTIAL stays as it is.

    The field holds the pseudo-header sum, so summing the segment with it gives the checksum. A
    result of 0 is sent as ffff (CSUM_MANGLED_0), for TCP too.
    """
    if skb.ip_summed != Checksum.PARTIAL:
        return
    skb.ip_summed = Checksum.NONE
    found = _l4_segment(skb.data, skb.protocol, 0)
    if found is not None:
        start, length, field, _ = found
        check = internet_checksum(skb.data[start : start + length])
        set16(skb.data, start + field, check or 0xFFFF)


def skb_leave_checksum(skb: Skb) -> None:
    """Leave the L4 checksum of a packet that the node makes to the device that sends it.

    Where no device has to (loopback, a veth pair), the packet arrives with the bare pseudo-header
    sum, and that is what an ICMP error quotes.
    """
    found = _l4_segment(skb.data, skb.protocol, 0)
    if found is not None:
        start, _, field, pseudo = found
        set16(skb.data, start + field, fold(pseudo))
        skb.ip_summed = Checksum.PARTIAL


def complete_frame(frame: bytes) -> bytes:
    """Return a captured frame with its L4 checksum completed, if only the bare sum stands there."""
    if len(frame) < ETH_HLEN:
        return frame
    skb = Skb(frame[ETH_HLEN:], protocol=get16(frame, 12), fate=Fate(packet_id=0))
    skb.mac_header = frame[:ETH_HLEN]
    tagged = skb.protocol in _VLAN_PROTOCOLS
    if tagged and not skb_vlan_untag(skb):
        return frame
    found = _l4_segment(skb.data, skb.protocol, 0)
    if found is None or get16(skb.data, found[0] + found[2]) != fold(found[3]):
        return frame
    skb.ip_summed = Checksum.PARTIAL
    skb_checksum_help(skb)
    return frame_of(skb)


def skb_vlan_untag(skb: Skb) -> bool:
    """Move an 802.1Q tag from the packet to `skb.vlan_tci`; False when it is cut short."""
    if skb.vlan_tci is not None:
        return True
    if len(skb.data) < VLAN_HLEN + 2:
        return False
    skb.vlan_proto = skb.protocol
    skb.vlan_tci = get16(skb.data, 0)
    skb.mac_header = skb.mac_header[:12] + bytes(skb.data[2:4])
    ethertype = get16(skb.data, 2)
    del skb.data[:VLAN_HLEN]
    skb.protocol = _protocol_of(ethertype, skb.data)
    return True


def netif_rx(net: Net, skb: Skb) -> None:
    """Put a frame on the backlog of its device; it is received once the present work is done.

    Differs from Linux: a frame that has come by `MAXIMUM_PASSES` times goes round in a loop of
    bridges, which would never end, and is dropped.
    """
    skb.fate.passes += 1
    if skb.fate.passes > MAXIMUM_PASSES:
        kfree_skb_reason(net, skb, "FORWARDING_LOOP", "it goes round in a loop of devices")
        return
    net.clock.call_soon(lambda: _process_backlog(net, skb))


def _process_backlog(net: Net, skb: Skb) -> None:
    device = skb.device
    assert device is not None
    _tell_received(net, skb, device)
    netif_receive_skb(net, skb)


def _tell_received(net: Net, skb: Skb, device: Device) -> None:
    if net.sink is not None:
        frame = frame_of(skb)
        event = FrameReceived(device=device.name, frame=frame, packet_type=skb.pkt_type.name)
        net.tell(skb, event)


def netif_receive_skb(net: Net, skb: Skb) -> None:
    """Hand a received skb to the device's bridge or to the handler of its ethertype."""
    device = skb.iif = skb.device
    assert device is not None
    if not device.up:
        kfree_skb_reason(net, skb, "DEV_READY", f"{device.name} is down")
        return
    if skb.protocol in _VLAN_PROTOCOLS and not skb_vlan_untag(skb):
        kfree_skb_reason(net, skb, "HDR_TRUNC", "the VLAN tag is cut short")
        return
    if skb.vlan_tci is not None and (upper := _vlan_find_dev(skb, device)) is not None:
        if upper.receive(skb):
            netif_receive_skb(net, skb)
        return
    if device.rx_handler is not None and device.rx_handler(skb):
        return
    if skb.vlan_tci is not None and not _leave_vlan(net, skb, device):
        return
    handler = net.packet_handlers.get(skb.protocol)
    if handler is None:
        kfree_skb_reason(net, skb, "UNHANDLED_PROTO", f"ethertype 0x{skb.protocol:04x}")
        return
    handler(skb)


def _vlan_find_dev(skb: Skb, device: Device) -> VlanUpper | None:
    """Return the 802.1Q device that stands above `device` for the frame's VLAN."""
    assert skb.vlan_tci is not None
    return device.vlan_devices.get((skb.vlan_proto, skb.vlan_tci & VLAN_VID_MASK))


def _leave_vlan(net: Net, skb: Skb, device: Device) -> bool:
    """Clear the tag of a frame that no VLAN device took; False when the frame went elsewhere.

    Behind a tag of VLAN 0, which only tells a priority, a second one counts.
    """
    while skb.vlan_tci is not None:
        vid = skb.vlan_tci & VLAN_VID_MASK
        skb.vlan_tci = None
        if vid:
            skb.pkt_type = PacketType.OTHERHOST
        elif skb.protocol in _VLAN_PROTOCOLS:
            if not skb_vlan_untag(skb):
                kfree_skb_reason(net, skb, "HDR_TRUNC", "the inner VLAN tag is cut short")
                return False
            upper = _vlan_find_dev(skb, device)
            if upper is not None:
                if upper.receive(skb):
                    netif_receive_skb(net, skb)
                return False
    return True


def dev_queue_xmit(net: Net, skb: Skb) -> None:
    """Send `skb.mac_header + skb.data` out of `skb.device`."""
    device = skb.device
    assert device is not None
    if not device.up:
        kfree_skb_reason(net, skb, "DEV_READY", f"{device.name} is down")
        return
    if skb.vlan_tci is not None and not device.tags_in_metadata:
        skb_vlan_push_inside(skb)
    device.xmit(skb)


def skb_vlan_push_inside(skb: Skb) -> None:
    """Put the tag beside a frame into it (__vlan_hwaccel_push_inside)."""
    assert skb.vlan_tci is not None
    skb.data[:0] = skb.vlan_tci.to_bytes(2, "big") + skb.mac_header[12:14]
    skb.mac_header = skb.mac_header[:12] + skb.vlan_proto.to_bytes(2, "big")
    skb.protocol = skb.vlan_proto
    skb.vlan_tci = None


def frame_of(skb: Skb) -> bytes:
    """Return the frame as it goes over the wire, its VLAN tag put back."""
    header = skb.mac_header
    if skb.vlan_tci is not None:
        header = insert_tag(header, skb.vlan_tci, skb.vlan_proto)
    return header + bytes(skb.data)


def is_skb_forwardable(device: Device, skb: Skb) -> bool:
    """Return whether `device` is up and its MTU lets the frame through, a VLAN tag's room added."""
    if not device.up:
        return False
    return skb.gso or len(skb.data) <= device.mtu + VLAN_HLEN
