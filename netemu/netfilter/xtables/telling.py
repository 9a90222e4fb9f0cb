"""The walk through a table that tells every step: rules tried, jumps, returns, the verdict.

Kernel: net/ipv4/netfilter/ip_tables.c (ipt_do_table, ip_packet_match).

It decides exactly as the plain walk in `table.py` does; for a rule that did not match it adds the
first part that failed, in the kernel's order of tests, and what the packet had there.
"""

from __future__ import annotations

from netemu.events import ChainEntered, ChainReturned, RuleVisited, VerdictIssued
from netemu.net import Net
from netemu.netfilter.hook import Family, HookState, Verdict
from netemu.netfilter.xtables.entry import IP_OFFSET, Entry, XtTable, note_verdict
from netemu.netfilter.xtables.model import RETURN
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.trace_packet import trace_packet
from netemu.skb import Device, Skb
from netemu.wire.address import format_address
from netemu.wire.ipv4 import Protocol

Failure = tuple[str, str]
"""The part of a rule that did not match, and the packet's value there."""


def ipt_do_table_telling(net: Net, table: XtTable, skb: Skb, state: HookState) -> Verdict:
    """Walk the chain of the hook until a verdict; the gear with events."""
    return _Walk(net, table, skb, state).run()


class _Walk:
    """One packet's way through one table."""

    def __init__(self, net: Net, table: XtTable, skb: Skb, state: HookState) -> None:
        self.net = net
        self.table = table
        self.skb = skb
        self.state = state
        self.stack: list[Entry] = []
        self.entry = table.hook_entry[state.hook]
        data = skb.data
        self.param = XtParam(
            net=net,
            family=Family.IPV4,
            hook=state.hook,
            in_device=state.in_device,
            out_device=state.out_device,
        )
        self.param.fragoff = (data[6] << 8 | data[7]) & IP_OFFSET
        self.param.thoff = (data[0] & 0x0F) * 4

    def run(self) -> Verdict:
        """Try entry after entry; tell the verdict."""
        self._tell_entered(self.entry, "hook")
        verdict: Verdict | None = None
        rejected = self.skb.fate.reject_type
        while verdict is None and not self.param.hotdrop:
            verdict = self._try()
        if self.param.hotdrop or verdict is None:
            verdict = Verdict.DROP
        entry = self.entry
        note_verdict(self.table, self.skb, entry, verdict)
        self.net.tell(
            self.skb,
            VerdictIssued(
                table=self.table.name,
                chain=entry.chain.name,
                rule=entry.number,
                line=entry.place.line,
                verdict="REJECT" if self.skb.fate.reject_type != rejected else verdict.name,
                policy=entry.tail,
            ),
        )
        return verdict

    def _try(self) -> Verdict | None:
        """Try the present entry and move on; return a verdict if it gave one."""
        entry = self.entry
        failure = self._first_failure(entry)
        if not entry.tail:
            self._tell_visited(entry, failure)
        if failure is not None:
            if not self.param.hotdrop:
                self.entry = entry.next
            return None
        entry.counters.packets += 1
        entry.counters.octets += len(self.skb.data)
        if self.skb.nf_trace:
            trace_packet(self.net, self.skb, self.state, self.table.name, entry)
        return self._act(entry)

    def _act(self, entry: Entry) -> Verdict | None:
        if entry.verdict is not None:
            if entry.verdict != RETURN:
                return entry.verdict
            self._return(entry)
            return None
        if entry.apply is not None:
            answer = entry.apply(entry.settings, self.skb, self.param)
            if answer is None:
                self.entry = entry.next
            return answer
        if not entry.jump:
            self.entry = entry.next
            return None
        if not entry.goto:
            self.stack.append(entry)
        self.entry = self.table.head(entry.jump)
        self._tell_entered(self.entry, "goto" if entry.goto else "jump")
        return None

    def _return(self, entry: Entry) -> None:
        """Go back behind the last jump, or to the policy."""
        if self.stack:
            caller = self.stack.pop()
            self.entry = caller.next
            to = caller.chain.name
        else:
            self.entry = self.table.underflow[self.state.hook]
            to = self.entry.chain.name
        self.net.tell(self.skb, ChainReturned(table=self.table.name, chain=entry.chain.name, to=to))

    def _first_failure(self, entry: Entry) -> Failure | None:
        failure = ip_packet_failure(
            entry, self.skb.data, self.state.in_device, self.state.out_device, self.param.fragoff
        )
        if failure is not None:
            return failure
        for (evaluate, settings), match in zip(entry.matches, entry.bound_matches(), strict=True):
            if not evaluate(settings, self.skb, self.param):
                value = match.describe(settings, self.skb, self.param) if match.describe else ""
                return match.text, "malformed packet" if self.param.hotdrop else value
        return None

    def _tell_entered(self, head: Entry, by: str) -> None:
        self.net.tell(self.skb, ChainEntered(table=self.table.name, chain=head.chain.name, by=by))

    def _tell_visited(self, entry: Entry, failure: Failure | None) -> None:
        self.skb.fate.rules_visited += 1
        rule = entry.rule
        assert rule is not None
        self.net.tell(
            self.skb,
            RuleVisited(
                table=self.table.name,
                chain=entry.chain.name,
                rule=entry.number,
                line=rule.line,
                matched=failure is None,
                text=rule.text,
                target=rule.target.name if rule.target is not None else rule.jump,
                failed_on=failure[0] if failure is not None else "",
                value=failure[1] if failure is not None else "",
            ),
        )


