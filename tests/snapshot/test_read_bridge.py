"""`bridge vlan show` in both forms (recorded from iproute2 6.1 on Linux 6.1)."""

from __future__ import annotations

import pytest

from netemu.errors import SnapshotError
from netemu.snapshot.document import Document
from netemu.snapshot.read_bridge import read_bridge_vlans, read_mdb

JSON = (
    '[{"ifname":"dummy0","vlans":[{"vlan":1,"flags":["Egress Untagged"]},{"vlan":20,"vlanEnd":22},'
    '{"vlan":30,"flags":["PVID","Egress Untagged"]}]},{"ifname":"br0","vlans":[{"vlan":30}]}]'
)
TEXT = """port              vlan-id  
dummy0            1 Egress Untagged
                  20-22
                  30 PVID Egress Untagged
br0               30
eth9              None
"""  # noqa: W291 - as the tool prints it


def read(text: str) -> list[tuple[str, int, bool, bool]]:
    document = Document(name="vlans", text=text, command="bridge vlan show")
    return [(row.device, row.vid, row.pvid, row.untagged) for row in read_bridge_vlans(document)]


@pytest.mark.parametrize("text", [JSON, TEXT])
def test_both_forms(text: str) -> None:
    """Ranges are taken apart."""
    assert read(text) == [
        ("dummy0", 1, False, True),
        ("dummy0", 20, False, False),
        ("dummy0", 21, False, False),
        ("dummy0", 22, False, False),
        ("dummy0", 30, True, True),
        ("br0", 30, False, False),
    ]


def test_a_vlan_of_no_device() -> None:
    """Its line is named."""
    with pytest.raises(SnapshotError, match="vlans:1"):
        read("      20\n")


MDB_JSON = (
    '[{"mdb":[{"index":2,"dev":"br0","port":"p1","grp":"239.1.1.1","state":"permanent",'
    '"protocol":"static","flags":[]},{"index":2,"dev":"br0","port":"p2","grp":"239.1.1.1",'
    '"state":"temp","flags":[],"vid":7},{"index":2,"dev":"br0","port":"br0","grp":"ff02::6a",'
    '"state":"temp","flags":[]}],"router":{"br0":[{"port":"p2"}]}}]'
)
MDB_TEXT = """dev br0 port p1 grp 239.1.1.1 permanent proto static
dev br0 port p2 grp 239.1.1.1 temp vid 7
dev br0 port br0 grp ff02::6a temp
router ports on br0: p2
"""


@pytest.mark.parametrize("text", [MDB_JSON, MDB_TEXT])
def test_memberships_and_router_ports(text: str) -> None:
    """IPv6 groups are left out (recorded from iproute2 6.1 on Linux 6.18)."""
    document = Document(name="mdb", text=text, command="bridge mdb show")
    assert [(row.device, row.group, row.vlan, row.permanent) for row in read_mdb(document)] == [
        ("p1", bytes((239, 1, 1, 1)), 0, True),
        ("p2", bytes((239, 1, 1, 1)), 7, False),
        ("p2", b"", 0, False),
    ]


def test_a_group_that_is_no_address() -> None:
    """The file is named."""
    with pytest.raises(SnapshotError, match="mdb"):
        read_mdb(Document(name="mdb", text='[{"mdb":[{"grp":"x"}]}]', command="bridge -j mdb show"))
