"""What single rules and chains of a ruleset mean to Services.

The same reading serves saved rules and rendered ones, so that both are compared in one language.
"""

from __future__ import annotations

import re
from collections import Counter

from msgspec import Struct

from netemu.kube.proxy.names import endpoint_hash, port_proto_hash
from netemu.netfilter.extensions.mark import MarkMatch
from netemu.netfilter.extensions.recent import Recent
from netemu.netfilter.extensions.statistic import Statistic
from netemu.netfilter.nat.range import NatRange
from netemu.netfilter.xtables.kinds import Masked, Span
from netemu.netfilter.xtables.kit import Settings
from netemu.netfilter.xtables.model import Invert, Rule, Ruleset, generic_words
from netemu.netfilter.xtables.names import protocol_name
from netemu.wire.address import format_address, parse_prefix

SERVICE_CHAIN = re.compile(r"KUBE-(SVC|SVL|XLB|EXT|FW)-([A-Z2-7]{16})")
ENDPOINT_CHAIN = re.compile(r"KUBE-SEP-([A-Z2-7]{16})")
BALANCING = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-XLB-")
"""Prefixes of chains that choose an endpoint."""

MARK_CHAINS = ("KUBE-MARK-MASQ", "KUBE-MARK-DROP")

_SILENT = frozenset({"comment", "nfacct"})
"""Matches that hold for every packet."""
_SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9.-]*(?::[a-z0-9.-]+)?")
_PROTOCOLS = ("tcp", "udp", "sctp")


def comment_of(rule: Rule) -> str:
    """Return a rule's comments."""
    return " ".join(
        match.given.need("comment", str)
        for match in rule.matches
        if match.name == "comment" and isinstance(match.given, Settings)
    )


def service_of(rule: Rule) -> str:
    """Return the Service port that a rule's comment names: `namespace/service[:port]`.

    kube-proxy writes the name first, but into sentences such as `masquerade traffic for NAME
    external destinations`.
    """
    for word in comment_of(rule).split():
        found = _SERVICE_NAME.fullmatch(word.rstrip(":"))
        if found:
            return found.group()
    return ""


def asks(rule: Rule) -> str:
    """Return what a rule asks of a packet, in one spelling; comments and counters ask nothing."""
    generic = generic_words(rule.generic)
    texts = [match.text for match in rule.matches if match.name not in _SILENT]
    bare = {f"-m {name}" for name in _PROTOCOLS}
    return " ".join([*generic, *sorted(text for text in texts if text not in bare)])


def does(rule: Rule) -> str:
    """Return what a rule does with a packet, in one spelling."""
    if rule.target is None:
        return f"{'-g' if rule.goto else '-j'} {rule.jump}" if rule.jump else ""
    return rule.target.text.replace(" --random-fully", "").removesuffix(" --random")


def meaning(rule: Rule) -> tuple[str, str]:
    """Return what a rule asks and does."""
    return asks(rule), does(rule)


def threshold_of(rule: Rule) -> int | None:
    """Return the chance of a rule in units of 2**-31; None for one without."""
    for match in rule.matches:
        info = match.settings
        if isinstance(info, Statistic):
            return 0 if info.nth or info.invert else info.probability
    return None


def recent_of(rule: Rule) -> Recent | None:
    """Return a rule's question to a list of clients, or its entry into one."""
    for match in rule.matches:
        if isinstance(match.settings, Recent):
            return match.settings
    return None


def translation_of(rule: Rule) -> str:
    """Return `IP:port` of a rule that translates to one; empty for any other."""
    if rule.target is None or rule.target.name != "DNAT":
        return ""
    range_ = rule.target.settings
    assert isinstance(range_, NatRange)
    if range_.min_address != range_.max_address or range_.min_part != range_.max_part:
        return ""
    return joined(format_address(range_.min_address), range_.min_part)


def joined(ip: str, port: int) -> str:
    """Return `IP:port`, an IPv6 address in brackets (net.JoinHostPort)."""
    address = f"[{ip}]" if ":" in ip else ip
    return f"{address}:{port}" if port else address


def split_endpoint(endpoint: str) -> tuple[str, int]:
    """Return the two parts of `IP:port`.

    >>> split_endpoint("10.0.0.1:80"), split_endpoint("[fd00::1]:80")
    (('10.0.0.1', 80), ('fd00::1', 80))
    """
    ip, _, port = endpoint.rpartition(":")
    return ip.strip("[]"), int(port)


def set_mark_of(rule: Rule) -> Masked | None:
    """Return what a rule does to the mark: bits cleared (`mask`), then flipped (`value`)."""
    if rule.target is None or rule.target.name != "MARK":
        return None
    assert isinstance(rule.target.settings, Masked)
    return rule.target.settings


def asked_mark_of(rule: Rule) -> MarkMatch | None:
    """Return a rule's question about the mark."""
    for match in rule.matches:
        if isinstance(match.settings, MarkMatch):
            return match.settings
    return None


def is_for_local_senders(rule: Rule) -> bool:
    """Return whether a rule asks for packets from the node's own addresses."""
    return any(match.text == "-m addrtype --src-type LOCAL" for match in rule.matches)


def source_of(rule: Rule) -> str:
    """Return `IP/length` of -s; empty without, or inverted."""
    generic = rule.generic
    if not generic.source_mask or generic.invert & Invert.SRCIP:
        return ""
    return _prefix(generic.source, generic.source_mask)


def not_source_of(rule: Rule) -> str:
    """Return `IP/length` of `! -s`; empty without."""
    generic = rule.generic
    if not generic.source_mask or not generic.invert & Invert.SRCIP:
        return ""
    return _prefix(generic.source, generic.source_mask)


