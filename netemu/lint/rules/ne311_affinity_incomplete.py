"""Session affinity that holds for some endpoints only.

Kernel: none.

What it does: Finds Services whose clients are to stay with their endpoint (`recent --rcheck`), but
where an endpoint is not asked for, asked for under another list's name or too late, or does not
enter its clients into its list.

Why it matters: A client that was sent to such an endpoint is sent anywhere the next time.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-SEP-2EAYR5UZ275HVR4P - [0:0]
    :KUBE-SEP-IGK4GYDLMHV7L6HN - [0:0]
    :KUBE-SERVICES - [0:0]
    :KUBE-SVC-ZRW2IZUANS4E5N2L - [0:0]
    -A PREROUTING -j KUBE-SERVICES
    -A KUBE-SEP-2EAYR5UZ275HVR4P -s 10.244.1.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-2EAYR5UZ275HVR4P -p tcp -m recent --set --name KUBE-SEP-2EAYR5UZ275HVR4P -m tcp -j DNAT --to-destination 10.244.1.5:8080
    -A KUBE-SEP-IGK4GYDLMHV7L6HN -s 10.244.2.5/32 -j KUBE-MARK-MASQ
    -A KUBE-SEP-IGK4GYDLMHV7L6HN -p tcp -m tcp -j DNAT --to-destination 10.244.2.5:8080
    -A KUBE-SERVICES -d 10.96.0.23/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-ZRW2IZUANS4E5N2L
    -A KUBE-SVC-ZRW2IZUANS4E5N2L -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-2EAYR5UZ275HVR4P -j KUBE-SEP-2EAYR5UZ275HVR4P
    -A KUBE-SVC-ZRW2IZUANS4E5N2L -m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-IGK4GYDLMHV7L6HN -j KUBE-SEP-IGK4GYDLMHV7L6HN
    -A KUBE-SVC-ZRW2IZUANS4E5N2L -m statistic --mode random --probability 0.5 -j KUBE-SEP-2EAYR5UZ275HVR4P
    -A KUBE-SVC-ZRW2IZUANS4E5N2L -j KUBE-SEP-IGK4GYDLMHV7L6HN
    COMMIT

Use instead: An --rcheck for every endpoint before the first chance, and a --set under the same name
in its chain.

References: writeServiceToEndpointRules in pkg/proxy/iptables/proxier.go of Kubernetes.
"""  # noqa: E501 - a rule is one line

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from netemu.kube.check.fault import Claim, Saying
from netemu.kube.check.reading import BALANCING, ENDPOINT_CHAIN, KubeRules, recent_of
from netemu.kube.check.ways import ways_into
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import nat, told
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every chain that asks for known clients or whose endpoints remember theirs."""
    rules = subject.kube.rules
    for chain in rules.chains("nat", *BALANCING):
        yield from _chain(subject, rules, chain)


def _chain(subject: Subject, rules: KubeRules, chain: str) -> Iterator[Finding]:
    asked: dict[str, tuple[str, int, int]] = {}
    choices: dict[str, int] = {}
    first_choice = 0
    for number, rule in enumerate(rules.rules("nat", chain), start=1):
        recent = recent_of(rule)
        if recent is not None and recent.operation in {"rcheck", "update"}:
            asked.setdefault(rule.jump, (recent.name, recent.seconds, number))
        elif ENDPOINT_CHAIN.fullmatch(rule.jump):
            choices.setdefault(rule.jump, number)
            first_choice = first_choice or number
    entered = {name: _entered(rules, name) for name in choices}
    if not asked and not any(entered.values()):
        return
    yield from _never_chosen(subject, chain, asked, choices)
    common = max((item[1] for item in asked.values()), default=0)
    for name, number in choices.items():
        listed, seconds, where = asked.get(name, ("", 0, 0))
        if not where:
            fault = "no rule asks for its known clients"
        elif not entered[name]:
            fault = "its chain does not remember its clients"
        elif listed not in entered[name]:
            fault = f"its clients are remembered as {entered[name][0]}, but asked for as {listed}"
        elif where > first_choice:
            fault = "it is asked for its known clients only after chance has chosen"
        elif seconds < common:
            fault = f"its clients stay {seconds} s, those of others {common} s"
        else:
            continue
        endpoint = rules.translation(name)[0]
        message = (
            f"{rules.service_name(chain) or chain}: clients do not stay with"
            f" {endpoint or name}: {fault}"
        )
        claim = Claim(saying=Saying.UNSTEADY, endpoint=endpoint)
        place = nat(chain, where or number)
        if fault.startswith("its clients stay"):
            claim = Claim(saying=Saying.MEETS, place=place)
        probes = [replace(one, known_client=True) for one in ways_into(rules, chain)]
        yield from told(subject, place, message, claim, probes)


def _never_chosen(
    subject: Subject, chain: str, asked: dict[str, tuple[str, int, int]], choices: dict[str, int]
) -> Iterator[Finding]:
    """Tell endpoints that keep the clients they have and get no new ones."""
    rules = subject.kube.rules
    for name, (_, _, number) in asked.items():
        endpoint = rules.translation(name)[0]
        if name in choices or not endpoint:
            continue
        message = (
            f"{rules.service_name(chain) or chain}: {endpoint} is asked for known clients,"
            " but never chosen for new ones"
        )
        claim = Claim(saying=Saying.MISSES, endpoint=endpoint, place=nat(chain))
        yield from told(subject, nat(chain, number), message, claim, ways_into(rules, chain))


def _entered(rules: KubeRules, chain: str) -> list[str]:
    """Return the lists that an endpoint's chain enters its clients into."""
    found = (recent_of(rule) for rule in rules.rules("nat", chain))
    return [item.name for item in found if item is not None and item.operation == "set"]


RULE = LintRule(
    code="NE311",
    name="affinity-incomplete",
    level=Level.ERROR,
    summary="Session affinity that holds for some endpoints only",
    check=check,
)
