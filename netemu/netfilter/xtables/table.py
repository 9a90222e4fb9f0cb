"""Tables in a namespace: their hooks, and the walk of a packet through their chains.

Kernel: net/ipv4/netfilter/ip_tables.c (ipt_do_table, ip_packet_match), iptable_raw.c,
iptable_mangle.c (ipt_mangle_out), iptable_nat.c, iptable_filter.c, iptable_security.c.

Theory of operation: `ipt_do_table` is the plain walk; in long chains an index (index.py) names the
next rule that can match. `telling.py` has the same walk with an event for every step and no index;
the hook function takes that one when somebody listens, so the plain loop asks nothing per rule.
What the two share is small enough to be written twice, and tests run both on the same packets.

A rule counts before its target runs. RETURN in a built-in chain goes to the policy, which counts
and decides. A jump pushes the jumping rule; goto does not, so the end of a chain reached by goto
leads back to the rule behind the last jump. A match that meets a malformed packet sets `hotdrop`:
the packet is dropped, whatever the rules say. The fragment offset and the position of the L4 header
are read once, at the start, as the kernel does.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.ip.route import ip_route_me_harder
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, HookFunction, HookState, Priority, Verdict
from netemu.netfilter.nat import hooks as nat
from netemu.netfilter.xtables.entry import IP_OFFSET, Entry, XtTable, note_verdict
from netemu.netfilter.xtables.index import shown_port
from netemu.netfilter.xtables.model import RETURN, Chain, Rule, Shape, Table
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.telling import ipt_do_table_telling
from netemu.netfilter.xtables.trace_packet import trace_packet
from netemu.skb import Skb


class TableKind(Struct, frozen=True, kw_only=True):
    """Where the chains of a table hang (struct xt_table)."""

    hooks: tuple[Hook, ...]
    priority: int = 0
    below_nat: bool = False
    """The nat table's chains hang below nf_nat's hooks."""


TABLES: dict[str, TableKind] = {
    "raw": TableKind(hooks=(Hook.PREROUTING, Hook.OUTPUT), priority=Priority.RAW),
    "mangle": TableKind(hooks=tuple(Hook), priority=Priority.MANGLE),
    "nat": TableKind(
        hooks=(Hook.PREROUTING, Hook.INPUT, Hook.OUTPUT, Hook.POSTROUTING), below_nat=True
    ),
    "filter": TableKind(hooks=(Hook.INPUT, Hook.FORWARD, Hook.OUTPUT), priority=Priority.FILTER),
    "security": TableKind(
        hooks=(Hook.INPUT, Hook.FORWARD, Hook.OUTPUT), priority=Priority.SECURITY
    ),
}
"""The IPv4 tables; the order is that of the priorities."""


class XtTables:
    """The tables of one namespace, by name, in order of registration."""

    __slots__ = ("by_name",)

    def __init__(self, net: Net) -> None:
        """Start without any."""
        self.by_name: dict[str, XtTable] = {}


def register_table(net: Net, table: Table) -> XtTable:
    """Hang the chains of `table` at their hooks, then tell its extensions (ipt_register_table).

    The model's counters move from now on; it may serve one namespace only. Raises RulesetError,
    with the line but not the file, for what can be read but not run.
    """
    assert table.family == Family.IPV4
    kind = TABLES[table.name]
    running = XtTable(table)
    tables = net.generic(XtTables)
    assert table.name not in tables.by_name, table.name
    tables.by_name[table.name] = running
    for hook in kind.hooks:
        function = _hook_function(net, running, hook)
        if kind.below_nat:
            nat.register(net, hook, _nat_priority(hook), function)
        else:
            net.hooks.register(Family.IPV4, hook, kind.priority, function)
    check_entries(net, table.chains.values())
    return running


def replace_table(net: Net, table: Table) -> None:
    """Put `table` in the place of the one of its name (ipt_replace); a first one is registered."""
    running = net.generic(XtTables).by_name.get(table.name)
    if running is None:
        register_table(net, table)
        return
    check_entries(net, table.changed_since(running.model))
    running.replace(table)


def _nat_priority(hook: Hook) -> int:
    destination = hook in {Hook.PREROUTING, Hook.OUTPUT}
    return Priority.NAT_DST if destination else Priority.NAT_SRC


def check_entries(net: Net, chains: Iterable[Chain]) -> None:
    """Let every match and target see the namespace it is loaded into (checkentry)."""
    shown: set[Shape] = set()
    for chain in chains:
        for rule in chain.rules:
            shape = rule.shape
            if shape is not None:
                if not shape.attached or shape in shown:
                    continue
                if shape.attached_alike:
                    shown.add(shape)
            try:
                _check_entry(net, rule)
            except RulesetError as error:
                raise RulesetError(error.message, line=rule.line or 0) from error


def _check_entry(net: Net, rule: Rule) -> None:
    for match in rule.matches:
        if match.attach is not None:
            match.attach(net, match.settings)
    if rule.target is not None and rule.target.attach is not None:
        rule.target.attach(net, rule.target.settings)


def _hook_function(net: Net, table: XtTable, hook: Hook) -> HookFunction:
    def run(skb: Skb, state: HookState) -> Verdict:
        if net.sink is None:
            return ipt_do_table(net, table, skb, state)
        return ipt_do_table_telling(net, table, skb, state)

    if table.name == "mangle" and hook == Hook.OUTPUT:
        return _ipt_mangle_out(net, run)
    return run


def _ipt_mangle_out(net: Net, run: HookFunction) -> HookFunction:
    """Route again when mangle OUTPUT changed something that the route depends on."""

    def mangle_out(skb: Skb, state: HookState) -> Verdict:
        mark, tos, addresses = skb.mark, skb.data[1], bytes(skb.data[12:20])
        verdict = run(skb, state)
        if verdict in {Verdict.DROP, Verdict.STOLEN}:
            return verdict
        data = skb.data
        if (skb.mark, data[1], bytes(data[12:20])) != (mark, tos, addresses):
            if ip_route_me_harder(net, skb) is not None:
                return Verdict.DROP
        return verdict

    return mangle_out


def ipt_do_table(net: Net, table: XtTable, skb: Skb, state: HookState) -> Verdict:
    """Walk the chain of the hook until a verdict; the plain gear."""
    data = skb.data
    hook = state.hook
    param = XtParam(
        net=net,
        family=Family.IPV4,
        hook=hook,
        in_device=state.in_device,
        out_device=state.out_device,
    )
    param.fragoff = (data[6] << 8 | data[7]) & IP_OFFSET
    param.thoff = (data[0] & 0x0F) * 4
    in_name = state.in_device.name if state.in_device is not None else ""
    out_name = state.out_device.name if state.out_device is not None else ""
    saddr = int.from_bytes(data[12:16], "big")
    daddr = int.from_bytes(data[16:20], "big")
    protocol = data[9]
    port = shown_port(data, protocol, param.thoff, param.fragoff)
    stack: list[Entry] = []
    visited = 0
    entry = table.hook_entry[hook]
    verdict = Verdict.DROP
    while not param.hotdrop:
        linked = entry.index
        if linked is not None and port >= 0:
            number = linked.index.following(
                entry.number, saddr, daddr, protocol, port, in_name, out_name
            )
            visited += number - entry.number
            entry = linked.entries[number - 1]
        visited += 1
        if (
            (entry.test_saddr and ((saddr & entry.smsk) == entry.saddr) is entry.inv_saddr)
            or (entry.test_daddr and ((daddr & entry.dmsk) == entry.daddr) is entry.inv_daddr)
            or (entry.proto and (protocol == entry.proto) is entry.inv_proto)
            or (
                entry.test_in
                and (
                    in_name.startswith(entry.in_name)
                    if entry.in_prefix
                    else in_name == entry.in_name
                )
                is entry.inv_in
            )
            or (
                entry.test_out
                and (
                    out_name.startswith(entry.out_name)
                    if entry.out_prefix
                    else out_name == entry.out_name
                )
                is entry.inv_out
            )
            or (entry.frag and (param.fragoff != 0) is entry.inv_frag)
        ):
            entry = entry.next
            continue
        for evaluate, settings in entry.matches:
            if not evaluate(settings, skb, param):
                if not param.hotdrop:
                    entry = entry.next
                break
        else:
            counters = entry.counters
            counters.packets += 1
            counters.octets += len(data)
            if skb.nf_trace:
                trace_packet(net, skb, state, table.name, entry)
            standard = entry.verdict
            if standard is not None:
                if entry.tail:
                    visited -= 1
                if standard != RETURN:
                    verdict = standard
                    break
                entry = stack.pop().next if stack else table.underflow[hook]
            elif entry.apply is not None:
                answer = entry.apply(entry.settings, skb, param)
                if answer is not None:
                    verdict = answer
                    break
                data = skb.data
                saddr = int.from_bytes(data[12:16], "big")
                daddr = int.from_bytes(data[16:20], "big")
                protocol = data[9]
                port = shown_port(data, protocol, param.thoff, param.fragoff)
                entry = entry.next
            elif entry.jump:
                if not entry.goto:
                    stack.append(entry)
                entry = table.head(entry.jump)
            else:
                entry = entry.next
    skb.fate.rules_visited += visited
    if param.hotdrop:
        verdict = Verdict.DROP
    note_verdict(table, skb, entry, verdict)
    return verdict
