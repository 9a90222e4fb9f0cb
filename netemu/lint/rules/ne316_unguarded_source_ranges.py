"""Source ranges of a load balancer that nothing enforces.

Kernel: none.

What it does: Finds load balancer addresses that lead into a firewall chain (KUBE-FW), while no rule
of the filter table's KUBE-PROXY-FIREWALL drops what that chain does not let through.

Why it matters: Since 1.25 the KUBE-FW chain drops nothing itself. A client outside
loadBalancerSourceRanges falls through it and goes on to whatever has the address.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-EXT-QB46YULHEBLQKAPY - [0:0]
    :KUBE-FW-QB46YULHEBLQKAPY - [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-SEP-ZAOHDSZYNSKOLKDK - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-QB46YULHEBLQKAPY - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-EXT-QB46YULHEBLQKAPY -j KUBE-MARK-MASQ
    -A KUBE-EXT-QB46YULHEBLQKAPY -j KUBE-SVC-QB46YULHEBLQKAPY
    -A KUBE-FW-QB46YULHEBLQKAPY -s 203.0.113.0/24 -j KUBE-EXT-QB46YULHEBLQKAPY
    -A KUBE-SEP-ZAOHDSZYNSKOLKDK -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-ZAOHDSZYNSKOLKDK -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -d 198.51.100.80/32 -p tcp -m tcp --dport 80 -j KUBE-FW-QB46YULHEBLQKAPY
    -A KUBE-SVC-QB46YULHEBLQKAPY -j KUBE-SEP-ZAOHDSZYNSKOLKDK
    COMMIT
    *filter
    :FORWARD ACCEPT [0:0]
    :KUBE-PROXY-FIREWALL - [0:0]
    -A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
    COMMIT

Use instead: In KUBE-PROXY-FIREWALL, `-d 198.51.100.80/32 -p tcp -m tcp --dport 80 -j DROP`.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes ("traffic not accepted
by").
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Probe, Saying, Sender
from netemu.kube.check.reading import (
    KubeRules,
    asks,
    destination_of,
    port_of,
    protocol_of,
    source_of,
)
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.wire.address import in_prefix, parse_address, parse_prefix

STRANGERS = ("203.0.113.9", "198.18.0.9", "100.64.0.9")
"""Clients of documentation and test ranges; one of them is outside the ranges."""


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every rule that leads into a firewall chain."""
    rules = subject.kube.rules
    if not rules.has("filter", "KUBE-PROXY-FIREWALL"):
        return  # before 1.25 the chains themselves drop
    dropped = {asks(rule) for rule in rules.rules("filter", "KUBE-PROXY-FIREWALL")}
    for number, rule in enumerate(rules.rules("nat", "KUBE-SERVICES"), start=1):
        if not rule.jump.startswith("KUBE-FW-") or asks(rule) in dropped:
            continue
        name = rules.service_name(rule.jump) or rule.jump
        ip, port = destination_of(rule), port_of(rule)
        message = (
            f"nothing drops clients of {ip}:{port} ({name}) that {rule.jump} does not let through"
        )
        probes = [
            Probe(
                sender=Sender.OUTSIDE,
                protocol=protocol_of(rule) or "tcp",
                destination=ip,
                port=port,
                source=source,
            )
            for source in STRANGERS
            if not _is_let_in(rules, rule.jump, source)
        ]
        claim = Claim(saying=Saying.PASSES)
        yield from told(subject, nat("KUBE-SERVICES", number), message, claim, probes)


def _is_let_in(rules: KubeRules, chain: str, source: str) -> bool:
    return any(
        in_prefix(parse_address(source), *parse_prefix(prefix))
        for rule in rules.rules("nat", chain)
        if rule.jump and (prefix := source_of(rule))
    )


RULE = LintRule(
    code="NE316",
    name="unguarded-source-ranges",
    level=Level.ERROR,
    summary="Source ranges of a load balancer that nothing enforces",
    check=check,
)
