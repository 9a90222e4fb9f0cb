"""VLAN filtering, 802.1Q and dummy devices against a 6.1 kernel that has them."""

from __future__ import annotations

from pathlib import Path

from netemu.livekernel.compare import first_difference
from netemu.livekernel.emulator import emulate_case
from tests.kernel import oracle, random_links, vlan_cases

RANDOM_CASES = 15


def test_netemu_does_what_the_other_kernel_does(tmp_path: Path) -> None:
    """Frames, LOG lines, neighbours and FDB of every case are equal."""
    cases = vlan_cases.all_cases()
    cases += [random_links.random_case(seed, vlans=True) for seed in range(RANDOM_CASES)]
    found = []
    for case, kernel in zip(cases, oracle.ask(cases, tmp_path), strict=True):
        difference = first_difference(case, kernel, emulate_case(case, kernel, kernel="6.1"))
        if difference is not None:
            found.append(f"{case.name}: {difference}")
    assert not found, f"{len(found)} of {len(cases)} differ\n" + "\n".join(found)