def ip_packet_failure(
    entry: Entry,
    data: bytearray,
    in_device: Device | None,
    out_device: Device | None,
    fragoff: int,
) -> Failure | None:
    """Return the first generic part of a rule that a packet fails (ip_packet_match)."""
    generic = entry.generic
    source, destination = bytes(data[12:16]), bytes(data[16:20])
    if (int.from_bytes(source, "big") & entry.smsk == entry.saddr) is entry.inv_saddr:
        text = _option("-s", _prefix(generic.source, generic.source_mask), entry.inv_saddr)
        return text, format_address(source)
    if (int.from_bytes(destination, "big") & entry.dmsk == entry.daddr) is entry.inv_daddr:
        prefix = _prefix(generic.destination, generic.destination_mask)
        return _option("-d", prefix, entry.inv_daddr), format_address(destination)
    name = in_device.name if in_device is not None else ""
    if _device_matches(name, entry.in_name, prefix=entry.in_prefix) is entry.inv_in:
        return _option("-i", generic.in_device, entry.inv_in), name or "no input device"
    name = out_device.name if out_device is not None else ""
    if _device_matches(name, entry.out_name, prefix=entry.out_prefix) is entry.inv_out:
        return _option("-o", generic.out_device, entry.inv_out), name or "no output device"
    if entry.proto and (data[9] == entry.proto) is entry.inv_proto:
        return _option("-p", protocol_name(entry.proto), entry.inv_proto), protocol_name(data[9])
    if entry.frag and (fragoff != 0) is entry.inv_frag:
        return _option("-f", "", entry.inv_frag), f"fragment offset {fragoff * 8}"
    return None


def _option(name: str, value: str, inverted: bool) -> str:  # noqa: FBT001 - one of three words
    return f"{'! ' if inverted else ''}{name} {value}".rstrip()


def _device_matches(name: str, wanted: str, *, prefix: bool) -> bool:
    return name.startswith(wanted) if prefix else name == wanted


def _prefix(address: bytes, mask: bytes) -> str:
    """Write an address under a mask as iptables-save does."""
    if not mask:
        return "0.0.0.0/0"
    bits = int.from_bytes(mask, "big")
    length = bits.bit_count()
    total = len(mask) * 8
    if bits == ((1 << length) - 1) << (total - length):
        return f"{format_address(address)}/{length}"
    return f"{format_address(address)}/{format_address(mask)}"


def protocol_name(number: int) -> str:
    """Return a protocol's name in lower case, or its number."""
    try:
        return Protocol(number).name.lower()
    except ValueError:
        return str(number)
