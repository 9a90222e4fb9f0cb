"""A port that is closed in IPv4 is open in IPv6.

Kernel: none; ip6_tables and ip_tables have tables of their own.

What it does: Compares the IPv6 rules with the IPv4 rules of the same node: those of a snapshot, or
two files that one command names (rules.v4 and rules.v6). Finds ports of TCP and UDP to which IPv6
lets first packets of strangers in and IPv4 does not.

Why it matters: Whoever has an IPv6 address gets around the IPv4 rules. Often IPv6 was simply
forgotten.

Example:
    # rules.v4
    *filter
    :INPUT DROP [0:0]
    -A INPUT -p tcp --dport 22 -j ACCEPT
    COMMIT
    # rules.v6
    *filter
    :INPUT ACCEPT [0:0]
    COMMIT

Use instead: the same policy and the same ports in both files.

References: RFC 7123 (security implications of IPv6 on IPv4 networks).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from netemu.analysis.bdd import EMPTY
from netemu.analysis.terms import Span, among, spans
from netemu.analysis.wording import axis_of
from netemu.lint.entering import STRANGER, Entering, entering_of
from netemu.lint.finding import Finding, Level, Related
from netemu.lint.networks import outside_devices
from netemu.lint.rule import LintRule, Needs
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.space import Field
from netemu.wire.ipv4 import Protocol

STRANGER6 = bytes.fromhex("20010db8000f00000000000000000007")
"""An address that is nobody's (RFC 3849)."""

PROTOCOLS = (Protocol.TCP, Protocol.UDP)
SHOWN = 4
"""So many ranges of ports are named."""
_SYN = 0x02

