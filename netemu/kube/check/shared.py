"""Rules of the chains that all Services share: one takes up one address and port.

Source: pkg/proxy/iptables/proxier.go, syncProxyRules (Kubernetes 1.30).
"""

from __future__ import annotations

from msgspec import Struct

from netemu.kube.check.fault import NODE, Place, Probe, Sender
from netemu.kube.check.reading import (
    KubeRules,
    asks,
    comment_of,
    destination_of,
    port_of,
    protocol_of,
)
from netemu.kube.proxy.iptables import MARK_MASQ
from netemu.netfilter.xtables.model import Rule

SHARED = (
    ("nat", "KUBE-SERVICES"),
    ("nat", "KUBE-NODEPORTS"),
    ("filter", "KUBE-SERVICES"),
    ("filter", "KUBE-EXTERNAL-SERVICES"),
    ("filter", "KUBE-NODEPORTS"),
    ("filter", "KUBE-PROXY-FIREWALL"),
)
"""Chains that hold rules of many Services."""


class Entry(Struct, frozen=True):
    """A rule of a shared chain that takes up one address and port of a Service."""

    table: str
    chain: str
    number: int
    rule: Rule

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(table=self.table, chain=self.chain, rule=self.number)

    @property
    def refuses(self) -> bool:
        """Whether it rejects or drops what it takes up."""
        return self.table == "filter" and self.chain in {"KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES"}

    @property
    def address(self) -> str:
        """What it takes up, in words."""
        port = port_of(self.rule)
        ip = destination_of(self.rule)
        if not ip:
            return f"NodePort {port}/{protocol_of(self.rule)}"
        what = next(
            (
                word
                for text, word in (
                    ("cluster IP", "ClusterIP"),
                    ("external IP", "external IP"),
                    ("loadbalancer IP", "load balancer IP"),
                )
                if text in comment_of(self.rule)
            ),
            "",
        )
        return f"{what} {ip}:{port}/{protocol_of(self.rule)}".strip()

    @property
    def question(self) -> str:
        """What it asks; before 1.24 a second rule asks the same and only masquerades."""
        return f"{asks(self.rule)} (masquerade)" if self.masquerades else asks(self.rule)

    @property
    def masquerades(self) -> bool:
        """Whether it only marks for masquerading."""
        return self.rule.jump == MARK_MASQ

    @property
    def key(self) -> tuple[str, int, str]:
        """Address, port and protocol; no address for a NodePort."""
        return destination_of(self.rule), port_of(self.rule), protocol_of(self.rule)

    def probes(self) -> tuple[Probe, ...]:
        """Return packets that it is to take up."""
        ip, port, protocol = self.key
        outer = self.table == "filter" or "cluster IP" not in comment_of(self.rule)
        senders = (Sender.POD, Sender.NODE, Sender.OUTSIDE)
        return tuple(
            Probe(sender=sender, protocol=protocol, destination=ip or NODE, port=port)
            for sender in (reversed(senders) if outer else senders)
        )


def entries_of(rules: KubeRules) -> dict[tuple[str, str, str], Entry]:
    """Return the rules of shared chains by place and what they ask; of equals the first acts."""
    found: dict[tuple[str, str, str], Entry] = {}
    for table, chain in SHARED:
        for number, rule in enumerate(rules.rules(table, chain), start=1):
            entry = Entry(table, chain, number, rule)
            if port_of(rule):
                found.setdefault((table, chain, entry.question), entry)
    return found
