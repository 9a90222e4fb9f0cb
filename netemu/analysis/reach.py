"""Which packets reach each rule of a rule set, which it takes, and what becomes of them.

Kernel: none.

Theory of operation: `walk.py` says what a chain does with any packets, `path.py` which come to the
built-in chains. What comes to a chain below is what its callers send, so it is found from the top
down, each chain after its callers. That is done for what matters to the chains only (fields that no
rule of the table reads are forgotten first), so that it stays small even behind thousands of DNAT
rules; the whole sets are made when somebody asks for them.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from netemu.analysis.bdd import EMPTY
from netemu.analysis.path import Arrival, Path, Station
from netemu.analysis.program import Program, ReadyRule
from netemu.analysis.space import Space
from netemu.analysis.walk import Passed, Summary
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.model import Chain, Rule, Ruleset, Table


class Visit(Struct, frozen=True, eq=False):
    """One rule in one chain as one table's hook comes by it, for packets of one view."""

    station: Station
    arrival: Arrival
    summary: Summary
    passed: Passed


class RuleReach:
    """What one rule, or the policy behind the last one, gets to see."""

    __slots__ = ("_reach", "chain", "number", "rule", "table")

    def __init__(self, reach: Reach, table: Table, chain: Chain, number: int) -> None:
        """Made by `Reach`; sets are made when asked for."""
        self._reach = reach
        self.table = table
        self.chain = chain
        self.number = number
        """From 1; one more than the last rule's for the policy."""
        self.rule: Rule | None = chain.rules[number - 1] if number <= len(chain.rules) else None

    @property
    def line(self) -> int | None:
        """Line in the file, of the chain for a policy."""
        return self.chain.line if self.rule is None else self.rule.line

    @property
    def is_reached(self) -> bool:
        """Whether any packet comes to the rule."""
        return any(self._reach.comes(visit, visit.passed.reached) for visit in self.visits())

    @property
    def takes_any(self) -> bool:
        """Whether any packet that comes to the rule matches it."""
        return any(self._reach.comes(visit, visit.passed.taken) for visit in self.visits())

    @property
    def asks_any(self) -> bool:
        """Whether any packet that comes to the rule's chain would match it if it were the first."""
        return any(self._reach.comes(visit, visit.passed.asked) for visit in self.visits())

    @property
    def reached(self) -> int:
        """The packets, as they enter, that may come to the rule."""
        return self._reach.united(self.visits(), lambda visit: visit.passed.reached)

    @property
    def taken(self) -> int:
        """The packets, as they enter, that may match the rule."""
        return self._reach.united(self.visits(), lambda visit: visit.passed.taken)

    @property
    def asked(self) -> int:
        """The packets, as they enter, that would match the rule if it were the chain's first."""
        return self._reach.united(self.visits(), lambda visit: visit.passed.asked)

    def visits(self) -> Iterator[Visit]:
        """Return where packets may come by."""
        return self._reach.visits(self.table.name, self.chain.name, self.number)


class Fate(Struct, frozen=True, eq=False):
    """Packets that one rule ends."""

    verdict: str
    """ACCEPT, DROP, REJECT, QUEUE or STOLEN."""
    decided_by: RuleReach
    packets: int
    """As they enter."""


class Reach:
    """The analysis of one rule set."""

    __slots__ = ("_visited", "path", "programs", "ruleset", "space")

    def __init__(self, ruleset: Ruleset, space: Space) -> None:
        """Analyse; rule sets of one `space` can be compared."""
        self.ruleset = ruleset
        self.space = space
        self.programs = {table.name: Program(space, table) for table in ruleset.tables}
        self.path = Path(space, self.programs)
        self._visited: dict[tuple[str, str], list[tuple[Station, Arrival, Summary]]] = {}
        for station in self.path.stations:
            for arrival in station.arrivals:
                for summary, state in arrival.came.items():
                    if state:
                        place = (station.table, summary.chain.name)
                        self._visited.setdefault(place, []).append((station, arrival, summary))

    def rules(self, *, policies: bool = False) -> Iterator[RuleReach]:
        """Return every rule in the order of the file, and with `policies` these as well."""
        for table in self.ruleset.tables:
            for chain in table.chains.values():
                last = len(chain.rules) + (policies and chain.policy is not None)
                for number in range(1, last + 1):
                    yield RuleReach(self, table, chain, number)

    def rule(self, table: str, chain: str, number: int) -> RuleReach:
        """Return one rule, or the policy behind the last one."""
        found = next(one for one in self.ruleset.tables if one.name == table)
        return RuleReach(self, found, found.chains[chain], number)

    def visits(self, table: str, chain: str, number: int) -> Iterator[Visit]:
        """Return where packets may come by a rule."""
        for station, arrival, summary in self._visited.get((table, chain), ()):
            if number <= len(summary.rules):
                for passed in summary.rules[number - 1]:
                    yield Visit(station, arrival, summary, passed)

    def comes(self, visit: Visit, local: int) -> bool:
        """Return whether any of the packets that a summary speaks of really comes by."""
        meet = self.space.diagram.meet
        return any(meet(came, local) for came in visit.arrival.came[visit.summary].values())

    def whole(self, visit: Visit, local: int) -> int:
        """Return the packets that really come by, with all that became of them."""
        came = self.space.either(visit.arrival.came[visit.summary].values())
        both = self.space.diagram.both
        return both(both(came, local), visit.arrival.packets)

    def united(self, visits: Iterator[Visit], pick: object) -> int:
        """Return the packets of many visits as they enter."""
        assert callable(pick)
        found = EMPTY
        for visit in visits:
            packets = self.space.entered(self.whole(visit, pick(visit)))
            found = self.space.diagram.either(found, packets)
        return found

    def fates(self) -> Iterator[Fate]:
        """Return what ends in a rule or policy: all that is not accepted to the end."""
        for table, chain, ready in self._ready_rules():
            if ready is None:
                policy = chain.policy
                if policy != Verdict.DROP:
                    continue
                where = RuleReach(self, table, chain, len(chain.rules) + 1)
                verdict = "DROP"
            elif ready.decides in _ENDINGS:
                where = RuleReach(self, table, chain, ready.number)
                verdict = _ENDINGS[ready.decides]
                if ready.rule.target is not None and ready.rule.target.name == "REJECT":
                    verdict = "REJECT"
            else:
                continue
            packets = where.taken
            if packets != EMPTY:
                yield Fate(verdict, where, packets)

    def accepted(self, way: str) -> int:
        """Return the packets, as they enter, that all tables let through.

        `way` is in, forward, local or loop.
        """
        found = EMPTY
        for name, crowd in self.path.delivered:
            if name == way:
                for packets in crowd.parts.values():
                    found = self.space.diagram.either(found, self.space.entered(packets))
        return found

    def _ready_rules(self) -> Iterator[tuple[Table, Chain, ReadyRule | None]]:
        for table in self.ruleset.tables:
            program = self.programs[table.name]
            for chain in table.chains.values():
                for ready in program.chains[chain.name].rules:
                    yield table, chain, ready
                if chain.policy is not None:
                    yield table, chain, None


_ENDINGS = {
    int(Verdict.DROP): "DROP",
    int(Verdict.QUEUE): "QUEUE",
    int(Verdict.STOLEN): "STOLEN",
}
