"""Every match and target that netemu knows, one file per kernel `xt_*.c` family.

Kernel: net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c, net/ipv6/netfilter/ip6t_*.c.

A file declares `MATCHES`, `TARGETS` or both and is listed in `MODULES` below: that is the whole of
its registration. A double name is refused here, and a test compares the list with the folder.
"""

from __future__ import annotations

from netemu.netfilter.extensions import (
    addrtype,
    checksum,
    classify,
    comment,
    connmark,
    conntrack,
    ct,
    dscp_target,
    ecn_target,
    hashlimit,
    hl_target,
    icmp,
    limit,
    log,
    mac,
    mark,
    multiport,
    nat,
    netmap,
    physdev,
    recent,
    reject,
    standard,
    statistic,
    tcpmss_target,
    tcpoptstrip,
    tcpudp,
    trace,
)
from netemu.netfilter.xtables.registry import Registry

MODULES = (
    addrtype,
    checksum,
    classify,
    comment,
    connmark,
    conntrack,
    ct,
    dscp_target,
    ecn_target,
    hashlimit,
    hl_target,
    icmp,
    limit,
    log,
    mac,
    mark,
    multiport,
    nat,
    netmap,
    physdev,
    recent,
    reject,
    standard,
    statistic,
    tcpmss_target,
    tcpoptstrip,
    tcpudp,
    trace,
)
"""The extension files, in alphabetical order."""

EXTENSIONS = Registry.of(MODULES)
"""What a ruleset may name."""
