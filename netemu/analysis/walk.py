"""The walk of packet sets through the chains of a table: a symbolic ipt_do_table.

Kernel: net/ipv4/netfilter/ip_tables.c (ipt_do_table).

Theory of operation: a chain is walked once for all packets there are, not for those that a caller
sends; what it says of them (a `Summary`) holds for every caller, who intersects it with what he
sends. So ten thousand chains of three rules each cost ten thousand times three small steps,
whoever jumps to them, and a chain that marks packets is walked once for its thousand callers. Only
a caller whose packets are read differently (`View`) in a field that matters to the chain, or who
sends packets that may have been there before and so would draw again, gets a walk of his own.

For each rule a summary has the packets that come to it and those that it takes; for the chain it
has those that get a verdict in it and those that return. Which of them really come from a hook is
then found from the top down (`flood`), each chain after its callers.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.program import GOES_ON, Key, Program, ReadyChain, ReadyRule
from netemu.analysis.rewrite import join, tidy, variables
from netemu.analysis.space import TWIN, Run, Space, View
from netemu.netfilter.xtables.model import RETURN
from netemu.netfilter.xtables.space import Field

Changes = tuple[tuple[Field, Run], ...]
"""How fields are read that were changed."""

DRAWS = "may end here"


class Passed(NamedTuple):
    """Packets of one view at a rule, in terms of those that came to the chain."""

    view: View
    reached: int
    asked: int
    """What the rule asks for, whether it is reached or not."""
    taken: int


class Summary(Struct, eq=False):
    """What a chain does with any packets."""

    chain: ReadyChain
    entry: View
    rules: list[tuple[Passed, ...]] = field(default_factory=list)
    """By number, from 0; behind the rules of a built-in chain its policy."""
    ends: list[tuple[int, View, int]] = field(default_factory=list)
    """(verdict, how they are read then, packets) of the rules of this chain alone."""
    returns: dict[Changes, int] = field(default_factory=dict)
    """Packets that come back to the caller, by what was changed of them."""
    calls: list[tuple[View, int, Summary]] = field(default_factory=list)
    """(how they are read, packets that jump, the chain below)."""
    drawn: set[int] = field(default_factory=set)
    """Variables that rules of this chain and those below draw."""


class Walker:
    """Walks the chains of one table."""

    __slots__ = ("_diagram", "_made", "_program", "_space", "heeded")

    def __init__(self, program: Program, heeded: int | None = None) -> None:
        """Start with no chain walked.

        With `heeded` changes of other fields are passed over, and all changes of packets that leave
        the table: for whoever does not ask what they have become.
        """
        self.heeded = heeded
        self._program = program
        self._space = program.space
        self._diagram = program.space.diagram
        self._made: dict[tuple[str, Key, int], Summary] = {}

    def summary(
        self, name: str, view: View, drawn: set[int] | frozenset[int], generation: int = 0
    ) -> Summary:
        """Return what a chain does with packets read by `view`.

        What they draw must be none of what is `drawn` already; `generation` is the first to try.
        """
        chain = self._program.chains[name]
        runs = {field: run for field, run in view.runs.items() if field in chain.fields}
        entry = self._space.view(runs) if len(runs) < len(view.runs) else view
        while True:
            place = (name, entry.key, generation)
            found = self._made.get(place)
            if found is None:
                found = self._made[place] = _Walk(self, chain, entry, generation).run()
                self._diagram.rest()
            if found.drawn.isdisjoint(drawn):
                return found
            generation += 1

    def walk_of(self) -> tuple[Program, Space]:
        """Return what the walk of one chain needs."""
        return self._program, self._space


State = dict[View, int]
"""Packets by how they are read."""


class _Walk:
    """The walk of one chain for one view."""

    def __init__(self, walker: Walker, chain: ReadyChain, entry: View, generation: int) -> None:
        self._walker = walker
        self._program, self._space = walker.walk_of()
        self._diagram = self._space.diagram
        self._chain = chain
        self._entry = entry
        self._generation = generation
        self._summary = Summary(chain, entry)
        self._returns: State = {}
        self._following: State = {}
        """Packets that go on to the next rule."""

    def run(self) -> Summary:
        """Walk all rules."""
        diagram = self._diagram
        summary = self._summary
        state: State = {self._entry: ALL}
        for ready in self._chain.rules:
            passed: list[Passed] = []
            self._following = {}
            for view, reached in state.items():
                asked, drawn = self._program.takes(ready, view, self._generation)
                taken = diagram.both(reached, asked)
                passed.append(Passed(view, reached, asked, taken))
                if asked != ALL:
                    self._add(self._following, view, diagram.without(reached, asked))
                if taken != EMPTY:
                    summary.drawn |= drawn
                    self._take(ready, view, taken)
            summary.rules.append(tuple(passed))
            state = self._following
        self._finish(state)
        return summary

    def _finish(self, state: State) -> None:
        """Let what is left return, or meet the policy with what returned to a built-in chain."""
        summary = self._summary
        for view, packets in state.items():
            self._add(self._returns, view, packets)
        policy = self._chain.policy
        if policy is not None:
            passed: list[Passed] = []
            for view, packets in self._returns.items():
                passed.append(Passed(view, packets, ALL, packets))
                self._end(policy, view, packets)
            summary.rules.append(tuple(passed))
            self._returns = {}
        for view, packets in self._returns.items():
            summary.returns[self._changes(view)] = packets

    def _take(self, ready: ReadyRule, view: View, taken: int) -> None:
        """Do with packets what the rule says."""
        if ready.jump:
            self._jump(ready, view, taken)
            return
        parts = [(view, taken)]
        if ready.may_end is not None:
            draw = self._program.reader(ready, view, self._generation)
            stops = draw.free(f"{ready.rule.text}: {DRAWS}")
            self._summary.drawn |= draw.drawn
            self._end(ready.may_end, view, self._diagram.both(taken, stops))
            parts = [(view, self._diagram.without(taken, stops))]
        if ready.target is not None and self._matters(ready):
            parts = [
                part
                for old, packets in parts
                for part in self._program.apply(ready, old, packets, self._entry, self._generation)
            ]
        for new, packets in parts:
            if ready.decides == GOES_ON:
                self._add(self._following, new, packets)
            elif ready.decides == RETURN:
                self._add(self._returns, new, packets)
            else:
                self._end(ready.decides, new, packets)

    def _matters(self, ready: ReadyRule) -> bool:
        """Return whether anybody asks what a rule's target makes of packets."""
        heeded = self._walker.heeded
        if heeded is None:
            return True
        return ready.decides in {GOES_ON, RETURN} and bool(ready.written & heeded)

    def _jump(self, ready: ReadyRule, view: View, taken: int) -> None:
        summary = self._summary
        below = self._walker.summary(ready.jump, view, summary.drawn, self._generation)
        summary.drawn |= below.drawn
        summary.calls.append((view, taken, below))
        into = self._returns if ready.goto else self._following
        for changes, packets in below.returns.items():
            self._add(into, *self._after(view, changes, taken, packets))

    def _after(self, view: View, changes: Changes, taken: int, packets: int) -> tuple[View, int]:
        """Return packets as they come out of a chain below."""
        left = self._diagram.both(taken, packets)
        if not changes or left == EMPTY:
            return view, left
        after = self._space.view({**view.runs, **dict(changes)})
        live = variables(after) | variables(self._entry)
        dead = variables(view) - live
        if dead:
            left = self._diagram.drop(left, dead)
        return tidy(self._space, after, left, self._entry)

    def _add(self, state: State, view: View, packets: int) -> None:
        add(self._space, self._entry, state, view, packets)

    def _end(self, verdict: int, view: View, packets: int) -> None:
        if packets != EMPTY:
            self._summary.ends.append((verdict, view, packets))

    def _changes(self, view: View) -> Changes:
        """Return the fields that are read differently than at the entry."""
        if view is self._entry:
            return ()
        base, entry = self._space.base, self._entry
        fields = dict.fromkeys((*entry.runs, *view.runs))
        return tuple(
            (field, view.runs.get(field, base[field]))
            for field in sorted(fields)
            if view.runs.get(field) != entry.runs.get(field)
        )


