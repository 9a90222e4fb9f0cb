"""`ip -j addr show` into AddressSpec.

Tool: iproute2 ip/ipaddress.c (print_addrinfo). `local` is the address; `address` is printed too
only where the other end of a point-to-point address differs from it.
"""

from __future__ import annotations

from netemu.sim.spec import AddressSpec
from netemu.snapshot.document import BadValueError, Document
from netemu.snapshot.records import AddressRecord, DeviceRecord
from netemu.snapshot.text_link import device_records_text
from netemu.snapshot.values import address_of


def device_records(document: Document) -> list[DeviceRecord]:
    """Return the devices of the file, each with what it says of the link too."""
    if document.is_json:
        return document.decode(list[DeviceRecord])
    return device_records_text(document)


def read_addresses(document: Document) -> list[AddressSpec]:
    """Return the addresses, grouped by device as printed."""
    found: list[AddressSpec] = []
    for index, record in enumerate(device_records(document)):
        try:
            found += [
                _spec(record.ifname, item)
                for item in record.addr_info
                if item.family.startswith("inet") and item.local
            ]
        except ValueError as error:
            raise document.record_error(index, error) from None
    return found


def _spec(device: str, record: AddressRecord) -> AddressSpec:
    address = address_of(record.local)
    if not 0 <= record.prefixlen <= len(address) * 8:
        message = f"prefix length {record.prefixlen} of {record.local} is out of range"
        raise BadValueError(message, record.local)
    return AddressSpec(
        device=device,
        address=address,
        prefix_len=record.prefixlen,
        broadcast=address_of(record.broadcast) if record.broadcast else b"",
        scope=record.scope,
        secondary=record.secondary,
        peer=address_of(record.address) if record.address else b"",
    )
