"""The table of files."""

from __future__ import annotations

import pytest

from netemu.snapshot.items import ITEMS, NAMES, mangle

CONTRACT = """
ip_-j_-d_link_show ip_-j_addr_show ip_-j_route_show_table_all ip_-j_rule_show ip_-j_neigh_show
ip_-j_netns_list-id bridge_-j_fdb_show bridge_-j_-d_link_show bridge_-j_vlan_show bridge_-j_mdb_show
sysctl_-a iptables-save_-c ip6tables-save_-c iptables-legacy-save_-c iptables-nft-save_-c
ip6tables-legacy-save_-c ip6tables-nft-save_-c nft_list_ruleset ipset_save ipvsadm_-Sn
conntrack_-L_-o_extended ss_-Htuln
"""


def test_every_file_of_the_contract_is_taken() -> None:
    assert sorted(CONTRACT.split()) == sorted(item.name for item in ITEMS if item.collect)


def test_no_name_means_two_things() -> None:
    names = [name for item in ITEMS for name in item.names]
    assert sorted(names) == sorted(set(names)) == sorted(NAMES)


@pytest.mark.parametrize(
    "command, name",
    [
        ("ip -j -d link show", "ip_-j_-d_link_show"),
        ("iptables -t nat -nvL", "iptables_-t_nat_-nvL"),
        ("nft  --json list 'x'", "nft_--json_list_x_"),
    ],
)
def test_mangle(command: str, name: str) -> None:
    assert name == mangle(command)