def below(root: Summary) -> list[Summary]:
    """Return a summary and all below it, each after its callers."""
    done: list[Summary] = []
    seen: set[Summary] = set()
    stack: list[tuple[Summary, bool]] = [(root, False)]
    while stack:
        summary, spent = stack.pop()
        if spent:
            done.append(summary)
            continue
        if summary in seen:
            continue
        seen.add(summary)
        stack.append((summary, True))
        stack.extend((called, False) for _, _, called in summary.calls if called not in seen)
    done.reverse()
    return done


Sent = dict[tuple[Summary, int], list[tuple[View, int, Summary]]]
"""Of packets that come to a chain: (how they are read there, packets that jump, the chain below)"""


def flood(
    space: Space, root: Summary, view: View, packets: int, known: Sent
) -> dict[Summary, State]:
    """Return what comes to each chain, callers first, of packets that come to a built-in one.

    What is `known` from an earlier flood is not worked out again: PREROUTING and OUTPUT often send
    the same packets to the same ten thousand chains.
    """
    diagram = space.diagram
    came: dict[Summary, State] = {summary: {} for summary in below(root)}
    came[root][view] = packets
    for summary, state in came.items():
        for whole, there in state.items():
            place = (summary, there)
            if place not in known:
                known[place] = [
                    (local, sent, called)
                    for local, taken, called in summary.calls
                    if (sent := diagram.both(there, taken)) != EMPTY
                ]
            for local, sent, called in known[place]:
                into = came[called]
                at = read_at(space, whole, summary.entry, local)
                into[at] = diagram.either(into.get(at, EMPTY), sent)
        diagram.rest()
    return came


