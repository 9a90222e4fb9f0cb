"""Policy routing: which tables are asked, in which order (`ip rule`).

Kernel: net/core/fib_rules.c, net/ipv4/fib_rules.c.
"""

from __future__ import annotations

from netemu.ip.fib_table import IPTOS_RT_MASK, Errno, FibResult, FibTable, Flowi4
from netemu.net import Net
from netemu.sim.spec import PolicyRuleSpec
from netemu.wire.address import in_prefix

RT_TABLE_UNSPEC = 0
RT_TABLE_DEFAULT = 253
RT_TABLE_MAIN = 254
RT_TABLE_LOCAL = 255
"""Table numbers (include/uapi/linux/rtnetlink.h)."""

DEFAULT_RULES = (
    PolicyRuleSpec(priority=0, table=RT_TABLE_LOCAL),
    PolicyRuleSpec(priority=32766, table=RT_TABLE_MAIN),
    PolicyRuleSpec(priority=32767, table=RT_TABLE_DEFAULT),
)
"""The rules of a fresh namespace."""

_ACTION_ERRORS = {
    "unreachable": Errno.ENETUNREACH,
    "prohibit": Errno.EACCES,
    "blackhole": Errno.EINVAL,
}


def are_default(rules: list[PolicyRuleSpec] | None) -> bool:
    """Return whether the rules are those of a fresh namespace."""
    return rules is None or (
        len(rules) == len(DEFAULT_RULES)
        and all(_selects_all(rule) for rule in rules)
        and [(rule.priority, rule.table) for rule in rules]
        == [(rule.priority, rule.table) for rule in DEFAULT_RULES]
    )


def _selects_all(rule: PolicyRuleSpec) -> bool:
    return rule == PolicyRuleSpec(priority=rule.priority, table=rule.table)


def needs_ports(rules: list[PolicyRuleSpec]) -> bool:
    """Return whether a rule looks beyond addresses (fib_rule_requires_fldissect)."""
    return any(
        rule.protocol or rule.source_ports is not None or rule.destination_ports is not None
        for rule in rules
    )


def fib_rules_lookup(
    net: Net,
    rules: list[PolicyRuleSpec],
    tables: dict[int, FibTable],
    flow: Flowi4,
    *,
    ignore_linkstate: bool = False,
) -> FibResult | Errno:
    """Return what the first deciding rule's table says; EAGAIN when none decides."""
    index = 0
    while index < len(rules):
        rule = rules[index]
        index += 1
        if not fib_rule_match(net, rule, flow):
            continue
        if rule.action == "goto":
            target = _goto_index(rules, rule.goto)
            index = index if target is None else target
            continue
        if rule.action == "nop":
            continue
        found = _act(net, rule, tables, flow, ignore_linkstate=ignore_linkstate)
        if found == Errno.EAGAIN:
            continue
        if isinstance(found, FibResult) and _suppressed(rule, found):
            continue
        return found
    return Errno.EAGAIN


def _goto_index(rules: list[PolicyRuleSpec], priority: int) -> int | None:
    """Return the first rule of the target's priority; None for a target that is not there."""
    for index, rule in enumerate(rules):
        if rule.priority == priority:
            return index
    return None


def _act(
    net: Net,
    rule: PolicyRuleSpec,
    tables: dict[int, FibTable],
    flow: Flowi4,
    *,
    ignore_linkstate: bool,
) -> FibResult | Errno:
    error = _ACTION_ERRORS.get(rule.action)
    if error is not None:
        return error
    table = tables.get(rule.table or RT_TABLE_MAIN)
    if table is None:
        return Errno.EAGAIN
    return table.lookup(net, flow, ignore_linkstate=ignore_linkstate)


def _suppressed(rule: PolicyRuleSpec, found: FibResult) -> bool:
    limit = rule.suppress_prefix_len
    return limit is not None and found.route.prefix_len <= limit


def fib_rule_match(net: Net, rule: PolicyRuleSpec, flow: Flowi4) -> bool:
    """Return whether the rule's selectors fit the flow, `not` included."""
    return _selectors_match(net, rule, flow) != rule.invert


def _selectors_match(net: Net, rule: PolicyRuleSpec, flow: Flowi4) -> bool:
    if rule.iif and not _is_device(net, rule.iif, flow.iif):
        return False
    if rule.oif and not _is_device(net, rule.oif, flow.oif):
        return False
    if (rule.fwmark ^ flow.mark) & rule.fwmask:
        return False
    if rule.source_len and not in_prefix(flow.saddr, rule.source, rule.source_len):
        return False
    if rule.destination_len and not in_prefix(flow.daddr, rule.destination, rule.destination_len):
        return False
    if rule.tos and rule.tos != flow.tos & IPTOS_RT_MASK:
        return False
    if rule.protocol and rule.protocol != flow.protocol:
        return False
    return _in_range(rule.source_ports, flow.src_port) and _in_range(
        rule.destination_ports, flow.dst_port
    )


def _is_device(net: Net, name: str, ifindex: int) -> bool:
    """Return whether `name` is that device; a rule for an absent device never matches."""
    device = net.devices.get(name)
    return device is not None and device.ifindex == ifindex


def _in_range(ports: tuple[int, int] | None, port: int) -> bool:
    return ports is None or ports[0] <= port <= ports[1]
