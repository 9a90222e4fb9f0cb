"""What a match or target is told about the packet (struct xt_action_param).

Kernel: include/linux/netfilter/x_tables.h.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.hook import Family, Hook
from netemu.skb import Device


class XtParam:
    """One per traversal; `fragoff` and `thoff` are renewed whenever the IP header may change."""

    __slots__ = ("family", "fragoff", "hook", "hotdrop", "in_device", "net", "out_device", "thoff")

    def __init__(
        self,
        *,
        net: Net,
        family: Family,
        hook: Hook,
        in_device: Device | None,
        out_device: Device | None,
    ) -> None:
        """Start a traversal at `hook`."""
        self.net = net
        self.family = family
        self.hook = hook
        self.in_device = in_device
        self.out_device = out_device
        self.fragoff = 0
        """Fragment offset in 8-octet units, 0 for a whole packet or first fragment."""
        self.thoff = 0
        """Offset of the transport header in skb.data, octets."""
        self.hotdrop = False
        """Set by a match that wants the packet dropped at once."""