def accepted(space: Space, came: dict[Summary, State], root: View, verdict: int) -> State:
    """Return what gets a verdict in any chain, of what came to each."""
    diagram = space.diagram
    raw: State = {}
    for summary, state in came.items():
        for whole, there in state.items():
            for said, local, taken in summary.ends:
                if said == verdict:
                    left = diagram.both(there, taken)
                    if left != EMPTY:
                        at = read_at(space, whole, summary.entry, local)
                        raw[at] = diagram.either(raw.get(at, EMPTY), left)
        diagram.rest()
    found: State = {}
    for at, left in raw.items():
        if at is root:
            add(space, root, found, at, left)
            continue
        live = variables(at) | variables(root)
        dead = {one for one in diagram.support(left) if one >= TWIN and one not in live}
        add(space, root, found, *tidy(space, at, diagram.drop(left, dead), root))
    return found


def read_at(space: Space, whole: View, entry: View, local: View) -> View:
    """Return how packets are read that a chain, which was told of `entry` only, reads `local`ly."""
    if local is entry:
        return whole
    runs = dict(whole.runs)
    for name in dict.fromkeys((*entry.runs, *local.runs)):
        if local.runs.get(name) != entry.runs.get(name):
            runs[name] = local.runs.get(name, space.base[name])
    return space.view(runs)


def add(space: Space, entry: View, state: State, view: View, packets: int) -> None:
    """Add packets to a state, where possible to such as are read nearly the same."""
    if packets == EMPTY:
        return
    there = state.get(view)
    if there is not None:
        state[view] = space.diagram.either(there, packets)
        return
    for old in state:
        joined = join(space, entry, (old, state[old]), (view, packets))
        if joined is not None:
            del state[old]
            add(space, entry, state, *joined)
            return
    state[view] = packets
