"""userspace mode: which addresses the saved rules hand to the proxy process.

Source: pkg/proxy/userspace/proxier.go (Kubernetes 1.20), by way of the renderer. Where the process
sends what it takes is known to it alone.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import NODE, Claim, Fault, Place, Probe, Saying, Sender
from netemu.kube.check.reading import (
    KubeRules,
    asks,
    destination_of,
    port_of,
    protocol_of,
    service_of,
)
from netemu.kube.check.services import Services
from netemu.kube.proxy.userspace import (
    NODEPORT_CONTAINER,
    NODEPORT_HOST,
    PORTALS_CONTAINER,
    PORTALS_HOST,
)
from netemu.netfilter.xtables.model import Rule

CHAINS = {
    PORTALS_CONTAINER: Sender.POD,
    NODEPORT_CONTAINER: Sender.OUTSIDE,
    PORTALS_HOST: Sender.NODE,
    NODEPORT_HOST: Sender.NODE,
}
"""Chains that lead to the process, and whose packets come by."""


def compare_portals(saved: KubeRules, wanted: KubeRules, services: Services) -> Iterator[Fault]:
    """Yield addresses that should be handed to the process and are not, and the other way round."""
    for chain, sender in CHAINS.items():
        want = {asks(rule): rule for rule in wanted.rules("nat", chain)}
        held = {asks(rule): rule for rule in saved.rules("nat", chain)}
        for key, rule in want.items():
            if key not in held:
                yield Fault(
                    code="NE328" if _known(saved, rule) else "NE322",
                    message=f"{service_of(rule)}: no rule of {chain} hands {_address(rule)}"
                    " to the proxy",
                    place=Place(table="nat", chain=chain),
                    line=saved.line("nat", chain),
                    claim=Claim(saying=Saying.UNTRANSLATED),
                    probes=(_probe(rule, sender),),
                )
        for number, (key, rule) in enumerate(held.items(), start=1):
            if key in want or not port_of(rule):
                continue
            name = service_of(rule)
            known = services.find(name, protocol_of(rule)) is not None
            text = "does not have it" if known else "is not there"
            yield Fault(
                code="NE329" if known else "NE323",
                message=f"{_address(rule)} is handed to the proxy for {name}, which {text}",
                place=Place(table="nat", chain=chain, rule=number),
                line=rule.line or 0,
                claim=Claim(saying=Saying.TRANSLATED),
                probes=(_probe(rule, sender),),
            )


def _known(saved: KubeRules, rule: Rule) -> bool:
    """Return whether any rule is there for the Service port of another."""
    name = service_of(rule)
    return any(service_of(other) == name for chain in CHAINS for other in saved.rules("nat", chain))


def _address(rule: Rule) -> str:
    ip = destination_of(rule)
    what = f"{ip}:{port_of(rule)}" if ip else f"NodePort {port_of(rule)}"
    return f"{what}/{protocol_of(rule)}"


def _probe(rule: Rule, sender: Sender) -> Probe:
    return Probe(
        sender=sender,
        protocol=protocol_of(rule),
        destination=destination_of(rule) or NODE,
        port=port_of(rule),
    )
