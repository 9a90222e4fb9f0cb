"""One captured frame, whatever file and link type it came from, and its Ethernet form.

Kernel: net/packet/af_packet.c (what a cooked capture keeps of the link header).
Link types: https://www.tcpdump.org/linktypes.html

Theory of operation: the readers in `pcap.py` and `pcapng.py` yield `CapturedFrame`s and never look
into the data. What a cooked header (Linux SLL, SLL2) says is read on demand by properties here,
and `ethernet_of` rebuilds a frame that a device can take in: where the link header was lost, the
caller says which MAC addresses to put there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import IntEnum
from heapq import merge
from typing import NamedTuple, TypeVar

from netemu.errors import CaptureError

ETH_P_IP = 0x0800
ETH_P_IPV6 = 0x86DD

Reader = Callable[[int], bytes]
"""Returns up to that many octets, none at the end: `file.read`, or `file.read1` for a pipe."""

Writer = Callable[[bytes], object]

Source = TypeVar("Source")


class LinkType(IntEnum):
    """LINKTYPE_* values that can be turned into Ethernet frames."""

    NULL = 0
    """BSD loopback: address family in the capturing machine's byte order."""
    ETHERNET = 1
    RAW_DLT_BSD = 12
    """DLT_RAW on most systems, written by mistake instead of 101."""
    RAW_DLT_OPENBSD = 14
    """DLT_RAW on OpenBSD, as above."""
    RAW = 101
    """IPv4 or IPv6, told apart by the version field."""
    LOOP = 108
    """OpenBSD loopback: address family in network byte order."""
    LINUX_SLL = 113
    IPV4 = 228
    IPV6 = 229
    LINUX_SLL2 = 276


OTHER_LINK_TYPES = {
    9: "PPP",
    50: "PPP over serial",
    51: "PPP over Ethernet",
    105: "IEEE 802.11",
    119: "IEEE 802.11 with Prism header",
    127: "IEEE 802.11 with radiotap header",
    147: "user-defined",
    187: "Bluetooth HCI",
    189: "USB of Linux",
    195: "IEEE 802.15.4",
    220: "USB of Linux, padded",
    227: "CAN bus",
    239: "netfilter log",
    249: "USBPcap",
    253: "netlink",
}
"""Names for the message that refuses them."""


class Direction(IntEnum):
    """Bits 0-1 of epb_flags: which way the frame went through the interface."""

    UNKNOWN = 0
    INBOUND = 1
    OUTBOUND = 2


class SllPacketType(IntEnum):
    """sll_pkttype of a cooked header."""

    HOST = 0
    BROADCAST = 1
    MULTICAST = 2
    OTHERHOST = 3
    OUTGOING = 4


class CapturedFrame(NamedTuple):
    """One packet record of a capture file."""

    number: int
    """Place in the file, from 1."""
    time_ns: int
    """Since 1970."""
    data: bytes
    """As captured, link header of `link_type` included; may be cut by snaplen."""
    original_length: int
    """Octets that were on the wire."""
    link_type: int = LinkType.ETHERNET
    interface: str = ""
    """if_name of a pcapng; empty when the file has none."""
    direction: int = Direction.UNKNOWN
    comments: tuple[str, ...] = ()
    packet_id: int | None = None
    """epb_packetid: the same on every hop of one packet."""

    @property
    def truncated(self) -> bool:
        """Whether snaplen cut the frame."""
        return len(self.data) < self.original_length

    @property
    def packet_type(self) -> int | None:
        """The SLL packet type, or None when the file does not keep it."""
        if self.link_type == LinkType.LINUX_SLL and len(self.data) >= SLL_LEN:
            return int.from_bytes(self.data[0:2], "big")
        if self.link_type == LinkType.LINUX_SLL2 and len(self.data) >= SLL2_LEN:
            return self.data[10]
        return None

    @property
    def ifindex(self) -> int:
        """Interface index of an SLL2 header; 0 when unknown."""
        if self.link_type == LinkType.LINUX_SLL2 and len(self.data) >= SLL2_LEN:
            return int.from_bytes(self.data[4:8], "big")
        return 0

    @property
    def protocol(self) -> int:
        """Ethertype, or 0 when there is none."""
        return _split(self)[0]

    @property
    def source_mac(self) -> bytes:
        """Source MAC address, or empty when the file does not keep it."""
        return _split(self)[1]

    @property
    def network(self) -> bytes:
        """What follows the link header (802.1Q tags included)."""
        return _split(self)[2]

    @property
    def entered(self) -> bool | None:
        """Whether the frame came into its interface, or None when the file does not say."""
        if self.direction != Direction.UNKNOWN:
            return self.direction == Direction.INBOUND
        packet_type = self.packet_type
        return None if packet_type is None else packet_type != SllPacketType.OUTGOING


SLL_LEN = 16
"""packet type 2, ARPHRD 2, address length 2, address 8, protocol 2"""
SLL2_LEN = 20
"""protocol 2, reserved 2, ifindex 4, ARPHRD 2, packet type 1, address length 1, address 8"""

