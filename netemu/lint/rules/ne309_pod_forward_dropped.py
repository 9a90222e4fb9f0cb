"""FORWARD drops, and nothing accepts what pods send each other.

Kernel: none.

What it does: Finds nodes with kube-proxy's rules whose FORWARD chain drops by policy or by its last
rule, while no rule accepts new connections from or to pods.

Why it matters: KUBE-FORWARD accepts only what is marked for masquerading and what is established. A
pod's new connection to another pod, or through a Service to one, keeps its source address and needs
an accept of the CNI plugin. Docker sets the policy of FORWARD to DROP when it starts.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
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
    *filter
    :FORWARD DROP [0:0]
    :KUBE-FORWARD - [0:0]
    -A FORWARD -j KUBE-FORWARD
    -A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
    -A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    COMMIT

Use instead: `-A FORWARD -s 10.244.0.0/16 -j ACCEPT` and `-A FORWARD -d 10.244.0.0/16 -j ACCEPT`,
with the pods' range.

References: KUBE-FORWARD in pkg/proxy/iptables/proxier.go of Kubernetes; ip-forward-no-drop in
Docker's documentation.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Place, Probe, Saying, Sender
from netemu.kube.check.reading import KubeRules, asked_mark_of, asks, protocol_of, split_endpoint
from netemu.kube.check.ways import endpoints_of
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.model import Chain, Invert, Rule
from netemu.wire.address import in_prefix, parse_address

_MOST_ENDPOINTS = 8


def check(subject: Subject) -> Iterator[Finding]:
    """Look at the end of each table's FORWARD, then for an accept."""
    rules = subject.kube.rules
    if not rules.has("nat", "KUBE-SERVICES"):
        return
    for name, table in rules.tables.items():
        if "FORWARD" in table.chains:
            yield from _forward(subject, rules, name, table.chains["FORWARD"])


def _forward(subject: Subject, rules: KubeRules, table: str, chain: Chain) -> Iterator[Finding]:
    number = _last_drop(chain.rules)
    if not number and chain.policy is not Verdict.DROP:
        return
    endpoints = list(endpoints_of(rules))[:_MOST_ENDPOINTS]
    ips = [split_endpoint(endpoint)[0] for _, endpoint in endpoints]
    before = number - 1 if number else None
    if not ips or _accepts(rules, table, "FORWARD", before, ips, frozenset()):
        return
    how = f"rule {number} of FORWARD" if number else "the policy of FORWARD"
    how += f" in table {table}" * (table != "filter")
    some = ", ".join(list(dict.fromkeys(ips))[:3])
    message = f"{how} drops new connections to pods ({some}): nothing accepts them"
    probes = [
        Probe(
            sender=sender,
            protocol=protocol_of(rule) if rule is not None else "tcp",
            destination=split_endpoint(endpoint)[0],
            port=split_endpoint(endpoint)[1],
        )
        for chain_name, endpoint in endpoints
        for rule in (rules.translation(chain_name)[2],)
        for sender in (Sender.POD, Sender.OUTSIDE)
    ]
    place = Place(table=table, chain="FORWARD", rule=number)
    claim = Claim(saying=Saying.STUCK, by=place if number else None)
    yield from told(subject, place, message, claim, probes)


def _last_drop(rules: list[Rule]) -> int:
    """Return the number of a last rule that takes all that is left; 0 for none."""
    if not rules or asks(rules[-1]):
        return 0
    target = rules[-1].target
    return len(rules) if target is not None and target.name in {"DROP", "REJECT"} else 0


def _accepts(
    rules: KubeRules,
    table: str,
    chain: str,
    most: int | None,
    ips: list[str],
    above: frozenset[str],
) -> bool:
    """Return whether a rule may accept a new connection to or from a pod."""
    for rule in rules.rules(table, chain)[:most]:
        if not _is_for_pods(rule, ips):
            continue
        if rule.jump:
            below = above | {chain, rule.jump}
            if rule.jump not in above and _accepts(rules, table, rule.jump, None, ips, below):
                return True
        elif rule.target is not None and rule.target.standard is Verdict.ACCEPT:
            return True
    return False


def _is_for_pods(rule: Rule, ips: list[str]) -> bool:
    """Return whether a rule may match a new, unmarked packet of pods."""
    text = asks(rule)
    if "--ctstate" in text and "NEW" not in text and "! --ctstate" not in text:
        return False
    if "--state" in text and "NEW" not in text and "! --state" not in text:
        return False
    marked = asked_mark_of(rule)
    if marked is not None and marked.mark and not marked.invert:
        return False
    generic = rule.generic
    devices = (generic.in_device, generic.out_device)
    if any(name in {"lo", "docker0"} or name.startswith("br-") for name in devices):
        if not generic.invert & (Invert.VIA_IN | Invert.VIA_OUT):
            return False
    sides = (
        (generic.source, generic.source_mask, generic.invert & Invert.SRCIP),
        (generic.destination, generic.destination_mask, generic.invert & Invert.DSTIP),
    )
    for address, mask, inverted in sides:
        if address and not inverted:
            length = sum(octet.bit_count() for octet in mask)
            if not any(in_prefix(parse_address(ip), address, length) for ip in ips):
                return False
    return True


RULE = LintRule(
    code="NE309",
    name="pod-forward-dropped",
    level=Level.ERROR,
    summary="FORWARD drops, and nothing accepts what pods send each other",
    check=check,
)
