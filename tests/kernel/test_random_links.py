"""Random nodes below IP: netemu and the live kernel do the same.

NETEMU_RANDOM_LINKS says how many, NETEMU_RANDOM_SEED from which seed on.
"""

from __future__ import annotations

import os

import pytest

from netemu.livekernel.verify import verify_case
from tests.kernel import random_links

CASES = int(os.environ.get("NETEMU_RANDOM_LINKS", "20"))
FIRST = int(os.environ.get("NETEMU_RANDOM_SEED", "0"))


@pytest.mark.parametrize("seed", range(FIRST, FIRST + CASES))
def test_random_links_are_equal(seed: int) -> None:
    """Frames, LOG lines, neighbours, FDB and memberships."""
    outcome = verify_case(random_links.random_case(seed))
    assert outcome.difference is None, f"seed {seed}: {outcome.difference}"
