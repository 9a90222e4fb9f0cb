"""VXLAN overlays and macvlans against the live kernel."""

from __future__ import annotations

import pytest

from netemu.livekernel.case import Case
from netemu.livekernel.verify import verify_case
from tests.kernel import overlay_cases

CASES: list[Case] = overlay_cases.all_cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_netemu_does_what_the_kernel_does(case: Case) -> None:
    """Frames on every port, LOG lines, neighbours and tables are equal."""
    outcome = verify_case(case)
    assert outcome.difference is None, str(outcome.difference)
