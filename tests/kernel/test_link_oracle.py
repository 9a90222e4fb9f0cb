"""VLAN filtering, 802.1Q and dummy devices against a 6.1 kernel that has them."""

from __future__ import annotations

from pathlib import Path

from netemu.livekernel.case import Case
from netemu.livekernel.compare import Difference, first_difference
from netemu.livekernel.emulator import emulate_case
from tests.kernel import oracle, random_links, vlan_cases

RANDOM_CASES = 15


def differing(cases: list[Case], folder: Path) -> list[tuple[Case, Difference]]:
    """Return the cases that end otherwise in the oracle's kernel, each with how."""
    found = []
    for case, kernel in zip(cases, oracle.ask(cases, folder), strict=True):
        difference = first_difference(case, kernel, emulate_case(case, kernel, kernel="6.1"))
        if difference is not None:
            found.append((case, difference))
    return found


def test_netemu_does_what_the_other_kernel_does(tmp_path: Path) -> None:
    """Frames, LOG lines, neighbours and FDB of every case are equal; a difference must come back."""
    cases = vlan_cases.all_cases()
    cases += [random_links.random_case(seed, vlans=True) for seed in range(RANDOM_CASES)]
    found = differing(cases, tmp_path / "first")
    if found:
        found = differing([case for case, _ in found], tmp_path / "again")
    said = "\n".join(f"{case.name}: {difference}" for case, difference in found)
    assert not found, f"{len(found)} of {len(cases)} differ\n{said}"
