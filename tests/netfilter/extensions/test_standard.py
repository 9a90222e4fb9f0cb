"""ACCEPT, DROP, QUEUE and RETURN are known to the walk by their verdict."""

from __future__ import annotations

import pytest

from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.model import RETURN


@pytest.mark.parametrize(
    "name, verdict",
    [
        ("ACCEPT", Verdict.ACCEPT),
        ("DROP", Verdict.DROP),
        ("QUEUE", Verdict.QUEUE),
        ("RETURN", RETURN),
    ],
)
def test_standard_target_says_its_verdict(bench, skb, name: str, verdict: Verdict) -> None:
    target = bench.rule(f"-j {name}").target
    assert (target.standard, target.text) == (verdict, f"-j {name}")
    assert target.apply(target.settings, skb(), bench.param()) == verdict
