"""Events into rows: one line per step, its effects beside it.

Theory of operation: a rule's effects are told right after the rule itself (a mark, a NAT binding),
and a random draw right before it, so both join the rule's row. A rewrite that says the same as the
binding before it is left out. The stage of what happens outside the hooks follows from what came
before: link work is `L2` until the packet met a hook or a route in its namespace, and `L2 OUT`
from then on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from msgspec import Struct, field

from netemu import events
from netemu.events import Event, Stamp
from netemu.trace.model import Told
from netemu.wire.address import format_mac
from netemu.wire.describe import describe_packet

CHANCES = 1 << 31

L2, L2_OUT, ROUTE, LOCAL, DROP = "L2", "L2 OUT", "ROUTE", "LOCAL", "DROP"
OWN_STAGES = {ROUTE, LOCAL}
"""Stages that keep their name when they happen within a hook."""


class Row(Struct, kw_only=True):
    """One step of one packet."""

    stage: str
    namespace: str
    place: str
    """Table and chain, device, or the part of the kernel that acts."""
    mark: str = ""
    """`:24`, the line of a rule in its file, or `#3`, its number in the chain."""
    text: str = ""
    effects: list[str] = field(default_factory=list)
    """What the step changed, as before -> after."""
    comment: str = ""
    """The rule's own --comment."""
    tone: str = ""
    """`miss` for a rule that did not match, `good` and `bad` for ends, `change`, `detail`."""
    packet_id: int = 0
    time_ns: int = 0
    waits_at: str = ""
    """Device at whose neighbour the packet waits or a neighbour changed its state."""
    resolves: bool = False
    """A neighbour's address was used."""

    def line(self) -> str:
        """Return the row as one line without its stage."""
        parts = [self.place, self.mark, self.text, *self.effects]
        return "  ".join(part for part in parts if part)


_COMMENT = re.compile(r'-m comment --comment ("(?:[^"\\]|\\.)*"|\S+) ?')


def split_comment(rule: str) -> tuple[str, str]:
    """Return a rule's text without its comment, and the comment.

    >>> split_comment('-p tcp -m comment --comment "a b" -j ACCEPT')
    ('-p tcp -j ACCEPT', 'a b')
    """
    found = _COMMENT.search(rule)
    if found is None:
        return rule, ""
    return (rule[: found.start()] + rule[found.end() :]).strip(), found[1].strip('"')


def rows_of(told: Iterable[Told], *, everything: bool = False) -> list[Row]:
    """Return the rows of a list of events; `everything` adds rules that did not match."""
    builder = _Builder(everything=everything)
    for stamp, event in told:
        builder.take(stamp, event)
    return builder.rows if everything else _without_waiting(builder.rows)


def _without_waiting(rows: list[Row]) -> list[Row]:
    """Leave out that a packet waited for a neighbour that answered at the same instant."""
    resolved = {(row.packet_id, row.place): row for row in rows if row.resolves}
    kept = []
    for row in rows:
        done = resolved.get((row.packet_id, row.waits_at)) if row.waits_at else None
        if done is None or done is row:
            kept.append(row)
        elif "assumed" in row.effects:
            done.effects.append("assumed, nobody answers for it")
    return kept


_NAT_REWRITES = frozenset({"dnat", "snat", "un-dnat", "un-snat", "icmp payload"})
"""What NAT's hooks change; other rewrites inside a hook are the work of a rule."""


