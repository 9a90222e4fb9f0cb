"""A chain of a Service that leads nowhere.

Kernel: none.

What it does: Finds chains of Services and endpoints that rules lead into, but that choose no
endpoint (KUBE-SVC, KUBE-SVL), lead to no such chain (KUBE-EXT, KUBE-FW), or do not translate
(KUBE-SEP).

Why it matters: A packet that comes there returns with its Service's address unchanged, and since no
machine has a ClusterIP, nobody answers it.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-SEP-AFGSLHOD2HFNCBX4 - [0:0]
    :KUBE-SEP-OAIGUPJHOE4YU7HS - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-CDGGSHYLG3RE2FKL - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
    -A KUBE-SEP-AFGSLHOD2HFNCBX4 -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-OAIGUPJHOE4YU7HS -s 10.244.2.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-OAIGUPJHOE4YU7HS -p tcp -m tcp -j DNAT --to-destination 10.244.2.5:8080
    -A KUBE-SERVICES -d 10.96.0.20/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-CDGGSHYLG3RE2FKL
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -m statistic --mode random --probability 0.5 -j KUBE-SEP-AFGSLHOD2HFNCBX4
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-OAIGUPJHOE4YU7HS
    COMMIT

Use instead: What kube-proxy writes; it writes a chain anew when it is deleted and kube-proxy
restarted, or when its Service or endpoints change.

References: syncProxyRules in pkg/proxy/iptables/proxier.go of Kubernetes.
"""  # noqa: E501 - a rule is one line

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Saying
from netemu.kube.check.reading import ENDPOINT_CHAIN, SERVICE_CHAIN
from netemu.kube.check.ways import ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject

_NEXT = {
    "KUBE-SVC-": ("KUBE-SEP-", "KUBE-SVC-"),
    "KUBE-SVL-": ("KUBE-SEP-",),
    "KUBE-EXT-": ("KUBE-SVC-", "KUBE-SVL-"),
    "KUBE-FW-": ("KUBE-EXT-", "KUBE-SVC-", "KUBE-XLB-"),
}
"""Where a chain of a prefix leads; of KUBE-XLB it is enough that it has rules."""


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every chain that is led into."""
    rules = subject.kube.rules
    for chain in rules.chains("nat", "KUBE-"):
        known = SERVICE_CHAIN.fullmatch(chain) or ENDPOINT_CHAIN.fullmatch(chain)
        if not known or not rules.references("nat", chain) or _leads_on(subject, chain):
            continue
        name = rules.service_name(chain)
        of = f" of {name}" if name else ""
        what, claim = "leads to no endpoint", Claim(saying=Saying.UNTRANSLATED)
        if ENDPOINT_CHAIN.fullmatch(chain):
            # The packet goes on to the next choice; only from the last it is sent nowhere.
            what, claim = "translates nothing", Claim(saying=Saying.ENTERS, place=nat(chain))
        message = f"{chain}{of} {what}, but rules lead into it"
        yield from told(subject, nat(chain), message, claim, ways_into(rules, chain))


def _leads_on(subject: Subject, chain: str) -> bool:
    rules = subject.kube.rules
    held = rules.rules("nat", chain)
    if any(rule.target is not None and rule.target.name == "DNAT" for rule in held):
        return True  # an endpoint's chain; those of 1.0 were named KUBE-SVC, too
    if ENDPOINT_CHAIN.fullmatch(chain):
        return False
    following = next((to for prefix, to in _NEXT.items() if chain.startswith(prefix)), ("",))
    return any(rule.jump.startswith(following) for rule in held if rule.jump or following == ("",))


RULE = LintRule(
    code="NE301",
    name="empty-service-chain",
    level=Level.ERROR,
    summary="A chain of a Service that leads nowhere",
    check=check,
)
