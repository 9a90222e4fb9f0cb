"""`ip -j neigh show` and `bridge -j fdb show` into NeighbourSpec and FdbSpec.

Tool: iproute2 ip/ipneigh.c (print_neigh), bridge/fdb.c (print_fdb). Of an FDB the entries of a
bridge count (`master`), and those of a VXLAN's own table (`dst`): other `self` entries are a NIC's
address filters.
"""

from __future__ import annotations

import msgspec

from netemu.sim.spec import FdbSpec, NeighbourSpec, ProxySpec, VxlanFdbSpec
from netemu.snapshot.document import BadValueError, Document
from netemu.snapshot.records import FdbRecord, NeighbourRecord
from netemu.snapshot.text_neigh import fdb_records, neighbour_records, proxy_records
from netemu.snapshot.values import address_of, mac_of

IPV4_OCTETS = 4

NUD_STATES = frozenset(
    {
        "NONE",
        "INCOMPLETE",
        "REACHABLE",
        "STALE",
        "DELAY",
        "PROBE",
        "FAILED",
        "NOARP",
        "PERMANENT",
    }
)
"""What ip(8) prints of include/uapi/linux/neighbour.h NUD_*."""


def read_neighbours(document: Document) -> list[NeighbourSpec]:
    """Return the entries in printed order; proxy entries are not neighbours."""
    found: list[NeighbourSpec] = []
    json = document.is_json
    records = document.decode(list[NeighbourRecord]) if json else neighbour_records(document)
    for index, record in enumerate(records):
        if not record.dst or record.proxy is not msgspec.UNSET:
            continue
        try:
            found.append(_neighbour(record))
        except ValueError as error:
            raise document.record_error(index, error) from None
    return found


def read_proxies(document: Document) -> list[ProxySpec]:
    """Return the IPv4 addresses that the node answers ARP for."""
    json = document.is_json
    records = document.decode(list[NeighbourRecord]) if json else proxy_records(document)
    found: list[ProxySpec] = []
    for index, record in enumerate(records):
        try:
            address = address_of(record.dst)
        except ValueError as error:
            raise document.record_error(index, error) from None
        if len(address) == IPV4_OCTETS:
            found.append(ProxySpec(address=address, device=record.dev))
    return found


def _neighbour(record: NeighbourRecord) -> NeighbourSpec:
    state = record.state[0] if record.state else "NONE"
    if state not in NUD_STATES:
        message = f"{state!r} is no neighbour state"
        raise BadValueError(message, state)
    return NeighbourSpec(
        device=record.dev,
        address=address_of(record.dst),
        mac=mac_of(record.lladdr) if record.lladdr else b"",
        state=state,
    )


def read_fdb(document: Document) -> tuple[list[FdbSpec], list[VxlanFdbSpec]]:
    """Return the entries of bridges and those of VXLAN devices, each in printed order."""
    bridges: list[FdbSpec] = []
    tunnels: list[VxlanFdbSpec] = []
    json = document.is_json
    records = document.decode(list[FdbRecord]) if json else fdb_records(document)
    for index, record in enumerate(records):
        if not record.mac or not (record.master or record.dst):
            continue
        mac = mac_of(record.mac)
        if not mac:
            raise document.record_error(
                index, BadValueError(f"{record.mac!r} is no MAC address", record.mac)
            )
        device = record.ifname or record.dev
        if record.master:
            bridges.append(
                FdbSpec(
                    bridge=record.master,
                    device=device,
                    mac=mac,
                    state=record.state,
                    vlan=record.vlan,
                )
            )
        elif ":" not in record.dst:
            try:
                tunnels.append(_tunnel(record, device, mac))
            except ValueError as error:
                raise document.record_error(index, error) from None
    return bridges, tunnels


def _tunnel(record: FdbRecord, device: str, mac: bytes) -> VxlanFdbSpec:
    return VxlanFdbSpec(
        device=device,
        mac=mac,
        dst=address_of(record.dst),
        port=record.port,
        vni=record.vni,
        via=record.viaIf,
        state=record.state,
    )
