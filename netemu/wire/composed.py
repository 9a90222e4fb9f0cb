"""A packet that a user wrote down, before it is known at which device it enters."""

from __future__ import annotations

from msgspec import Struct

from netemu.wire.ethernet import ethernet_header, insert_tag

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
BROADCAST = b"\xff\xff\xff\xff\xff\xff"
DEFAULT_SRC_MAC = bytes.fromhex("020000000001")
"""Sender when neither the packet nor the node's neighbour entries say one."""

_ARP_SENDER_MAC = slice(8, 14)


class ComposedPacket(Struct, frozen=True, kw_only=True):
    """What a one-line packet or a Scapy expression says."""

    text: str
    """As it was written."""
    network: bytes
    """From the network header: an IPv4 packet or an ARP body."""
    ethertype: int = ETH_P_IP
    src: bytes = b""
    """Source address (sender of an ARP), for finding where the packet enters; may be empty."""
    dst: bytes = b""
    mark: int = 0
    """skb mark that it starts with."""
    vlan: int | None = None
    """802.1Q tag control information."""
    src_mac: bytes = b""
    """Empty: the entering side's choice."""
    dst_mac: bytes = b""
    """Empty: the entering device's own."""
    arp_sender_open: bool = False
    """The ARP body lacks its sender MAC: it takes the frame's."""

    def frame(self, *, dst_mac: bytes, src_mac: bytes = DEFAULT_SRC_MAC) -> bytes:
        """Return the Ethernet frame; the arguments fill in what was left out."""
        source = self.src_mac or src_mac
        network = self.network
        if self.arp_sender_open:
            body = bytearray(network)
            body[_ARP_SENDER_MAC] = source
            network = bytes(body)
        header = ethernet_header(self.dst_mac or dst_mac, source, self.ethertype)
        if self.vlan is not None:
            header = insert_tag(header, self.vlan)
        return header + network
