"""`bridge -j vlan show` into BridgeVlanSpec, `bridge -j mdb show` into MdbSpec.

Tool: iproute2 bridge/vlan.c, bridge/mdb.c. The text form of VLANs has one line each, the device's
name in the first one; that of memberships has one each, and one for a bridge's router ports.
"""

from __future__ import annotations

from netemu.sim.spec import BridgeVlanSpec, MdbSpec
from netemu.snapshot.document import Document
from netemu.snapshot.records import (
    BridgeVlanRecord,
    MdbEntryRecord,
    MdbRecord,
    RouterRecord,
    VlanRecord,
)
from netemu.snapshot.text_neigh import word_after
from netemu.snapshot.values import address_of

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


def read_mdb(document: Document) -> list[MdbSpec]:
    """Return the memberships in IPv4 groups, then the ports with routers."""
    records = document.decode(list[MdbRecord]) if document.is_json else [_text_mdb(document)]
    found: list[MdbSpec] = []
    for index, record in enumerate(records):
        for entry in record.mdb:
            if ":" in entry.grp:
                continue
            try:
                group = address_of(entry.grp)
            except ValueError as error:
                raise document.record_error(index, error) from None
            found.append(
                MdbSpec(
                    bridge=entry.dev,
                    device=entry.port,
                    group=group,
                    vlan=entry.vid,
                    permanent=entry.state == "permanent",
                )
            )
        found += [
            MdbSpec(bridge=bridge, device=router.port)
            for bridge, routers in record.router.items()
            for router in routers
        ]
    return found


def _text_mdb(document: Document) -> MdbRecord:
    found = MdbRecord(mdb=[], router={})
    for number, line in enumerate(document.text.splitlines(), 1):
        words = line.split()
        if words[:3] == ["router", "ports", "on"]:
            ports = [RouterRecord(port=name) for name in words[4:]]
            found.router.setdefault(words[3].rstrip(":"), []).extend(ports)
        elif "grp" in words:
            found.mdb.append(
                MdbEntryRecord(
                    dev=word_after(words, "dev"),
                    port=word_after(words, "port"),
                    grp=word_after(words, "grp"),
                    state="permanent" if "permanent" in words else "temp",
                    vid=document.whole_number(number, word_after(words, "vid")),
                )
            )
    return found
