"""Which packets come into a chain, read off the rules that lead there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netemu.kube.check.fault import NODE, Probe, Sender
from netemu.kube.check.reading import (
    ENDPOINT_CHAIN,
    KubeRules,
    destination_of,
    port_of,
    protocol_of,
    source_of,
    split_endpoint,
)
from netemu.netfilter.xtables.model import Rule
from netemu.wire.address import format_address, parse_prefix

INNER = (Sender.POD, Sender.NODE, Sender.OUTSIDE)
OUTER = (Sender.OUTSIDE, Sender.NODE, Sender.POD)


def ways_into(rules: KubeRules, chain: str) -> tuple[Probe, ...]:
    """Return packets that rules of the nat table lead into a chain, or would if they did."""
    return tuple(dict.fromkeys(_ways(rules, chain, set(), "")))


def _ways(rules: KubeRules, chain: str, seen: set[str], source: str) -> Iterator[Probe]:
    if chain in seen:
        return
    seen.add(chain)
    for reference in rules.references("nat", chain):
        rule = reference.rule
        came_from = source or _single_source(rule)
        if port_of(rule):
            yield from probes_of(rule, came_from)
        else:
            yield from _ways(rules, reference.chain, seen, came_from)
    for rule in rules.rules("nat", chain):
        if rule.jump == "KUBE-MARK-MASQ" and destination_of(rule) and port_of(rule):
            yield from probes_of(rule, source)


def probes_of(rule: Rule, source: str = "") -> Iterator[Probe]:
    """Yield packets that a rule about one port asks for."""
    ip = destination_of(rule)
    for sender in OUTER if source or not ip else INNER:
        if source and sender is not Sender.OUTSIDE:
            continue
        yield Probe(
            sender=sender,
            protocol=protocol_of(rule) or "tcp",
            destination=ip or NODE,
            port=port_of(rule),
            source=source,
        )


def _single_source(rule: Rule) -> str:
    """Return an address of the range that a rule asks for, if it is one of clients."""
    prefix = source_of(rule)
    return host_of(prefix) if prefix else ""


def host_of(prefix: str) -> str:
    """Return an address of a range.

    >>> host_of("203.0.113.0/24"), host_of("10.0.0.7/32")
    ('203.0.113.9', '10.0.0.7')
    """
    address, length = parse_prefix(prefix)
    hosts = (1 << (len(address) * 8 - length)) - 1
    number = int.from_bytes(address, "big") + min(9, hosts)
    return format_address(number.to_bytes(len(address), "big"))


def all_ways(rules: KubeRules) -> Iterator[Probe]:
    """Yield packets to every address that a Service answers at."""
    for chain in ("KUBE-SERVICES", "KUBE-NODEPORTS"):
        for rule in rules.rules("nat", chain):
            if port_of(rule):
                yield from probes_of(rule)


def endpoints_of(rules: KubeRules) -> Iterator[tuple[str, str]]:
    """Yield every endpoint's chain and where it translates to."""
    for chain in rules.chains("nat", "KUBE-SEP-"):
        if ENDPOINT_CHAIN.fullmatch(chain) and (found := rules.translation(chain)[0]):
            yield chain, found


def to_endpoint(endpoint: str, protocol: str = "tcp") -> tuple[Probe, ...]:
    """Return packets straight to an endpoint."""
    ip, port = split_endpoint(endpoint)
    return tuple(
        Probe(sender=sender, protocol=protocol, destination=ip, port=port) for sender in INNER
    )


def from_itself(probes: Iterable[Probe], ip: str) -> tuple[Probe, ...]:
    """Return the same packets, sent by one pod: an endpoint that may meet itself."""
    found = dict.fromkeys((probe.protocol, probe.destination, probe.port) for probe in probes)
    return tuple(
        Probe(sender=Sender.POD, protocol=item[0], destination=item[1], port=item[2], source=ip)
        for item in found
    )
