"""Rules of a shape met before, read without the grammar.

Kernel: none.

Theory of operation: two lines have one shape if they differ only in values. The first line of a
shape is read the slow way and leaves a `Plan` (plans.py), which makes the rules of later ones.

A line finds its plan in one of two ways. A `Pattern` is a regular expression made from a line: all
its words but the values literally, one blank between them, a group for each value. The patterns
that followed the last one before are tried first, then those used last, since real rulesets repeat
themselves. What no pattern takes (other blanks, quotes elsewhere, escapes) is split into
words, and those that decide what the others mean are the key of the plan: options, `!`, and the
names of matches, protocols and targets, all learnt from lines read the slow way. Such a word where
a value stands only makes another shape. Values are exactly the words at the places that the plan
knows, whatever they hold, since an option takes its value unseen; only a second value may not look
like an option, and the plan asks that.

Where a line's values are in plain spelling, the groups of its pattern take such spellings only, so
that a full match proves the values good and nothing has to be made of them yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from netemu.errors import RulesetError
from netemu.netfilter.xtables.model import Chain, Parts
from netemu.ruleset import nft
from netemu.ruleset.build import Circumstances
from netemu.ruleset.draft import Draft
from netemu.ruleset.plans import FIRST, Plan, Proof
from netemu.ruleset.words import raw_words

Shape = tuple[str | None, ...]

RECENT = 8
"""Patterns that are tried before a line is split."""

FOLLOWING = 4
"""Patterns that are tried behind one of them."""

PATTERNS_OF_A_PLAN = 4
"""Lines of one shape may be spelt in several ways."""

_COUNTERS = re.compile(r"\[[0-9]{1,15}:[0-9]{1,15}\] ")


_BARE_WORD = r'[^ \t\n"]+'
_QUOTED_WORD = r'[^"\\\n]*'


class Pattern:
    """A line as a regular expression with a group for each value, and the plan it goes to.

    It is the shape (model.Shape) of rules that are made later.
    """

    __slots__ = (
        "attached",
        "attached_alike",
        "following",
        "fullmatch",
        "may_end",
        "plan",
        "proof",
        "restricted",
    )

    def __init__(self, text: str, plan: Plan, proof: Proof | None) -> None:
        """Compile the expression; a match proves what `proof` says."""
        self.fullmatch = re.compile(text).fullmatch
        self.plan = plan
        self.proof = proof
        self.restricted = plan.restricted
        self.attached = plan.attached
        self.attached_alike = plan.attached_alike
        self.may_end = plan.may_end
        self.following: list[Pattern] = []
        """Those that took lines behind lines that this one took."""

    def parts(self, line: str) -> Parts:
        """Make the parts of the rule of a line that the pattern took."""
        found = self.fullmatch(line)
        assert found is not None, line
        return self.plan.parts(found.groups())

    def follow(self, pattern: Pattern) -> None:
        """Try `pattern` behind this one from now on."""
        if pattern not in self.following:
            _remember(pattern, self.following, FOLLOWING)


def _remember(pattern: Pattern, patterns: list[Pattern], most: int) -> None:
    """Add the newest pattern in place of the oldest; those that prove something come first."""
    del patterns[: 1 - most]
    patterns.append(pattern)
    patterns.sort(key=lambda known: known.proof is None)


def pattern_of(line: str, places: Sequence[int], plain: Mapping[int, str] | None = None) -> str:
    r"""Return the regular expression of lines like this one; empty if it is not that plain.

    `plain` are patterns of values, by their number from FIRST.

    >>> print(pattern_of('-A INPUT -m comment --comment "a b"', [1, 5]))
    ()()\-A ([^ \t\n"]+) \-m comment \-\-comment "([^"\\\n]*)"
    """
    start = _counters_end(line)
    line = line[start:]
    parts = raw_words(line)
    if " ".join(parts) != line:
        return ""
    groups = plain or {}
    numbers = {place: number for number, place in enumerate(places, FIRST)}
    for place, word in enumerate(parts):
        group = groups.get(numbers.get(place, 0))
        if place not in numbers:
            if '"' in word:
                return ""
            parts[place] = re.escape(word)
        elif '"' not in word:
            parts[place] = f"({group or _BARE_WORD})"
        elif is_quoted(word):
            parts[place] = f'"({group or _QUOTED_WORD})"'
        else:
            return ""
    head = "()()" if not start else r"\[([0-9]{1,15}):([0-9]{1,15})\] "
    return head + " ".join(parts)


def _patterns_of(line: str, plan: Plan, known: dict[str, Pattern]) -> Iterator[Pattern]:
    """Yield new patterns until one takes the line, and add them to those known by their text."""
    raw = raw_words(line[_counters_end(line) :])
    numbers = enumerate(plan.places, FIRST)
    proof = plan.proof(frozenset(number for number, place in numbers if raw[place][0] == '"'))
    for what in (proof, None) if proof is not None else (None,):
        text = pattern_of(line, plan.places, what.patterns if what is not None else None)
        if not text:
            return
        if text not in known:
            pattern = known[text] = Pattern(text, plan, what)
            yield pattern
            if pattern.fullmatch(line) is not None:
                return


def _counters_end(line: str) -> int:
    """Return where a line goes on behind its counters."""
    counted = _COUNTERS.match(line)
    return counted.end() if counted is not None else 0


def is_quoted(word: str) -> bool:
    """Return whether a word stands in plain quotes."""
    return word[0] == word[-1] == '"' and word.count('"') == 2 and "\\" not in word


class ShapeCache:
    """The plans of one table of a file."""

    __slots__ = ("_last", "_names", "_patterns", "_place", "_plans", "_recent")

    def __init__(self, place: Circumstances) -> None:
        """Start empty."""
        self._place = place
        self._names: dict[str, str] = {}
        self._plans: dict[Shape, Plan] = {}
        self._patterns: dict[Plan, dict[str, Pattern]] = {}
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

    def match(self, chains: Mapping[str, Chain], line: str, number: int) -> bool:
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
        values = found.groups()
        proof = pattern.proof
        try:
            shape = pattern if proof is not None and proof.holds(values) else None
            return pattern.plan.append(chains, values, number, shape, line)
        except RulesetError:
            return False

    def append(
        self,
        chains: Mapping[str, Chain],
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
            done = plan.append(chains, values, number)
        except RulesetError:
            return False
        if done:
            self._prefer(line, plan)
        return done

    def _prefer(self, line: str, plan: Plan) -> None:
        """Let later lines like this one be taken by a pattern."""
        known = self._patterns.setdefault(plan, {})
        pattern = next((item for item in known.values() if item.fullmatch(line)), None)
        if pattern is None and len(known) < PATTERNS_OF_A_PLAN:
            for pattern in _patterns_of(line, plan, known):
                _remember(pattern, self._recent, RECENT)
        if pattern is None:
            return
        if self._last is not None:
            self._last.follow(pattern)
        self._last = pattern

    def _shape(self, words: list[str]) -> Shape:
        return tuple(map(self._names.get, words))
