"""A rule of somebody else that changes a bit of the mark that Kubernetes uses.

Kernel: none.

What it does: Finds rules outside Kubernetes' chains that set the bit of the mark by which
kube-proxy asks for masquerading (0x4000, or what KUBE-MARK-MASQ sets) or kubelet for a drop
(0x8000), and rules behind nat PREROUTING or OUTPUT that clear the first.

Why it matters: Whoever sets 0x4000 has every such packet masqueraded; whoever sets the whole mark
in FORWARD or POSTROUTING takes kube-proxy's bit away, and the answer to a client goes astray.

Example:
    *mangle
    :PREROUTING ACCEPT [0:0]
    -A PREROUTING -i eth0 -p tcp -m tcp --dport 8443 -j MARK --set-xmark 0x4001/0xffffffff
    COMMIT
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    :KUBE-MARK-MASQ - [0:0]
    :KUBE-POSTROUTING - [0:0]
    -A POSTROUTING -j KUBE-POSTROUTING
    -A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
    -A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
    -A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
    -A KUBE-POSTROUTING -j MASQUERADE
    COMMIT

Use instead: Other bits, and a mask: `--set-xmark 0x1/0xff`. kube-proxy's bit is its
`iptables.masqueradeBit`.

References: masqueradeBit in pkg/proxy/apis/config/types.go of Kubernetes; mark_tg in
net/netfilter/xt_mark.c.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from netemu.kube.check.fault import NODE, Claim, Place, Probe, Saying, Sender
from netemu.kube.check.reading import (
    asked_mark_of,
    destination_of,
    ports_of,
    protocol_of,
    set_mark_of,
    source_of,
)
from netemu.kube.check.ways import all_ways, host_of
from netemu.lint.finding import Finding, Level
from netemu.lint.kube_findings import told
from netemu.lint.owners import owner_of
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.xtables.model import Invert, Rule

DROP_BIT = 0x8000
_BEFORE = {("raw", "PREROUTING"), ("raw", "OUTPUT"), ("mangle", "PREROUTING"), ("mangle", "OUTPUT")}
"""Base chains that packets pass before kube-proxy sets its bit."""
_MOST_PROBES = 24


def check(subject: Subject) -> Iterator[Finding]:
    """Look at every MARK of others."""
    rules = subject.kube.rules
    bit = rules.masquerade_bit()
    if not bit:
        return
    drops = any(
        (asked := asked_mark_of(rule)) is not None and asked.mark == DROP_BIT
        for rule in rules.rules("filter", "KUBE-FIREWALL")
    )
    for site in subject.sites:
        marked = set_mark_of(site.rule)
        if marked is None or site.chain.name.startswith("KUBE-"):
            continue
        sets = marked.value & bit
        clears = marked.mask & bit and not sets
        place = Place(table=site.table.name, chain=site.chain.name, rule=site.number)
        owner = owner_of(site.chain.name)
        who = f" ({owner})" if owner else ""
        if sets:
            message = (
                f"this rule{who} sets {bit:#x}, by which kube-proxy masquerades: {_what(site)}"
            )
            claim = Claim(saying=Saying.MASQUERADED, by=place)
            yield from told(subject, place, message, claim, _probes(subject, site))
        elif clears and not _only_before(subject, site):
            message = f"this rule{who} clears {bit:#x}, by which kube-proxy masquerades"
            mark = Place(table="nat", chain="KUBE-MARK-MASQ")
            claim = Claim(saying=Saying.UNMASQUERADED, place=mark, by=place)
            yield from told(subject, place, message, claim, _probes(subject, site))
        elif drops and marked.value & DROP_BIT:
            message = f"this rule{who} sets {DROP_BIT:#x}, by which kubelet's KUBE-FIREWALL drops"
            claim = Claim(saying=Saying.STUCK, by=place)
            yield from told(subject, place, message, claim, _probes(subject, site))


def _what(site: Site) -> str:
    return site.rule.target.text if site.rule.target is not None else ""


def _only_before(subject: Subject, site: Site) -> bool:
    """Return whether only packets meet a rule that kube-proxy has not marked yet."""
    waiting, seen = [site.chain.name], set()
    table = site.table.name
    while waiting:
        chain = waiting.pop()
        if chain in seen:
            continue
        seen.add(chain)
        if site.table.chains[chain].policy is not None and (table, chain) not in _BEFORE:
            return False
        waiting += [one.chain for one in subject.kube.rules.references(table, chain)]
    return True


def _probes(subject: Subject, site: Site) -> list[Probe]:
    """Return packets that the rule's own words ask for, then packets to Services."""
    rule = site.rule
    ports = ports_of(rule)
    source = source_of(rule)
    device = _device(subject, rule)
    senders = (Sender.OUTSIDE, Sender.POD) if device else tuple(Sender)
    own = [
        Probe(
            sender=sender,
            protocol=protocol_of(rule) if protocol_of(rule) in {"tcp", "udp"} else "tcp",
            destination=ip,
            port=ports[0] if ports else 80,
            source=host_of(source) if source and sender is not Sender.NODE else "",
            device=device,
        )
        for ip in (destination_of(rule) or "198.51.100.7", NODE)
        for sender in senders
    ]
    ways = list(all_ways(subject.kube.rules))[:_MOST_PROBES]
    if device:
        ways = [replace(way, device=device) for way in ways if way.sender is not Sender.NODE]
    return [*own, *ways]


def _device(subject: Subject, rule: Rule) -> str:
    """Return a device that -i asks for, or one that `! -i` does not except; empty for any."""
    wanted = rule.generic.in_device
    if not wanted or wanted == "+" or subject.node is None:
        return ""
    inverted = bool(rule.generic.invert & Invert.VIA_IN)
    for link in subject.node.main.links:
        fits = link.name.startswith(wanted[:-1]) if wanted[-1] == "+" else link.name == wanted
        if link.kind != "loopback" and fits is not inverted:
            return link.name
    return ""


RULE = LintRule(
    code="NE307",
    name="mark-bit-clash",
    level=Level.WARNING,
    summary="A rule of somebody else changes a bit of the mark that Kubernetes uses",
    check=check,
)
