"""Labs against the live kernel: the same frames in the same order at every device.

Neighbours and FDB at the end are equal, too, and every client ends as its like on real sockets.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from netemu.livekernel.lab import first_difference, play_emulated, play_live
from netemu.sim.lab_spec import LabSpec


def load_cases() -> dict[str, LabSpec]:
    """Return the labs that stand beside this file."""
    path = Path(__file__).parent / "lab_cases.py"
    spec = importlib.util.spec_from_file_location("lab_cases", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    cases: dict[str, LabSpec] = module.all_cases()
    return cases


CASES = load_cases()


@pytest.mark.parametrize("name", CASES)
def test_a_lab_plays_as_in_the_kernel(name: str) -> None:
    kernel, netemu = play_live(CASES[name]), play_emulated(CASES[name])
    assert kernel.ends
    assert first_difference(kernel, netemu) == ""
