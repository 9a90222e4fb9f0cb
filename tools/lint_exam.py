"""Examine the linter: defects planted at random in clean rule sets, found or not.

    python3 tools/lint_exam.py [--mutants 500] [--seed 0] [--show]

Per family of codes: how many mutants there were, how many were found where they are, and how many
findings came up that neither the clean rule set has nor the defect causes. `--show` prints every
miss and every finding that would be false.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.lint.exam import Answer, mutants, sit


def main() -> int:
    """Print the table; return 1 where a defect was missed or a finding was false."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mutants", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="Mutations whose name begins like this.")
    parser.add_argument("--show", action="store_true")
    chosen = parser.parse_args()
    answers: dict[str, list[Answer]] = {}
    for mutant in mutants(chosen.mutants, chosen.seed, chosen.only):
        answer = sit(mutant)
        answers.setdefault(mutant.mutation.name, []).append(answer)
        if chosen.show and not (answer.found and not answer.beside):
            show(answer)
    width = max(map(len, answers))
    print(f"{'defect':{width}}  {'codes':12} {'planted':>7} {'found':>5} {'beside':>6} witnessed")
    for name, given in answers.items():
        codes = " ".join(given[0].mutant.mutation.codes)
        found, beside = sum(one.found for one in given), sum(len(one.beside) for one in given)
        shown = sum(one.witnessed for one in given)
        print(f"{name:{width}}  {codes:12} {len(given):7} {found:5} {beside:6} {shown:9}")
    every = [one for given in answers.values() for one in given]
    print(f"{len(every)} mutants, {sum(one.found for one in every)} found, "
          f"{sum(len(one.beside) for one in every)} findings beside")  # fmt: skip
    return int(not all(one.found and not one.beside for one in every))


def show(answer: Answer) -> None:
    """Print what was missed and what came up beside."""
    mutant = answer.mutant
    head = f"{mutant.mutation.name} in {mutant.base} (seed {mutant.seed})"
    if not answer.found:
        print(f"MISSED {head}")
        for number in sorted(mutant.planted.where)[:6]:
            print(f"    {number}: {mutant.planted.lines[number - 1]}")
    for finding in answer.beside:
        print(f"BESIDE {head}: {finding['code']} line {finding['line']}: {finding['message']}")


if __name__ == "__main__":
    sys.exit(main())
