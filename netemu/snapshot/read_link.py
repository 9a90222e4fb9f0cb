"""`ip -d link show` and `bridge -j -d link show` into LinkSpec.

Tool: iproute2 ip/ipaddress.c (print_linkinfo), ip/iplink_bridge.c, ip/iplink_bridge_slave.c. A peer
in the same namespace is printed by name (`link`), one elsewhere by number (`link_index`) with the
local id of its namespace (`link_netnsid`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from msgspec.structs import replace

from netemu.sim.spec import LinkSpec
from netemu.snapshot.document import Document
from netemu.snapshot.read_upper import macvlan_of, vlan_of, vxlan_of
from netemu.snapshot.records import LinkRecord, Options
from netemu.snapshot.text_link import link_records
from netemu.snapshot.values import STP_STATES, VLAN_PROTOCOLS, mac_of

_HEX = re.compile(r"0x[0-9a-f]{1,4}")
_NOT_OPTIONS = {"ifindex", "link", "ifname", "flags", "mtu", "master", "link_index"}


def read_links(document: Document) -> list[LinkSpec]:
    """Return the devices in order of ifindex."""
    records = document.decode(list[LinkRecord]) if document.is_json else link_records(document)
    return specs_of([record for record in records if record.ifname])


def specs_of(records: Sequence[LinkRecord]) -> list[LinkSpec]:
    """Return link records as specs, ends of pairs resolved to numbers."""
    index_of = {record.ifname: record.ifindex for record in records}
    masters = {record.master for record in records}
    specs = [_spec(record, index_of, masters) for record in records]
    return sorted(specs, key=lambda spec: spec.ifindex)


def _spec(record: LinkRecord, index_of: dict[str, int], masters: set[str]) -> LinkSpec:
    info = record.linkinfo
    return LinkSpec(
        name=record.ifname,
        ifindex=record.ifindex,
        kind=_kind(record, masters),
        mac=mac_of(record.address) or bytes(6),
        mtu=record.mtu,
        up="UP" in record.flags,
        carrier="NO-CARRIER" not in record.flags,
        noarp="NOARP" in record.flags,
        master=record.master,
        peer_ifindex=record.link_index or index_of.get(_lower_name(record), 0),
        peer_netnsid=record.link_netnsid,
        bridge=numbers_of(info.info_data) if info.info_kind == "bridge" else {},
        port=numbers_of(info.info_slave_data) if info.info_slave_kind == "bridge" else {},
        vlan=vlan_of(info.info_data) if info.info_kind == "vlan" else None,
        macvlan=macvlan_of(info.info_data) if info.info_kind == "macvlan" else None,
        vxlan=vxlan_of(info.info_data) if info.info_kind == "vxlan" else None,
    )


def _lower_name(record: LinkRecord) -> str:
    """Return the device at the other end or below, which a VXLAN's details name."""
    if record.linkinfo.info_kind == "vxlan":
        data = record.linkinfo.info_data
        return str(data.get("link") or data.get("dev") or "")
    return record.link or ""


def _kind(record: LinkRecord, masters: set[str]) -> str:
    if record.linkinfo.info_kind:
        return record.linkinfo.info_kind
    if record.link_type == "loopback" or "LOOPBACK" in record.flags:
        return "loopback"
    # Without details (`ip -j addr`) the only trace of a bridge is that others name it as master.
    return "bridge" if record.ifname in masters else ""


def numbers_of(options: Options) -> dict[str, int]:
    """Return the whole numbers and switches among bridge options, STP states by number.

    A port's `no` is its number, which tells the order in which ports joined.
    """
    found: dict[str, int] = {}
    for name, value in options.items():
        if name == "state" and value in STP_STATES:
            found[name] = STP_STATES.index(str(value))
        elif name == "no" and isinstance(value, str) and _HEX.fullmatch(value):
            found[name] = int(value, 16)
        elif name == "vlan_protocol" and value in VLAN_PROTOCOLS:
            found[name] = VLAN_PROTOCOLS[str(value)]
        elif name == "group_fwd_mask" and isinstance(value, str):
            found[name] = int(value, 16)
        elif isinstance(value, int):
            found[name] = int(value)
    return found


def read_bridge_links(document: Document, links: list[LinkSpec]) -> list[LinkSpec]:
    """Return `links` with port options from `bridge -j -d link` where they had none."""
    options = {
        str(record.get("ifname")): {
            name: value for name, value in record.items() if name not in _NOT_OPTIONS
        }
        for record in document.decode(list[Options])
    }
    return [
        replace(link, port=numbers_of(options[link.name]))
        if link.name in options and link.master and not link.port
        else link
        for link in links
    ]
