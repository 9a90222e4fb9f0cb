"""Policy rules one by one."""

from __future__ import annotations

from typing import Any

import pytest

from netemu.ip.fib import Fib
from netemu.ip.fib_rules import DEFAULT_RULES, are_default, fib_rule_match, needs_ports
from netemu.ip.fib_table import Errno, FibResult, Flowi4
from netemu.sim.spec import PolicyRuleSpec
from netemu.wire.address import parse_address

FLOW = Flowi4(
    daddr=parse_address("10.2.0.2"),
    saddr=parse_address("10.1.0.2"),
    iif=2,
    mark=0x15,
    tos=0x48,
    protocol=6,
    src_port=1000,
    dst_port=80,
)
NEAR = parse_address("10.1.0.0")


@pytest.mark.parametrize(
    "rule,expected",
    [
        (PolicyRuleSpec(priority=1), True),
        (PolicyRuleSpec(priority=1, invert=True), False),
        (PolicyRuleSpec(priority=1, source=NEAR, source_len=24), True),
        (PolicyRuleSpec(priority=1, destination=NEAR, destination_len=24), False),
        (PolicyRuleSpec(priority=1, destination=NEAR, destination_len=24, invert=True), True),
        (PolicyRuleSpec(priority=1, iif="a0"), True),
        (PolicyRuleSpec(priority=1, iif="b0"), False),
        (PolicyRuleSpec(priority=1, iif="absent"), False),
        (PolicyRuleSpec(priority=1, oif="a0"), False),
        (PolicyRuleSpec(priority=1, fwmark=0x5, fwmask=0xF), True),
        (PolicyRuleSpec(priority=1, fwmark=0x5, fwmask=0xFFFFFFFF), False),
        (PolicyRuleSpec(priority=1, tos=0x08), True),
        (PolicyRuleSpec(priority=1, tos=0x10), False),
        (PolicyRuleSpec(priority=1, protocol=6, destination_ports=(80, 90)), True),
        (PolicyRuleSpec(priority=1, protocol=17), False),
        (PolicyRuleSpec(priority=1, source_ports=(1, 999)), False),
    ],
)
def test_selectors(lab: Any, rule: PolicyRuleSpec, expected: bool) -> None:
    assert expected == fib_rule_match(lab.net, rule, FLOW)


@pytest.mark.parametrize(
    "extra,expected",
    [
        (PolicyRuleSpec(priority=1, action="unreachable"), Errno.ENETUNREACH),
        (PolicyRuleSpec(priority=1, action="prohibit"), Errno.EACCES),
        (PolicyRuleSpec(priority=1, action="blackhole"), Errno.EINVAL),
        (PolicyRuleSpec(priority=1, action="nop"), 254),
        (PolicyRuleSpec(priority=1, table=99), 254),
        (PolicyRuleSpec(priority=1, action="goto", goto=32767), Errno.ENETUNREACH),
        (PolicyRuleSpec(priority=1, action="goto", goto=77), 254),
        (PolicyRuleSpec(priority=1, table=254, suppress_prefix_len=16), 254),
    ],
)
def test_actions(lab: Any, extra: PolicyRuleSpec, expected: Errno | int) -> None:
    fib = lab.net.generic(Fib)
    fib.set_rules([*DEFAULT_RULES, extra])
    found = fib.lookup(Flowi4(daddr=parse_address("10.9.0.1")))
    answer = found.route.table if isinstance(found, FibResult) else found
    assert expected == answer


def test_the_default_rules_are_known() -> None:
    assert are_default(None)
    assert are_default(list(DEFAULT_RULES))
    assert not are_default([*DEFAULT_RULES, PolicyRuleSpec(priority=5)])
    assert not are_default(list(DEFAULT_RULES[:2]))
    assert needs_ports([PolicyRuleSpec(priority=1, protocol=6)])
    assert not needs_ports(list(DEFAULT_RULES))
