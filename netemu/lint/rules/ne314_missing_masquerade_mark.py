"""A Service that does not mark for masquerading what its siblings do.

Kernel: none.

What it does: Finds external chains (KUBE-EXT) that send everything to all endpoints without having
marked it, or the node's own packets without having marked those, and ClusterIP chains without the
mark for clients outside the pods' range that the other chains have.

Why it matters: The endpoint may be on another node, and its answer to a client whose address was
kept does not come back this way; the client throws it away.

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
    -A KUBE-EXT-CDGGSHYLG3RE2FKL -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT-CDGGSHYLG3RE2FKL
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: First in the chain, `-A KUBE-EXT-… -j KUBE-MARK-MASQ`.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes ("masquerade traffic for
… external destinations").
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Probe, Saying, Sender
from netemu.kube.check.reading import (
    SERVICE_CHAIN,
    KubeRules,
    asks,
    destination_of,
    is_for_local_senders,
    port_of,
)
from netemu.kube.check.ways import ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject

MARK = "KUBE-MARK-MASQ"


def check(subject: Subject) -> Iterator[Finding]:
    """Look at external chains, then at those of ClusterIPs."""
    rules = subject.kube.rules
    for chain in rules.chains("nat", "KUBE-EXT-"):
        if SERVICE_CHAIN.fullmatch(chain):
            yield from _external(subject, rules, chain)
    yield from _cluster_ips(subject, rules)


def _external(subject: Subject, rules: KubeRules, chain: str) -> Iterator[Finding]:
    everything = own = False
    for number, rule in enumerate(rules.rules("nat", chain), start=1):
        local, unasked = is_for_local_senders(rule), not asks(rule)
        if rule.jump == MARK:
            everything, own = everything or unasked, own or local
        elif rule.jump.startswith("KUBE-SVC-") and (unasked or local):
            if everything or (local and own):
                continue
            who = "what the node itself sends" if local else "what comes from outside"
            name = rules.service_name(chain) or chain
            message = f"{name} sends on {who} without marking it for masquerading"
            probes = ways_into(rules, chain)
            if local:
                probes = tuple(probe for probe in probes if probe.sender is Sender.NODE)
            claim = Claim(saying=Saying.UNMASQUERADED)
            yield from told(subject, nat(chain, number), message, claim, probes)


def _cluster_ips(subject: Subject, rules: KubeRules) -> Iterator[Finding]:
    """Compare the chains that rules for a ClusterIP lead to with each other."""
    marked: dict[str, bool] = {}
    for rule in rules.rules("nat", "KUBE-SERVICES"):
        if rule.jump.startswith(("KUBE-SVC-", "KUBE-SVL-")) and destination_of(rule):
            held = rules.rules("nat", rule.jump)
            marked[rule.jump] = any(one.jump == MARK and port_of(one) for one in held)
    if not any(marked.values()):
        return
    for chain, is_marked in marked.items():
        if is_marked or not rules.rules("nat", chain):
            continue
        name = rules.service_name(chain) or chain
        message = f"{name} does not mark clients outside the pods' range, as other Services do"
        probes: tuple[Probe, ...] = ways_into(rules, chain)[::-1]
        claim = Claim(saying=Saying.UNMASQUERADED)
        yield from told(subject, nat(chain), message, claim, probes)


RULE = LintRule(
    code="NE314",
    name="missing-masquerade-mark",
    level=Level.ERROR,
    summary="A Service that does not mark for masquerading what its siblings do",
    check=check,
)
