"""Every thing worth telling about a packet's way, as frozen values.

The engine tells, it never renders. A sink gets a `Stamp` (when, where, which packet) and an event
body of plain values: ints, strings, bytes, tuples of them. Addresses are text here. With no sink
nothing is built: the caller asks `if net.sink is not None` first.

`kind` of the JSON form is the class name in snake case: `RuleVisited` is `rule_visited`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct


class Stamp(Struct, frozen=True, kw_only=True):
    """When, where and to which packet something happened."""

    time_ns: int
    node: str
    """Name of the namespace; empty for a node's main one."""
    packet_id: int
    parent_id: int
    hook: str = ""
    """PREROUTING INPUT FORWARD OUTPUT POSTROUTING while inside a hook."""


class Event(Struct, frozen=True, kw_only=True):
    """Base of all event bodies."""


class FrameReceived(Event, frozen=True, kw_only=True):
    """A device took a frame in."""

    device: str
    frame: bytes
    packet_type: str
    """HOST BROADCAST MULTICAST OTHERHOST."""


class FrameSent(Event, frozen=True, kw_only=True):
    """A device sent a frame; `port` says that it left the node."""

    device: str
    frame: bytes
    port: bool


class HookEntered(Event, frozen=True, kw_only=True):
    """The packet reached a hook."""

    in_device: str
    out_device: str
    packet: bytes
    """From the network header."""


class RuleVisited(Event, frozen=True, kw_only=True):
    """A rule was tried."""

    table: str
    chain: str
    rule: int
    line: int | None
    matched: bool
    text: str
    """The rule as iptables-save prints it, without `-A CHAIN`."""
    target: str
    """Name of target or chain; empty when the rule has none."""
    failed_on: str
    """First part that did not match, such as `-p tcp` or `-m mark --mark 0x1`."""
    value: str
    """What the packet had there."""


class ChainEntered(Event, frozen=True, kw_only=True):
    """A jump or goto was taken, or a base chain begun."""

    table: str
    chain: str
    by: str
    """`hook`, `jump` or `goto`."""


class ChainReturned(Event, frozen=True, kw_only=True):
    """A chain was left, by RETURN or at its end."""

    table: str
    chain: str
    to: str


class VerdictIssued(Event, frozen=True, kw_only=True):
    """A table or hook function decided."""

    table: str
    chain: str
    rule: int
    line: int | None
    verdict: str
    policy: bool


class MarkChanged(Event, frozen=True, kw_only=True):
    """The packet's or the connection's mark changed; `what` is `mark` or `ctmark`."""

    what: str
    before: int
    after: int


class ChanceDrawn(Event, frozen=True, kw_only=True):
    """A random draw decided a match: `value` of `threshold` (both of 2**31)."""

    match: str
    value: int
    threshold: int
    matched: bool


class SetLookedUp(Event, frozen=True, kw_only=True):
    """A rule asked an IP set about the packet."""

    set: str
    type: str
    key: str
    """What of the packet was looked up; empty when it has nothing of the kind."""
    matched: bool
    why: str
    """The element that was hit, or why the one that is there does not count."""


class SetChanged(Event, frozen=True, kw_only=True):
    """A rule added to or deleted from an IP set, or could not."""

    set: str
    change: str
    """`add` or `del`."""
    key: str
    why: str
    """Why it could not; empty when it could."""


class ConntrackLookup(Event, frozen=True, kw_only=True):
    """Conntrack classified the packet."""

    state: str
    """NEW ESTABLISHED RELATED INVALID UNTRACKED."""
    direction: str
    """ORIGINAL REPLY, or empty."""
    connection: str
    """As conntrack -L prints it; empty when there is none."""
    note: str
    """Why, when the kernel would say so: the log_invalid text, "picked up mid-stream"."""


class ConnectionCreated(Event, frozen=True, kw_only=True):
    """An entry was made, not yet confirmed."""

    connection: str


class ConnectionConfirmed(Event, frozen=True, kw_only=True):
    """The entry went into the table."""

    connection: str


class ConnectionDestroyed(Event, frozen=True, kw_only=True):
    """The entry was removed."""

    connection: str
    why: str


class ExpectationCreated(Event, frozen=True, kw_only=True):
    """A helper read of a connection to come."""

    expectation: str
    """As conntrack -L expect prints it."""


