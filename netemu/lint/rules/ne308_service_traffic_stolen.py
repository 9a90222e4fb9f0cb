"""A rule that takes packets to a Service before kube-proxy's rules see them.

Kernel: none.

What it does: Finds rules that stand before the jump to KUBE-SERVICES in nat PREROUTING or OUTPUT,
and rules of others inside a Service's chains, that end the way of packets to a Service.

Why it matters: The first rule of the nat table that decides is the only one. Packets to the Service
go where that rule says, or on to a ClusterIP that no machine has.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
    -A PREROUTING -p tcp -m tcp --dport 80 -j REDIRECT --to-ports 3128
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: The jump to KUBE-SERVICES first, or a rule that leaves Services alone
(`! -d 10.96.0.0/12`).

References: iptablesJumpChains in pkg/proxy/iptables/proxier.go of Kubernetes, which puts the jumps
first whenever it makes them; nf_nat_inet_fn in net/netfilter/nf_nat_core.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Place, Probe, Saying, Sender
from netemu.kube.check.reading import (
    ENDPOINT_CHAIN,
    SERVICE_CHAIN,
    KubeRules,
    destination_of,
    port_of,
    ports_of,
    protocol_of,
    service_of,
)
from netemu.kube.check.ways import all_ways, probes_of, ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.xtables.model import Rule
from netemu.wire.address import in_prefix, parse_address

SERVICES = "KUBE-SERVICES"
_LOCAL = {"PREROUTING": (Sender.OUTSIDE, Sender.POD), "OUTPUT": (Sender.NODE,)}
_MOST_PROBES = 40


def check(subject: Subject) -> Iterator[Finding]:
    """Look at what stands before the jumps, then at what others put into Services' chains."""
    rules = subject.kube.rules
    for base, senders in _LOCAL.items():
        jump = next(
            (
                number
                for number, rule in enumerate(rules.rules("nat", base), start=1)
                if rule.jump == SERVICES
            ),
            0,
        )
        before = _deciding(rules, base, jump - 1, frozenset()) if jump else ()
        for place, rule in before:
            yield from _thief(subject, place, rule, senders)
    for chain in rules.chains("nat", "KUBE-"):
        if SERVICE_CHAIN.fullmatch(chain) or ENDPOINT_CHAIN.fullmatch(chain):
            yield from _inside(subject, rules, chain)


def _deciding(
    rules: KubeRules, chain: str, most: int | None, above: frozenset[str]
) -> Iterator[tuple[Place, Rule]]:
    """Yield the rules of a chain, and of those that it leads into, that end a packet's way."""
    for number, rule in enumerate(rules.rules("nat", chain)[:most], start=1):
        if rule.target is not None and rule.target.name not in {"RETURN", "MARK", "LOG", "NFLOG"}:
            yield nat(chain, number), rule
        elif rule.jump and not rule.jump.startswith("KUBE-") and rule.jump not in above:
            yield from _deciding(rules, rule.jump, None, above | {chain, rule.jump})


def _thief(
    subject: Subject, place: Place, rule: Rule, senders: tuple[Sender, ...]
) -> Iterator[Finding]:
    rules = subject.kube.rules
    probes = [
        probe for probe in all_ways(rules) if probe.sender in senders and _may_ask_for(rule, probe)
    ][:_MOST_PROBES]
    claim = Claim(saying=Saying.AVOIDS, place=nat(SERVICES), by=place)
    names = dict.fromkeys(
        service_of(entry)
        for chain in (SERVICES, "KUBE-NODEPORTS")
        for entry in rules.rules("nat", chain)
        if service_of(entry)
        and any(_may_ask_for(rule, probe) for probe in probes_of(entry) if port_of(entry))
    )
    told_names = ", ".join(list(names)[:3]) + (f" and {len(names) - 3} more" * (len(names) > 3))
    what = rule.target.text.removeprefix("-j ") if rule.target is not None else rule.jump
    message = f"{what} takes packets to Services before KUBE-SERVICES sees them" + (
        f" ({told_names})" if names else ""
    )
    yield from told(subject, place, message, claim, probes)


def _may_ask_for(rule: Rule, probe: Probe) -> bool:
    """Return whether destination, protocol and port of a packet may be what a rule asks for."""
    generic, ports = rule.generic, ports_of(rule)
    protocol = protocol_of(rule)
    if protocol and protocol != probe.protocol:
        return False
    if ports is not None and not ports[0] <= probe.port <= ports[1]:
        return False
    if not generic.destination or not probe.destination or "! -d" in rule.text:
        return True
    length = sum(octet.bit_count() for octet in generic.destination_mask)
    return in_prefix(parse_address(probe.destination), generic.destination, length)


def _inside(subject: Subject, rules: KubeRules, chain: str) -> Iterator[Finding]:
    """Look for rules that kube-proxy does not write."""
    for number, rule in enumerate(rules.rules("nat", chain), start=1):
        if rule.jump.startswith("KUBE-") or (rule.target is None and not rule.jump):
            continue
        target = rule.target.name if rule.target is not None else rule.jump
        if target in {"DNAT", "MARK", "LOG", "NFLOG", "TRACE"}:
            continue
        name = rules.service_name(chain) or chain
        place = nat(chain, number)
        claim = Claim(saying=Saying.UNTRANSLATED, by=place)
        message = f"{target} in {chain} keeps packets from the endpoints of {name}"
        ip, port = destination_of(rule), port_of(rule)
        probes = [*(probes_of(rule) if ip and port else ()), *ways_into(rules, chain)]
        yield from told(subject, place, message, claim, probes)


RULE = LintRule(
    code="NE308",
    name="service-traffic-stolen",
    level=Level.ERROR,
    summary="A rule takes packets to a Service before kube-proxy's rules see them",
    check=check,
)
