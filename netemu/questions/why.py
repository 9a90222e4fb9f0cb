"""Why a packet was dropped, or let through, and the least that would change that.

Theory of operation: of all packets that fare the other way those are looked for that differ from
this one in a single field, then in two, then in three. The rules are changed in two ways: the
deciding rule is taken out, and a rule for just this connection is put before it. Each change is
sent through the engine; what does not turn the packet's fate is not said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import combinations, islice

from msgspec import Struct, field

from netemu.analysis.bdd import EMPTY
from netemu.analysis.behaviour import end_of
from netemu.analysis.example import Example, examples
from netemu.analysis.packet import fields_of, point
from netemu.analysis.question import Wish
from netemu.analysis.reach import RuleReach
from netemu.analysis.terms import Axis, product
from netemu.analysis.wording import axis_of, field_text
from netemu.errors import InputError, UsageError
from netemu.events import ConntrackLookup, HookEntered, VerdictIssued
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.model import Rule
from netemu.netfilter.xtables.names import protocol_name
from netemu.netfilter.xtables.space import CtState, Field
from netemu.questions.ask import Known
from netemu.questions.fates import Answer, ask_engine
from netemu.questions.plain import outside_of, readable
from netemu.questions.subject import Subject
from netemu.sim.probe import Entry, enter
from netemu.sim.spec import TextFile
from netemu.trace.model import Recorder
from netemu.wire.address import format_address
from netemu.wire.ipv4 import Protocol
from netemu.wire.packet_text import parse_packet

CHANGEABLE = (
    Field.DESTINATION_PORT,
    Field.SOURCE,
    Field.DESTINATION,
    Field.IN_DEVICE,
    Field.PROTOCOL,
    Field.SOURCE_PORT,
    Field.MARK,
    Field.TTL,
    Field.TOS,
    Field.TCP_FLAGS,
)
"""Fields of a packet that may be changed, those first that are tried first."""

NAMES = {
    Field.DESTINATION_PORT: "destination port",
    Field.SOURCE: "source",
    Field.DESTINATION: "destination",
    Field.IN_DEVICE: "device",
    Field.PROTOCOL: "protocol",
    Field.SOURCE_PORT: "source port",
    Field.MARK: "mark",
    Field.TTL: "ttl",
    Field.TOS: "tos",
    Field.TCP_FLAGS: "flags",
}

MOST_CHANGES = 3

TRIES = 4

MOST_RULES = 2000
"""In a table with more rules the nearest is looked for among those of the packet's chains."""

_ICMP_WORDS = {Field.DESTINATION_PORT: "type and code", Field.SOURCE_PORT: "id"}


class PacketChange(Struct, frozen=True, kw_only=True):
    """Other values of some fields with which the packet fares the other way."""

    fields: tuple[tuple[str, str], ...]
    """(name, values)."""
    example: Example
    answer: Answer


class RuleChange(Struct, frozen=True, kw_only=True):
    """A change of the rules with which it does."""

    text: str
    answer: Answer


class NearRule(Struct, frozen=True, kw_only=True):
    """A rule that says the other verdict."""

    place: str
    text: str
    lacks: tuple[str, ...]
    """Fields in which the packet does not fit; none: it comes too late, or is not reached."""


class Why(Struct, kw_only=True):
    """What was found about one packet."""

    example: Example
    answer: Answer
    reason: str
    """Why it ended where no rule decided, such as SKB_DROP_REASON's name."""
    decided: str = ""
    """The rule or policy that decided, with its text."""
    nearest: NearRule | None = None
    packets: list[PacketChange] = field(default_factory=list)
    rules: list[RuleChange] = field(default_factory=list)


def why(subject: Subject, text: str, device: str = "", *, local: bool = False) -> Why:
    """Explain the fate of a packet.

    Raises PacketTextError or UsageError for a packet that cannot be sent.
    """
    subject.need_walk("why")
    return _Why(subject, text, device, local=local).run()


