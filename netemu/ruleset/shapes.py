"""Rules of a shape met before, read without the grammar.

Kernel: none.

Theory of operation: two lines have one shape if they differ only in values. The first line of a
shape is read the slow way; what claimed which word is kept as a `Plan`. For later lines the plan
picks the values by position and calls the same kinds, defaults and checks. Nothing is taken on
trust: what a plan cannot read, or reads into an error, is a miss, and the slow way reads the line
again and words the error.

The key of a shape holds the words that decide what the others mean: options, `!`, and the names of
matches, protocols and targets, all learnt from lines read the slow way. Such a word where a value
stands only makes another shape. Values are therefore exactly the words at the places that the plan
knows, whatever they hold, since an option takes its value unseen; only a second value may not look
like an option, and the plan asks that.

Matches and targets whose value never changes are made once for equal words and shared.
"""

from __future__ import annotations

from typing import Generic as TypingGeneric
from typing import TypeVar

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import Network, check_interface
from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget, Given, Match, Settings, Target
from netemu.netfilter.xtables.model import BoundMatch, BoundTarget, Invert, Table
from netemu.ruleset.build import INPUT_ONLY, OUTPUT_ONLY, assemble, make_generic, networks
from netemu.ruleset.draft import Draft, Loaded, Use

Shape = tuple[str | None, ...]

Bound = TypeVar("Bound", BoundMatch, BoundTarget)

_ONE_WORD = 1


class PlannedExtension(TypingGeneric[Bound]):
    """One extension of a shape: where its values stand, and what was made of them before."""

    __slots__ = ("_family", "_made", "_places", "_plan", "_table", "_uses", "extension")

    def __init__(self, loaded: Loaded, draft: Draft, family: Family, table: str) -> None:
        """Take over what the slow way found."""
        assert isinstance(loaded.extension, (Match, Target))
        self.extension: AnyMatch | AnyTarget = loaded.extension
        self._uses: tuple[Use, ...] = tuple(loaded.uses)
        self._places = tuple(
            use.position + offset for use in self._uses for offset in range(use.option.kind.arity)
        )
        self._plan = draft
        self._family = family
        self._table = table
        self._made: dict[tuple[str, ...], Bound] = {}

    def bind(self, words: list[str]) -> Bound:
        """Return the match or target that these words make."""
        values = tuple([words[place] for place in self._places])
        made = self._made.get(values)
        if made is not None:
            return made
        settings = self._settings(words)
        bound: Bound = self.extension.bind(settings)  # type: ignore[assignment]
        if self.extension.shares(settings):
            self._made[values] = bound
        return bound

    def _settings(self, words: list[str]) -> Settings:
        """Read the values, fill defaults and check them."""
        given: dict[str, Given] = {}
        order: list[Given] = []
        for option, canonical, call, place, inverted in self._uses:
            arity = option.kind.arity
            value: object = True
            if arity == _ONE_WORD:
                value = option.kind.parse(words[place], call)
            elif arity:
                value = option.kind.parse(self._several(words, place, arity), call)
            if option.into and option.convert is not None:
                value = option.convert(value)
            given[canonical.name] = Given(canonical, value, inverted)
            order.append(Given(option, value, inverted))
        settings = Settings(
            self.extension.name,
            given,
            tuple(order),
            family=self._family,
            protocol=self._plan.protocol,
            protocol_inverted=bool(self._plan.invert & Invert.PROTO),
            table=self._table,
        )
        self.extension.settle(settings)
        return settings

    def _several(self, words: list[str], place: int, arity: int) -> str:
        """Join the words of one value; none but the first may look like an option."""
        if any(word == "!" or word.startswith("-") for word in words[place + 1 : place + arity]):
            raise RulesetError("not of this shape")
        return " ".join(words[place : place + arity])


