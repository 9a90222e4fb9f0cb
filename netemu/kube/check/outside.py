"""How packets from outside come to a Service: traffic policies and source ranges.

Source: pkg/proxy/iptables/proxier.go, syncProxyRules (Kubernetes 1.30).
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from netemu.kube.check.endpoints import told_sender
from netemu.kube.check.fault import Claim, Fault, Place, Probe, Saying, Sender
from netemu.kube.check.reading import (
    KubeRules,
    is_for_local_senders,
    meaning,
    source_of,
)
from netemu.kube.check.services import outside
from netemu.kube.check.ways import host_of
from netemu.kube.proxy.iptables import MARK_MASQ, PortChains
from netemu.kube.service_ports import ServicePortInfo
from netemu.netfilter.xtables.model import Rule


class OutsideCheck(Struct, frozen=True, kw_only=True):
    """Compares the chains that external addresses of one Service port lead to."""

    saved: KubeRules
    wanted: KubeRules
    port: ServicePortInfo

    def faults(self) -> Iterator[Fault]:
        """Yield what differs."""
        chains = PortChains.of(self.port)
        yield from self._external(chains)
        yield from self._firewall(chains)

    def _external(self, chains: PortChains) -> Iterator[Fault]:
        """Compare the chain that external addresses lead to."""
        chain, name = chains.external, self.port.name
        wanted = [meaning(rule) for rule in self.wanted.rules("nat", chain)]
        rules = self.saved.rules("nat", chain)
        held = [meaning(rule) for rule in rules]
        if not wanted or wanted == held or not held:
            return
        if any(map(is_for_local_senders, rules)) != self.port.external_policy_local:
            yield self._other_policy(chain)
            return
        numbers = {item: number for number, item in enumerate(held, start=1)}
        policy = "Local" if self.port.external_policy_local else "Cluster"
        for item in held:
            if item not in wanted:
                number = numbers[item]
                yield self._external_extra(chain, number, rules[number - 1], item, policy)
        led = any(not asked and done.startswith("-j KUBE-SV") for asked, done in held)
        for item in wanted:
            if item not in held and not (led and item[1].startswith("-j KUBE-SV") and not item[0]):
                yield self._external_missing(chain, item, policy)
        if sorted(held) == sorted(wanted):
            yield Fault(
                code="NE330",
                message=f"the rules for external traffic of {name} stand in the wrong order",
                place=Place(table="nat", chain=chain, rule=1),
                line=rules[0].line or 0,
                claim=Claim(saying=Saying.MEETS, place=Place(table="nat", chain=chain, rule=1)),
                probes=outside(self.port),
            )

    def _other_policy(self, chain: str) -> Fault:
        """Return that the chain is one of the other policy."""
        local = self.port.external_policy_local
        mine, other = ("Local", "Cluster") if local else ("Cluster", "Local")
        does = "masqueraded and sent to all endpoints" if local else "kept on this node"
        return Fault(
            code="NE330",
            message=f"external traffic of {self.port.name} is {does}, as of"
            f" externalTrafficPolicy {other}, but its policy is {mine}",
            place=Place(table="nat", chain=chain),
            line=self.saved.line("nat", chain),
            claim=Claim(saying=Saying.MASQUERADED if local else Saying.UNMASQUERADED),
            probes=outside(self.port),
            covers=frozenset({chain}),
        )

    def _external_extra(
        self, chain: str, number: int, rule: Rule, item: tuple[str, str], policy: str
    ) -> Fault:
        name, place = self.port.name, Place(table="nat", chain=chain, rule=number)
        claim = Claim(saying=Saying.MEETS, place=place)
        code, text = "NE330", f"external traffic of {name} meets `{' '.join(item).strip()}`"
        if rule.jump == MARK_MASQ and not item[0]:
            text = f"{name} masquerades external traffic"
            claim = Claim(saying=Saying.MASQUERADED)
        elif rule.jump.startswith("KUBE-SVC-"):
            text = f"{name} sends external traffic to endpoints of all nodes"
        elif rule.jump.startswith("KUBE-SVL-"):
            text = f"{name} sends external traffic only to endpoints of this node"
        return Fault(
            code=code,
            message=f"{text}, although its externalTrafficPolicy is {policy}",
            place=place,
            line=rule.line or 0,
            claim=claim,
            probes=outside(self.port),
        )

    def _external_missing(self, chain: str, item: tuple[str, str], policy: str) -> Fault:
        name, (question, action) = self.port.name, item
        code, claim = "NE330", Claim(saying=Saying.UNTRANSLATED)
        probes = outside(self.port)
        if MARK_MASQ in action:
            code, claim = "NE326", Claim(saying=Saying.UNMASQUERADED)
            text = f"{name} does not masquerade external traffic"
            if question:
                text += " of the node itself"
                probes = tuple(probe for probe in probes if probe.sender is Sender.NODE)
        elif question:
            who = "pods" if question.startswith(("-s", "-i")) else "the node"
            text = f"{name} does not send {who} to all endpoints from its external addresses"
            claim = Claim(
                saying=Saying.AVOIDS, place=Place(table="nat", chain=action.split()[-1], rule=0)
            )
            sender = Sender.POD if who == "pods" else Sender.NODE
            probes = tuple(probe for probe in probes if probe.sender is sender)
        else:
            code = "NE324"
            text = f"external traffic of {name} does not come to {action.split()[-1]}"
        return Fault(
            code=code,
            message=f"{text} (externalTrafficPolicy {policy})",
            place=Place(table="nat", chain=chain),
            line=self.saved.line("nat", chain),
            claim=claim,
            probes=probes,
            covers=frozenset({chain}),
        )

    def _firewall(self, chains: PortChains) -> Iterator[Fault]:
        """Compare the ranges that may come to a load balancer's address."""
        chain, name = chains.firewall, self.port.name
        if not self.saved.has("nat", chain) or not self.wanted.has("nat", chain):
            return
        wanted = {meaning(rule): rule for rule in self.wanted.rules("nat", chain) if rule.jump}
        held = {
            meaning(rule): (number, rule)
            for number, rule in enumerate(self.saved.rules("nat", chain), start=1)
            if rule.jump
        }
        for key, (number, rule) in held.items():
            if key not in wanted:
                place = Place(table="nat", chain=chain, rule=number)
                yield Fault(
                    code="NE332",
                    message=f"{name} lets {told_sender(rule)} in, which its source ranges do not",
                    place=place,
                    line=rule.line or 0,
                    claim=Claim(saying=Saying.MEETS, place=place),
                    probes=self._balancer_probes(source_of(rule)),
                )
        for key, rule in wanted.items():
            if key not in held:
                yield self._firewall_missing(chain, rule)

    def _firewall_missing(self, chain: str, rule: Rule) -> Fault:
        """Return that the chain lacks a rule; before 1.25 it marks and drops, too."""
        name, ranges = self.port.name, self.port.source_ranges
        code, claim = "NE332", Claim(saying=Saying.UNTRANSLATED)
        text = f"{name} keeps {told_sender(rule)} out, which its source ranges let in"
        source = source_of(rule)
        if rule.jump == MARK_MASQ:
            code, claim = "NE326", Claim(saying=Saying.UNMASQUERADED)
            text = f"{name} does not masquerade what its source ranges let in"
            source = ranges[0] if ranges else ""
        elif not source:
            claim = Claim(saying=Saying.PASSES)
            text = f"{name} does not drop what its source ranges keep out"
        return Fault(
            code=code,
            message=text,
            place=Place(table="nat", chain=chain),
            line=self.saved.line("nat", chain),
            claim=claim,
            probes=self._balancer_probes(source),
        )

    def _balancer_probes(self, prefix: str) -> tuple[Probe, ...]:
        """Return packets to a load balancer's addresses from a range."""
        source = host_of(prefix) if prefix else ""
        return tuple(
            Probe(
                sender=Sender.OUTSIDE,
                protocol=self.port.protocol,
                destination=ip,
                port=self.port.port,
                source=source,
            )
            for ip in self.port.load_balancer_ips
        )
