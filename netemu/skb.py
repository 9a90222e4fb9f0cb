"""The packet in flight, the device that carries it, and what became of it.

Kernel: include/linux/skbuff.h, include/linux/netdevice.h.

Theory of operation: `Skb.data` starts at the network header (IPv4 header, ARP body), as
`skb->data` does inside the IP layer; the link header that came with the frame is kept apart in
`mac_header`, since LOG prints it and the bridge sends it on. An 802.1Q tag lives in `vlan_tci`,
as the kernel keeps it. Addresses are packed bytes in network order (4 or 16 of them) everywhere,
so nothing depends on the address family.

A clone shares the `Fate` of its original: a flooded frame is one packet with many copies. A packet
that the node makes itself (an ICMP error, a RST, an ARP request) has a fate of its own with the
packet that caused it as its parent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from msgspec import Struct, field

ETH_HLEN = 14
"""Octets of an Ethernet header without 802.1Q tag (include/uapi/linux/if_ether.h)."""

ETH_P_IP = 0x0800
ETH_P_ARP = 0x0806
ETH_P_8021Q = 0x8100
ETH_P_8021AD = 0x88A8
ETH_P_IPV6 = 0x86DD

BROADCAST_MAC = b"\xff\xff\xff\xff\xff\xff"
ZERO_MAC = bytes(6)


class PacketType(IntEnum):
    """For whom a received frame is meant (include/uapi/linux/if_packet.h)."""

    HOST = 0
    BROADCAST = 1
    MULTICAST = 2
    OTHERHOST = 3
    OUTGOING = 4
    LOOPBACK = 5


class Checksum(IntEnum):
    """What is known of the L4 checksum (skb->ip_summed)."""

    NONE = 0
    """Unknown: whoever cares computes it."""
    UNNECESSARY = 1
    """Known to be good."""
    COMPLETE = 2
    PARTIAL = 3
    """Holds the pseudo-header sum only; completed on output. Counts as good."""


class NfConntrack(Protocol):
    """What an skb refers to as its connection (struct nf_conntrack)."""

    holders: int
    """Who keeps it beside the table that it is in."""


class VlanUpper(Protocol):
    """An 802.1Q device above another one, as that one sees it (link/vlan.py)."""

    def receive(self, skb: Skb) -> bool:
        """Take a frame of this VLAN, which becomes one of the upper device; False: it ended."""
        ...


class Device(ABC):
    """A network device of one namespace (struct net_device).

    `link/` derives the kinds: port, veth, bridge, loopback and the wrapping ones.
    """

    __slots__ = (
        "bridge_port",
        "carrier",
        "hard_header_len",
        "ifindex",
        "kind",
        "loopback",
        "mac",
        "master",
        "mtu",
        "name",
        "noarp",
        "rx_handler",
        "up",
        "vlan_devices",
    )

    tags_in_metadata = True
    """Takes a VLAN tag beside the frame (NETIF_F_HW_VLAN_CTAG_TX); else it is put into it."""

    def __init__(  # noqa: PLR0913 - a device has this many properties that a caller must choose
        self,
        *,
        name: str,
        ifindex: int,
        mac: bytes,
        mtu: int = 1500,
        up: bool = True,
        kind: str = "",
        loopback: bool = False,
        noarp: bool = False,
    ) -> None:
        """Make a device; `kind` is the word of `ip -d link` ("veth", "bridge", "" for hardware)."""
        self.name = name
        self.ifindex = ifindex
        self.mac = mac
        self.mtu = mtu
        self.up = up
        self.carrier = up
        self.hard_header_len = ETH_HLEN
        """Octets of its link header, as LOG prints it."""
        self.kind = kind
        self.loopback = loopback
        self.noarp = noarp
        self.master: Device | None = None
        """The bridge that this device is a port of."""
        self.bridge_port: object | None = None
        """The bridge's record of this port (link/bridge.py)."""
        self.rx_handler: Callable[[Skb], bool] | None = None
        """Takes a received skb before the protocol handlers; True when it consumed it."""
        self.vlan_devices: dict[tuple[int, int], VlanUpper] = {}
        """802.1Q devices above, by ethertype and VLAN id (vlan_info)."""

    @abstractmethod
    def xmit(self, skb: Skb) -> None:
        """Send the frame `skb.mac_header + skb.data` (ndo_start_xmit)."""

    def __repr__(self) -> str:
        """Name and index, for test failures."""
        return f"<{type(self).__name__} {self.name}#{self.ifindex}>"


