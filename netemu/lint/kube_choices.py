"""A Service's many choices, judged by what could have been chosen instead of running each.

Kernel: none.

In a chain of n choices the packet that takes the last one visits n rules, so running all costs the
square of n. A packet for which every chance misses meets all of them, too: it tells what each would
have led to, and with what chance. Only the choices that a claim is about are then run.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

from msgspec import Struct

from netemu.kube.check.fault import Claim, Saying
from netemu.kube.check.reading import KubeRules

CHANCES = 1 << 31
"""A random match draws 31 bits."""
MISS = CHANCES - 1
"""A draw that misses whatever is not certain."""
UNEVEN = Fraction(1, 100)
"""Shares that differ by less are even: chances are written with few digits."""

NEVER = frozenset({Saying.MISSES, Saying.AVOIDS, Saying.UNMATCHED})
"""Sayings about what no packet does."""


class Choice(NamedTuple):
    """One rule that chance may let match."""

    threshold: int
    """Its chance in units of 2**-31."""
    target: str
    """The chain that it leads to."""


class Judgement(Struct, frozen=True):
    """What the choices say of a claim."""

    never: bool = False
    """It holds, as far as choices that were not taken go."""
    proved: bool = False
    """It holds whatever a run shows; a run is only to show it."""
    scripts: tuple[tuple[int, ...], ...] = ()
    """Courses of chance that may show it."""


def judge_choices(
    claim: Claim, rules: KubeRules, choices: Sequence[Choice], last: str
) -> Judgement:
    """Judge a claim; `last` is where a packet goes for which every chance misses."""
    ends = [rules.translation(choice.target)[0] for choice in choices]
    place = claim.place.chain if claim.place is not None else ""
    targets = [choice.target for choice in choices]
    match claim.saying:
        case Saying.MISSES:
            return Judgement(never=claim.endpoint not in ends)
        case Saying.AVOIDS:
            return Judgement(never=place not in targets)
        case Saying.UNMATCHED:
            return Judgement(never=True)
        case Saying.UNEVEN:
            return _uneven(claim, choices, [*ends, last])
    wanted = [
        at
        for at, (end, target) in enumerate(zip(ends, targets, strict=True))
        if (claim.endpoint and end == claim.endpoint) or (place and target == place)
    ]
    scripts = [_script(at) for at in wanted[:2]]
    if claim.saying is Saying.UNSTEADY:
        # The second packet takes the first choice, or where that is the same the next.
        return Judgement(
            scripts=tuple((*one, *_script(1 if len(one) == 1 else 0)) for one in scripts)
        )
    return Judgement(scripts=(*scripts, (), _script(len(choices))))


def _script(at: int) -> tuple[int, ...]:
    """Return draws of which the choice number `at`, from 0, is the first that hits."""
    return (*((MISS,) * at), 0)


def _uneven(claim: Claim, choices: Sequence[Choice], ends: Sequence[str]) -> Judgement:
    """Return whether endpoints' shares differ, and the course to one that differs."""
    shares: dict[str, Fraction] = {}
    left = Fraction(1)
    for choice, end in zip(choices, ends, strict=False):
        chance = Fraction(choice.threshold, CHANCES)
        shares[end] = shares.get(end, Fraction(0)) + left * chance
        left *= 1 - chance
    shares[ends[-1]] = shares.get(ends[-1], Fraction(0)) + left
    even = Fraction(1, len(shares))
    odd = [end for end, share in shares.items() if abs(share - even) > even * UNEVEN or not end]
    if not odd:
        return Judgement()
    end = claim.endpoint if claim.endpoint in odd else odd[0]
    return Judgement(proved=True, scripts=(_script(ends.index(end)),))