class NatBound(Event, frozen=True, kw_only=True):
    """nf_nat_setup_info bound one side; null bindings that change nothing are not told."""

    manip: str
    """`src` or `dst`."""
    before: str
    after: str
    """Both as ADDRESS:PORT, ADDRESS or ADDRESS id=N."""


class IpvsServiceFound(Event, frozen=True, kw_only=True):
    """IPVS balances the packet's destination or mark."""

    service: str
    """`TCP ADDRESS:PORT` or `FWM MARK`."""
    bucket: int
    """Its bucket of the 256 of its table."""


class ServerChosen(Event, frozen=True, kw_only=True):
    """A scheduler chose a real server for a new connection."""

    service: str
    scheduler: str
    servers: tuple[tuple[str, str], ...]
    """Each real server, newest first, and what the scheduler looks at in it."""
    why: str
    """The scheduler's rule and what it remembers."""
    chosen: str
    """Empty when no server takes the connection."""


class IpvsConnectionFound(Event, frozen=True, kw_only=True):
    """The packet belongs to a balanced connection."""

    what: str
    """`request` or `answer`."""
    connection: str
    """`TCP CLIENT -> VIRTUAL -> REAL`."""
    state: str


class HeaderRewritten(Event, frozen=True, kw_only=True):
    """Header bytes changed: NAT, TTL, TOS."""

    what: str
    """`dnat`, `snat`, `un-dnat`, `un-snat`, `ttl`, `tos`, `icmp payload`; of a connection with a
    helper also `payload`, `seq`, `ack`."""
    before: str
    after: str


class RouteChosen(Event, frozen=True, kw_only=True):
    """A route lookup gave this result."""

    direction: str
    """`input` or `output`."""
    destination: str
    table: str
    prefix: str
    kind: str
    """unicast local broadcast multicast unreachable blackhole prohibit none."""
    device: str
    gateway: str
    source: str


class NeighbourStateChanged(Event, frozen=True, kw_only=True):
    """A neighbour entry changed its state."""

    device: str
    address: str
    before: str
    after: str
    mac: str
    assumed: bool


class NeighbourUsed(Event, frozen=True, kw_only=True):
    """The next hop's MAC was taken from an entry."""

    device: str
    address: str
    state: str
    mac: str


class PacketQueued(Event, frozen=True, kw_only=True):
    """The packet waits for ARP or for its other fragments."""

    where: str


class FdbLearned(Event, frozen=True, kw_only=True):
    """A bridge learnt or moved an address."""

    bridge: str
    mac: str
    device: str
    moved_from: str


class BridgeForwarded(Event, frozen=True, kw_only=True):
    """A bridge decided where a frame goes."""

    bridge: str
    how: str
    """`fdb`, `flood`, `local` or `broadcast`."""
    devices: tuple[str, ...]


class PacketDelivered(Event, frozen=True, kw_only=True):
    """The local stack took the packet."""

    what: str
    """What took it: `arp`, `icmp echo`, `tcp listener :80`, `no socket`, ..."""


class PacketMade(Event, frozen=True, kw_only=True):
    """The node made a packet of its own (its stamp names the cause as parent)."""

    what: str
    packet: bytes


class PacketDropped(Event, frozen=True, kw_only=True):
    """The packet ended here."""

    reason: str
    detail: str


class KernelLogged(Event, frozen=True, kw_only=True):
    """The kernel log got a line."""

    text: str


class RecordSent(Event, frozen=True, kw_only=True):
    """A program that logs would have got a record about the packet."""

    to: str
    """`audit` or `nflog group 5`."""
    text: str


Sink = Callable[[Stamp, Event], None]

_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def kind_of(event: Event) -> str:
    """Return the JSON `kind` of an event.

    >>> kind_of(FdbLearned(bridge="br0", mac="", device="", moved_from=""))
    'fdb_learned'
    """
    return _WORD.sub("_", type(event).__name__).lower()


def as_json(stamp: Stamp, event: Event) -> dict[str, object]:
    """Return one flat dict of plain values; bytes become hex."""
    out: dict[str, object] = {"kind": kind_of(event)}
    for part in (stamp, event):
        for name in part.__struct_fields__:
            value = getattr(part, name)
            out[name] = value.hex() if isinstance(value, bytes) else value
    return out
