"""A chain of kube-proxy that a base chain should lead into and does not.

Kernel: none.

What it does: Finds base chains without their jump to KUBE-SERVICES, KUBE-POSTROUTING and the like,
on nodes where another base chain of the same table has its own, and a KUBE-SERVICES without its
last rule, the jump to KUBE-NODEPORTS.

Why it matters: Without the jump in OUTPUT the node's own processes reach no Service; without the
one in POSTROUTING nothing is masqueraded; without those of the filter table Services without
endpoints are not refused and source ranges not heeded.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :OUTPUT ACCEPT [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: `-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES`.

References: iptablesJumpChains in pkg/proxy/iptables/proxier.go of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import NODE, Claim, Place, Probe, Saying, Sender
from netemu.kube.check.reading import KubeRules
from netemu.kube.check.ways import all_ways
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject

ALWAYS = (
    ("nat", "PREROUTING", "KUBE-SERVICES"),
    ("nat", "OUTPUT", "KUBE-SERVICES"),
    ("nat", "POSTROUTING", "KUBE-POSTROUTING"),
    ("nat", "KUBE-SERVICES", "KUBE-NODEPORTS"),
    ("filter", "FORWARD", "KUBE-FORWARD"),
    ("filter", "INPUT", "KUBE-FIREWALL"),
    ("filter", "OUTPUT", "KUBE-FIREWALL"),
)
"""Jumps of every release that has the chain."""
SINCE_1_25 = (
    ("filter", "INPUT", "KUBE-EXTERNAL-SERVICES"),
    ("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES"),
    ("filter", "FORWARD", "KUBE-SERVICES"),
    ("filter", "OUTPUT", "KUBE-SERVICES"),
    ("filter", "INPUT", "KUBE-NODEPORTS"),
    ("filter", "INPUT", "KUBE-PROXY-FIREWALL"),
    ("filter", "FORWARD", "KUBE-PROXY-FIREWALL"),
    ("filter", "OUTPUT", "KUBE-PROXY-FIREWALL"),
)
"""Those of iptables mode, of releases that have KUBE-PROXY-FIREWALL."""
IPVS = (
    ("filter", "INPUT", "KUBE-NODE-PORT"),
    ("filter", "INPUT", "KUBE-PROXY-FIREWALL"),
    ("filter", "FORWARD", "KUBE-PROXY-FIREWALL"),
    ("filter", "INPUT", "KUBE-IPVS-FILTER"),
    ("filter", "OUTPUT", "KUBE-IPVS-OUT-FILTER"),
)
"""Those of IPVS mode."""


def check(subject: Subject) -> Iterator[Finding]:
    """Look for each jump whose chain has rules, in tables that have any of the jumps."""
    rules = subject.kube.rules
    jumps = [*ALWAYS]
    if rules.has("nat", "KUBE-NODE-PORT"):
        jumps += IPVS
    elif rules.has("filter", "KUBE-PROXY-FIREWALL"):
        jumps += SINCE_1_25
    there = {
        table
        for table, base, target in jumps
        if not base.startswith("KUBE-") and _jumps(rules, table, base, target)
    }
    for table, base, target in jumps:
        needed = table in there and rules.rules(table, target)
        if needed and not _jumps(rules, table, base, target):
            place = Place(table=table, chain=base)
            message = f"nothing leads from {base} to {target} in table {table}"
            claim = Claim(saying=Saying.AVOIDS, place=Place(table=table, chain=target))
            yield from told(subject, place, message, claim, _probes(rules, base))


def _jumps(rules: KubeRules, table: str, base: str, target: str) -> bool:
    """Return whether a base chain leads into a chain, by way of others perhaps."""
    waiting, seen = [base], set()
    while waiting:
        chain = waiting.pop()
        if chain in seen:
            continue
        seen.add(chain)
        waiting += [rule.jump for rule in rules.rules(table, chain) if rule.jump]
    return target in seen


def _probes(rules: KubeRules, base: str) -> list[Probe]:
    ssh = Probe(sender=Sender.OUTSIDE, protocol="tcp", destination=NODE, port=22)
    away = Probe(sender=Sender.NODE, protocol="tcp", destination="198.51.100.7", port=443)
    through = Probe(sender=Sender.OUTSIDE, protocol="tcp", destination="198.51.100.7", port=443)
    ways = list(all_ways(rules))
    if base == "INPUT":
        return [ssh]
    if base == "OUTPUT":
        return [*(probe for probe in ways if probe.sender is Sender.NODE), away]
    return [*(probe for probe in ways if probe.sender is not Sender.NODE), through]


RULE = LintRule(
    code="NE312",
    name="missing-kube-jump",
    level=Level.ERROR,
    summary="A chain of kube-proxy that a base chain should lead into and does not",
    check=check,
)
