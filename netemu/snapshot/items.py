"""The files of a snapshot: command, name, second choices, and what the lack of each disables.

Names follow `sos report` (sos/report/plugins/__init__.py, _mangle_command): the command line with
every run of other characters replaced by one underscore.
"""

from __future__ import annotations

import re

from msgspec import Struct

_OTHER = re.compile(r"[^A-Za-z0-9_.-]+")


def mangle(command: str) -> str:
    """Return the file name of a command line.

    >>> mangle("ip -j route show table all")
    'ip_-j_route_show_table_all'
    >>> mangle("cat /proc/net/arp")
    'cat_proc_net_arp'
    """
    return _OTHER.sub("_", command)


class Item(Struct, frozen=True, kw_only=True):
    """One file of a snapshot."""

    key: str
    command: str
    """What a collector runs; its mangled form is the file's name."""
    also: tuple[str, ...] = ()
    """Further names under which the same content is accepted, best first."""
    disables: str = ""
    """What does not work without it, as the end of a sentence; empty when nothing is lost."""
    collect: bool = True
    """Whether `netemu snapshot` runs it."""
    partial: bool = False
    """Whether output is worth keeping although the command failed."""

    @property
    def name(self) -> str:
        """File name of the first choice."""
        return mangle(self.command)

    @property
    def names(self) -> tuple[str, ...]:
        """All accepted names, best first."""
        return (self.name, *self.also)


LISTED_TABLES = ("raw", "mangle", "nat", "filter", "security")
"""Tables that sosreports list; in the order of their hooks' priorities."""

ITEMS: tuple[Item, ...] = (
    Item(
        key="link",
        command="ip -j -d link show",
        also=("ip_-j_link_show", "ip_-j_-d_link", "ip_-j_link", "ip_-s_-d_link", "ip_-d_link"),
        disables="kinds of devices are unknown: every device but lo is taken as a port, "
        "no bridge and no veth pair is wired",
    ),
    Item(
        key="addr",
        command="ip -j addr show",
        also=(
            "ip_-j_-d_addr_show",
            "ip_-j_-d_addr",
            "ip_-j_addr",
            "ip_-d_address",
            "ip_-o_addr",
            "ip_-d_address_show",
            "ip_address_show",
            "ip_addr",
        ),
        disables="the node has no addresses: nothing is delivered to it and it answers no ARP",
    ),
    Item(
        key="route",
        command="ip -j route show table all",
        also=("ip_-j_-d_route_show_table_all", "ip_route_show_table_all"),
        disables="only the routes that the addresses imply exist, no gateway",
    ),
    Item(
        key="rule",
        command="ip -j rule show",
        also=(
            "ip_-j_rule",
            "ip_-4_rule_list",
            "ip_-4_rule_show",
            "ip_-4_rule",
            "ip_rule_list",
            "ip_rule_show",
            "ip_rule",
        ),
        disables="policy routing: only the kernel's own three rules are followed",
    ),
    Item(
        key="neigh",
        command="ip -j neigh show",
        also=(
            "ip_-j_-s_neigh_show",
            "ip_-j_neigh",
            "ip_-s_-s_neigh_show",
            "ip_-4_neigh_show_nud_all",
            "ip_neigh_show",
            "ip_neigh",
        ),
        disables="every neighbour has to be resolved by ARP first",
    ),
    Item(
        key="proxy",
        command="ip -j neigh show proxy",
        also=("ip_neigh_show_proxy",),
        collect=False,
    ),
    Item(
        key="netns",
        command="ip -j netns list-id",
        also=("ip_netns_list-id",),
        disables="namespaces are told by the pairs of their veth ends",
    ),
    Item(
        key="fdb",
        command="bridge -j fdb show",
        also=("bridge_-s_-s_-d_-t_fdb_show", "bridge_-s_-s_-d_fdb_show", "bridge_fdb_show"),
        disables="bridges start with nothing learnt and flood first frames",
    ),
    Item(key="bridge_link", command="bridge -j -d link show"),
    Item(
        key="bridge_vlan",
        command="bridge -j vlan show",
        also=("bridge_vlan_show", "bridge_-d_vlan_show"),
        disables="a bridge that filters VLANs has all its ports in its default VLAN",
    ),
    Item(
        key="bridge_mdb",
        command="bridge -j mdb show",
        also=("bridge_-j_-d_mdb_show", "bridge_mdb_show", "bridge_-d_mdb_show"),
    ),
    Item(
        key="sysctl",
        command="sysctl -a",
        partial=True,
        disables="every kernel parameter has its default: forwarding is off",
    ),
    Item(
        key="save4",
        command="iptables-save -c",
        also=("iptables-save",),
        disables="no IPv4 rule is evaluated",
    ),
    Item(key="save6", command="ip6tables-save -c", also=("ip6tables-save",)),
    Item(key="legacy4", command="iptables-legacy-save -c", also=("iptables-legacy-save",)),
    Item(key="legacy6", command="ip6tables-legacy-save -c", also=("ip6tables-legacy-save",)),
    Item(key="nft4", command="iptables-nft-save -c", also=("iptables-nft-save",)),
    Item(key="nft6", command="ip6tables-nft-save -c", also=("ip6tables-nft-save",)),
    Item(
        key="nft",
        command="nft list ruleset",
        also=("nft_-a_list_ruleset",),
        disables="native nftables rules would go unnoticed",
    ),
    Item(
        key="ebtables",
        command="ebtables-save",
        also=("ebtables-legacy-save", "ebtables-nft-save", "ebtables_-L"),
        collect=False,
    ),
    Item(
        key="arptables",
        command="arptables-save",
        also=("arptables-legacy-save", "arptables-nft-save"),
        collect=False,
    ),
    Item(
        key="ipset",
        command="ipset save",
        also=("ipset_list",),
        disables="rules that look into sets cannot be evaluated",
    ),
    Item(
        key="ipvs",
        command="ipvsadm -Sn",
        also=("ipvsadm_-Ln",),
        disables="no IPVS service exists",
    ),
    Item(
        key="modules",
        command="lsmod",
        collect=False,
    ),
    Item(
        key="conntrack",
        command="conntrack -L -o extended",
        also=("conntrack_-L", "nf_conntrack"),
        disables="no connection is known: mid-stream packets are picked up as new ones",
    ),
    Item(
        key="sockets",
        command="ss -Htuln",
        also=("ss_-tuln", "ss_-peaonmi"),
        disables="nothing listens: local ports answer RST or port unreachable",
    ),
    *(
        Item(
            key=f"list_{table}{family}",
            command=f"{program} -t {table} -nvL",
            also=(f"{program}_-vnxL", f"{program}_-nvL") if table == "filter" else (),
            collect=False,
        )
        for family, program in ((4, "iptables"), (6, "ip6tables"))
        for table in LISTED_TABLES
    ),
)
"""Every file of a snapshot, in the order in which the doctor lists them."""

ITEM = {item.key: item for item in ITEMS}

NAMES = frozenset(name for item in ITEMS for name in item.names)
"""Every file name that the reader looks at."""
