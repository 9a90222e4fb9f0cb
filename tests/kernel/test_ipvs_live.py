"""Random nodes with IPVS: netemu and a kernel that has IPVS do the same, case for case.

NETEMU_IPVS_CASES says how many, NETEMU_IPVS_SEED from which seed on. All run in one boot.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.kernel.ipvs_generator import draw_case
from tests.kernel.ipvs_oracle import ask_kernel, difference, what_lacks

CASES = int(os.environ.get("NETEMU_IPVS_CASES", "60"))
FIRST = int(os.environ.get("NETEMU_IPVS_SEED", "0"))
BATCH = 10


@pytest.fixture(scope="module")
def answers() -> dict[int, Any]:
    lacking = what_lacks()
    if lacking:
        pytest.skip(f"needs {lacking}")
    seeds = range(FIRST, FIRST + CASES)
    return dict(zip(seeds, ask_kernel([draw_case(seed) for seed in seeds]), strict=True))


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, BATCH))
def test_random_cases_are_equal(answers: dict[int, Any], first: int) -> None:
    for seed in range(first, min(first + BATCH, FIRST + CASES)):
        found = difference(draw_case(seed), answers[seed])
        assert not found, f"seed {seed}: {found}"