_AF_INET6 = {10, 23, 24, 28, 30}
"""AF_INET6 of Linux, Windows, NetBSD, FreeBSD, macOS."""
_AF_INET = 2


def _split(frame: CapturedFrame) -> tuple[int, bytes, bytes]:
    """Return ethertype, source MAC (may be empty) and what follows the link header."""
    data = frame.data
    kind = frame.link_type
    if kind == LinkType.ETHERNET:
        return int.from_bytes(data[12:14], "big"), data[6:12], data[14:]
    if kind == LinkType.LINUX_SLL:
        octets = int.from_bytes(data[4:6], "big")
        return int.from_bytes(data[14:16], "big"), _mac(data[6:14], octets), data[SLL_LEN:]
    if kind == LinkType.LINUX_SLL2:
        octets = data[11] if len(data) >= SLL2_LEN else 0
        return int.from_bytes(data[0:2], "big"), _mac(data[12:20], octets), data[SLL2_LEN:]
    if kind in {LinkType.NULL, LinkType.LOOP}:
        family = data[:4]
        number = min(int.from_bytes(family, "big"), int.from_bytes(family, "little"))
        known = {_AF_INET: ETH_P_IP, **dict.fromkeys(_AF_INET6, ETH_P_IPV6)}
        return known.get(number, 0), b"", data[4:]
    version = data[0] >> 4 if data else 0
    return {4: ETH_P_IP, 6: ETH_P_IPV6}.get(version, 0), b"", data


def _mac(field: bytes, octets: int) -> bytes:
    return field[:6] if octets == 6 else b""


def ethernet_of(
    frame: CapturedFrame, *, dst_mac: bytes, src_mac: bytes, other_mac: bytes = b""
) -> bytes:
    """Return the frame with an Ethernet header, as a device takes it in.

    An Ethernet capture comes back as it is. Elsewhere `dst_mac` stands for the device that took
    the frame and `src_mac` is used when the file does not keep the sender's. A cooked packet type
    of broadcast or multicast overrides `dst_mac`; for a frame to another host `other_mac` does, or
    an address that nobody has.
    """
    if frame.link_type == LinkType.ETHERNET:
        return frame.data
    ethertype, source, payload = _split(frame)
    unknown = other_mac or bytes([dst_mac[0] ^ 0x02]) + dst_mac[1:]
    destination = _destination(frame.packet_type, payload, dst_mac, unknown)
    return destination + (source or src_mac) + ethertype.to_bytes(2, "big") + payload


def _destination(
    packet_type: int | None, payload: bytes, device_mac: bytes, other_mac: bytes
) -> bytes:
    if packet_type == SllPacketType.BROADCAST:
        return b"\xff\xff\xff\xff\xff\xff"
    if packet_type == SllPacketType.MULTICAST:
        version = payload[0] >> 4 if payload else 0
        if version == 6:
            return b"\x33\x33" + payload[36:40].ljust(4, b"\0")
        group = payload[16:20].ljust(4, b"\0")
        return b"\x01\x00\x5e" + bytes([group[1] & 0x7F]) + group[2:]
    if packet_type == SllPacketType.OTHERHOST:
        return other_mac
    return device_mac


def link_header_len(link_type: int) -> int:
    """Return the octets before the network header, without 802.1Q tags."""
    return _HEADER_LENS.get(link_type, 0)


_HEADER_LENS: dict[int, int] = {
    LinkType.ETHERNET: 14,
    LinkType.LINUX_SLL: SLL_LEN,
    LinkType.LINUX_SLL2: SLL2_LEN,
    LinkType.NULL: 4,
    LinkType.LOOP: 4,
}


def refuse_link_type(link_type: int, file: str) -> CaptureError:
    """Return the error for a link type that cannot become an Ethernet frame."""
    name = OTHER_LINK_TYPES.get(link_type)
    shown = f"{link_type} ({name})" if name else str(link_type)
    return CaptureError(
        f"link type {shown} carries no frames that netemu could inject; "
        "it reads Ethernet, raw IP, Linux cooked (SLL, SLL2) and loopback captures",
        file=file,
    )


KNOWN_LINK_TYPES = frozenset(int(kind) for kind in LinkType)


def merge_frames(
    captures: Sequence[tuple[Source, Iterable[CapturedFrame]]],
) -> Iterator[tuple[Source, CapturedFrame]]:
    """Merge captures by time stamp; equal stamps keep the order given, then that of the file."""
    return merge(*(_tagged(source, frames) for source, frames in captures), key=_time_of)


def _tagged(
    source: Source, frames: Iterable[CapturedFrame]
) -> Iterator[tuple[Source, CapturedFrame]]:
    return ((source, frame) for frame in frames)


def _time_of(pair: tuple[object, CapturedFrame]) -> int:
    return pair[1].time_ns
