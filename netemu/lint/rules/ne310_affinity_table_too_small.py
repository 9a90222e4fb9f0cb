"""Session affinity for clients from outside, in lists that hold 100 of them.

Kernel: none.

What it does: Finds Services with sessionAffinity ClientIP that are reached from outside the
cluster: their clients are remembered in lists of the `recent` match, one per endpoint.

Why it matters: Such a list keeps 100 addresses (ip_list_tot of xt_recent). The 101st client of an
endpoint throws the longest silent one out, long before the hours that --seconds promises, and that
client is sent to another endpoint next time.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-EXT-ZRW2IZUANS4E5N2L - [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-NODEPORTS - [0:0]
    :KUBE-SEP-2EAYR5UZ275HVR4P - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-ZRW2IZUANS4E5N2L - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-EXT-ZRW2IZUANS4E5N2L -j KUBE-SVC-ZRW2IZUANS4E5N2L
    -A KUBE-NODEPORTS -p tcp -m tcp --dport 30080 -j KUBE-EXT-ZRW2IZUANS4E5N2L
    -A KUBE-SEP-2EAYR5UZ275HVR4P -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-2EAYR5UZ275HVR4P -p tcp -m recent --set --name KUBE-SEP-2EAYR5UZ275HVR4P -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
    -A KUBE-SVC-ZRW2IZUANS4E5N2L -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-2EAYR5UZ275HVR4P -j KUBE-SEP-2EAYR5UZ275HVR4P
    -A KUBE-SVC-ZRW2IZUANS4E5N2L -j KUBE-SEP-2EAYR5UZ275HVR4P
    COMMIT

Use instead: `options xt_recent ip_list_tot=10000` in /etc/modprobe.d/, set before the module is
loaded, or affinity by a cookie in the ingress controller.

References: ip_list_tot in net/netfilter/xt_recent.c; sessionAffinityConfig in the Service API.
"""  # noqa: E501 - a rule is one line

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from netemu.kube.check.reading import BALANCING, KubeRules, recent_of
from netemu.kube.check.ways import ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import meets, nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.extensions.recent import IP_LIST_TOT


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every chain that asks for known clients, once."""
    rules = subject.kube.rules
    for chain in rules.chains("nat", *BALANCING):
        if not _is_reached_from_outside(rules, chain):
            continue
        for number, rule in enumerate(rules.rules("nat", chain), start=1):
            recent = recent_of(rule)
            if recent is None or recent.operation not in {"rcheck", "update"}:
                continue
            place = nat(chain, number)
            name = rules.service_name(chain) or chain
            message = (
                f"{name} remembers {IP_LIST_TOT} clients per endpoint at most (ip_list_tot);"
                f" with more, a client does not stay {recent.seconds} s"
            )
            probes = [replace(one, known_client=True) for one in ways_into(rules, chain)]
            yield from told(subject, place, message, meets(place), probes)
            break


def _is_reached_from_outside(rules: KubeRules, chain: str) -> bool:
    return any(
        reference.chain.startswith(("KUBE-EXT-", "KUBE-NODEPORTS", "KUBE-XLB-", "KUBE-FW-"))
        for reference in rules.references("nat", chain)
    )


RULE = LintRule(
    code="NE310",
    name="affinity-table-too-small",
    level=Level.INFO,
    summary="Session affinity for clients from outside, in lists that hold 100 of them",
    check=check,
)
