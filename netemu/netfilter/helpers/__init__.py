"""Connection helpers, one file each: they read what a connection says to find those it announces.

Kernel: net/netfilter/nf_conntrack_ftp.c, nf_nat_ftp.c and their likes.

Decision: the kernel has each helper twice, for conntrack and for NAT, joined by a pointer, so that
conntrack can live without NAT. Here both stand above NAT and one file says all about a protocol.

Differs from Linux: where the helpers are modules, a CT rule loads only conntrack's half; without
`modprobe nf_nat_ftp` the addresses in FTP's lines stay as they are. Here NAT's half is always
there, as in a kernel that has it built in.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.helper import Helpers
from netemu.netfilter.helpers import ftp, irc, netbios_ns, sane, snmp, tftp

HELPERS = (
    ftp.HELPER,
    irc.HELPER,
    netbios_ns.HELPER,
    sane.HELPER,
    snmp.HELPER,
    tftp.HELPER,
)


def nf_conntrack_helpers_init(net: Net) -> None:
    """Make the helpers known to a namespace."""
    net.generic(Helpers).register(HELPERS)
