"""A ClusterIP whose chain is there, but which nothing leads there.

Kernel: none.

What it does: Finds Services whose chain marks packets to a ClusterIP and port for masquerading,
while no rule of KUBE-SERVICES sends packets to that address and port anywhere.

Why it matters: The ClusterIP is dead, although the Service still answers at its other addresses.

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
    -A KUBE-SVC-CDGGSHYLG3RE2FKL ! -s 10.244.0.0/16 -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: In KUBE-SERVICES, `-d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-…`.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes ("cluster IP").
"""  # noqa: E501 - a rule is one line

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Saying
from netemu.kube.check.reading import (
    BALANCING,
    SERVICE_CHAIN,
    destination_of,
    port_of,
    protocol_of,
)
from netemu.kube.check.ways import probes_of
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.xtables.model import Rule


def check(subject: Subject) -> Iterator[Finding]:
    """Look at the address that each chain marks for masquerading."""
    rules = subject.kube.rules
    served = {
        _address(rule)
        for rule in rules.rules("nat", "KUBE-SERVICES")
        if SERVICE_CHAIN.fullmatch(rule.jump)
    }
    for chain in rules.chains("nat", *BALANCING):
        if not rules.references("nat", chain):
            continue  # an orphan, which NE304 tells
        for number, rule in enumerate(rules.rules("nat", chain), start=1):
            address = _address(rule)
            if rule.jump != "KUBE-MARK-MASQ" or not all(address) or address in served:
                continue
            name = rules.service_name(chain) or chain
            ip, protocol, port = address
            message = f"no rule of KUBE-SERVICES leads {ip}:{port}/{protocol} to {name}"
            claim = Claim(saying=Saying.UNTRANSLATED)
            yield from told(subject, nat(chain, number), message, claim, probes_of(rule))


def _address(rule: Rule) -> tuple[str, str, int]:
    return destination_of(rule), protocol_of(rule), port_of(rule)


RULE = LintRule(
    code="NE315",
    name="missing-service-entry",
    level=Level.ERROR,
    summary="A ClusterIP whose chain is there, but which nothing leads there",
    check=check,
)
