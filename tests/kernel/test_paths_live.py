"""Services, refusals, errors through NAT and silent neighbours against the live kernel."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from netemu.livekernel.case import Case
from netemu.livekernel.verify import verify_case


def load_cases() -> list[Case]:
    """Return the cases that stand beside this file."""
    path = Path(__file__).parent / "path_cases.py"
    spec = importlib.util.spec_from_file_location("path_cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cases: list[Case] = module.all_cases()
    return cases


CASES = load_cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_netemu_does_what_the_kernel_does(case: Case) -> None:
    outcome = verify_case(case)
    assert any(outcome.kernel.frames.values()), "a case in which nothing leaves proves nothing"
    assert outcome.difference is None, str(outcome.difference)
