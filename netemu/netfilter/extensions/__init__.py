"""Every match and target that netemu knows, one file per kernel `xt_*.c` family.

Kernel: net/netfilter/xt_*.c, net/ipv4/netfilter/ipt_*.c, net/ipv6/netfilter/ip6t_*.c.

A file declares `MATCHES`, `TARGETS` or both and is listed in `FILES` below with their names: that
is the whole of its registration. As the kernel loads a module when a rule first names it, a file is
imported when one of its names is first looked for: most rulesets need few of them. A test compares
the list with the folder and with what the files declare, and refuses double names.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from netemu.netfilter.xtables.registry import Registry

FILES = {
    "addrtype": "addrtype",
    "ah": "ah",
    "ah6": "ah",
    "audit": "AUDIT",
    "bpf": "bpf",
    "cgroup": "cgroup",
    "checksum": "CHECKSUM",
    "classify": "CLASSIFY",
    "cluster": "cluster",
    "clusterip": "CLUSTERIP",
    "comment": "comment",
    "connbytes": "connbytes",
    "connlabel": "connlabel",
    "connlimit": "connlimit",
    "connmark": "connmark CONNMARK",
    "conntrack": "conntrack state",
    "cpu": "cpu",
    "ct": "CT NOTRACK",
    "dccp": "dccp",
    "devgroup": "devgroup",
    "dscp": "tos dscp",
    "dscp_target": "DSCP TOS",
    "ecn": "ecn",
    "ecn_target": "ECN",
    "esp": "esp",
    "eui64": "eui64",
    "frag": "frag",
    "hashlimit": "hashlimit",
    "hbh": "hbh dst",
    "helper": "helper",
    "hl": "ttl hl",
    "hl_target": "TTL HL",
    "hmark": "HMARK",
    "icmp": "icmp",
    "icmp6": "icmp6",
    "idletimer": "IDLETIMER",
    "ipcomp": "ipcomp",
    "iprange": "iprange",
    "ipv6header": "ipv6header",
    "ipvs": "ipvs",
    "led": "LED",
    "length": "length",
    "limit": "limit",
    "log": "LOG",
    "mac": "mac",
    "mark": "mark MARK",
    "mh": "mh",
    "multiport": "multiport",
    "nat": "DNAT SNAT MASQUERADE REDIRECT",
    "netmap": "NETMAP",
    "nfacct": "nfacct",
    "nflog": "NFLOG",
    "nfqueue": "NFQUEUE",
    "npt": "SNPT DNPT",
    "osf": "osf",
    "owner": "owner",
    "physdev": "physdev",
    "pkttype": "pkttype",
    "policy": "policy",
    "quota": "quota",
    "rateest": "rateest RATEEST",
    "realm": "realm",
    "recent": "recent",
    "reject": "REJECT",
    "reject6": "REJECT",
    "rpfilter": "rpfilter",
    "rt": "rt",
    "sctp": "sctp",
    "secmark": "CONNSECMARK SECMARK",
    "set_match": "set",
    "set_target": "SET",
    "socket_match": "socket",
    "srh": "srh",
    "standard": "ACCEPT DROP QUEUE RETURN",
    "statistic": "statistic",
    "string_match": "string",
    "synproxy": "SYNPROXY",
    "tcpmss": "tcpmss",
    "tcpmss_target": "TCPMSS",
    "tcpoptstrip": "TCPOPTSTRIP",
    "tcpudp": "tcp udp",
    "tee": "TEE",
    "time_match": "time",
    "tproxy": "TPROXY",
    "trace": "TRACE",
    "u32": "u32",
    "ulog": "ULOG",
}
"""The extension files, in alphabetical order, and the names of what they declare."""


def load(file: str) -> ModuleType:
    """Import one extension file."""
    return importlib.import_module(f"{__name__}.{file}")


EXTENSIONS = Registry(FILES, load)
"""What a ruleset may name."""