class _Builder:
    """Turns one event after another into rows."""

    def __init__(self, *, everything: bool) -> None:
        self.rows: list[Row] = []
        self.everything = everything
        self.beyond_l2: set[tuple[int, str]] = set()
        self.chance: dict[int, str] = {}
        self.lookups: dict[int, list[str]] = {}
        self.bound: dict[tuple[int, str], str] = {}
        self.stamp = Stamp(time_ns=0, node="", packet_id=0, parent_id=0)

    def take(self, stamp: Stamp, event: Event) -> None:
        """Add what an event says."""
        self.stamp = stamp
        handler = _HANDLERS.get(type(event))
        if handler is not None:
            handler(self, event)

    def add(self, stage: str, place: str, text: str, *, tone: str = "", mark: str = "") -> Row:
        """Append a row; a hook that is running is its stage."""
        row = Row(
            stage=stage if stage in OWN_STAGES else self.stamp.hook or stage,
            namespace=self.stamp.node,
            place=place,
            mark=mark,
            text=text,
            tone=tone,
            packet_id=self.stamp.packet_id,
            time_ns=self.stamp.time_ns,
        )
        self.rows.append(row)
        return row

    def effect(self, text: str) -> None:
        """Join an effect to the rule that caused it, else give it a row."""
        last = self.rows[-1] if self.rows else None
        if (
            last is not None
            and last.packet_id == self.stamp.packet_id
            and last.stage == self.stamp.hook
            and last.mark
            and last.tone != "miss"
        ):
            last.effects.append(text)
        else:
            self.add(self.stamp.hook or ROUTE, "packet", "", tone="change").effects.append(text)

    @property
    def link_stage(self) -> str:
        """L2 before the packet met the IP layer of this namespace, L2 OUT afterwards."""
        return L2_OUT if (self.stamp.packet_id, self.stamp.node) in self.beyond_l2 else L2

    def went_beyond_l2(self) -> None:
        """Note that the packet met the IP layer."""
        self.beyond_l2.add((self.stamp.packet_id, self.stamp.node))

    # --- the link layer

    def frame_received(self, event: events.FrameReceived) -> None:
        self.beyond_l2.discard((self.stamp.packet_id, self.stamp.node))
        whose = {
            "HOST": "to us",
            "BROADCAST": "broadcast",
            "MULTICAST": "multicast",
            "OTHERHOST": "to another host",
        }.get(event.packet_type, event.packet_type.lower())
        frame = event.frame
        text = f"{format_mac(frame[6:12])} > {format_mac(frame[:6])}, {whose}, {len(frame)} octets"
        self.add(L2, event.device, text)

    def frame_sent(self, event: events.FrameSent) -> None:
        frame = event.frame
        text = f"sends {format_mac(frame[6:12])} > {format_mac(frame[:6])}, {len(frame)} octets"
        if event.port:
            text += ", which leave the node"
        self.add(self.link_stage, event.device, text, tone="good" if event.port else "")

    def fdb_learned(self, event: events.FdbLearned) -> None:
        moved = f", before behind {event.moved_from}" if event.moved_from else ""
        text = f"fdb learns {event.mac} behind {event.device}{moved}"
        self.add(self.link_stage, event.bridge, text, tone="detail")

    def bridge_forwarded(self, event: events.BridgeForwarded) -> None:
        devices = ", ".join(event.devices) or "nobody"
        text = {
            "fdb": f"fdb says {devices}",
            "flood": f"unknown to the fdb, floods {devices}",
            "broadcast": f"broadcast to {devices}",
            "local": "for the bridge itself, goes up",
        }.get(event.how, f"{event.how} {devices}")
        self.add(L2 if event.how == "local" else self.link_stage, event.bridge, text)

    def neighbour_changed(self, event: events.NeighbourStateChanged) -> None:
        mac = f" {event.mac}" if event.mac else ""
        text = f"neighbour {event.address}{mac}: {event.before or 'none'} -> {event.after}"
        row = self.add(self.link_stage, event.device, text, tone="detail")
        row.waits_at = event.device
        if event.assumed:
            row.effects.append("assumed")

    def neighbour_used(self, event: events.NeighbourUsed) -> None:
        text = f"neighbour {event.address} is {event.mac} {event.state}"
        self.add(self.link_stage, event.device, text).resolves = True

    def queued(self, event: events.PacketQueued) -> None:
        row = self.add(self.link_stage, "held", f"waits for {event.where}", tone="bad")
        row.waits_at = event.where.rpartition(" on ")[2] if " on " in event.where else ""

    # --- the IP layer

    def hook_entered(self, event: events.HookEntered) -> None:
        self.went_beyond_l2()
        if self.everything:
            in_out = [
                f"{word}={name}"
                for word, name in (("in", event.in_device), ("out", event.out_device))
                if name
            ]
            self.add("", "hook", " ".join([*in_out, describe_packet(event.packet)]), tone="detail")

    def route_chosen(self, event: events.RouteChosen) -> None:
        self.went_beyond_l2()
        kind = "" if event.kind in {"unicast", "none", ""} else f"{event.kind} "
        via = f" via {event.gateway}" if event.gateway else ""
        source = f" src {event.source}" if event.source and event.direction == "output" else ""
        text = f"{event.destination}: {kind}{event.prefix}{via} dev {event.device}{source}"
        if event.kind == "none":
            text = event.destination
        bad = event.kind in {"unreachable", "blackhole", "prohibit", "none"}
        name = f"table {event.table}" if event.table else "no route"
        self.add(ROUTE, name, text, tone="bad" if bad else "")

    def header_rewritten(self, event: events.HeaderRewritten) -> None:
        change = f"{event.before} -> {event.after}"
        key = (self.stamp.packet_id, event.what)
        if self.bound.pop(key, "") == change:
            return
        if self.stamp.hook and event.what not in _NAT_REWRITES:
            self.effect(f"{event.what} {change}")
            return
        if event.what == "ttl":
            stage = "FORWARD"
        else:
            stage = self.link_stage
        self.add(stage, "packet", "", tone="change").effects.append(f"{event.what} {change}")

    def delivered(self, event: events.PacketDelivered) -> None:
        self.add(LOCAL, "taken by", event.what, tone="good")

    def made(self, event: events.PacketMade) -> None:
        first = event.packet[0] >> 4 if event.packet else 0
        kind = 0x0800 if first == 4 else 0x0806
        described = describe_packet(event.packet, kind)
        text = described if described == event.what else f"{event.what}: {described}"
        self.add(LOCAL, "makes", text)

    def dropped(self, event: events.PacketDropped) -> None:
        detail = f" ({event.detail})" if event.detail else ""
        self.add(DROP, "dropped", f"{event.reason}{detail}", tone="bad")

    def logged(self, event: events.KernelLogged) -> None:
        self.add(self.link_stage, "kernel log", event.text, tone="detail")

    # --- netfilter

    def rule_visited(self, event: events.RuleVisited) -> None:
        chance = self.chance.pop(self.stamp.packet_id, "")
        lookups = self.lookups.pop(self.stamp.packet_id, [])
        if not event.matched and not self.everything and not chance:
            return
        text, comment = split_comment(event.text)
        mark = f":{event.line}" if event.line is not None else f"#{event.rule}"
        row = self.add("", f"{event.table}/{event.chain}", text, mark=mark)
        row.comment = comment
        if chance:
            row.effects.append(chance)
        if event.matched:
            row.effects += lookups
        if not event.matched:
            row.tone = "miss"
            value = f", it is {event.value}" if event.value else ""
            if not chance:
                row.effects.append(f"no {event.failed_on}{value}")

    def chain_entered(self, event: events.ChainEntered) -> None:
        if self.everything:
            place = f"{event.table}/{event.chain}"
            self.add("", place, f"entered by {event.by}", tone="detail")

    def chain_returned(self, event: events.ChainReturned) -> None:
        if self.everything:
            place = f"{event.table}/{event.chain}"
            self.add("", place, f"returns to {event.to}", tone="detail")

    def verdict_issued(self, event: events.VerdictIssued) -> None:
        passed = event.verdict == "ACCEPT"
        if not event.policy:
            last = self.rows[-1] if self.rows else None
            if last is not None and not passed and last.mark:
                last.tone = "bad"
            return
        if passed and event.table != "filter" and not self.everything:
            return
        place = f"{event.table}/{event.chain}"
        self.add("", place, f"policy {event.verdict}", tone="" if passed else "bad")

    def record_sent(self, event: events.RecordSent) -> None:
        self.effect(f"{event.to}: {event.text}" if event.text else event.to)

    def mark_changed(self, event: events.MarkChanged) -> None:
        if event.before != event.after:
            self.effect(f"{event.what} 0x{event.before:x} -> 0x{event.after:x}")

    def chance_drawn(self, event: events.ChanceDrawn) -> None:
        result = "hit" if event.matched else "miss"
        self.chance[self.stamp.packet_id] = (
            f"draw {event.value / CHANCES:.3f} of {event.threshold / CHANCES:.3f}: {result}"
        )

    def set_looked_up(self, event: events.SetLookedUp) -> None:
        text = f"{event.key or 'nothing'} {'in' if event.matched else 'not in'} {event.set}"
        if event.why and event.why != event.key:
            text += f" ({event.why})"
        self.lookups.setdefault(self.stamp.packet_id, []).append(text)

    def set_changed(self, event: events.SetChanged) -> None:
        side = "to" if event.change == "add" else "from"
        text = f"{event.change} {event.key or 'nothing'} {side} {event.set}"
        self.effect(f"{text}, refused: {event.why}" if event.why else text)

    def nat_bound(self, event: events.NatBound) -> None:
        change = f"{event.before} -> {event.after}"
        self.bound[self.stamp.packet_id, f"{event.manip[0]}nat"] = change
        self.effect(change)

    def service_found(self, event: events.IpvsServiceFound) -> None:
        self.add("", "ipvs", f"{event.service}  (bucket {event.bucket} of 256)")

    def server_chosen(self, event: events.ServerChosen) -> None:
        chosen = event.chosen or "no server"
        tone = "change" if event.chosen else "bad"
        for server, figure in event.servers:
            self.add("", "ipvs", f"{server}  {figure}")
        self.add("", "ipvs", f"{event.scheduler} takes {chosen}: {event.why}", tone=tone)

    def balanced(self, event: events.IpvsConnectionFound) -> None:
        self.add("", "ipvs", f"{event.what} of {event.connection}  {event.state}")

    def lookup(self, event: events.ConntrackLookup) -> None:
        direction = f" {event.direction.lower()}" if event.direction else ""
        text = f"{event.state}{direction if event.state != 'NEW' else ''}"
        if event.connection and event.state != "NEW":
            text += f"  {squeeze(event.connection)}"
        row = self.add("", "conntrack", text, tone="bad" if event.state == "INVALID" else "")
        if event.note:
            row.effects.append(event.note)

    def created(self, event: events.ConnectionCreated) -> None:
        last = self.rows[-1] if self.rows else None
        text = f"new entry {squeeze(event.connection)}"
        if last is not None and last.place == "conntrack":
            last.text += f"  {text}"
        else:
            self.add("", "conntrack", text)

    def confirmed(self, event: events.ConnectionConfirmed) -> None:
        text = f"entry confirmed {squeeze(event.connection)}"
        self.add("", "conntrack", text, tone="detail")

    def destroyed(self, event: events.ConnectionDestroyed) -> None:
        text = f"entry removed ({event.why}) {squeeze(event.connection)}"
        self.add("", "conntrack", text, tone="detail")

    def expected(self, event: events.ExpectationCreated) -> None:
        self.add("", "helper", f"expects {event.expectation}", tone="detail")