class _Why:
    """One packet."""

    def __init__(self, subject: Subject, text: str, device: str, *, local: bool) -> None:
        self.subject = subject
        packet = parse_packet(text)
        if len(packet.src) != 4 or packet.ethertype != 0x0800:
            raise UsageError("rules see IP packets; this is none")
        node = subject.build()
        entry = enter(node, packet, device, local=local)
        self.header = packet.network
        self.mark = packet.mark
        self.recorder = Recorder()
        node.set_sink(self.recorder)
        fate = entry.send(node)
        self.told = [
            event for stamp, event in self.recorder.take() if stamp.packet_id == fate.packet_id
        ]
        self.place = fate.decided_by
        self.example = Example(text=text, device=entry.device)
        self.answer = ask_engine(subject, self.example)
        self.reason = fate.reason
        self.seen_in = self._seen_in(entry)

    def run(self) -> Why:
        """Look for all changes."""
        found = Why(
            example=self.example, answer=self.answer, reason=self.reason, decided=self._decided()
        )
        if self.answer.verdict == "ACCEPT" and self.reason not in {"", "NO_SOCKET"}:
            return found
        known = Known(self.subject)
        values = fields_of(self.header)
        values[Field.MARK] = self.mark
        values[Field.IN_DEVICE] = known.space.index.get(self.seen_in, 0)
        values[Field.CT_STATE] = self._state()
        values[Field.OUT_DEVICE] = known.space.index.get(self._seen_out(), 0)
        wanted = ["DROP", "REJECT"] if self.answer.verdict == "ACCEPT" else ["ACCEPT"]
        goal = EMPTY
        for verdict in wanted:
            goal = known.space.diagram.either(goal, known.coming_to(Wish(verdict=verdict)))
        goal = known.space.diagram.both(goal, self._same_way(known))
        start = point(known.space, values)
        if not values[Field.OUT_DEVICE]:
            del start[axis_of(known.space, Field.OUT_DEVICE)]
        found.packets = self._packet_changes(known, goal, start)
        found.nearest = self._nearest(known, start, accepting="ACCEPT" in wanted)
        found.rules = list(self._rule_changes("ACCEPT" if "ACCEPT" in wanted else "DROP"))
        return found

    # -- what happened -----------------------------------------------------------------------

    def _seen_in(self, entry: Entry) -> str:
        for event in self.told:
            if isinstance(event, HookEntered):
                return event.in_device
        return entry.device

    def _seen_out(self) -> str:
        hooks = [event for event in self.told if isinstance(event, HookEntered)]
        return hooks[-1].out_device if hooks else ""

    def _same_way(self, known: Known) -> int:
        """Return packets that come in by a device, or are sent by the node, as this one."""
        local = known.read.masked(Field.IN_DEVICE, 0)
        return known.read.both(known.domain, known.read.when(bool(self.seen_in), local))

    def _state(self) -> CtState:
        for event in self.told:
            if isinstance(event, ConntrackLookup):
                return CtState[event.state]
        return CtState.NEW

    def _decided(self) -> str:
        place = self.place
        if place is None:
            return ""
        where = f"{place.table}/{place.chain}" + (f":{place.line}" if place.line else "")
        rule = self._rule()
        chain = next(
            table.chains[place.chain]
            for table in self.subject.ruleset.tables
            if table.name == place.table
        )
        policy = chain.policy.name if chain.policy is not None else ""
        return f"{where}  {rule.text if rule is not None else f'policy {policy}'}"

    def _rule(self) -> Rule | None:
        place = self.place
        assert place is not None
        for table in self.subject.ruleset.tables:
            if table.name == place.table:
                rules = table.chains[place.chain].rules
                return rules[place.rule - 1] if place.rule <= len(rules) else None
        return None

    # -- other packets -----------------------------------------------------------------------

    def _packet_changes(
        self, known: Known, goal: int, start: Mapping[Axis, int]
    ) -> list[PacketChange]:
        for count in range(1, MOST_CHANGES + 1):
            found = [
                change
                for fields in combinations(CHANGEABLE, count)
                for change in self._with_other(known, goal, start, fields)
            ]
            if found:
                return found
        return []

    def _with_other(
        self, known: Known, goal: int, start: Mapping[Axis, int], fields: tuple[Field, ...]
    ) -> Iterator[PacketChange]:
        """Yield the change of these fields that turns the fate, if there is one."""
        diagram = known.space.diagram
        packets = diagram.both(goal, product(diagram, _without(known, start, fields)))
        plain = diagram.both(packets, known.plain)
        packets = packets if plain == EMPTY else plain
        if packets == EMPTY:
            return
        own, devices = self.subject.own_addresses(), self.subject.devices()
        for example in islice(examples(known.space, packets, own, devices), TRIES):
            answer = ask_engine(self.subject, example)
            if answer.verdict == self.answer.verdict:
                continue
            said = []
            icmp = self.header[9] == Protocol.ICMP
            for name in fields:
                axis = axis_of(known.space, name)
                values = diagram.forget(packets, partial(outside_of, axis))
                few = readable(known.space, {axis: values}, packets).get(axis)
                word = _ICMP_WORDS.get(name, NAMES[name]) if icmp else NAMES[name]
                said.append((word, field_text(known.space, name, few) if few else "any other"))
            yield PacketChange(fields=tuple(said), example=example, answer=answer)
            return

    # -- other rules -------------------------------------------------------------------------

    def _nearest(
        self, known: Known, start: Mapping[Axis, int], *, accepting: bool
    ) -> NearRule | None:
        """Return the rule with the other verdict in which the fewest fields do not fit."""
        if self.place is None:
            return None
        best: tuple[int, RuleReach, tuple[Field, ...]] | None = None
        rules = [rule for rule in known.reach.rules() if rule.table.name == self.place.table]
        if len(rules) > MOST_RULES:
            met = {event.chain for event in self.told if isinstance(event, VerdictIssued)}
            rules = [rule for rule in rules if rule.chain.name in met]
        for rule in rules:
            if not _says(rule, accepting=accepting):
                continue
            lacks = self._lacking(known, rule, start, best[0] if best is not None else 3)
            if lacks is not None:
                best = len(lacks), rule, lacks
            if best is not None and best[0] == 0:
                break
        if best is None or best[1].rule is None:
            return None
        _, rule, fields = best
        at = f":{rule.line}" if rule.line else f"#{rule.number}"
        return NearRule(
            place=f"{rule.table.name}/{rule.chain.name}{at}",
            text=best[1].rule.text,
            lacks=tuple(NAMES[name] for name in fields),
        )

    def _lacking(
        self, known: Known, rule: RuleReach, start: Mapping[Axis, int], fewer_than: int
    ) -> tuple[Field, ...] | None:
        diagram = known.space.diagram
        asked = diagram.both(rule.asked, self._same_way(known))
        if asked == EMPTY:
            return None
        for count in range(fewer_than):
            for fields in combinations(CHANGEABLE, count):
                if diagram.meet(asked, product(diagram, _without(known, start, fields))):
                    return fields
        return None

    def _rule_changes(self, verdict: str) -> Iterator[RuleChange]:
        place = self.place
        lines = list(self.subject.lines)
        if place is not None and place.line is not None and self._rule() is not None:
            gone = place.line - 1
            text = f"delete line {place.line}:  {lines[gone].strip()}"
            yield from self._proved(text, lines[:gone] + lines[gone + 1 :])
        rule = self._own_rule(verdict)
        if place is None or rule is None:
            return
        at, command = self._where(lines)
        if at is not None:
            line = f"-A {place.chain} {rule}"
            yield from self._proved(f"{command} {rule}", [*lines[:at], line, *lines[at:]])

    def _where(self, lines: list[str]) -> tuple[int | None, str]:
        """Return where a line before the deciding rule goes, and the command that puts it there."""
        place = self.place
        assert place is not None
        if self._rule() is not None and place.line is not None:
            command = f"iptables -t {place.table} -I {place.chain} {place.rule}"
            return place.line - 1, command
        within = False
        for at, line in enumerate(lines):
            if line.startswith("*"):
                within = line.strip() == f"*{place.table}"
            elif line.startswith("COMMIT") and within:
                return at, f"iptables -t {place.table} -A {place.chain}"
        return None, ""

    def _own_rule(self, verdict: str) -> str | None:
        """Return a rule for this connection as the packet stood at the deciding hook."""
        header: bytes | None = None
        for event in self.told:
            if isinstance(event, HookEntered):
                header = event.packet
        if header is None:
            return None
        values = fields_of(header)
        source, destination = (
            format_address(values[name].to_bytes(4, "big"))
            for name in (Field.SOURCE, Field.DESTINATION)
        )
        words = [f"-s {source}/32 -d {destination}/32 -p {protocol_name(header[9])}"]
        if header[9] in {Protocol.TCP, Protocol.UDP} and Field.DESTINATION_PORT in values:
            words.append(f"--dport {values[Field.DESTINATION_PORT]}")
        return " ".join([*words, f"-j {verdict}"])

    def _proved(self, text: str, lines: list[str]) -> Iterator[RuleChange]:
        """Yield a change of the rules if the packet fares the other way then."""
        try:
            text_of = "".join(f"{line}\n" for line in lines)
            changed = self.subject.with_rules(TextFile(name=self.subject.name, text=text_of))
        except InputError:
            return
        answer = ask_engine(changed, self.example)
        if answer.verdict != self.answer.verdict:
            yield RuleChange(text=text, answer=answer)


def _without(known: Known, start: Mapping[Axis, int], fields: tuple[Field, ...]) -> dict[Axis, int]:
    """Return a packet with some fields free, and what no rule of this kind asks for."""
    follow = [other for name in fields for other in _FOLLOWS.get(name, ())]
    free = {axis_of(known.space, name) for name in (*fields, *follow, *_OPEN)}
    return {axis: values for axis, values in start.items() if axis not in free}


_FOLLOWS = {
    Field.DESTINATION: (Field.OUT_DEVICE,),
    Field.PROTOCOL: (Field.TCP_FLAGS,),
}
"""What changes with a field."""

_OPEN = (Field.LENGTH, Field.DESTINATION_LOCAL, Field.SOURCE_LOCAL)
"""What follows from the rest of a packet."""


def _says(rule: RuleReach, *, accepting: bool) -> bool:
    """Return whether a rule accepts, or ends packets otherwise."""
    if rule.rule is None:
        return False
    if accepting:
        return rule.rule.target is not None and rule.rule.target.standard == Verdict.ACCEPT
    return end_of(rule.rule, rule.chain) is not None