class NfBridge(Struct, kw_only=True):
    """What br_netfilter remembers of a bridged packet (struct nf_bridge_info)."""

    physindev: Device | None = None
    physoutdev: Device | None = None
    in_prerouting: bool = False
    bridged_dnat: bool = False
    sabotage_in_done: bool = False
    pkt_otherhost: bool = False
    frag_max_size: int = 0
    neigh_header: bytes = b""
    ipv4_daddr: bytes = b""
    """Destination before PREROUTING, which tells whether NAT changed it."""
    encapsulation: bytes = b""
    """PPPoE header that is hidden from the IPv4 hooks."""
    orig_protocol: int = 0
    """Ethertype to be restored after the IPv4 hooks; 0 when it stays."""


class RulePlace(Struct, frozen=True, kw_only=True):
    """A rule's place, for verdicts and messages."""

    table: str
    chain: str
    rule: int
    """Number in its chain from 1; one more than the last rule is the policy."""
    line: int | None
    """Line of the rule in its file; None for what was not read from a file."""


class SentFrame(Struct, kw_only=True):
    """A frame that left the node through a port."""

    time_ns: int
    device: str
    frame: bytes


class Fate(Struct, kw_only=True, eq=False):
    """What became of one packet and all its copies."""

    packet_id: int
    parent_id: int = 0
    """The packet that caused this one; 0 for an injected one."""
    frames: list[SentFrame] = field(default_factory=list)
    delivered_to: str = ""
    """`node` or `NS` of the namespace whose stack took the packet; empty if none did."""
    drop_reason: str = ""
    """SKB_DROP_REASON name of the first copy that was dropped."""
    reject_type: str = ""
    """The word after --reject-with when a REJECT rule answered."""
    queue_number: int | None = None
    decided_by: RulePlace | None = None
    """The rule that dropped, rejected, queued or last accepted the packet."""
    rules_visited: int = 0
    merged: Fate | None = None
    """The packet that this fragment became a part of; it decides."""
    passes: int = 0
    """How often a copy went from one device to another inside of the node."""
    connection: object | None = None
    """The conntrack entry that the packet belongs to (netfilter/conntrack/connection.py)."""

    @property
    def verdict(self) -> str:
        """One of ACCEPT DROP REJECT QUEUE STOLEN."""
        if self.merged is not None:
            return self.merged.verdict
        if self.frames or self.delivered_to:
            return "ACCEPT"
        if self.reject_type:
            return "REJECT"
        if self.queue_number is not None:
            return "QUEUE"
        return "DROP" if self.drop_reason else "STOLEN"

    @property
    def reason(self) -> str:
        """Why it ended so: a drop reason, the reject type, or empty."""
        if self.merged is not None:
            return self.merged.reason
        verdict = self.verdict
        if verdict == "REJECT":
            return self.reject_type
        return self.drop_reason if verdict == "DROP" else ""


