"""Which endpoints a Service's chain chooses among, how clients stay, what is masqueraded.

Source: pkg/proxy/iptables/proxier.go, writeServiceToEndpointRules (Kubernetes 1.30).
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from msgspec.structs import replace

from netemu.kube.check.fault import Claim, Fault, Place, Probe, Saying
from netemu.kube.check.reading import (
    ENDPOINT_CHAIN,
    KubeRules,
    asks,
    not_source_of,
    recent_of,
    source_of,
)
from netemu.kube.check.services import Services, everywhere, inside, outside
from netemu.kube.proxy.iptables import MARK_MASQ
from netemu.kube.service_ports import ServicePortInfo
from netemu.netfilter.xtables.model import Rule


class EndpointCheck(Struct, frozen=True, kw_only=True):
    """Compares the endpoints of one Service port."""

    saved: KubeRules
    wanted: KubeRules
    services: Services
    port: ServicePortInfo

    def faults(self, chain: str, *, local: bool) -> Iterator[Fault]:
        """Compare the endpoints that a chain chooses among."""
        port = self.port
        used = port.uses_local_endpoints if local else port.uses_cluster_endpoints
        if not used or not self.saved.references("nat", chain):
            return
        wanted = dict(self._endpoints(self.wanted, chain))
        held = dict(self._endpoints(self.saved, chain))
        probes = (*outside(self.port), *inside(self.port)) if local else everywhere(self.port)
        probes = probes or inside(self.port)
        changed: set[str] = set()
        for endpoint, (number, rule) in held.items():
            named = self._named(rule.jump)
            if named != endpoint and named in wanted and rule.jump not in changed:
                changed.add(rule.jump)
                yield self._wrong_target(rule.jump, named, endpoint, probes)
            elif endpoint not in wanted and self.saved.translation(rule.jump)[0]:
                yield self._stale_endpoint(chain, number, rule, endpoint, probes, local=local)
        kept = {self._named(name) for name in changed}
        for endpoint in sorted(wanted.keys() - held.keys() - kept):
            yield self._missing_endpoint(chain, endpoint, probes, local=local)
        yield from self._affinity(chain, probes)
        yield from self._masquerade(chain)

    def _endpoints(self, rules: KubeRules, chain: str) -> Iterator[tuple[str, tuple[int, Rule]]]:
        """Yield `IP:port`, number and rule of a chain's choices."""
        for number, rule in enumerate(rules.rules("nat", chain), start=1):
            if recent_of(rule) is not None or not ENDPOINT_CHAIN.fullmatch(rule.jump):
                continue
            endpoint = rules.translation(rule.jump)[0] or self._named(rule.jump)
            if endpoint:
                yield endpoint, (number, rule)

    def _named(self, chain: str) -> str:
        """Return the endpoint that the hash in a chain's name stands for."""
        return self.wanted.translation(chain)[0]

    def _stale_endpoint(
        self,
        chain: str,
        number: int,
        rule: Rule,
        endpoint: str,
        probes: tuple[Probe, ...],
        *,
        local: bool,
    ) -> Fault:
        port, services = self.port, self.services
        known = services.endpoint(port, endpoint)
        code, reason = "NE320", services.reason(port, endpoint)
        if local and known is not None and known.ready and not known.local:
            code, reason = "NE330", f"which is on {known.node_name or 'another node'}"
            reason += ", although its policy is Local"
        return Fault(
            code=code,
            message=f"{port.name} sends to {services.told(endpoint, port)}, {reason}",
            place=Place(table="nat", chain=chain, rule=number),
            line=rule.line or 0,
            claim=Claim(saying=Saying.REACHES, endpoint=endpoint),
            probes=probes,
            covers=frozenset({chain, rule.jump}),
        )

    def _missing_endpoint(
        self, chain: str, endpoint: str, probes: tuple[Probe, ...], *, local: bool
    ) -> Fault:
        port, services = self.port, self.services
        where = " of this node" * local
        orphans = {name for name in self.saved.chains("nat", "KUBE-SEP-")
                   if self._named(name) == endpoint}  # fmt: skip
        return Fault(
            code="NE321",
            message=f"{port.name} never sends to its endpoint{where}"
            f" {services.told(endpoint, port)}",
            place=Place(table="nat", chain=chain),
            line=self.saved.line("nat", chain),
            claim=Claim(
                saying=Saying.MISSES, endpoint=endpoint, place=Place(table="nat", chain=chain)
            ),
            probes=probes,
            covers=frozenset({chain, *orphans}),
        )

    def _wrong_target(
        self, chain: str, named: str, endpoint: str, probes: tuple[Probe, ...]
    ) -> Fault:
        _, number, rule = self.saved.translation(chain)
        assert rule is not None
        port, services = self.port, self.services
        return Fault(
            code="NE325",
            message=f"{port.name}: the chain of endpoint {services.told(named, port)}"
            f" translates to {services.told(endpoint, port)}",
            place=Place(table="nat", chain=chain, rule=number),
            line=rule.line or 0,
            claim=Claim(saying=Saying.REACHES, endpoint=endpoint),
            probes=probes,
            covers=frozenset({chain}),
        )

    def _affinity(self, chain: str, probes: tuple[Probe, ...]) -> Iterator[Fault]:
        """Compare how clients stay with their endpoints."""
        name, seconds = self.port.name, self.port.affinity_s
        asking: dict[str, tuple[int, Rule, int]] = {}
        choices: dict[str, tuple[int, Rule]] = {}
        for number, rule in enumerate(self.saved.rules("nat", chain), start=1):
            recent = recent_of(rule)
            if recent is not None and recent.operation in {"rcheck", "update"}:
                asking[rule.jump] = (number, rule, recent.seconds)
            elif ENDPOINT_CHAIN.fullmatch(rule.jump):
                choices[rule.jump] = (number, rule)
        if not choices:
            return
        for jump, (number, rule, held) in asking.items():
            if not seconds or held != seconds:
                text = f"{held} s" if seconds else "although its sessionAffinity is None"
                wish = f" instead of {seconds} s" if seconds else ""
                yield Fault(
                    code="NE327",
                    message=f"{name} keeps a client with its endpoint {text}{wish}",
                    place=Place(table="nat", chain=chain, rule=number),
                    line=rule.line or 0,
                    claim=Claim(
                        saying=Saying.MEETS, place=Place(table="nat", chain=chain, rule=number)
                    ),
                    probes=tuple(_again(probes)),
                    covers=frozenset({chain, jump}),
                )
                return
        for jump, (number, rule) in choices.items():
            sets = any(
                recent is not None and recent.operation == "set"
                for recent in map(recent_of, self.saved.rules("nat", jump))
            )
            endpoint = self.saved.translation(jump)[0]
            if seconds and endpoint and (jump not in asking or not sets):
                yield Fault(
                    code="NE327",
                    message=f"{name} has sessionAffinity ClientIP, but a client does not stay"
                    f" with {self.services.told(endpoint, self.port)}",
                    place=Place(table="nat", chain=chain, rule=number),
                    line=rule.line or 0,
                    claim=Claim(
                        saying=Saying.UNSTEADY,
                        endpoint=endpoint,
                    ),
                    probes=tuple(_again(probes)),
                    covers=frozenset({chain, jump}),
                )

    def _masquerade(self, chain: str) -> Iterator[Fault]:
        """Compare which packets to the ClusterIP get the node's address."""
        wanted = [rule for rule in self.wanted.rules("nat", chain) if rule.jump == MARK_MASQ]
        held = {
            asks(rule): (number, rule)
            for number, rule in enumerate(self.saved.rules("nat", chain), start=1)
            if rule.jump == MARK_MASQ
        }
        missing = [rule for rule in wanted if asks(rule) not in held]
        extra = [item for key, item in held.items() if key not in {asks(rule) for rule in wanted}]
        name = self.port.name
        for rule in missing[:1]:
            number, place = 0, Place(table="nat", chain=chain)
            line = self.saved.line("nat", chain)
            text = f"traffic to {name} from outside the pods' range is not masqueraded"
            claim = Claim(saying=Saying.UNMASQUERADED)
            probes = inside(self.port)[::-1]
            if extra:
                number, other = extra.pop()
                place, line = Place(table="nat", chain=chain, rule=number), other.line or 0
                text = (
                    f"{name} masquerades {told_sender(other)} instead of {told_sender(rule)}"
                    " on the way to its ClusterIP"
                )
                claim = Claim(saying=Saying.MEETS, place=place)
                probes = inside(self.port)
            yield Fault(
                code="NE326",
                message=text,
                place=place,
                line=line,
                claim=claim,
                probes=probes,
            )
        for number, rule in extra:
            place = Place(table="nat", chain=chain, rule=number)
            yield Fault(
                code="NE326",
                message=f"{name} masquerades {told_sender(rule)}, which should keep its address",
                place=place,
                line=rule.line or 0,
                claim=Claim(saying=Saying.MASQUERADED),
                probes=everywhere(self.port),
            )


def told_sender(rule: Rule) -> str:
    """Return whom a rule is about, in words.

    Devices and addresses as the rule has them.
    """
    generic = rule.generic
    if except_from := not_source_of(rule):
        return f"all but {except_from}"
    if source := source_of(rule):
        return source.removesuffix("/32").removesuffix("/128")
    if generic.in_device:
        return asks(rule).partition(" -p ")[0].partition(" -d ")[0]
    return "every client"


def _again(probes: tuple[Probe, ...]) -> Iterator[Probe]:
    """Return the same packets, from clients that were there before."""
    return (replace(probe, known_client=True) for probe in probes)
