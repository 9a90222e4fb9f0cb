"""`bridge -j vlan show` into BridgeVlanSpec.

Tool: iproute2 bridge/vlan.c. The text form has one line a VLAN, the device's name in the first one.
"""

from __future__ import annotations

from netemu.sim.spec import BridgeVlanSpec
from netemu.snapshot.document import Document
from netemu.snapshot.records import BridgeVlanRecord, VlanRecord

PVID, UNTAGGED = "PVID", "Egress Untagged"
"""Flags as the tool prints them."""


def read_bridge_vlans(document: Document) -> list[BridgeVlanSpec]:
    """Return the memberships in printed order, ranges as single VLANs."""
    if document.is_json:
        records = document.decode(list[BridgeVlanRecord])
    else:
        records = _text_records(document)
    return [
        BridgeVlanSpec(
            device=record.ifname,
            vid=vid,
            pvid=PVID in entry.flags,
            untagged=UNTAGGED in entry.flags,
        )
        for record in records
        for entry in record.vlans
        for vid in range(entry.vlan, max(entry.vlan, entry.vlanEnd) + 1)
    ]


def _text_records(document: Document) -> list[BridgeVlanRecord]:
    found: list[BridgeVlanRecord] = []
    for number, line in enumerate(document.text.splitlines(), 1):
        words = line.split()
        if not words or words[0] == "port":
            continue
        if not line[0].isspace():
            found.append(BridgeVlanRecord(ifname=words.pop(0)))
        if not words or words == ["None"]:
            continue
        if not found:
            raise document.line_error(number, "a VLAN without a device before it")
        first, _, last = words[0].partition("-")
        found[-1].vlans.append(
            VlanRecord(
                vlan=document.whole_number(number, first),
                vlanEnd=document.whole_number(number, last),
                flags=[flag for flag in (PVID, UNTAGGED) if flag in line],
            )
        )
    return found
