"""What the rules of one shape have in common, and how their values become rules.

Kernel: none.

Theory of operation: the first line of a shape is read the slow way; what claimed which word is
kept as a `Plan`. For later lines it picks the values by position and calls the same kinds, defaults
and checks. Nothing is taken on trust: what a plan cannot read, or reads into an error, is a miss,
and the slow way reads the line again and words the error.

Where the pattern that took a line proves its values good (`Kind.plain`), the rule keeps the line,
and its parts are made when somebody asks.

Matches and targets whose value never changes are made once for equal words and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, TypeAlias, TypeVar
from typing import Generic as TypingGeneric

from netemu.errors import RulesetError
from netemu.netfilter.xtables.addresses import PLAIN_INTERFACE, check_interface, plain_network
from netemu.netfilter.xtables.kit import (
    AnyMatch,
    AnyTarget,
    Given,
    Match,
    Settings,
    Target,
    always,
    never,
)
from netemu.netfilter.xtables.model import (
    NOTHING_ASKED,
    BoundMatch,
    BoundTarget,
    Chain,
    Generic,
    Parts,
    Rule,
    Shape,
)
from netemu.ruleset import nft
from netemu.ruleset.build import INPUT_ONLY, OUTPUT_ONLY, Circumstances, make_generic, networks
from netemu.ruleset.draft import Draft, Loaded, Use

Bound = TypeVar("Bound", BoundMatch, BoundTarget)

Pick: TypeAlias = Callable[[Sequence[str]], Any]
"""Picks the words of one part from the values of a line."""

_ONE_WORD = 1

FIRST = 2
"""Place of the first value: before it stand packets and octets, empty without counters."""


class Ways(NamedTuple, TypingGeneric[Bound]):
    """How the values of one extension become a match or target."""

    pick: Pick
    known: Callable[[object], Bound | None]
    """Returns what was made of the same words before."""
    make: Callable[[Sequence[str], object], Bound]


def _pick_nothing(values: Sequence[str]) -> object:
    """Pick for a part without values."""
    return None


def _picker(places: Sequence[int]) -> Pick:
    return itemgetter(*places) if places else _pick_nothing


class PlannedExtension(TypingGeneric[Bound]):
    """One extension of a shape: where its values stand, and what was made of them before."""

    __slots__ = ("_place", "_plan", "_uses", "extension", "made", "pick")

    def __init__(self, loaded: Loaded, draft: Draft, place: Circumstances) -> None:
        """Take over what the slow way found."""
        assert isinstance(loaded.extension, (Match, Target))
        self.extension: AnyMatch | AnyTarget = loaded.extension
        self._uses: tuple[Use, ...] = tuple(loaded.uses)
        self._plan = draft
        self._place = place
        self.pick: Pick = _pick_nothing
        self.made: dict[object, Bound] = {}
        """By the words of the values."""

    def places(self) -> list[int]:
        """Return the places of its values among the words of a line."""
        return [
            use.position + offset for use in self._uses for offset in range(use.option.kind.arity)
        ]

    def number(self, index: Mapping[int, int]) -> None:
        """Count places among the values from now on, no longer among the words."""
        self.pick = _picker([index[place] for place in self.places()])
        self._uses = tuple(
            use._replace(position=index[use.position]) if use.option.kind.arity else use
            for use in self._uses
        )

    def plain(self, *, quoted: frozenset[int]) -> dict[int, str] | None:
        """Return patterns of values that need no look, by place; None if all must be parsed."""
        extension = self.extension
        if extension.check is not None or (self._place.nft and extension.nft is not None):
            return None
        patterns: dict[int, str] = {}
        for option, _, call, place, _ in self._uses:
            if option.convert is not None or option.kind.arity > _ONE_WORD:
                return None
            if option.kind.arity:
                pattern = option.kind.plain(call, quoted=place in quoted)
                if pattern is None:
                    return None
                patterns[place] = pattern
        return patterns

    def ways(self) -> Ways[Bound]:
        """Return how to pick the key, look up what was made and make what was not."""
        return Ways(self.pick, self.made.get, self.make)

    def make(self, values: Sequence[str], key: object) -> Bound:
        """Make the match or target of values not met before, and keep it if it may be shared."""
        settings = self._settings(values)
        bound: Bound = nft.bound(self.extension, settings, as_nft=self._place.nft)  # type: ignore[assignment]
        if nft.is_gone(bound):
            raise RulesetError("not of this shape")
        if self.extension.shares is always or self.extension.shares(settings):
            self.made[key] = bound
        return bound

    def _settings(self, values: Sequence[str]) -> Settings:
        """Read every value, fill defaults and check the values together, or raise."""
        given: dict[str, Given] = {}
        order: list[Given] = []
        for option, canonical, call, place, inverted in self._uses:
            kind = option.kind
            value: object = True
            if kind.arity == _ONE_WORD:
                value = kind.parse(values[place], call)
            elif kind.arity:
                value = kind.parse(_several(values, place, kind.arity), call)
            if option.into and option.convert is not None:
                value = option.convert(value)
            order.append(Given(option, value, inverted))
            given[canonical.name] = Given(canonical, value, inverted)
        settings = self._place.settings(self.extension, given, order, self._plan)
        self.extension.settle(settings)
        return settings


def _several(values: Sequence[str], place: int, arity: int) -> str:
    """Join the words of one value; none but the first may look like an option."""
    if any(word == "!" or word.startswith("-") for word in values[place + 1 : place + arity]):
        raise RulesetError("not of this shape")
    return " ".join(values[place : place + arity])


class Proof(NamedTuple):
    """What a pattern proves of the lines that it takes, so that their rules may be made later."""

    patterns: dict[int, str]
    """Of values that need no look, by their place among the values."""
    needed: tuple[Ways[Any], ...]
    """Of extensions whose values must be looked at all the same."""

    def holds(self, values: Sequence[str]) -> bool:
        """Look at those values, or raise; False when what they make is for this rule alone."""
        for pick, known, make in self.needed:
            key = pick(values)
            if known(key) is None:
                make(values, key)
                if known(key) is None:
                    return False
        return True


class Plan:
    """Where the values of one shape stand; -1 for a part that is not there."""

    __slots__ = (
        "_chain",
        "_destination",
        "_extensions",
        "_generics",
        "_goto",
        "_in_device",
        "_jump",
        "_matches",
        "_of_generic",
        "_out_device",
        "_place",
        "_plan",
        "_source",
        "_target",
        "_target_name",
        "attached",
        "attached_alike",
        "may_end",
        "places",
        "restricted",
    )

    def __init__(self, draft: Draft, place: Circumstances) -> None:
        """Take over what the slow way found."""
        self._plan = draft
        self._place = place
        self._goto = draft.goto
        self._target_name = "" if draft.target is None else draft.jump
        self._generics: dict[object, Generic] = {}
        """By the words of addresses and devices."""
        loaded = [*draft.matches, *([draft.target] if draft.target is not None else [])]
        self.restricted: tuple[object, ...] = tuple(
            item.extension for item in loaded if item.extension.restricted
        )
        attached = [
            item.extension
            for item in loaded
            if isinstance(item.extension, (Match, Target)) and item.extension.attach is not None
        ]
        self.attached = bool(attached)
        self.attached_alike = all(extension.attach_alike for extension in attached)
        self.may_end = not draft.matches and not draft.protocol and draft.target is not None
        self._number(draft)

    def _number(self, draft: Draft) -> None:
        """Find the places of all values and count them."""
        at = {letter: place for letter, place in draft.places.items() if letter in "Asdio"}
        if draft.target is None and "j" in draft.places:
            at["j"] = draft.places["j"]
        matches = [PlannedExtension[BoundMatch](item, draft, self._place) for item in draft.matches]
        target = None
        if draft.target is not None:
            target = PlannedExtension[BoundTarget](draft.target, draft, self._place)
        self._extensions: list[PlannedExtension[Any]] = [*matches, *([target] if target else [])]
        in_extensions = [place for item in self._extensions for place in item.places()]
        self.places = sorted({*at.values(), *in_extensions})
        """Of the values, among the words of the line."""
        index = {place: number for number, place in enumerate(self.places, start=FIRST)}
        for item in self._extensions:
            item.number(index)
        self._matches: tuple[Ways[BoundMatch], ...] = tuple(item.ways() for item in matches)
        self._target: Ways[BoundTarget] | None = target.ways() if target is not None else None
        value_of = {letter: index[place] for letter, place in at.items()}
        self._chain = value_of["A"]
        self._source = value_of.get("s", -1)
        self._destination = value_of.get("d", -1)
        self._in_device = value_of.get("i", -1)
        self._out_device = value_of.get("o", -1)
        self._jump = value_of.get("j", -1)
        self._of_generic = _picker([value_of[letter] for letter in "sdio" if letter in value_of])

    def proof(self, quoted: frozenset[int]) -> Proof | None:
        """Return what makes good values known by their spelling; None if none can.

        `quoted` are the places among the values that stand in quotes.
        """
        network = plain_network(self._place.family)
        generic = {
            self._source: network,
            self._destination: network,
            self._in_device: PLAIN_INTERFACE,
            self._out_device: PLAIN_INTERFACE,
        }
        patterns = {place: pattern for place, pattern in generic.items() if place >= 0}
        needed: list[Ways[Any]] = []
        for item in self._extensions:
            found = item.plain(quoted=quoted)
            if found is not None:
                patterns |= found
            elif item.extension.shares is never:
                return None
            else:
                needed.append(item.ways())
        return Proof(patterns, tuple(needed))

    def append(
        self,
        chains: Mapping[str, Chain],
        values: Sequence[str],
        number: int,
        shape: Shape | None = None,
        line: str = "",
    ) -> bool:
        """Append the rule that the values make; False when the slow way must look.

        With a shape the rule is made later, of the line.
        """
        name = values[self._chain]
        chain = chains.get(name)
        if chain is None or self._target_name in chains:
            return False
        jump = ""
        if self._jump >= 0:
            jump = values[self._jump]
            leads_to = chains.get(jump)
            if leads_to is None or leads_to.policy is not None:
                return False
        if (self._in_device >= 0 and name in OUTPUT_ONLY) or (
            self._out_device >= 0 and name in INPUT_ONLY
        ):
            return False
        packets = octets = 0
        if values[0]:
            packets, octets = int(values[0]), int(values[1])
        goto = self._goto
        if shape is not None:
            rule = Rule(
                NOTHING_ASKED, (), None, jump, goto, packets, octets, number, None, shape, line
            )
        else:
            parts = self._parts(values)
            if parts is None:
                return False
            rule = Rule(*parts, jump, goto, packets, octets, number)
        chain.rules.append(rule)
        return True

    def parts(self, values: Sequence[str]) -> Parts:
        """Make the parts of a rule from values that a proof covers."""
        parts = self._parts(values)
        assert parts is not None, values
        return parts

    def _parts(self, values: Sequence[str]) -> Parts | None:
        """Make the parts of a rule; None for what the slow way must look at."""
        key = self._of_generic(values)
        generic = self._generics.get(key)
        if generic is None:
            generic = self._make_generic(values)
            if generic is None:
                return None
            self._generics[key] = generic
        matches = []
        for pick, known, make in self._matches:
            key = pick(values)
            matches.append(known(key) or make(values, key))
        target = None
        if self._target is not None:
            pick, leading, lead = self._target
            key = pick(values)
            target = leading(key) or lead(values, key)
        return Parts(generic, tuple(matches), target)

    def _make_generic(self, values: Sequence[str]) -> Generic | None:
        """Make the generic part; None for what the slow way must look at."""
        family = self._place.family
        source = destination = None
        if self._source >= 0:
            source, *more = networks(values[self._source], family)
            if more:
                return None
        if self._destination >= 0:
            destination, *more = networks(values[self._destination], family)
            if more:
                return None
        in_device = values[self._in_device] if self._in_device >= 0 else ""
        out_device = values[self._out_device] if self._out_device >= 0 else ""
        if not self._good_devices(in_device, out_device):
            return None
        made = make_generic(
            source,
            destination,
            in_device,
            out_device,
            self._plan.protocol,
            fragment=self._plan.fragment,
            invert=self._plan.invert,
        )
        if self._place.nft:
            nft.refuse(made)
        return made

    def _good_devices(self, in_device: str, out_device: str) -> bool:
        """Return whether the names may be taken as they are; raise for those that are too long."""
        if self._in_device >= 0:
            check_interface(in_device)
        if self._out_device >= 0:
            check_interface(out_device)
        odd = ("", "+") if self._place.nft else ("",)
        return not (
            (self._in_device >= 0 and in_device in odd)
            or (self._out_device >= 0 and out_device in odd)
        )
