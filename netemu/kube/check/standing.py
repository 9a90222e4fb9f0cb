"""What stands in the tables whatever Services there are: jumps, mark, masquerading, guards.

Source: pkg/proxy/iptables/proxier.go (iptablesJumpChains), pkg/kubelet/kubelet_network_linux.go
(Kubernetes 1.30), by way of the renderer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netemu.kube.check.fault import NODE, Claim, Fault, Place, Probe, Saying, Sender
from netemu.kube.check.reading import KubeRules, asks, does, meaning, port_of, service_of
from netemu.kube.check.services import Services, inside, outside
from netemu.kube.check.ways import from_itself
from netemu.kube.proxy.iptables import MARK_MASQ
from netemu.kube.proxy.parts import BASE_CHAINS
from netemu.netfilter.xtables.model import Rule

KUBELETS = frozenset({"KUBE-FIREWALL", "KUBE-MARK-DROP"})
"""Chains that kubelet makes."""
_SSH = Probe(sender=Sender.OUTSIDE, protocol="tcp", destination=NODE, port=22)


def compare_standing(
    saved: KubeRules, wanted: KubeRules, services: Services, mode: str
) -> Iterator[Fault]:
    """Yield rules that should stand on every node of a mode and do not."""
    for name, table in wanted.tables.items():
        for chain in table.chains.values():
            if not _is_standing(chain.name):
                continue
            held = {meaning(rule) for rule in saved.rules(name, chain.name)}
            for rule in chain.rules:
                if _is_of_service(rule) or meaning(rule) in held or _is_optional(rule):
                    continue
                yield _missing(saved, name, chain.name, rule, services, mode)


def nothing_there(services: Services) -> Fault:
    """Return that a node has no rules of kube-proxy at all."""
    return Fault(
        code="NE334",
        message="the node has no rules of kube-proxy at all: it has not run, or somebody flushed"
        " the tables",
        claim=Claim(saying=Saying.UNTRANSLATED),
        probes=tuple(probe for port in services.ports[:8] for probe in inside(port)),
    )


def _is_standing(chain: str) -> bool:
    """Return whether a chain's rules belong to no single Service: base chains, and kube-proxy's."""
    parts = chain.split("-")
    hashed = len(parts) == 3 and parts[1] in {"SVC", "SVL", "EXT", "FW", "SEP"}
    return not hashed


def _is_of_service(rule: Rule) -> bool:
    return bool(service_of(rule) and port_of(rule))


def _is_optional(rule: Rule) -> bool:
    """Return whether versions and configurations differ about a rule that few packets meet."""
    return "--ctstate INVALID" in asks(rule)


def _missing(
    saved: KubeRules, table: str, chain: str, rule: Rule, services: Services, mode: str
) -> Fault:
    target = rule.jump or (rule.target.name if rule.target is not None else "")
    kubelets = chain in KUBELETS or target in KUBELETS
    base = chain in BASE_CHAINS[table]
    changed = [other for other in saved.rules(table, chain) if does(other) == does(rule)]
    same = [other for other in changed if base]
    if same:
        text = f"{chain} leads to {target} only for `{asks(same[0])}`, not for `{asks(rule)}`"
    elif base:
        text = f"nothing leads from {chain} to {target}"
    elif saved.has(table, chain):
        text = f"{chain} lacks `{' '.join(filter(None, meaning(rule)))}`"
    else:
        text = f"the chain {chain} is not there"
    claim, probes = _shown_by(table, chain, target, services, mode)
    return Fault(
        code="NE335" if kubelets else "NE334",
        message=f"table {table}: {text}" + " (kubelet's)" * kubelets,
        place=Place(table=table, chain=chain),
        line=saved.line(table, chain),
        claim=claim,
        probes=tuple(probes),
        covers=frozenset({chain}),
    )


def _shown_by(
    table: str, chain: str, target: str, services: Services, mode: str
) -> tuple[Claim, Iterable[Probe]]:
    """Return what the lack of a rule does to which packets."""
    inner = [probe for port in services.ports for probe in inside(port)]
    outer = [probe for port in services.ports for probe in outside(port)]
    avoids = Claim(saying=Saying.AVOIDS, place=Place(table=table, chain=target))
    unmatched = Claim(saying=Saying.UNMATCHED, place=Place(table=table, chain=chain), action=target)
    everything = (*outer, *inner, _SSH)
    if (chain, target) == ("KUBE-POSTROUTING", "RETURN"):
        return Claim(saying=Saying.MASQUERADED), inner
    if mode != "iptables":
        masquerades = table == "nat" and chain not in {"PREROUTING", "OUTPUT"}
        if masquerades and target in {"MASQUERADE", MARK_MASQ, "MARK", "KUBE-POSTROUTING"}:
            return Claim(saying=Saying.UNMASQUERADED), everything
        return (avoids if chain in BASE_CHAINS[table] else unmatched), everything
    if table == "nat" and chain in {"PREROUTING", "OUTPUT"}:
        local = chain == "OUTPUT"
        probes = [probe for probe in (*inner, *outer) if (probe.sender is Sender.NODE) == local]
        return Claim(saying=Saying.UNTRANSLATED), probes
    if table == "nat" and chain == "KUBE-SERVICES":
        return Claim(saying=Saying.UNTRANSLATED), outer
    if table == "nat":
        met = [
            probe
            for port in services.ports
            for item in services.of_port(port)[:2]
            for probe in from_itself(inside(port)[:1], item.ip)
        ]
        return Claim(saying=Saying.UNMASQUERADED), (*outer, *met, *inner)
    if chain in BASE_CHAINS["filter"]:
        senders = {"INPUT": [_SSH], "OUTPUT": [p for p in inner if p.sender is Sender.NODE]}
        return avoids, senders.get(chain, [p for p in (*inner, *outer) if p.sender in _FORWARDED])
    probes = [Probe(sender=Sender.OUTSIDE, protocol="tcp", destination="127.0.0.1", port=10249)]
    if chain == "KUBE-FORWARD":
        probes = [probe for probe in (*outer, *inner) if probe.sender in _FORWARDED]
    return unmatched, (*probes, _SSH)


_FORWARDED = (Sender.POD, Sender.OUTSIDE)
