"""Bridges, br_netfilter, ARP and neighbours against the live kernel."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from netemu.livekernel.case import Case
from netemu.livekernel.verify import verify_case


def load_cases() -> ModuleType:
    """Import the cases that stand beside this file."""
    path = Path(__file__).parent / "link_cases.py"
    spec = importlib.util.spec_from_file_location("link_cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES: list[Case] = load_cases().all_cases()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_netemu_does_what_the_kernel_does(case: Case) -> None:
    """Frames on every port, LOG lines, counters, connections, neighbours and FDB are equal."""
    outcome = verify_case(case)
    assert outcome.difference is None, str(outcome.difference)
