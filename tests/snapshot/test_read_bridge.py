"""`bridge vlan show` in both forms (recorded from iproute2 6.1 on Linux 6.1)."""

from __future__ import annotations

import pytest

from netemu.errors import SnapshotError
from netemu.snapshot.document import Document
from netemu.snapshot.read_bridge import read_bridge_vlans

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