class Plan:
    """Where the values of one shape stand; -1 for a part that is not there."""

    __slots__ = (
        "_chain",
        "_destination",
        "_family",
        "_fragment",
        "_goto",
        "_in_device",
        "_invert",
        "_jump",
        "_matches",
        "_out_device",
        "_protocol",
        "_source",
        "_target",
    )

    def __init__(self, draft: Draft, family: Family, table: str) -> None:
        """Take over what the slow way found."""
        places = draft.places
        self._family = family
        self._chain = places["A"]
        self._source = places.get("s", -1)
        self._destination = places.get("d", -1)
        self._in_device = places.get("i", -1)
        self._out_device = places.get("o", -1)
        self._jump = places.get("j", -1)
        self._protocol = draft.protocol
        self._fragment = draft.fragment
        self._invert = draft.invert
        self._goto = draft.goto
        self._matches = tuple(
            PlannedExtension[BoundMatch](item, draft, family, table) for item in draft.matches
        )
        self._target: PlannedExtension[BoundTarget] | None = None
        if draft.target is not None:
            self._target = PlannedExtension(draft.target, draft, family, table)

    def append(
        self, table: Table, words: list[str], counters: tuple[int, int] | None, line: int
    ) -> bool:
        """Append the rule that the words make; False when the slow way must look."""
        name = words[self._chain]
        chain = table.chains.get(name)
        if chain is None:
            return False
        jump = words[self._jump] if self._jump >= 0 else ""
        if jump and not self._leads(table, jump):
            return False
        source = self._network(words, self._source)
        destination = self._network(words, self._destination)
        in_device = self._device(words, self._in_device, name in OUTPUT_ONLY)
        out_device = self._device(words, self._out_device, name in INPUT_ONLY)
        if source is _MISS or destination is _MISS or in_device is None or out_device is None:
            return False
        matches = tuple([planned.bind(words) for planned in self._matches])
        target = None if self._target is None else self._target.bind(words)
        generic = make_generic(
            source,
            destination,
            in_device,
            out_device,
            self._protocol,
            fragment=self._fragment,
            invert=self._invert,
        )
        rule = assemble(
            generic,
            matches,
            target,
            jump=jump if target is None else "",
            goto=self._goto,
            counters=counters,
            line=line,
        )
        chain.rules.append(rule)
        return True

    def _leads(self, table: Table, jump: str) -> bool:
        """Return whether -j names a user chain, or a target that no chain hides."""
        chain = table.chains.get(jump)
        if chain is None:
            return self._target is not None
        return self._target is None and chain.policy is None

    def _network(self, words: list[str], place: int) -> Network | None:
        if place < 0:
            return None
        found = networks(words[place], self._family)
        return found[0] if len(found) == 1 else _MISS

    def _device(self, words: list[str], place: int, forbidden: bool) -> str | None:  # noqa: FBT001 - the answer to a question
        """Return a device name, empty when the shape has none, None for the slow way."""
        if place < 0:
            return ""
        name = words[place]
        if forbidden or not name:
            return None
        check_interface(name)
        return name


_MISS = Network(b"", b"")
"""Stands for a list of addresses, which makes several rules."""


class ShapeCache:
    """The plans of one table of a file."""

    __slots__ = ("_family", "_names", "_plans", "_table")

    def __init__(self, table: str, family: Family) -> None:
        """Start empty."""
        self._table = table
        self._family = family
        self._names: dict[str, str] = {}
        self._plans: dict[Shape, Plan] = {}

    def learn(self, words: list[str], draft: Draft) -> None:
        """Keep the plan of a line that was read the slow way."""
        if draft.command != "A" or not draft.plain or draft.own_counters:
            return
        before = ""
        for word in words:
            named = before in {"-m", "-p"} or (before == "-j" and draft.target is not None)
            if word[:1] == "-" or word == "!" or named:
                self._names[word] = word
            before = word
        self._plans[self._shape(words)] = Plan(draft, self._family, self._table)

    def append(
        self, table: Table, words: list[str], counters: tuple[int, int] | None, line: int
    ) -> bool:
        """Append the rule to its chain if its shape is known and all its values are good."""
        plan = self._plans.get(self._shape(words))
        if plan is None:
            return False
        try:
            return plan.append(table, words, counters, line)
        except RulesetError:
            return False

    def _shape(self, words: list[str]) -> Shape:
        return tuple(map(self._names.get, words))
