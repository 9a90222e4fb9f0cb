"""Rules of a shape met before, read without the grammar.

Kernel: none.

Theory of operation: two lines have one shape if they differ only in values. The first line of a
shape is read the slow way; what claimed which word is kept as a `Plan`. For later lines the plan
picks the values by position and calls the same kinds, defaults and checks. Nothing is taken on
trust: what a plan cannot read, or reads into an error, is a miss, and the slow way reads the line
again and words the error.

A line finds its plan in one of two ways. A `Pattern` is a regular expression made from a line: all
its words but the values literally, one blank between them, a group for each value. The patterns
that followed the last one before are tried first, then those used last, since real rulesets repeat
themselves. What no pattern takes (other blanks, quotes elsewhere, escapes) is split into
words, and those that decide what the others mean are the key of the plan: options, `!`, and the
names of matches, protocols and targets, all learnt from lines read the slow way. Such a word where
a value stands only makes another shape. Values are exactly the words at the places that the plan
knows, whatever they hold, since an option takes its value unseen; only a second value may not look
like an option, and the plan asks that.

Matches and targets whose value never changes are made once for equal words and shared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, TypeAlias, TypeVar
from typing import Generic as TypingGeneric

from netemu.errors import RulesetError
from netemu.netfilter.xtables.addresses import check_interface
from netemu.netfilter.xtables.kinds import OptionCall
from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget, Given, Match, Settings, Target, always
from netemu.netfilter.xtables.model import BoundMatch, BoundTarget, Generic, Rule, Table
from netemu.ruleset import nft
from netemu.ruleset.build import (
    INPUT_ONLY,
    OUTPUT_ONLY,
    Circumstances,
    make_generic,
    networks,
)
from netemu.ruleset.draft import Draft, Loaded, Use
from netemu.ruleset.words import raw_words

Shape = tuple[str | None, ...]

Bound = TypeVar("Bound", BoundMatch, BoundTarget)

Pick: TypeAlias = Callable[[Sequence[str]], Any]
"""Picks the words of one part from the values of a line."""

Ways: TypeAlias = tuple[
    Pick, Callable[[object], Bound | None], Callable[[Sequence[str], object], Bound]
]

_ONE_WORD = 1

FIRST = 2
"""Place of the first value: before it stand packets and octets, empty without counters."""

RECENT = 8
"""Patterns that are tried before a line is split."""

FOLLOWING = 4
"""Patterns that are tried behind one of them."""

PATTERNS_OF_A_PLAN = 4
"""Lines of one shape may be spelt in several ways."""

_COUNTERS = re.compile(r"\[[0-9]{1,15}:[0-9]{1,15}\] ")


def _pick_nothing(values: Sequence[str]) -> object:
    """Pick for a part without values."""
    return None


def _picker(places: Sequence[int]) -> Pick:
    return itemgetter(*places) if places else _pick_nothing


class PlannedExtension(TypingGeneric[Bound]):
    """One extension of a shape: where its values stand, and what was made of them before."""

    __slots__ = (
        "_bind",
        "_late",
        "_place",
        "_plan",
        "_single",
        "_uses",
        "extension",
        "made",
        "pick",
    )

    def __init__(self, loaded: Loaded, draft: Draft, place: Circumstances) -> None:
        """Take over what the slow way found."""
        assert isinstance(loaded.extension, (Match, Target))
        self.extension: AnyMatch | AnyTarget = loaded.extension
        self._uses: tuple[Use, ...] = tuple(loaded.uses)
        self._plan = draft
        self._place = place
        self._bind: Callable[..., Bound] = self.extension.binder()  # type: ignore[assignment]
        self.pick: Pick = _pick_nothing
        self._single: tuple[Callable[[str, OptionCall], object], int, OptionCall] | None = None
        """Parser, place and call where there is nothing but one value."""
        self.made: dict[object, Bound] = {}
        """By the words of the values."""
        self._late = (
            self.extension.check is None
            and self.extension.shares is always
            and not (place.nft and self.extension.nft is not None)
        )

    def places(self) -> list[int]:
        """Return the places of its values among the words of a line."""
        return [
            use.position + offset for use in self._uses for offset in range(use.option.kind.arity)
        ]

    def number(self, index: dict[int, int]) -> None:
        """Count places among the values from now on, no longer among the words."""
        self.pick = _picker([index[place] for place in self.places()])
        self._uses = tuple(
            use._replace(position=index[use.position]) if use.option.kind.arity else use
            for use in self._uses
        )
        if len(self._uses) == 1:
            option, _, call, place, _ = self._uses[0]
            if option.kind.arity == _ONE_WORD and option.convert is None:
                self._single = option.kind.parse, place, call

    def ways(self) -> Ways[Bound]:
        """Return how to pick the key, look up what was made and make what was not."""
        return self.pick, self.made.get, self.make

    def make(self, values: Sequence[str], key: object) -> Bound:
        """Make the match or target of values not met before, and keep it if it may be shared."""
        parsed = self._parsed(values)
        bound: Bound
        if self._late:
            bound = self._bind(give=partial(self._settings, parsed))
            self.made[key] = bound
            return bound
        settings = self._settings(parsed)
        bound = nft.bound(self.extension, settings, as_nft=self._place.nft)  # type: ignore[assignment]
        if nft.is_gone(bound):
            raise RulesetError("not of this shape")
        if self.extension.shares(settings):
            self.made[key] = bound
        return bound

    def _parsed(self, values: Sequence[str]) -> list[object]:
        """Read every value, or raise."""
        if self._single is not None:
            parse, place, call = self._single
            return [parse(values[place], call)]
        parsed: list[object] = []
        for option, _, call, place, _ in self._uses:
            arity = option.kind.arity
            value: object = True
            if arity == _ONE_WORD:
                value = option.kind.parse(values[place], call)
            elif arity:
                value = option.kind.parse(self._several(values, place, arity), call)
            if option.into and option.convert is not None:
                value = option.convert(value)
            parsed.append(value)
        return parsed

    def _several(self, values: Sequence[str], place: int, arity: int) -> str:
        """Join the words of one value; none but the first may look like an option."""
        if any(word == "!" or word.startswith("-") for word in values[place + 1 : place + arity]):
            raise RulesetError("not of this shape")
        return " ".join(values[place : place + arity])

    def _settings(self, parsed: list[object]) -> Settings:
        """Fill defaults and check the values together."""
        given: dict[str, Given] = {}
        order: list[Given] = []
        for (option, canonical, _, _, inverted), value in zip(self._uses, parsed, strict=True):
            given[canonical.name] = Given(canonical, value, inverted)
            order.append(Given(option, value, inverted))
        settings = self._place.settings(self.extension, given, order, self._plan)
        self.extension.settle(settings)
        return settings


class Plan:
    """Where the values of one shape stand; -1 for a part that is not there."""

    __slots__ = (
        "_chain",
        "_destination",
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
        "patterns",
        "places",
    )

    def __init__(self, draft: Draft, place: Circumstances) -> None:
        """Take over what the slow way found."""
        self._plan = draft
        self._place = place
        self._goto = draft.goto
        self._target_name = "" if draft.target is None else draft.jump
        self._generics: dict[object, Generic] = {}
        """By the words of addresses and devices."""
        self.patterns: list[Pattern] = []
        self._number(draft)

    def _number(self, draft: Draft) -> None:
        """Find the places of all values and count them."""
        at = {letter: place for letter, place in draft.places.items() if letter in "Asdio"}
        if draft.target is None and "j" in draft.places:
            at["j"] = draft.places["j"]
        planned = [PlannedExtension[BoundMatch](item, draft, self._place) for item in draft.matches]
        target = None
        if draft.target is not None:
            target = PlannedExtension[BoundTarget](draft.target, draft, self._place)
        everything: list[PlannedExtension[Any]] = [*planned, *([target] if target else [])]
        in_extensions = [place for item in everything for place in item.places()]
        self.places = sorted({*at.values(), *in_extensions})
        """Of the values, among the words of the line."""
        index = {place: number for number, place in enumerate(self.places, start=FIRST)}
        for item in everything:
            item.number(index)
        self._matches: tuple[Ways[BoundMatch], ...] = tuple(item.ways() for item in planned)
        self._target: Ways[BoundTarget] | None = target.ways() if target is not None else None
        value_of = {letter: index[place] for letter, place in at.items()}
        self._chain = value_of["A"]
        self._source = value_of.get("s", -1)
        self._destination = value_of.get("d", -1)
        self._in_device = value_of.get("i", -1)
        self._out_device = value_of.get("o", -1)
        self._jump = value_of.get("j", -1)
        self._of_generic = _picker([value_of[letter] for letter in "sdio" if letter in value_of])

    def append(self, table: Table, values: Sequence[str], line: int) -> bool:
        """Append the rule that the values make; False when the slow way must look."""
        chains = table.chains
        name = values[self._chain]
        chain = chains.get(name)
        if chain is None:
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
        key = self._of_generic(values)
        generic = self._generics.get(key)
        if generic is None:
            generic = self._make_generic(values)
            if generic is None:
                return False
            self._generics[key] = generic
        matches = []
        for pick, known, make in self._matches:
            key = pick(values)
            matches.append(known(key) or make(values, key))
        target = None
        if self._target is not None:
            if self._target_name in chains:
                return False
            pick, leading, lead = self._target
            key = pick(values)
            target = leading(key) or lead(values, key)
        packets = octets = 0
        if values[0]:
            packets, octets = int(values[0]), int(values[1])
        chain.rules.append(
            Rule(generic, tuple(matches), target, jump, self._goto, packets, octets, line)
        )
        return True

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


class Pattern:
    """A line as a regular expression with a group for each value, and the plan it goes to."""

    __slots__ = ("following", "fullmatch", "plan", "text")

    def __init__(self, text: str, plan: Plan) -> None:
        """Compile the expression."""
        self.text = text
        self.fullmatch = re.compile(text).fullmatch
        self.plan = plan
        self.following: list[Pattern] = []
        """Those that took lines behind lines that this one took, the newest last."""

    def follow(self, pattern: Pattern) -> None:
        """Try `pattern` behind this one from now on."""
        if pattern not in self.following:
            self.following.append(pattern)
            del self.following[:-FOLLOWING]


def pattern_of(line: str, places: Iterable[int]) -> str | None:
    r"""Return the regular expression of lines like this one; None if it is not that plain.

    >>> print(pattern_of('-A INPUT -m comment --comment "a b"', [1, 5]))
    ()()\-A ([^ \t\n"]+) \-m comment \-\-comment "([^"\\\n]*)"
    """
    counted = _COUNTERS.match(line)
    if counted is not None:
        line = line[counted.end() :]
    parts = raw_words(line)
    if " ".join(parts) != line:
        return None
    for place, word in enumerate(parts):
        if place not in places:
            if '"' in word:
                return None
            parts[place] = re.escape(word)
        elif '"' not in word:
            parts[place] = r'([^ \t\n"]+)'
        elif word[0] == word[-1] == '"' and word.count('"') == 2 and "\\" not in word:
            parts[place] = r'"([^"\\\n]*)"'
        else:
            return None
    head = "()()" if counted is None else r"\[([0-9]{1,15}):([0-9]{1,15})\] "
    return head + " ".join(parts)


class ShapeCache:
    """The plans of one table of a file."""

    __slots__ = ("_last", "_names", "_place", "_plans", "_recent")

    def __init__(self, place: Circumstances) -> None:
        """Start empty."""
        self._place = place
        self._names: dict[str, str] = {}
        self._plans: dict[Shape, Plan] = {}
        self._recent: list[Pattern] = []
        self._last: Pattern | None = None

    def learn(self, words: list[str], draft: Draft) -> None:
        """Keep the plan of a line that was read the slow way."""
        if draft.command != "A" or not draft.plain or draft.own_counters:
            return
        if self._place.nft and nft.joins(draft):
            return
        before = ""
        for word in words:
            named = before in {"-m", "-p"} or (before == "-j" and draft.target is not None)
            if word[:1] == "-" or word == "!" or named:
                self._names[word] = word
            before = word
        self._plans[self._shape(words)] = Plan(draft, self._place)

    def match(self, table: Table, line: str, number: int) -> bool:
        """Append the rule of a line, without its newline, if a recent pattern takes it."""
        last = self._last
        if last is None:
            return False
        for pattern in last.following:
            found = pattern.fullmatch(line)
            if found is not None:
                break
        else:
            for pattern in self._recent:
                found = pattern.fullmatch(line)
                if found is not None:
                    last.follow(pattern)
                    break
            else:
                return False
        self._last = pattern
        assert found is not None
        try:
            return pattern.plan.append(table, found.groups(), number)
        except RulesetError:
            return False

    def append(
        self,
        table: Table,
        line: str,
        words: list[str],
        counters: tuple[int, int] | None,
        number: int,
    ) -> bool:
        """Append the rule to its chain if its shape is known and all its values are good."""
        plan = self._plans.get(self._shape(words))
        if plan is None:
            return False
        head = ["", ""] if counters is None else [str(counters[0]), str(counters[1])]
        values = [*head, *(words[place] for place in plan.places)]
        try:
            done = plan.append(table, values, number)
        except RulesetError:
            return False
        if done:
            self._prefer(line, plan)
        return done

    def _prefer(self, line: str, plan: Plan) -> None:
        """Let later lines like this one be taken by a pattern."""
        pattern = next((known for known in plan.patterns if known.fullmatch(line)), None)
        if pattern is None:
            text = None
            if len(plan.patterns) < PATTERNS_OF_A_PLAN:
                text = pattern_of(line, plan.places)
            if text is None:
                return
            pattern = Pattern(text, plan)
            plan.patterns.append(pattern)
        if self._last is not None:
            self._last.follow(pattern)
        self._last = pattern
        self._recent.insert(0, pattern)
        del self._recent[RECENT:]

    def _shape(self, words: list[str]) -> Shape:
        return tuple(map(self._names.get, words))
