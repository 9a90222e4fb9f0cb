"""`ip -j route show table all` and `ip -j rule show` into RouteSpec and PolicyRuleSpec.

Tool: iproute2 ip/iproute.c (print_route), ip/iprule.c (print_rule). A route without `table` is of
main, without `type` unicast, without `scope` global; IPv4 and IPv6 stand mixed.
"""

from __future__ import annotations

import msgspec

from netemu.sim.spec import NexthopSpec, PolicyRuleSpec, RouteSpec
from netemu.snapshot.document import BadValueError, Document
from netemu.snapshot.records import NexthopRecord, RouteRecord, RuleRecord
from netemu.snapshot.text_route import route_records, rule_records
from netemu.snapshot.values import (
    ROUTE_KINDS,
    TableNumbers,
    address_of,
    number_of,
    prefix_of,
    protocol_of,
    service_field_of,
)

ALL_MARK_BITS = 0xFFFFFFFF
"""fwmask of a rule that is printed without one."""


class Routes:
    """Reader of one namespace's routes and rules: both share the names of foreign tables."""

    def __init__(self) -> None:
        """Start with no foreign name and nothing to note."""
        self.tables = TableNumbers()
        self.notes: list[str] = []

    def read_routes(self, document: Document) -> list[RouteSpec]:
        """Return the routes in printed order."""
        found: list[RouteSpec] = []
        json = document.is_json
        records = document.decode(list[RouteRecord]) if json else route_records(document)
        for index, record in enumerate(records):
            try:
                if record.encap:
                    # A second "dst", that of the tunnel, hides the route's own.
                    self.notes.append(
                        f"a route through {record.dev} with encapsulation is left out"
                    )
                elif record.dst:
                    found.append(self._route(record))
            except ValueError as error:
                raise document.record_error(index, error) from None
        return found

    def _route(self, record: RouteRecord) -> RouteSpec:
        if record.type not in ROUTE_KINDS:
            message = f"{record.type!r} is no type of route"
            raise BadValueError(message, record.type)
        prefix, prefix_len = prefix_of(record.dst, family=_family(record))
        ways = record.nexthops or ([record] if record.dev or record.gateway else [])
        return RouteSpec(
            prefix=prefix,
            prefix_len=prefix_len,
            kind=record.type,
            table=self.tables.number(str(record.table)),
            nexthops=tuple(_nexthop(way) for way in ways),
            source=address_of(record.prefsrc) if record.prefsrc else b"",
            metric=record.metric,
            scope=record.scope,
            protocol=record.protocol,
            tos=service_field_of(str(record.tos)),
            mtu=_mtu(record),
        )

    def read_rules(self, document: Document) -> list[PolicyRuleSpec]:
        """Return the policy rules in order of priority."""
        found: list[PolicyRuleSpec] = []
        json = document.is_json
        records = document.decode(list[RuleRecord]) if json else rule_records(document)
        for index, record in enumerate(records):
            if word := _foreign_selector(record):
                self.notes.append(
                    f"policy rule {record.priority} looks at {word}, which netemu does not "
                    "follow: it is left out"
                )
                continue
            try:
                found.append(self._rule(record))
            except ValueError as error:
                raise document.record_error(index, error) from None
        return found

    def _rule(self, record: RuleRecord) -> PolicyRuleSpec:
        source, source_len = _selector(record.src, record.srclen)
        destination, destination_len = _selector(record.dst, record.dstlen)
        fwmark, fwmask = mark_and_mask(record.fwmark, record.fwmask)
        return PolicyRuleSpec(
            priority=record.priority,
            source=source,
            source_len=source_len,
            destination=destination,
            destination_len=destination_len,
            iif=record.iif,
            oif=record.oif,
            fwmark=fwmark,
            fwmask=fwmask,
            tos=service_field_of(str(record.tos)),
            action=_action(record),
            table=254 if record.table is None else self.tables.number(str(record.table)),
            goto=record.goto or 0,
            invert=record.inverted is not msgspec.UNSET,
            protocol=protocol_of(record.ipproto) if record.ipproto else 0,
            source_ports=_ports(record.sport, record.sport_start, record.sport_end),
            destination_ports=_ports(record.dport, record.dport_start, record.dport_end),
            suppress_prefix_len=record.suppress_prefixlen,
        )


def mark_and_mask(mark: str | None, mask: str | None) -> tuple[int, int]:
    """Return fwmark and fwmask as numbers; (0, 0) when the rule looks at no mark."""
    if mark is None:
        return 0, 0
    bits = ALL_MARK_BITS if mask is None else number_of(mask, "mark mask")
    return number_of(mark, "mark"), bits


def _family(record: RouteRecord) -> int:
    """Return the family of a route whose destination is only `default`: 4, or 6 if told."""
    ways = record.nexthops or [record]
    mixed = any(way.via for way in ways)
    ipv6 = any(":" in way.gateway for way in ways) or ":" in record.prefsrc
    return 6 if ipv6 and not mixed else 4


def _nexthop(record: NexthopRecord) -> NexthopSpec:
    host = record.via.host if record.via else record.gateway
    return NexthopSpec(
        device=record.dev,
        gateway=address_of(host) if host else b"",
        weight=record.weight,
        onlink="onlink" in record.flags,
    )


def _mtu(record: RouteRecord) -> int:
    for metrics in record.metrics:
        value = metrics.get("mtu")
        if isinstance(value, int):
            return value
    return 0


def _foreign_selector(record: RuleRecord) -> str:
    words = {
        "a user id": record.uid_start is not None,
        "l3mdev": record.l3mdev is not msgspec.UNSET,
        "a tunnel id": record.tun_id is not None,
        "a device group": record.suppress_ifgroup is not None,
    }
    return next((word for word, used in words.items() if used), "")


def _selector(text: str, length: int | None) -> tuple[bytes, int]:
    if text == "all":
        return b"", 0
    address = address_of(text)
    bits = len(address) * 8 if length is None else length
    if not 0 <= bits <= len(address) * 8:
        message = f"prefix length {bits} of {text} is out of range"
        raise BadValueError(message, text)
    return address, bits


def _action(record: RuleRecord) -> str:
    if record.goto is not None:
        return "goto"
    if record.nop is not msgspec.UNSET:
        return "nop"
    return record.action or "table"


def _ports(one: int | None, low: int | None, high: int | None) -> tuple[int, int] | None:
    if one is not None:
        return one, one
    if low is not None and high is not None:
        return low, high
    return None
