"""VXLAN overlays and macvlans against the live kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import overlay_cases

from netemu.livekernel.case import Case
from netemu.livekernel.verify import verify_case

CASES: list[Case] = overlay_cases.all_cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_netemu_does_what_the_kernel_does(case: Case) -> None:
    """Frames on every port, LOG lines, neighbours and tables are equal."""
    outcome = verify_case(case)
    assert outcome.difference is None, str(outcome.difference)