def squeeze(text: str) -> str:
    """Return a conntrack line without its padding, use count and empty mark.

    >>> squeeze("tcp      6 120 SYN_SENT src=10.0.0.1 mark=0 use=1")
    'tcp 6 120 SYN_SENT src=10.0.0.1'
    """
    words = [word for word in text.split() if word != "mark=0" and not word.startswith("use=")]
    return " ".join(words)


_Handler = Callable[[_Builder, "Event"], None]


def _handlers(**by_name: object) -> dict[type[Event], _Handler]:
    return {getattr(events, name): handler for name, handler in by_name.items()}  # type: ignore[misc]


_HANDLERS: dict[type[Event], _Handler] = _handlers(
    FrameReceived=_Builder.frame_received,
    FrameSent=_Builder.frame_sent,
    FdbLearned=_Builder.fdb_learned,
    BridgeForwarded=_Builder.bridge_forwarded,
    NeighbourStateChanged=_Builder.neighbour_changed,
    NeighbourUsed=_Builder.neighbour_used,
    PacketQueued=_Builder.queued,
    HookEntered=_Builder.hook_entered,
    RouteChosen=_Builder.route_chosen,
    HeaderRewritten=_Builder.header_rewritten,
    PacketDelivered=_Builder.delivered,
    PacketMade=_Builder.made,
    PacketDropped=_Builder.dropped,
    KernelLogged=_Builder.logged,
    RuleVisited=_Builder.rule_visited,
    ChainEntered=_Builder.chain_entered,
    ChainReturned=_Builder.chain_returned,
    VerdictIssued=_Builder.verdict_issued,
    MarkChanged=_Builder.mark_changed,
    RecordSent=_Builder.record_sent,
    ChanceDrawn=_Builder.chance_drawn,
    SetLookedUp=_Builder.set_looked_up,
    SetChanged=_Builder.set_changed,
    NatBound=_Builder.nat_bound,
    IpvsServiceFound=_Builder.service_found,
    ServerChosen=_Builder.server_chosen,
    IpvsConnectionFound=_Builder.balanced,
    ConntrackLookup=_Builder.lookup,
    ConnectionCreated=_Builder.created,
    ConnectionConfirmed=_Builder.confirmed,
    ConnectionDestroyed=_Builder.destroyed,
    ExpectationCreated=_Builder.expected,
)
"""What each kind of event becomes."""
