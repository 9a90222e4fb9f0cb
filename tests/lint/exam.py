"""Runs the linter over planted defects and says what it found."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from netemu.cli import cli
from tests.lint.mutations import MUTATIONS, Mutation, Planted

CLEAN = Path(__file__).parent / "clean"

Found = dict[str, Any]
"""A finding as `--output-format json` prints it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A clean rule set with one defect."""

    base: str
    mutation: Mutation
    planted: Planted
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the linter said to a mutant."""

    mutant: Mutant
    found: bool
    witnessed: bool
    """The finding carries a packet; every one of them was confirmed by the engine."""
    beside: list[Found]
    """Findings that are neither the clean rule set's nor the defect's."""


def mutants(count: int, seed: int = 0, only: str = "") -> Iterator[Mutant]:
    """Plant `count` defects, every kind in turn, each in a rule set that has a place for it."""
    chosen = [one for one in MUTATIONS if one.name.startswith(only)]
    files = sorted(CLEAN.glob("*.rules"))
    for number in range(count):
        mutation = chosen[number % len(chosen)]
        rng = random.Random(seed * 1_000_003 + number)
        for file in rng.sample(files, len(files)):
            planted = mutation.plant(file.read_text().splitlines(), rng)
            if planted is not None:
                yield Mutant(base=file.name, mutation=mutation, planted=planted, seed=number)
                break


def sit(mutant: Mutant) -> Answer:
    """Let the linter read a mutant."""
    mutation, lines = mutant.mutation, mutant.planted.lines
    select = mutation.select
    before = {_identity(one, clean_lines(mutant.base)) for one in clean(mutant.base, select)}
    new = [one for one in lint(lines, select) if _identity(one, lines) not in before]
    hits = [one for one in new if names_it(one, mutant)]
    beside = [
        one
        for one in new
        if one not in hits and not one["code"].startswith(mutation.also) and not mutation.heuristic
    ] if mutation.also else [one for one in new if one not in hits]  # fmt: skip
    return Answer(
        mutant=mutant,
        found=bool(hits),
        witnessed=any(one["witness"] for one in hits),
        beside=beside,
    )


def names_it(finding: Found, mutant: Mutant) -> bool:
    """Whether a finding names the defect: its family, on one of its lines."""
    if not finding["code"].startswith(mutant.mutation.codes):
        return False
    where = mutant.planted.where
    return not where or finding["line"] in where or any(
        one["line"] in where for one in finding["related"]
    )  # fmt: skip


def lint(lines: list[str], select: tuple[str, ...] = ()) -> list[Found]:
    """Return the findings of a rule set, all levels; those of some more rules besides."""
    text = "\n".join(lines) + "\n"
    more = [word for code in select for word in ("--extend-select", code)]
    done = CliRunner().invoke(cli, ["lint", "-", "--output-format", "json", *more], input=text)
    assert done.exit_code in {0, 1}, done.output
    found: list[Found] = json.loads(done.stdout)
    return found


@functools.cache
def clean(base: str, select: tuple[str, ...] = ()) -> tuple[Found, ...]:
    """Return the findings of a rule set without a defect."""
    return tuple(lint(clean_lines(base), select))


def clean_lines(base: str) -> list[str]:
    """Return the lines of a rule set without a defect."""
    return (CLEAN / base).read_text().splitlines()


def _identity(finding: Found, lines: list[str]) -> tuple[str, str, str]:
    """What stays of a finding when lines move."""
    line = lines[finding["line"] - 1] if finding["line"] else finding["message"]
    return finding["code"], str(finding["chain"]), line
