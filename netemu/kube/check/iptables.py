"""iptables mode: the saved chains of every Service port against those that kube-proxy would write.

Source: pkg/proxy/iptables/proxier.go, syncProxyRules (Kubernetes 1.30), by way of the renderer.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from netemu.kube.check.endpoints import EndpointCheck
from netemu.kube.check.fault import Claim, Fault, Place, Saying
from netemu.kube.check.outside import OutsideCheck
from netemu.kube.check.reading import (
    ENDPOINT_CHAIN,
    SERVICE_CHAIN,
    KubeRules,
    comment_of,
    does,
    port_of,
    protocol_of,
    service_of,
)
from netemu.kube.check.services import Services, inside
from netemu.kube.check.shared import Entry, entries_of
from netemu.kube.proxy.iptables import MARK_MASQ, PortChains
from netemu.kube.service_ports import ServicePortInfo


def compare_services(saved: KubeRules, wanted: KubeRules, services: Services) -> Iterator[Fault]:
    """Yield what differs for Services, port by port, then what belongs to none."""
    shared_saved, shared_wanted = entries_of(saved), entries_of(wanted)
    by_port: dict[tuple[str, str], list[Entry]] = {}
    for entry in shared_wanted.values():
        if named := service_of(entry.rule):
            by_port.setdefault((named, protocol_of(entry.rule)), []).append(entry)
    stale: dict[tuple[str, str], list[Entry]] = {}
    for key, entry in shared_saved.items():
        if key not in shared_wanted and (owner := _owner(entry, saved, services)):
            stale.setdefault(owner, []).append(entry)
    for port in services.ports:
        name = port.name, port.protocol
        yield from _PortCheck(
            saved=saved,
            wanted=wanted,
            services=services,
            port=port,
            held=shared_saved,
            entries=by_port.get(name, []),
            stale=stale.pop(name, []),
        ).faults()
    for (left, _), entries in stale.items():
        yield from _stale_service(left, entries, saved, services)


def _owner(entry: Entry, saved: KubeRules, services: Services) -> tuple[str, str] | None:
    """Return name and protocol of the Service port that a saved rule is for; None for none."""
    jump, protocol = entry.rule.jump, protocol_of(entry.rule)
    known = services.by_chain.get(jump)
    if known is not None:
        return known.name, known.protocol
    name = service_of(entry.rule)
    if SERVICE_CHAIN.fullmatch(jump):
        return name or saved.service_name(jump) or jump, protocol
    if name and (entry.refuses or entry.rule.target is not None or jump == MARK_MASQ):
        return name, protocol
    return None


def _stale_service(
    name: str, entries: list[Entry], saved: KubeRules, services: Services
) -> Iterator[Fault]:
    first = entries[0]
    others = f" and {len(entries) - 1} more rules" * (len(entries) > 1)
    known = services.find(name)
    if known is not None:
        text = f"{name} has no port {first.key[1]}/{first.key[2]}, but its rules are there"
    elif "/" in name:
        text = f"there is no Service {name.partition(':')[0]}, but rules for {name} are there"
    else:
        text = f"no Service has the chain {name}, but a rule leads there"
    translated = any(entry.table == "nat" for entry in entries)
    yield Fault(
        code="NE323",
        message=f"{text}: {first.address}{others}",
        place=first.place,
        line=first.rule.line or 0,
        claim=Claim(saying=Saying.TRANSLATED if translated else Saying.REFUSED),
        probes=tuple(probe for entry in entries for probe in entry.probes()),
        covers=_chains_below(saved, [entry.rule.jump for entry in entries]),
    )


def _chains_below(saved: KubeRules, chains: list[str]) -> frozenset[str]:
    """Return Services' chains and all that they lead to."""
    found: set[str] = set()
    waiting = [name for name in chains if name]
    while waiting:
        name = waiting.pop()
        if name in found or not (SERVICE_CHAIN.fullmatch(name) or ENDPOINT_CHAIN.fullmatch(name)):
            continue
        found.add(name)
        waiting += [rule.jump for rule in saved.rules("nat", name) if rule.jump]
    return frozenset(found)


