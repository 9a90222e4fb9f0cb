"""Random IP sets, rules that ask and change them, and traffic: netemu and the live kernel agree.

NETEMU_IPSET_CASES says how many cases, NETEMU_IPSET_EXPIRY how many with timeouts of seconds,
NETEMU_IPSET_SEED from which seed on.
"""

from __future__ import annotations

import os

import pytest

from netemu.livekernel.generate.record import record_expiry
from netemu.livekernel.namespace import missing_requirements
from netemu.livekernel.verify import verify_case, verify_random

pytestmark = pytest.mark.skipif(bool(missing_requirements()), reason=missing_requirements())

CASES = int(os.environ.get("NETEMU_IPSET_CASES", "60"))
EXPIRY_CASES = int(os.environ.get("NETEMU_IPSET_EXPIRY", "3"))
FIRST = int(os.environ.get("NETEMU_IPSET_SEED", "100000"))
BATCH = 10


@pytest.mark.parametrize("first", range(FIRST, FIRST + CASES, BATCH))
def test_random_sets_are_equal(first: int) -> None:
    """Frames, log, counters, connections, and `ipset save` at the end."""
    outcomes = verify_random(min(BATCH, FIRST + CASES - first), first, sets_percent=100)
    for number, outcome in enumerate(outcomes, first):
        assert outcome.difference is None, f"seed {number}: {outcome.difference}"


@pytest.mark.parametrize("seed", range(FIRST, FIRST + EXPIRY_CASES))
def test_elements_expire_alike(seed: int) -> None:
    """Timeouts of 1 and 2 seconds, given by commands and by rules, run out between the traffic."""
    outcome = verify_case(*record_expiry(seed))
    assert outcome.difference is None, f"seed {seed}: {outcome.difference}"