def destination_of(rule: Rule) -> str:
    """Return the single address of -d; empty without, inverted, or for a prefix."""
    generic = rule.generic
    full = b"\xff" * len(generic.destination)
    if not full or generic.destination_mask != full or generic.invert & Invert.DSTIP:
        return ""
    return format_address(generic.destination)


def protocol_of(rule: Rule) -> str:
    """Return the protocol of -p; empty without, or inverted."""
    if not rule.generic.protocol or rule.generic.invert & Invert.PROTO:
        return ""
    return protocol_name(rule.generic.protocol)


def ports_of(rule: Rule) -> tuple[int, int] | None:
    """Return lowest and highest port of --dport; None without, or inverted."""
    for match in rule.matches:
        given = match.given
        if match.name in _PROTOCOLS and isinstance(given, Settings) and "dport" in given:
            if given.inverted("dport"):
                return None
            span = given.need("dport", Span)
            return span.low, span.high
    return None


def port_of(rule: Rule) -> int:
    """Return the only port of --dport; 0 without, or for a range."""
    found = ports_of(rule)
    return found[0] if found is not None and found[0] == found[1] else 0


def _prefix(address: bytes, mask: bytes) -> str:
    return f"{format_address(address)}/{sum(octet.bit_count() for octet in mask)}"


def is_single(prefix: str) -> bool:
    """Return whether `IP/length` is one address."""
    address, length = parse_prefix(prefix)
    return length == len(address) * 8


class Reference(Struct, frozen=True):
    """A rule that leads into a chain."""

    table: str
    chain: str
    number: int
    rule: Rule


class KubeRules:
    """A ruleset with the questions that Services ask of it."""

    __slots__ = ("_references", "ruleset", "tables")

    def __init__(self, ruleset: Ruleset) -> None:
        """Look at a ruleset, which must not change meanwhile."""
        self.ruleset = ruleset
        self.tables = {table.name: table for table in ruleset.tables}
        self._references: dict[tuple[str, str], list[Reference]] | None = None

    def has(self, table: str, chain: str) -> bool:
        """Return whether a chain is there."""
        return table in self.tables and chain in self.tables[table].chains

    def rules(self, table: str, chain: str) -> list[Rule]:
        """Return a chain's rules; none for a chain that is not there."""
        return self.tables[table].chains[chain].rules if self.has(table, chain) else []

    def line(self, table: str, chain: str) -> int:
        """Return the line that declares a chain."""
        return (self.tables[table].chains[chain].line or 0) if self.has(table, chain) else 0

    def chains(self, table: str, *prefixes: str) -> list[str]:
        """Return the chains of a table whose names begin so."""
        held = self.tables[table].chains if table in self.tables else {}
        return [name for name in held if name.startswith(prefixes)]

    def references(self, table: str, chain: str) -> list[Reference]:
        """Return the rules that lead into a chain."""
        if self._references is None:
            self._references = {}
            for name, held in self.tables.items():
                for where in held.chains.values():
                    for number, rule in enumerate(where.rules, start=1):
                        if rule.jump:
                            found = Reference(name, where.name, number, rule)
                            self._references.setdefault((name, rule.jump), []).append(found)
        return self._references.get((table, chain), [])

    def translation(self, chain: str) -> tuple[str, int, Rule | None]:
        """Return where an endpoint's chain translates to, by which rule; empty if nowhere."""
        for number, rule in enumerate(self.rules("nat", chain), start=1):
            if found := translation_of(rule):
                return found, number, rule
        return "", 0, None

    def service_name(self, chain: str) -> str:
        """Return the Service port that a chain's comments name; empty if none does."""
        for rule in self.rules("nat", chain):
            if name := service_of(rule):
                return name
        for reference in self.references("nat", chain):
            if name := service_of(reference.rule):
                return name
        return ""

    def masquerade_bit(self) -> int:
        """Return the bits that KUBE-MARK-MASQ sets; 0 if it is not there."""
        for rule in self.rules("nat", "KUBE-MARK-MASQ"):
            masked = set_mark_of(rule)
            if masked is not None:
                return masked.value
        return 0


def detected_pods(rules: KubeRules) -> tuple[str, bool]:
    """Return what tells a pod's traffic (a prefix or a device), and whether all is masqueraded."""
    votes: Counter[str] = Counter()
    everything = False
    for chain in [*rules.chains("nat", *BALANCING), "KUBE-SERVICES"]:
        for rule in rules.rules("nat", chain):
            if rule.jump != "KUBE-MARK-MASQ":
                continue
            told = _told(rule)
            everything = everything or (not told and chain != "KUBE-SERVICES")
            if told:
                votes[told] += 1
    found = votes.most_common(1)
    return (found[0][0], False) if found else ("", everything)


def _told(rule: Rule) -> str:
    generic = rule.generic
    return not_source_of(rule) or (generic.in_device if "! -i " in asks(rule) else "")


def is_named_by_hash(chain: str, name: str, protocol: str, endpoint: str = "") -> bool:
    """Return whether a chain is named as kube-proxy names it.

    The oldest releases had a colon behind a Service's name even where its port has none.

    >>> is_named_by_hash("KUBE-SEP-SXIVWICOYRO3J4NJ", "ns1/svc1:p80", "tcp", "10.180.0.1:80")
    True
    """
    digest = chain.rpartition("-")[2]
    names = (name, f"{name}:") if ":" not in name else (name,)
    return any(
        digest
        == (endpoint_hash(one, protocol, endpoint) if endpoint else port_proto_hash(one, protocol))
        for one in names
    )
