"""The rules of one table made ready for the walk: what each asks, changes and decides, as sets.

Kernel: net/ipv4/netfilter/ip_tables.c (ip_packet_match).

A rule's set is made once for packets as they enter, and again only for a view in which a field that
it asks for is read from elsewhere.
"""

from __future__ import annotations

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.reader import Reader
from netemu.analysis.rewrite import Recorder, Rewriter
from netemu.analysis.space import RELATED_FIELDS, Run, Space, View
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget, Match, Target
from netemu.netfilter.xtables.model import BoundMatch, Chain, Generic, Invert, Rule, Table
from netemu.netfilter.xtables.space import Field, changes_nothing

_SRCIP, _DSTIP = int(Invert.SRCIP), int(Invert.DSTIP)
_VIA_IN, _VIA_OUT = int(Invert.VIA_IN), int(Invert.VIA_OUT)
_PROTO, _FRAG = int(Invert.PROTO), int(Invert.FRAG)

GOES_ON = -1
"""What a rule decides that decides nothing."""

Key = tuple[tuple[Field, Run], ...]


class ReadyRule:
    """One rule."""

    __slots__ = (
        "asked",
        "decides",
        "drawn",
        "goto",
        "jump",
        "may_end",
        "number",
        "occurrence",
        "packets",
        "place",
        "rule",
        "target",
        "written",
    )

    def __init__(self, rule: Rule, place: str, number: int, occurrence: int) -> None:
        """Filled by `Program`."""
        self.rule = rule
        self.place = place
        """`TABLE/CHAIN`."""
        self.number = number
        self.occurrence = occurrence
        """How many rules before it in the chain draw for the same words."""
        self.asked = 0
        """Fields that it reads, a bit for each."""
        self.written = 0
        """Fields that it may change."""
        self.drawn = False
        """Whether it has variables of its own."""
        self.packets = ALL
        """What it takes of packets as they enter."""
        self.jump = rule.jump
        self.goto = rule.goto
        self.decides: int = GOES_ON
        self.may_end: Verdict | None = None
        self.target: AnyTarget | None = None
        """Set where it changes something."""


class ReadyChain:
    """One chain, with what it and the chains below it read and change."""

    __slots__ = ("asked", "chain", "fields", "name", "policy", "rules", "written")

    def __init__(self, chain: Chain, rules: list[ReadyRule]) -> None:
        """Filled by `Program`."""
        self.name = chain.name
        self.chain = chain
        self.policy = chain.policy
        self.rules = rules
        self.asked = 0
        self.written = 0
        self.fields: tuple[Field, ...] = ()
        """Fields that its sets depend on or change."""


class Program:
    """One table."""

    __slots__ = ("_hooks", "_made", "_settled", "chains", "heeded", "space", "table")

    def __init__(self, space: Space, table: Table) -> None:
        """Make the rules' sets."""
        self.space = space
        self.table = table
        self._made: dict[tuple[int, Key, int], tuple[int, frozenset[int]]] = {}
        self._hooks = _hooks_of(table)
        """By `TABLE/CHAIN`."""
        self.chains = {name: self._ready(chain) for name, chain in table.chains.items()}
        self.heeded = 0
        """Fields that any rule reads."""
        self._settled: set[str] = set()
        for chain in self.chains.values():
            if chain.policy is not None:
                self._settle(chain)
                self.heeded |= chain.asked

    def takes(self, ready: ReadyRule, view: View, generation: int) -> tuple[int, frozenset[int]]:
        """Return what a rule takes of packets read by `view`, and the variables that it draws."""
        key = tuple(pair for pair in view.key if ready.asked >> pair[0] & 1)
        if not key and not ready.drawn:
            return ready.packets, _NONE
        place = (id(ready), key, generation if ready.drawn else 0)
        found = self._made.get(place)
        if found is None:
            reader = self.reader(ready, view, generation)
            packets = rule_packets(reader, ready.rule)
            found = self._made[place] = packets, frozenset(reader.drawn)
        return found

    def reader(self, ready: ReadyRule, view: View, generation: int = 0) -> Reader:
        """Return what the rule's extensions read packets with."""
        return Reader(self.space, view, ready.place, ready.occurrence, generation)

    def apply(
        self, ready: ReadyRule, view: View, packets: int, entry: View, generation: int
    ) -> list[tuple[View, int]]:
        """Return what the rule's target makes of packets."""
        assert ready.target is not None
        assert ready.target.effect is not None
        rewriter = Rewriter(
            self.space,
            view,
            packets,
            entry,
            lambda now: self.reader(ready, now, generation),
            self._hooks[ready.place],
        )
        assert ready.rule.target is not None
        ready.target.effect(ready.rule.target.settings, rewriter)
        return rewriter.done()

    def _ready(self, chain: Chain) -> ReadyChain:
        seen: dict[str, int] = {}
        place = f"{self.table.name}/{chain.name}"
        rules: list[ReadyRule] = []
        for number, rule in enumerate(chain.rules, 1):
            ready = ReadyRule(rule, place, number, 0)
            self._look_at(ready, seen)
            rules.append(ready)
        return ReadyChain(chain, rules)

    def _look_at(self, ready: ReadyRule, seen: dict[str, int]) -> None:
        """Make what the rule takes of packets as they enter."""
        rule = ready.rule
        reader = self.reader(ready, self.space.start)
        ready.packets = rule_packets(reader, rule)
        if reader.drawn:
            texts = {self.space.unknowables[one].text for one in reader.drawn}
            ready.occurrence = reader.occurrence = max(seen.get(text, 0) for text in texts)
            seen.update(dict.fromkeys(texts, ready.occurrence + 1))
            if ready.occurrence:
                ready.packets = rule_packets(reader, rule)
        target = rule.target
        if target is not None:
            declaration = target.declaration
            assert isinstance(declaration, Target)
            ready.may_end = declaration.may_end
            ends = target.standard if target.standard is not None else declaration.ends
            if ends is not None:
                ready.decides = ends
            if declaration.effect not in {None, changes_nothing}:
                assert declaration.effect is not None
                ready.target = declaration
                recorder = Recorder(reader, self._hooks[ready.place])
                declaration.effect(target.settings, recorder)
                ready.written = recorder.written
        ready.asked = reader.asked
        ready.drawn = bool(reader.drawn) or ready.may_end is not None

    def _settle(self, chain: ReadyChain) -> None:
        """Sum up what a chain and those below it read and change."""
        if chain.name in self._settled:
            return
        self._settled.add(chain.name)
        for ready in chain.rules:
            chain.asked |= ready.asked
            chain.written |= ready.written
            if ready.jump:
                below = self.chains[ready.jump]
                self._settle(below)
                chain.asked |= below.asked
                chain.written |= below.written
        fields = chain.asked | chain.written
        for field, related in RELATED_FIELDS.items():
            if fields >> field & 1:
                fields |= 1 << related
        chain.fields = tuple(field for field in Field if fields >> field & 1)


