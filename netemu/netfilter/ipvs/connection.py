"""The IPVS connection: which real server a client's packets go to.

Kernel: include/net/ip_vs.h (struct ip_vs_conn), include/uapi/linux/ip_vs.h.
"""

from __future__ import annotations

from netemu.clock import Timer
from netemu.netfilter.ipvs.service import (
    IP_VS_CONN_F_FWD_MASK,
    PROTOCOL_WORDS,
    RealServer,
)
from netemu.wire.address import format_address

IP_VS_CONN_F_SYNC = 0x0020
IP_VS_CONN_F_HASHED = 0x0040
IP_VS_CONN_F_NOOUTPUT = 0x0080
"""Answers do not come back through this node (DR, TUN)."""
IP_VS_CONN_F_INACTIVE = 0x0100
"""Counts as inactive."""
IP_VS_CONN_F_NO_CPORT = 0x0800
"""The client's port is not known yet."""
IP_VS_CONN_F_TEMPLATE = 0x1000
"""Remembers a client's server for persistence; no packet belongs to it."""
IP_VS_CONN_F_ONE_PACKET = 0x2000
"""Forgotten after its packet; never in the table."""
IP_VS_CONN_F_NFCT = 0x10000
"""Conntrack keeps its entry."""

IP_VS_CTPL_S_ASSURED = 0x0001
"""State of a template: a connection was answered or established."""

Key = tuple[int, bytes, int]


class IpvsConnection:
    """An entry of the connection table (struct ip_vs_conn)."""

    __slots__ = (
        "app",
        "app_data",
        "caddr",
        "control",
        "cport",
        "daddr",
        "dport",
        "expires",
        "flags",
        "fwmark",
        "in_pkts",
        "n_control",
        "number",
        "protocol",
        "server",
        "state",
        "timeout",
        "timer",
        "vaddr",
        "vport",
    )

    def __init__(
        self, protocol: int, client: tuple[bytes, int], virtual: tuple[bytes, int]
    ) -> None:
        """Make an entry without a server."""
        self.protocol = protocol
        self.caddr, self.cport = client
        self.vaddr, self.vport = virtual
        self.daddr = bytes(len(self.caddr))
        self.dport = 0
        """The real server; of a bypassed one nothing."""
        self.flags = 0
        self.fwmark = 0
        self.server: RealServer | None = None
        self.control: IpvsConnection | None = None
        """The template or FTP control connection that it belongs to."""
        self.n_control = 0
        """How many belong to it."""
        self.state = 0
        self.timeout = 0
        """Jiffies that it lives after a packet."""
        self.expires = 0
        """Jiffy at which it ends."""
        self.timer: Timer | None = None
        self.app: object | None = None
        """Its application's declaration (app.py)."""
        self.app_data = 0
        """What that remembers."""
        self.in_pkts = 0
        self.number = 0
        """Order of creation."""

    @property
    def forward(self) -> int:
        """Forwarding method (IP_VS_FWD_METHOD)."""
        return self.flags & IP_VS_CONN_F_FWD_MASK

    @property
    def key(self) -> Key:
        """What it is hashed by: protocol and the client's end."""
        return self.protocol, self.caddr, self.cport

    def __str__(self) -> str:
        """`TCP CLIENT -> VIRTUAL -> REAL`."""
        word = PROTOCOL_WORDS.get(self.protocol, str(self.protocol))
        ends = ((self.caddr, self.cport), (self.vaddr, self.vport), (self.daddr, self.dport))
        return f"{word} " + " -> ".join(f"{format_address(a)}:{port}" for a, port in ends)
