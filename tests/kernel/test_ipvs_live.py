"""Nodes with IPVS, made by hand and at random: netemu and a kernel that has IPVS do the same.

NETEMU_IPVS_CASES says how many, NETEMU_IPVS_SEED from which seed on. All
run in one boot.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.kernel.ipvs_cases import all_cases
from tests.kernel.ipvs_ftp_cases import ftp_cases
from tests.kernel.ipvs_generator import draw_case
from tests.kernel.ipvs_oracle import ask_kernel, difference, what_lacks

CASES = int(os.environ.get("NETEMU_IPVS_CASES", "80"))
FIRST = int(os.environ.get("NETEMU_IPVS_SEED", "0"))
BATCH = 10


MADE = [*all_cases(), *ftp_cases()]


@pytest.fixture(scope="module")
def answers() -> list[Any]:
    lacking = what_lacks()
    if lacking:
        pytest.skip(f"needs {lacking}")
    drawn = [draw_case(seed) for seed in range(FIRST, FIRST + CASES)]
    return ask_kernel([*MADE, *drawn])


@pytest.mark.parametrize("number", range(len(MADE)), ids=[case["name"] for case in MADE])
def test_cases_made_by_hand_are_equal(answers: list[Any], number: int) -> None:
    assert not difference(MADE[number], answers[number])


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, BATCH))
def test_random_cases_are_equal(answers: list[Any], first: int) -> None:
    for seed in range(first, min(first + BATCH, FIRST + CASES)):
        found = difference(draw_case(seed), answers[len(MADE) + seed - FIRST])
        assert not found, f"seed {seed}: {found}"