def _hooks_of(table: Table) -> dict[str, frozenset[Hook]]:
    """Return from which hooks packets may come to each chain."""
    found: dict[str, set[Hook]] = {name: set() for name in table.chains}
    for name, chain in table.chains.items():
        if chain.policy is None:
            continue
        hook, waiting = Hook[name], [name]
        while waiting:
            came = waiting.pop()
            if hook not in found[came]:
                found[came].add(hook)
                waiting += {rule.jump for rule in table.chains[came].rules if rule.jump}
    return {f"{table.name}/{name}": frozenset(hooks) for name, hooks in found.items()}


_NONE: frozenset[int] = frozenset()


def rule_packets(reader: Reader, rule: Rule) -> int:
    """Return the packets that a rule takes."""
    found = _generic_packets(reader, rule.generic)
    for match in rule.matches:
        if found == EMPTY:
            # What follows is asked all the same, so that fields and variables are noted.
            _match_packets(reader, match)
        else:
            found = reader.space.diagram.both(found, _match_packets(reader, match))
    return found


def _match_packets(reader: Reader, match: BoundMatch) -> int:
    declaration = match.declaration
    assert isinstance(declaration, Match)
    return match_packets(reader, declaration, match)


def match_packets(reader: Reader, declaration: AnyMatch, match: BoundMatch) -> int:
    """Return the packets that one match takes."""
    reader.text = match.text
    if declaration.packets is None:
        return reader.unknown(match.text)
    return declaration.packets(match.settings, reader)


def _generic_packets(reader: Reader, generic: Generic) -> int:
    """Return the packets that the part which every rule has takes (ip_packet_match)."""
    found = ALL
    both = reader.space.diagram.both
    invert = int(generic.invert)
    if generic.source_mask or invert & _SRCIP:
        found = both(
            found,
            _address(reader, Field.SOURCE, generic.source, generic.source_mask)
            ^ bool(invert & _SRCIP),
        )
    if generic.destination_mask or invert & _DSTIP:
        found = both(
            found,
            _address(reader, Field.DESTINATION, generic.destination, generic.destination_mask)
            ^ bool(invert & _DSTIP),
        )
    if generic.protocol:
        found = both(found, reader.masked(Field.PROTOCOL, generic.protocol) ^ bool(invert & _PROTO))
    for field, name, flag in (
        (Field.IN_DEVICE, generic.in_device, _VIA_IN),
        (Field.OUT_DEVICE, generic.out_device, _VIA_OUT),
    ):
        if name or invert & flag:
            found = both(found, reader.device(field, name or "+") ^ bool(invert & flag))
    if generic.fragment:
        found = both(found, reader.masked(Field.FRAGMENT, 1) ^ bool(invert & _FRAG))
    return found


def _address(reader: Reader, field: Field, address: bytes, mask: bytes) -> int:
    return reader.masked(field, int.from_bytes(address, "big"), int.from_bytes(mask, "big"))
