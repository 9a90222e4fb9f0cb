"""One IPv4 packet as the values of fields."""

from __future__ import annotations

from collections.abc import Mapping

from netemu.analysis.space import Space
from netemu.analysis.terms import Axis
from netemu.analysis.wording import axis_of
from netemu.netfilter.xtables.space import Field
from netemu.wire.ipv4 import Protocol

_PORTED = frozenset({Protocol.TCP, Protocol.UDP, Protocol.UDPLITE, Protocol.SCTP, Protocol.DCCP})

_TCP_FLAGS_AT = 13


def fields_of(packet: bytes) -> dict[Field, int]:
    """Return what an IPv4 packet itself says, from its network header."""
    at = (packet[0] & 0x0F) * 4
    offset = (packet[6] << 8 | packet[7]) & 0x1FFF
    protocol = packet[9]
    found = {
        Field.DESTINATION: int.from_bytes(packet[16:20], "big"),
        Field.SOURCE: int.from_bytes(packet[12:16], "big"),
        Field.PROTOCOL: protocol,
        Field.FRAGMENT: int(offset > 0),
        Field.TTL: packet[8],
        Field.TOS: packet[1],
        Field.LENGTH: int.from_bytes(packet[2:4], "big"),
    }
    body = packet[at:] if not offset else b""
    if protocol in _PORTED and len(body) >= 4:
        found[Field.SOURCE_PORT] = int.from_bytes(body[0:2], "big")
        found[Field.DESTINATION_PORT] = int.from_bytes(body[2:4], "big")
    if protocol == Protocol.TCP and len(body) > _TCP_FLAGS_AT:
        found[Field.TCP_FLAGS] = body[_TCP_FLAGS_AT]
    if protocol == Protocol.ICMP and len(body) >= 2:
        found[Field.DESTINATION_PORT] = body[0] << 8 | body[1]
        found[Field.SOURCE_PORT] = int.from_bytes(body[4:6], "big")
    return found


def point(space: Space, values: Mapping[Field, int]) -> dict[Axis, int]:
    """Return the term in which every field has one value, 0 where none is given."""
    term: dict[Axis, int] = {}
    for field in Field:
        axis = axis_of(space, field)
        term[axis] = axis.value(space.diagram, values.get(field, 0))
    return term
