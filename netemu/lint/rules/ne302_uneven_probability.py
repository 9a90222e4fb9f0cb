"""A Service's chances that are not 1/n … 1/2.

Kernel: none.

What it does: Finds chains that choose an endpoint by `statistic --mode random` with other chances
than 1/n, 1/(n-1) … 1/2 and none for the last, so that endpoints get unequal shares.

Why it matters: Every rule sees only what the ones before it left over. With other chances one
endpoint gets more connections than another; if the last rule has a chance, too, some connections
get no endpoint at all.

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
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -m statistic --mode random --probability 0.33 -j KUBE-SEP-AFGSLHOD2HFNCBX4
    -A KUBE-SVC-CDGGSHYLG3RE2FKL -j KUBE-SEP-OAIGUPJHOE4YU7HS
    COMMIT

Use instead: `--probability 0.5` for the first of two endpoints, 0.3333333333 and 0.5 for the first
two of three.

References: writeServiceToEndpointRules in pkg/proxy/iptables/proxier.go of Kubernetes; statistic_mt
in net/netfilter/xt_statistic.c.
"""  # noqa: E501 - a rule is one line

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Saying
from netemu.kube.check.reading import (
    BALANCING,
    ENDPOINT_CHAIN,
    SERVICE_CHAIN,
    asks,
    recent_of,
    threshold_of,
)
from netemu.kube.check.ways import ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.xtables.model import Rule

ALL_CHANCES = 1 << 31
TOLERANCE = ALL_CHANCES // 50_000
"""Up to 1.16 kube-proxy wrote five digits (`%0.5f`)."""


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every chain that chooses."""
    rules = subject.kube.rules
    for chain in rules.chains("nat", *BALANCING):
        if SERVICE_CHAIN.fullmatch(chain):
            choices = _choices(rules.rules("nat", chain))
            yield from _uneven(subject, chain, choices)


def _choices(rules: list[Rule]) -> list[tuple[int, Rule]]:
    """Return number and rule of every choice; what asks more than chance is none."""
    found = []
    for number, rule in enumerate(rules, start=1):
        if not ENDPOINT_CHAIN.fullmatch(rule.jump) or recent_of(rule) is not None:
            continue
        if threshold_of(rule) is not None or not asks(rule):
            found.append((number, rule))
    return found


def _uneven(subject: Subject, chain: str, choices: list[tuple[int, Rule]]) -> Iterator[Finding]:
    rules = subject.kube.rules
    for left, (number, rule) in zip(range(len(choices), 0, -1), choices, strict=True):
        chance = threshold_of(rule)
        wanted = ALL_CHANCES // left
        held = ALL_CHANCES if chance is None else chance
        if abs(held - wanted) <= TOLERANCE and (left > 1 or chance is None):
            continue
        endpoint = rules.translation(rule.jump)[0]
        name = rules.service_name(chain) or chain
        should = f"1/{left}" if left > 1 else "all that is left"
        share = "all that is left" if chance is None else f"{held / ALL_CHANCES:.5g}"
        message = (
            f"{name}: the chance of {endpoint or rule.jump} is {share}; of {left}"
            f" remaining endpoints it should be {should}"
        )
        if left == 1:
            message = (
                f"{name}: the last endpoint {endpoint or rule.jump} has a chance ({share}),"
                " so that some packets get no endpoint"
            )
        claim = Claim(saying=Saying.UNEVEN, endpoint=endpoint)
        yield from told(subject, nat(chain, number), message, claim, ways_into(rules, chain))
        return


RULE = LintRule(
    code="NE302",
    name="uneven-probability",
    level=Level.ERROR,
    summary="Chances among a Service's endpoints that are not 1/n … 1/2",
    check=check,
)
