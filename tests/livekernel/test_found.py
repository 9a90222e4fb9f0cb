"""Differences from the kernel that random cases found, each kept as the case that shows it.

A folder of `found/` is what `netemu verify` keeps: the node, the frames, and what Linux 6.18 did
with them. To add one, copy the folder and name it after what was wrong.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.livekernel.compare import first_difference
from netemu.livekernel.emulator import emulate_case
from netemu.livekernel.files import load_case, load_result

FOUND = sorted((Path(__file__).parent / "found").iterdir())


@pytest.mark.parametrize("directory", FOUND, ids=lambda path: path.name)
def test_found_difference_is_gone(directory: Path):
    """The same frames, log lines, counters and connections as the kernel had."""
    case = load_case(directory)
    kernel = load_result(directory / "kernel")
    netemu = emulate_case(case, kernel)
    assert first_difference(case, kernel, netemu) is None
