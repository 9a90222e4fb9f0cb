"""A chain of a Service that nothing leads to.

Kernel: none.

What it does: Finds chains of Services (KUBE-SVC, KUBE-SVL, KUBE-EXT, KUBE-FW) and endpoints
(KUBE-SEP) that no rule jumps to, and endpoints of this node (KUBE-SVL) that the chain of all of the
Service's endpoints (KUBE-SVC) leaves out.

Why it matters: What should come there goes elsewhere or nowhere: the Service is cut off from
clients, or the endpoint gets no connection. A chain whose Service is gone is left behind only for a
while in clusters of more than 1000 endpoints.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
    :KUBE-SEP-OAIGUPJHOE4YU7HS - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SEP-OAIGUPJHOE4YU7HS -s 10.244.2.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-OAIGUPJHOE4YU7HS -p tcp -m tcp -j DNAT --to-destination 10.244.2.5:8080
    -A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: A rule that leads there, or no such chain. kube-proxy makes both right when it starts.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes ("Delete chains no longer
in use").
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Probe, Saying
from netemu.kube.check.reading import (
    ENDPOINT_CHAIN,
    SERVICE_CHAIN,
    KubeRules,
    protocol_of,
    recent_of,
)
from netemu.kube.check.ways import all_ways, to_endpoint, ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every chain of a Service or endpoint."""
    rules = subject.kube.rules
    if not rules.has("nat", "KUBE-SERVICES"):
        return  # a piece of a node's rules, such as a manual shows
    for chain in rules.chains("nat", "KUBE-"):
        is_endpoint = bool(ENDPOINT_CHAIN.fullmatch(chain))
        if not is_endpoint and not SERVICE_CHAIN.fullmatch(chain):
            continue
        if rules.references("nat", chain) or _is_left_behind(rules, chain):
            continue
        name = rules.service_name(chain)
        of = f" of {name}" if name else ""
        message = f"nothing leads to {chain}{of}"
        probes = _to_endpoint(rules, chain, name) if is_endpoint else ways_into(rules, chain)
        if is_endpoint and (endpoint := rules.translation(chain)[0]):
            message = f"nothing leads to {chain}: endpoint {endpoint}{of} gets no connection"
        claim = Claim(saying=Saying.AVOIDS, place=nat(chain))
        yield from told(subject, nat(chain), message, claim, probes or tuple(all_ways(rules)))
    for chain in rules.chains("nat", "KUBE-SVL-"):
        yield from _only_local(subject, rules, chain)


def _only_local(subject: Subject, rules: KubeRules, local: str) -> Iterator[Finding]:
    """Tell endpoints of this node that the chain of all endpoints does not choose among."""
    whole = local.replace("-SVL-", "-SVC-", 1)
    chosen = {rule.jump for rule in rules.rules("nat", whole) if recent_of(rule) is None}
    if not rules.references("nat", whole):
        return
    for rule in rules.rules("nat", local):
        endpoint = rules.translation(rule.jump)[0]
        if recent_of(rule) is not None or not endpoint or rule.jump in chosen:
            continue
        name = rules.service_name(local) or whole
        message = f"nothing of {whole} leads to {rule.jump}: endpoint {endpoint} of {name} gets"
        message += " only what stays on the node"
        claim = Claim(saying=Saying.MISSES, endpoint=endpoint, place=nat(whole))
        yield from told(subject, nat(rule.jump), message, claim, ways_into(rules, whole))


def _is_left_behind(rules: KubeRules, chain: str) -> bool:
    """Return whether a release before 1.24 made a chain of which it has no use."""
    return bool(rules.chains("nat", "KUBE-XLB-")) and chain.startswith(("KUBE-FW-", "KUBE-XLB-"))


def _to_endpoint(rules: KubeRules, chain: str, name: str) -> tuple[Probe, ...]:
    """Return packets to an endpoint's Service, or to the endpoint itself."""
    endpoint, _, rule = rules.translation(chain)
    protocol = (protocol_of(rule) if rule is not None else "") or "tcp"
    for other in rules.chains("nat", "KUBE-SVC-", "KUBE-SVL-"):
        if name and rules.service_name(other) == name and (found := ways_into(rules, other)):
            return found
    return to_endpoint(endpoint, protocol) if endpoint else ()


RULE = LintRule(
    code="NE304",
    name="orphan-service-chain",
    level=Level.WARNING,
    summary="A chain of a Service or endpoint that nothing leads to",
    check=check,
)