class Skb:
    """A packet in flight (struct sk_buff)."""

    __slots__ = (
        "ctinfo",
        "data",
        "device",
        "dst",
        "dst_pending_confirm",
        "fate",
        "frag_list",
        "frag_max_size",
        "frame_len",
        "gso",
        "ignore_df",
        "iif",
        "ip_flags",
        "ip_summed",
        "ipvs_property",
        "mac_header",
        "mark",
        "nf_bridge",
        "nf_trace",
        "nfct",
        "options",
        "pkt_type",
        "priority",
        "protocol",
        "secmark",
        "sk",
        "vlan_filtered",
        "vlan_proto",
        "vlan_tci",
    )

    def __init__(
        self, data: bytes | bytearray, *, protocol: int, fate: Fate, device: Device | None = None
    ) -> None:
        """Wrap `data`, which starts at the network header of ethertype `protocol`."""
        self.data = bytearray(data)
        self.protocol = protocol
        self.device = device
        """skb->dev: where it came from, later where it goes."""
        self.iif: Device | None = None
        """skb_iif: the device that received it last, a bridge's port until the bridge does."""
        self.fate = fate
        self.mac_header = b""
        """Link header (14 octets for Ethernet), or empty for a packet made here."""
        self.frame_len = 0
        """Octets of the frame that it came in, padding included; 0 for a packet made here."""
        self.vlan_tci: int | None = None
        """The stripped VLAN tag: priority, DEI and VLAN id; None when untagged."""
        self.vlan_proto = ETH_P_8021Q
        """Ethertype of the stripped tag, 802.1Q or 802.1ad."""
        self.vlan_filtered = False
        """BR_INPUT_SKB_CB(skb)->vlan_filtered: a bridge put it into a VLAN."""
        self.gso = False
        """A merged super-frame (skb_is_gso): exempt from MTU checks."""
        self.pkt_type = PacketType.HOST
        self.mark = 0
        self.priority = 0
        self.secmark = ""
        """Security context, as it was written; empty for none."""
        self.nfct: NfConntrack | None = None
        """The conntrack entry or UNTRACKED mark; read it with nf_ct_get."""
        self.ctinfo = 0
        self.nf_trace = False
        self.dst: object | None = None
        """The route; read it with skb_rtable."""
        self.dst_pending_confirm = False
        """The peer has acknowledged: the next hop hears us, on every node that forwards this."""
        self.nf_bridge: NfBridge | None = None
        self.ip_summed = Checksum.NONE
        self.ignore_df = False
        self.sk: object | None = None
        """The local socket that sent it."""
        self.ipvs_property = False
        self.frag_max_size = 0
        """IPCB(skb)->frag_max_size, octets."""
        self.frag_list: list[int] | None = None
        """Payload octets of each fragment that the packet was put together from."""
        self.ip_flags = 0
        """IPCB(skb)->flags."""
        self.options: object | None = None
        """IPCB(skb)->opt once ip_options_compile ran."""

    @property
    def transport_offset(self) -> int:
        """Offset of the L4 header in `data` (IPv4)."""
        return (self.data[0] & 0x0F) * 4

    def ensure_writable(self, octets: int) -> None:
        """Let so many octets be in the first part, if they came in several (skb_ensure_writable).

        >>> skb = Skb(bytearray(b"E") + bytes(59), protocol=ETH_P_IP, fate=Fate(packet_id=1))
        >>> skb.frag_list = [8, 16, 16]
        >>> skb.ensure_writable(40)
        >>> skb.frag_list
        [20, 4, 16]
        """
        sizes = self.frag_list
        if sizes is None:
            return
        lack = octets - self.transport_offset - sizes[0]
        if lack <= 0:
            return
        first, rest = sizes[0] + lack, sizes[1:]
        while rest and rest[0] <= lack:
            lack -= rest.pop(0)
        if rest:
            rest[0] -= lack
        self.frag_list = [first, *rest] if rest else None

    def clone(self) -> Skb:
        """Copy packet and metadata but not the socket; the fate is shared (skb_clone)."""
        twin = Skb(self.data, protocol=self.protocol, fate=self.fate, device=self.device)
        for name in _COPIED:
            setattr(twin, name, getattr(self, name))
        return twin


_COPIED = tuple(
    name for name in Skb.__slots__ if name not in {"data", "protocol", "fate", "device", "sk"}
)
