"""Details of vlan, macvlan and vxlan devices, recorded from iproute2 6.1."""

from __future__ import annotations

import json

from netemu.sim.spec import MacvlanSpec, VlanSpec, VxlanSpec
from netemu.snapshot.document import Document
from netemu.snapshot.read_link import read_links
from netemu.snapshot.read_upper import (
    macvlan_of,
    macvlan_words,
    vlan_of,
    vlan_words,
    vxlan_of,
    vxlan_words,
)
from netemu.wire.address import parse_address as ip

FLANNEL = (
    "vxlan id 1 local 10.0.0.1 dev eth0 srcport 0 0 dstport 8472 nolearning ttl auto ageing 300 "
    "udpcsum noudp6zerocsumtx noudp6zerocsumrx addrgenmode eui64 numtxqueues 1"
)
FIXED = (
    "vxlan id 6 remote 10.0.0.2 srcport 5000 5001 dstport 4789 tos inherit ttl 9 df set ageing 300"
    " udpcsum noudp6zerocsumtx noudp6zerocsumrx"
)
JSON = {
    "id": 6,
    "remote": "10.0.0.2",
    "port_range": {"low": 5000, "high": 5001},
    "port": 4789,
    "learning": True,
    "tos": "0x1",
    "ttl": 9,
    "df": "set",
    "ageing": 300,
    "udp_csum": True,
}


def test_vxlan() -> None:
    """Both forms say the same."""
    assert vxlan_of(vxlan_words(FLANNEL)) == VxlanSpec(vni=1, local=ip("10.0.0.1"), learning=False)
    fixed = VxlanSpec(
        vni=6, remote=ip("10.0.0.2"), src_ports=(5000, 5001), port=4789, tos=1, ttl=9, df="set"
    )
    assert [vxlan_of(JSON), vxlan_of(vxlan_words(FIXED))] == [fixed, fixed]


def test_what_is_not_emulated_is_none() -> None:
    """Metadata mode, IPv6 hosts and macvlan's source mode."""
    assert vxlan_of({"external": True, "id": 1}) is None
    assert vxlan_of({"remote6": "fd00::1", "id": 1}) is None
    assert vxlan_of({"local": "fd00::1", "id": 1}) is None
    assert macvlan_of({"mode": "source"}) is None


def test_vlan_and_macvlan() -> None:
    """The words of the text form."""
    assert vlan_of(vlan_words("vlan protocol 802.1ad id 9 <LOOSE_BINDING>")) == VlanSpec(
        vid=9, protocol=0x88A8, reorder_header=False
    )
    assert macvlan_of(macvlan_words("macvlan mode bridge bcqueuelen 1000")) == MacvlanSpec(
        mode="bridge"
    )


def test_the_device_below_a_vxlan_is_named_in_its_details() -> None:
    """It has no `link` of its own."""
    records = [
        {"ifindex": 2, "ifname": "eth0"},
        {
            "ifindex": 3,
            "ifname": "vx0",
            "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 5, "link": "eth0"}},
        },
    ]
    document = Document(name="link", text=json.dumps(records), command="ip -j -d link show")
    assert read_links(document)[1].peer_ifindex == 2