Ports = Mapping[Protocol, list[Span]]


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each IPv6 rule, or policy, that opens what IPv4 closes."""
    other = subject.partner
    if subject.family is not Family.IPV6 or other is None or not other.loads:
        return
    if not _has_ipv6(subject):
        return
    for device in outside_devices(other):
        found = list(_of_device(subject, other, device))
        if found:
            yield from found
            return


def _has_ipv6(subject: Subject) -> bool:
    """Return whether anybody may ask the node by IPv6."""
    node = subject.node
    if node is None or not subject.is_snapshot:
        return True
    if node.main.sysctls.get("net.ipv6.conf.all.disable_ipv6") == "1":
        return False
    addresses = [one for one in node.main.addresses if len(one.address) == len(STRANGER6)]
    return not node.main.addresses or any(one.scope == "global" for one in addresses)


def _of_device(subject: Subject, other: Subject, device: str) -> Iterator[Finding]:
    """Yield the findings about what enters by a device."""
    entering, before = entering_of(subject), entering_of(other)
    here, there = _first_packets(entering, device), _first_packets(before, device)
    closed = {
        protocol: _gaps(_ports(before, before.both(there, before.accepted("in")), protocol))
        for protocol in PROTOCOLS
    }
    opened = entering.both(
        here, entering.accepted("in"), entering.either(*_to_ports(entering, closed))
    )
    if opened == EMPTY or not _is_refused(before, there, entering, opened):
        return
    for site in [*_accepting(subject), None]:
        packets = opened if site is None else entering.both(opened, entering.taken(site))
        if packets == EMPTY:
            continue
        opened = entering.without(opened, packets)
        witness = entering.shown(packets, verdicts={"ACCEPT"})
        named = _named(entering, packets)
        message = f"IPv6 lets strangers in by {device} to what IPv4 refuses: {named}"
        related = _input_of(other)
        table = subject.table("filter")
        if site is not None:
            yield subject.about(site, message, witness=witness, related=related)
        elif table is not None and "INPUT" in table.chains:
            found = subject.about_chain(table, table.chains["INPUT"], message, witness=witness)
            yield replace(found, related=related)
        else:
            yield Finding(message=message, witness=witness, related=related)


def _first_packets(entering: Entering, device: str) -> int:
    """Return usual first packets of strangers that enter by a device, to one host."""
    read, space = entering.read, entering.space
    name = device if device in space.index else space.devices[-1]
    v6 = space.family == Family.IPV6
    multicast, bits = (0xFF << 120, 0xFF << 120) if v6 else (0xE0 << 24, 0xF0 << 24)
    wide = [read.masked(Field.DESTINATION, multicast, bits), read.broadcast(Field.DESTINATION)]
    wide += [read.masked(Field.DESTINATION, 0xFE80 << 112, 0xFFC0 << 112)] if v6 else []
    tcp = read.masked(Field.PROTOCOL, Protocol.TCP)
    stranger = STRANGER6 if v6 else STRANGER
    return read.both(
        entering.any,
        entering.from_device(name),
        entering.fresh(),
        entering.prefix(Field.SOURCE, stranger, len(stranger) * 8),
        read.outside(read.either(*wide)),
        read.either(read.outside(tcp), read.masked(Field.TCP_FLAGS, _SYN)),
        read.masked(Field.FRAGMENT, 0),
        read.masked(Field.SOURCE_PORT, 40000),
        read.masked(Field.TTL, 64),
        read.masked(Field.TOS, 0),
        read.masked(Field.MARK, 0),
    )


def _ports(entering: Entering, packets: int, protocol: Protocol) -> list[Span]:
    """Return the ports of a protocol that any of the packets go to."""
    axis = axis_of(entering.space, Field.DESTINATION_PORT)
    diagram = entering.space.diagram
    wanted = entering.both(packets, entering.read.masked(Field.PROTOCOL, protocol))
    ports = diagram.forget(wanted, lambda variable: variable not in axis)
    return spans(diagram, ports, axis)


def _gaps(of: list[Span]) -> list[Span]:
    """Return the ports between spans.

    >>> _gaps([(22, 22), (80, 65535)])
    [(0, 21), (23, 79)]
    """
    edges = [-1, *(edge for span in of for edge in span), 65536]
    pairs = zip(edges[::2], edges[1::2], strict=True)
    return [(low + 1, high - 1) for low, high in pairs if high - low > 1]


def _to_ports(entering: Entering, closed: Ports) -> Iterator[int]:
    axis = axis_of(entering.space, Field.DESTINATION_PORT)
    for protocol, ports in closed.items():
        yield entering.both(
            entering.read.masked(Field.PROTOCOL, protocol),
            among(entering.space.diagram, axis, ports),
        )


def _is_refused(before: Entering, there: int, entering: Entering, opened: int) -> bool:
    """Return whether the engine refuses a packet of IPv4 to one of the ports."""
    for protocol in PROTOCOLS:
        ports = _ports(entering, opened, protocol)
        if ports:
            asked = before.both(there, before.to_port(protocol, ports[0][0], ports[0][1]))
            local = before.both(asked, before.read.local(Field.DESTINATION))
            return before.shown(local, verdicts={"DROP", "REJECT"}) is not None
    return False


def _accepting(subject: Subject) -> Iterator[Site]:
    for site in subject.sites:
        target = site.rule.target
        if site.table.name == "filter" and target is not None:
            if target.standard is Verdict.ACCEPT:
                yield site


def _named(entering: Entering, packets: int) -> str:
    """Name the ports that packets go to."""
    words = []
    for protocol in PROTOCOLS:
        found = _ports(entering, packets, protocol)
        if found:
            texts = [str(low) if low == high else f"{low}-{high}" for low, high in found[:SHOWN]]
            more = f" and {len(found) - SHOWN} more ranges" if len(found) > SHOWN else ""
            words.append(f"{protocol.name.lower()} {','.join(texts)}{more}")
    return ", ".join(words)


def _input_of(other: Subject) -> tuple[Related, ...]:
    """Return the place of the IPv4 chain that refuses."""
    table = other.table("filter")
    chain = table.chains.get("INPUT") if table is not None else None
    if chain is None or chain.line is None:
        return ()
    span = other.line_span(chain.line)
    return (Related(file=other.file, span=span, message="IPv4 refuses it"),)


RULE = LintRule(
    code="NE705",
    name="open-in-ipv6",
    level=Level.WARNING,
    summary="A port that is closed in IPv4 is open in IPv6",
    check=check,
    needs=Needs.PARTNER,
)
