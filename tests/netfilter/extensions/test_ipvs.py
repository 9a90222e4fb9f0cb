"""xt_ipvs: rules are read and printed; the kernel is asked what they match in tests/kernel."""

from __future__ import annotations

import pytest

from tests.netfilter.extensions.packets import match


@pytest.mark.parametrize(
    "given, printed",
    [
        ("--ipvs", "--ipvs"),
        ("! --ipvs", "! --ipvs"),
        ("--ipvs --vproto tcp", "--vproto 6"),
        ("! --vaddr 1.2.3.4/16 --vport http", "! --vaddr 1.2.3.4/16 --vport 80"),
        ("--vdir reply ! --vmethod gate", "--vdir REPLY ! --vmethod GATE"),
        ("--vportctl 21", "--vportctl 21"),
    ],
)
def test_printing(given, printed):
    """As libxt_ipvs prints; the kernel that the other tables were recorded on has no xt_ipvs."""
    assert match(f"-m ipvs {given}").text == f"-m ipvs {printed}"