class _PortCheck(Struct, kw_only=True):
    """Compares what is there for one Service port."""

    saved: KubeRules
    wanted: KubeRules
    services: Services
    port: ServicePortInfo
    held: dict[tuple[str, str, str], Entry]
    """All saved rules of shared chains."""
    entries: list[Entry]
    """Those that should be there for this port."""
    stale: list[Entry]
    """Those that are there for it and should not be."""

    def faults(self) -> Iterator[Fault]:
        """Yield every difference; one that follows from another is left out."""
        port = self.port
        chains = PortChains.of(port)
        names = (chains.cluster, chains.local, chains.external, chains.firewall)
        there = [entry for entry in self.entries if self._held(entry) is not None]
        if not there and not self.stale and not any(self.saved.has("nat", name) for name in names):
            yield self._missing_service()
            return
        checking = EndpointCheck(
            saved=self.saved, wanted=self.wanted, services=self.services, port=port
        )
        balancing = [
            *checking.faults(chains.cluster, local=False),
            *checking.faults(chains.local, local=True),
            *checking.faults(chains.local.replace("-SVL-", "-XLB-"), local=True),
        ]
        sends_stale = any(fault.code == "NE320" for fault in balancing)
        refused = self._refused_instead()
        if refused is not None:
            yield refused
            balancing = [fault for fault in balancing if fault.code != "NE321"]
        # A chain of an endpoint is led into by several chains, but is wrong only once.
        yield from {(fault.code, fault.place, fault.message): fault for fault in balancing}.values()
        for entry in self.entries:
            skip = (refused is not None and entry.table == "nat") or (entry.refuses and sends_stale)
            if not skip:
                yield from self._entry(entry)
        for entry in self.stale:
            skip = (entry.refuses and refused is not None) or (
                entry.table == "nat" and sends_stale and self._is_refused_now(entry)
            )
            if not skip:
                yield self._stale(entry)
        yield from OutsideCheck(saved=self.saved, wanted=self.wanted, port=port).faults()

    def _held(self, entry: Entry) -> Entry | None:
        return self.held.get((entry.table, entry.chain, entry.question))

    def _missing_service(self) -> Fault:
        port = self.port
        refuses = all(entry.refuses for entry in self.entries)
        probes = tuple(probe for entry in self.entries for probe in entry.probes())
        return Fault(
            code="NE322",
            message=f"nothing is there for {port.name}"
            f" (ClusterIP {port.cluster_ip}:{port.port}/{port.protocol})",
            place=Place(table="nat", chain="KUBE-SERVICES"),
            line=self.saved.line("nat", "KUBE-SERVICES"),
            claim=Claim(saying=Saying.PASSES if refuses else Saying.UNTRANSLATED),
            probes=probes or inside(port),
        )

    def _refused_instead(self) -> Fault | None:
        """Return that a port with endpoints is refused as if it had none."""
        wanted = {entry.key for entry in self.entries if entry.table == "nat"}
        for entry in self.stale:
            if entry.refuses and entry.key in wanted:
                ready = [str(item) for item in self.services.of_port(self.port) if item.ready]
                return Fault(
                    code="NE333",
                    message=f"{self.port.name} is refused at {entry.address},"
                    f" but has endpoints: {', '.join(ready[:3])}",
                    place=entry.place,
                    line=entry.rule.line or 0,
                    claim=Claim(saying=Saying.REFUSED),
                    probes=entry.probes(),
                )
        return None

    def _is_refused_now(self, entry: Entry) -> bool:
        """Return whether what a saved rule sends to endpoints is to be refused."""
        return any(other.refuses and other.key == entry.key for other in self.entries)

    # --- Addresses --------------------------------------------------------------------------------

    def _entry(self, entry: Entry) -> Iterator[Fault]:
        held = self._held(entry)
        name = self.port.name
        if held is None:
            yield self._missing_entry(entry)
            return
        if does(held.rule) == does(entry.rule):
            return
        want, have = entry.rule.jump or does(entry.rule), held.rule.jump or does(held.rule)
        code, text = "NE324", f"{name} at {entry.address} leads to {have} instead of {want}"
        claim = Claim(saying=Saying.MEETS, place=held.place)
        chains = PortChains.of(self.port)
        if entry.chain == "KUBE-PROXY-FIREWALL" or want == chains.firewall:
            code = "NE332"
            text = f"the source ranges of {name} do not guard {entry.address}: it leads to {have}"
        elif {want, have} == {chains.cluster, chains.local}:
            code = "NE330"
            which = "only this node's" if have == chains.local else "all"
            text = f"{name} at {entry.address} is sent to {which} endpoints, against its policy"
        elif entry.refuses:
            code = "NE333"
            text = f"{name} at {entry.address} meets {have} instead of {want}"
        yield Fault(
            code=code,
            message=text,
            place=held.place,
            line=held.rule.line or 0,
            claim=claim,
            probes=entry.probes(),
            covers=frozenset({want}),
        )

    def _missing_entry(self, entry: Entry) -> Fault:
        name = self.port.name
        code, saying = "NE328", Saying.UNTRANSLATED
        text = f"{name} has no rule for its {entry.address}"
        if entry.masquerades:
            code, saying = "NE326", Saying.UNMASQUERADED
            text = f"{name} is not masqueraded at {entry.address}"
        elif entry.refuses:
            code, saying = "NE333", Saying.PASSES
            text = f"{comment_of(entry.rule)}, but nothing refuses {entry.address}"
        elif entry.chain == "KUBE-PROXY-FIREWALL":
            code, saying = "NE332", Saying.UNMATCHED
            text = f"nothing drops what the source ranges of {name} keep out of {entry.address}"
        elif entry.table == "filter":
            text = f"{name} has no rule for its health check node port {port_of(entry.rule)}"
            saying = Saying.UNMATCHED
        return Fault(
            code=code,
            message=text,
            place=Place(table=entry.table, chain=entry.chain),
            line=self.saved.line(entry.table, entry.chain),
            claim=Claim(saying=saying, place=Place(table=entry.table, chain=entry.chain)),
            probes=entry.probes(),
            covers=_chains_below(self.saved, [entry.rule.jump]),
        )

    def _stale(self, entry: Entry) -> Fault:
        name = self.port.name
        code, saying = "NE329", Saying.TRANSLATED
        text = f"{name} has no {entry.address}, but a rule for it is there"
        if entry.refuses:
            code, saying = "NE333", Saying.REFUSED
            text = f"{entry.address} of {name} is refused ({comment_of(entry.rule)}) for no reason"
        elif entry.chain == "KUBE-PROXY-FIREWALL":
            code, saying = "NE332", Saying.REFUSED
            text = f"{name} has no source ranges at {entry.address}, but a rule drops there"
        elif entry.rule.jump == MARK_MASQ or entry.table == "filter":
            saying = Saying.MEETS
        return Fault(
            code=code,
            message=text,
            place=entry.place,
            line=entry.rule.line or 0,
            claim=Claim(saying=saying, place=entry.place),
            probes=entry.probes(),
        )
