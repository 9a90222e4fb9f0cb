"""A chain's name that belongs to another Service or endpoint than its rules.

Kernel: none.

What it does: Computes the hash in the names of KUBE-SVC, KUBE-SVL, KUBE-EXT, KUBE-FW and KUBE-SEP
chains from what the rules there say (Service, port, protocol, endpoint) and finds those whose name
is another's: rules that were copied, edited, or led to a wrong chain.

Why it matters: kube-proxy finds its chains by their names. It leaves a changed one alone until its
Service changes, and all the while packets go where the rules say, not where the objects do.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -s 10.244.9.9/32 -m comment --comment "default/web:http" -j KUBE-MARK-MASQ
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m comment --comment "default/web:http" -m tcp -j DNAT --to-destination 10.244.9.9:8080
    -A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: What the objects say; `netemu kube render` prints it.

References: portProtoHash, servicePortEndpointChainName in pkg/proxy/iptables/proxier.go of
Kubernetes.
"""  # noqa: E501 - a rule is one line

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Saying
from netemu.kube.check.reading import (
    ENDPOINT_CHAIN,
    SERVICE_CHAIN,
    KubeRules,
    comment_of,
    is_named_by_hash,
    port_of,
    protocol_of,
    service_of,
)
from netemu.kube.check.ways import endpoints_of, probes_of, ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import meets, nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject

_PROTOCOLS = ("tcp", "udp", "sctp")


def check(subject: Subject) -> Iterator[Finding]:
    """Look at endpoints' chains, then at those of Services and what leads there."""
    rules = subject.kube.rules
    yield from _endpoints(subject, rules)
    for chain in rules.chains("nat", "KUBE-"):
        if SERVICE_CHAIN.fullmatch(chain):
            yield from _entries(subject, rules, chain)
            yield from _inside(subject, rules, chain)


def _endpoints(subject: Subject, rules: KubeRules) -> Iterator[Finding]:
    for chain, endpoint in endpoints_of(rules):
        _, number, rule = rules.translation(chain)
        if rule is None or not _is_another(rules, chain):
            continue
        name = service_of(rule)
        message = f"{chain} is not the name of {name} at {endpoint}, to which it translates"
        claim = Claim(saying=Saying.REACHES, endpoint=endpoint)
        yield from told(subject, nat(chain, number), message, claim, ways_into(rules, chain))


def _is_another(rules: KubeRules, chain: str) -> bool:
    """Return whether an endpoint's chain is named for another endpoint than it translates to."""
    endpoint, _, rule = rules.translation(chain)
    name = service_of(rule) if rule is not None else ""
    if rule is None or not name:
        return False
    protocols = [protocol_of(rule)] if protocol_of(rule) else _PROTOCOLS
    return not any(is_named_by_hash(chain, name, one, endpoint) for one in protocols)


def _entries(subject: Subject, rules: KubeRules, chain: str) -> Iterator[Finding]:
    """Look at rules for one address and port that lead into a chain."""
    for reference in rules.references("nat", chain):
        rule = reference.rule
        name, protocol = service_of(rule), protocol_of(rule)
        if not name or not port_of(rule) or is_named_by_hash(chain, name, protocol):
            continue
        owner = rules.service_name(chain)
        if owner == name and any(map(service_of, rules.rules("nat", chain))):
            continue  # the chain's own rules name it, too: told below
        whose = f", a chain of {owner}" if owner and owner != name else ", which is not its name"
        message = f"{name} leads to {chain}{whose}"
        place = nat(reference.chain, reference.number)
        yield from told(subject, place, message, meets(place), probes_of(rule))


def _inside(subject: Subject, rules: KubeRules, chain: str) -> Iterator[Finding]:
    """Look at what a chain's own rules name; 1.0 named endpoints' chains KUBE-SVC, too."""
    if rules.translation(chain)[0]:
        return
    for number, rule in enumerate(rules.rules("nat", chain), start=1):
        name = service_of(rule)
        protocols = [protocol_of(rule)] if protocol_of(rule) else _PROTOCOLS
        place = nat(chain, number)
        if name and not any(is_named_by_hash(chain, name, one) for one in protocols):
            message = f"{chain} is not a chain of {name}, which this rule names"
            yield from told(subject, place, message, meets(place), ways_into(rules, chain))
            return
        _, arrow, wanted = comment_of(rule).partition(" -> ")
        held = rules.translation(rule.jump)[0] if ENDPOINT_CHAIN.fullmatch(rule.jump) else ""
        told_there = rule.jump in subject.kube.covered or _is_another(rules, rule.jump)
        if arrow and held and held != wanted and not told_there:
            message = f"the comment says {wanted}, but {rule.jump} translates to {held}"
            claim = Claim(saying=Saying.REACHES, endpoint=held)
            yield from told(subject, place, message, claim, ways_into(rules, chain))
            return


RULE = LintRule(
    code="NE305",
    name="chain-name-disagrees",
    level=Level.WARNING,
    summary="A chain's name that belongs to another Service or endpoint than its rules",
    check=check,
)
