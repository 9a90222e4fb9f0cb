"""What kube-proxy marks is not masqueraded.

Kernel: none.

What it does: Finds nodes whose KUBE-MARK-MASQ sets no bit of the mark, or another one than
KUBE-POSTROUTING masquerades or KUBE-FORWARD accepts, and a KUBE-POSTROUTING that masquerades
nothing, or everything.

Why it matters: Clients of NodePorts, of load balancers and a pod that meets itself need the node's
address as source, else the answer does not come back this way.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    :KUBE-EXT-CDGGSHYLG3RE2FKL - [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-NODEPORTS - [0:0]
    :KUBE-POSTROUTING - [0:0]
    :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A POSTROUTING -j KUBE-POSTROUTING
    -A KUBE-EXT-CDGGSHYLG3RE2FKL -j KUBE-MARK-MASQ
    -A KUBE-EXT-CDGGSHYLG3RE2FKL -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
    -A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT-CDGGSHYLG3RE2FKL
    -A KUBE-POSTROUTING -m mark ! --mark 0x8000/0x8000 -j RETURN
    -A KUBE-POSTROUTING -j MASQUERADE
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -p tcp -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-AFGSLHOD2HFNCBX4
    COMMIT

Use instead: The same bit in all three chains, by default 0x4000.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes ("Install the
kubernetes-specific postrouting rules").
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Place, Saying
from netemu.kube.check.reading import KubeRules, asked_mark_of, split_endpoint
from netemu.kube.check.ways import all_ways, endpoints_of, from_itself, ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject

MARK, POSTROUTING, FORWARD = "KUBE-MARK-MASQ", "KUBE-POSTROUTING", "KUBE-FORWARD"
_FEW = 4


def check(subject: Subject) -> Iterator[Finding]:
    """Compare the bit that is set with those that are asked for."""
    rules = subject.kube.rules
    if not rules.has("nat", MARK) or not rules.has("nat", POSTROUTING):
        return
    bit = rules.masquerade_bit()
    unmasked = Claim(saying=Saying.UNMASQUERADED)
    outer = [
        probe
        for chain in rules.chains("nat", "KUBE-EXT-", "KUBE-FW-")
        for probe in ways_into(rules, chain)
    ]
    itself = [
        probe
        for chain, endpoint in list(endpoints_of(rules))[:_FEW]
        for probe in from_itself(ways_into(rules, chain), split_endpoint(endpoint)[0])
    ]
    probes = [*outer, *itself, *all_ways(rules)]
    if not bit:
        message = f"{MARK} sets no bit of the mark, so that nothing is masqueraded"
        yield from told(subject, nat(MARK), message, unmasked, probes)
        return
    held = rules.rules("nat", POSTROUTING)
    asked = [
        (number, mark)
        for number, rule in enumerate(held, start=1)
        if (mark := asked_mark_of(rule)) is not None
    ]
    wrong = [number for number, mark in asked if mark.mark & mark.mask != bit & mark.mask]
    masquerading = [rule for rule in held if rule.target and rule.target.name == "MASQUERADE"]
    if wrong:
        place = nat(POSTROUTING, wrong[0])
        message = f"{POSTROUTING} asks for another bit of the mark than {bit:#x}, which {MARK} sets"
        yield from told(subject, place, message, unmasked, probes)
    elif not masquerading:
        message = f"{POSTROUTING} masquerades nothing"
        yield from told(subject, nat(POSTROUTING), message, unmasked, probes)
    elif not asked and not any("--match-set" in rule.text for rule in masquerading):
        message = f"{POSTROUTING} masquerades every packet, marked or not"
        claim = Claim(saying=Saying.MASQUERADED)
        yield from told(subject, nat(POSTROUTING), message, claim, list(all_ways(rules)))
    yield from _forward(subject, rules, bit)


def _forward(subject: Subject, rules: KubeRules, bit: int) -> Iterator[Finding]:
    claim = Claim(
        saying=Saying.UNMATCHED, place=Place(table="filter", chain=FORWARD), action="ACCEPT"
    )
    held = rules.rules("filter", FORWARD)
    if held and not any(map(asked_mark_of, held)):
        place = Place(table="filter", chain=FORWARD)
        message = f"{FORWARD} does not accept mark {bit:#x}, which {MARK} sets"
        yield from told(subject, place, message, claim, list(all_ways(rules)))
    for number, rule in enumerate(held, start=1):
        mark = asked_mark_of(rule)
        if mark is not None and not mark.invert and mark.mark != bit:
            place = Place(table="filter", chain=FORWARD, rule=number)
            message = f"{FORWARD} accepts mark {mark.mark:#x}, but {MARK} sets {bit:#x}"
            yield from told(subject, place, message, claim, list(all_ways(rules)))


RULE = LintRule(
    code="NE313",
    name="service-masquerade-broken",
    level=Level.ERROR,
    summary="What kube-proxy marks is not masqueraded",
    check=check,
)
