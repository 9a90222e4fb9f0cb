"""Random nodes, rules and traffic: netemu and the live kernel do the same.

NETEMU_RANDOM_CASES says how many, NETEMU_RANDOM_SEED from which seed on.
"""

from __future__ import annotations

import os

import pytest

from netemu.livekernel.verify import verify_random

CASES = int(os.environ.get("NETEMU_RANDOM_CASES", "200"))
FIRST = int(os.environ.get("NETEMU_RANDOM_SEED", "0"))
BATCH = 10


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, BATCH))
def test_random_cases_are_equal(first: int) -> None:
    for number, outcome in enumerate(verify_random(BATCH, first), first):
        assert outcome.difference is None, f"seed {number}: {outcome.difference}"
