"""A rule behind the one that must be the last of KUBE-SERVICES.

Kernel: none.

What it does: Finds rules of nat KUBE-SERVICES that stand behind the jump to KUBE-NODEPORTS.

Why it matters: KUBE-NODEPORTS takes whatever is for an address of the node. A Service's rule behind
it, such as one for an external IP that a node has, loses packets to a NodePort of the same number.
kube-proxy's own comment says that this rule must be the last.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-EXT-CDGGSHYLG3RE2FKL - [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-NODEPORTS - [0:0]
    :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-EXT-CDGGSHYLG3RE2FKL -j KUBE-MARK-MASQ
    -A KUBE-EXT-CDGGSHYLG3RE2FKL -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT-CDGGSHYLG3RE2FKL
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
    -A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: The jump to KUBE-NODEPORTS as the last rule.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes ("NOTE: this must be the
last rule in this chain").
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import NODE, Probe, Sender
from netemu.kube.check.reading import destination_of, port_of, protocol_of
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import meets, nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject

NODEPORTS = "KUBE-NODEPORTS"


def check(subject: Subject) -> Iterator[Finding]:
    """Look at the end of KUBE-SERVICES."""
    rules = subject.kube.rules
    services = rules.rules("nat", "KUBE-SERVICES")
    jumps = [number for number, rule in enumerate(services, start=1) if rule.jump == NODEPORTS]
    behind = [
        number
        for number, rule in enumerate(services, start=1)
        if jumps and number > jumps[0] and rule.jump != NODEPORTS
    ]
    if not behind:
        return
    place = nat("KUBE-SERVICES", jumps[0])
    first = services[behind[0] - 1]
    more = f" and {len(behind) - 1} more" * (len(behind) > 1)
    message = "the jump to KUBE-NODEPORTS must be the last rule, but"
    message += f" rule {behind[0]}{more} stands behind"
    own = destination_of(services[jumps[0] - 1])
    ports = [
        (protocol_of(rule), port_of(rule))
        for rule in rules.rules("nat", NODEPORTS)
        if port_of(rule)
    ]
    probes = [
        Probe(sender=sender, protocol=protocol or "tcp", destination=own or NODE, port=port)
        for protocol, port in [*ports[:3], ("tcp", 80)]
        for sender in (Sender.OUTSIDE, Sender.NODE)
    ]
    related = subject.related(first, "stands behind it")
    yield from told(subject, place, message, meets(place), probes, related)


RULE = LintRule(
    code="NE306",
    name="nodeports-not-last",
    level=Level.WARNING,
    summary="A rule behind the jump to KUBE-NODEPORTS, which must be the last",
    check=check,
)
