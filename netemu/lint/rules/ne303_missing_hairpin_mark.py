"""An endpoint that cannot reach itself through its Service.

Kernel: none.

What it does: Finds endpoint chains (KUBE-SEP) that translate to an address without having marked
for masquerading what comes from that same address.

Why it matters: A pod that asks its own Service and is sent to itself gets a packet from its own
address; it answers itself directly, and the connection never comes about.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: First in the chain, `-A KUBE-SEP-… -s 10.244.1.5/32 -j KUBE-MARK-MASQ`.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes ("Handle traffic that
loops back to the originator with SNAT").
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Saying
from netemu.kube.check.reading import (
    KubeRules,
    is_named_by_hash,
    protocol_of,
    service_of,
    set_mark_of,
    source_of,
    split_endpoint,
)
from netemu.kube.check.ways import endpoints_of, from_itself, ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.wire.address import in_prefix, parse_address, parse_prefix


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every endpoint's chain."""
    rules = subject.kube.rules
    for chain, endpoint in endpoints_of(rules):
        _, number, rule = rules.translation(chain)
        assert rule is not None
        ip, _ = split_endpoint(endpoint)
        if _is_marked(rules, chain, number, ip):
            continue
        name = service_of(rule)
        if name and not is_named_by_hash(chain, name, protocol_of(rule), endpoint):
            # The translation is wrong rather than the mark: NE305 tells.
            if _marks_named(rules, chain, name, protocol_of(rule), endpoint):
                continue
        message = (
            f"{name or chain}: endpoint {endpoint} cannot reach itself through the Service,"
            " since its own packets are not masqueraded"
        )
        probes = from_itself(ways_into(rules, chain), ip)
        claim = Claim(saying=Saying.UNMASQUERADED, endpoint=endpoint)
        yield from told(subject, nat(chain, number), message, claim, probes)


def _is_marked(rules: KubeRules, chain: str, number: int, ip: str) -> bool:
    """Return whether a rule before number `number` marks what comes from an address."""
    for rule in rules.rules("nat", chain)[: number - 1]:
        prefix = source_of(rule)
        covers = prefix and in_prefix(parse_address(ip), *parse_prefix(prefix))
        if covers and (rule.jump == "KUBE-MARK-MASQ" or set_mark_of(rule) is not None):
            return True
    return False


def _marks_named(rules: KubeRules, chain: str, name: str, protocol: str, endpoint: str) -> bool:
    """Return whether the chain marks the endpoint that its own name stands for."""
    _, port = split_endpoint(endpoint)
    for rule in rules.rules("nat", chain):
        prefix = source_of(rule)
        if rule.jump == "KUBE-MARK-MASQ" and prefix:
            ip = prefix.partition("/")[0]
            shown = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
            if is_named_by_hash(chain, name, protocol, shown):
                return True
    return False


RULE = LintRule(
    code="NE303",
    name="missing-hairpin-mark",
    level=Level.ERROR,
    summary="An endpoint that cannot reach itself through its Service",
    check=check,
)
