"""What else stands in a node's tables: jumps from the base chains, canaries, kubelet's chains.

Source: pkg/proxy/iptables/proxier.go (iptablesJumpChains, iptablesKubeletJumpChains),
pkg/util/iptables/monitor.go, pkg/kubelet/kubelet_network_linux.go (Kubernetes 1.30).

kube-proxy puts each jump first in its chain, one after the other, so that they end up in reverse
order. `complete` lets netemu's own reader of restore text do that, as iptables does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from netemu.kube.proxy.iptables import localnet_rule, masquerade_rules
from netemu.kube.proxy.settings import ProxySettings
from netemu.kube.proxy.text import TableText, comment
from netemu.kube.service_ports import IPV4
from netemu.netfilter.hook import Family
from netemu.ruleset import parse_ruleset, print_ruleset

NEW = "-m conntrack --ctstate NEW"
PROXY_CANARY = "KUBE-PROXY-CANARY"
KUBELET_CANARY = "KUBE-KUBELET-CANARY"
CANARY_TABLES = ("mangle", "nat", "filter")
BASE_CHAINS = {
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
DROP_MARK = "0x8000/0x8000"


class Jump(Struct, frozen=True):
    """One rule that leads from a base chain into kube-proxy's."""

    table: str
    chain: str
    rule: str
    last: bool = False
    """Whether it stands at the end of its chain; the others are put first."""

    def __str__(self) -> str:
        """Return the line of restore text that adds it."""
        return f"{'-A' if self.last else '-I'} {self.chain} {self.rule}"


def jump(table: str, chain: str, target: str, text: str = "", words: str = "") -> Jump:
    """Return a jump that is put first in its chain."""
    rule = " ".join(filter(None, [words, comment(text) if text else "", f"-j {target}"]))
    return Jump(table, chain, rule)


def iptables_jumps(settings: ProxySettings) -> list[Jump]:
    """Return the jumps of iptables mode in the order in which they are put first."""
    visible = "kubernetes externally-visible service portals"
    portals = "kubernetes service portals"
    firewall = "kubernetes load balancer firewall"
    found = [
        jump("filter", "INPUT", "KUBE-EXTERNAL-SERVICES", visible, NEW),
        jump("filter", "FORWARD", "KUBE-EXTERNAL-SERVICES", visible, NEW),
    ]
    if settings.version.admits_health_checks:
        health = "kubernetes health check service ports"
        found.append(jump("filter", "INPUT", "KUBE-NODEPORTS", health))
    found += [
        jump("filter", "FORWARD", "KUBE-SERVICES", portals, NEW),
        jump("filter", "OUTPUT", "KUBE-SERVICES", portals, NEW),
        jump("filter", "FORWARD", "KUBE-FORWARD", "kubernetes forwarding rules"),
    ]
    if settings.version.has_firewall_chain:
        found += [
            jump("filter", chain, "KUBE-PROXY-FIREWALL", firewall, NEW)
            for chain in ("INPUT", "OUTPUT", "FORWARD")
        ]
    found += [
        jump("nat", "OUTPUT", "KUBE-SERVICES", portals),
        jump("nat", "PREROUTING", "KUBE-SERVICES", portals),
        jump("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"),
    ]
    if settings.version.writes_firewall:
        found += firewall_jumps()
    return found


def firewall_jumps() -> list[Jump]:
    """Return the jumps to KUBE-FIREWALL, which kubelet makes, too."""
    return [
        jump("filter", "INPUT", "KUBE-FIREWALL"),
        jump("filter", "OUTPUT", "KUBE-FIREWALL"),
    ]


def jumps_text(proxy: str, jumps: Sequence[Jump]) -> str:
    """Return jumps and canaries as restore text, to be loaded with --noflush after the chains.

    Chains that the text of `proxy` does not fill are made here, as each jump's is made first.
    """
    filled = dict(_sections(proxy.splitlines()))
    lines: list[str] = []
    for table in CANARY_TABLES:
        here = [item for item in jumps if item.table == table]
        targets = dict.fromkeys(item.rule.rpartition("-j ")[2] for item in here)
        empty = [name for name in targets if name not in filled.get(table, {})]
        lines += [f"*{table}", *(f":{name} - [0:0]" for name in (*empty, PROXY_CANARY))]
        lines += [str(item) for item in here]
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def kubelet_tables(settings: ProxySettings) -> tuple[list[TableText], list[Jump]]:
    """Return what kubelet puts into the tables, and its jumps."""
    tables = {name: TableText(name) for name in CANARY_TABLES}
    for table in tables.values():
        table.chain(KUBELET_CANARY)
    tables["mangle"].chain("KUBE-IPTABLES-HINT")
    if settings.version.kubelet_makes_chains:
        tables["nat"].rule("KUBE-MARK-DROP", f"-j MARK --or-mark {DROP_MARK.partition('/')[0]}")
        masquerade_rules(tables["nat"], settings)
        tables["filter"].rule(
            "KUBE-FIREWALL",
            comment("kubernetes firewall for dropping marked packets"),
            f"-m mark --mark {DROP_MARK} -j DROP",
        )
    else:
        tables["filter"].chain("KUBE-FIREWALL")
    if settings.octets == IPV4:
        localnet_rule(tables["filter"])
    jumps = firewall_jumps()
    if settings.version.kubelet_makes_chains:
        jumps.append(jump("nat", "POSTROUTING", "KUBE-POSTROUTING", "kubernetes postrouting rules"))
    return list(tables.values()), jumps


def kubelet_text(settings: ProxySettings) -> str:
    """Return kubelet's part as restore text, to be loaded with --noflush."""
    tables, jumps = kubelet_tables(settings)
    lines: list[str] = []
    for table in tables:
        lines += table.lines()[:-1]
        lines += [str(item) for item in jumps if item.table == table.name]
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def merged_text(settings: ProxySettings, proxy: str, jumps: Sequence[Jump]) -> str:
    """Return the whole of a node's rules as restore text, line by line as iptables-save has them.

    A chain that both write holds what kube-proxy wrote; a jump that is there is not made again.
    """
    tables, early = kubelet_tables(settings)
    bodies: dict[str, dict[str, list[str]]] = {name: {} for name in CANARY_TABLES}
    for table in tables:
        bodies[table.name].update(table.chains)
    for name, chains in _sections(proxy.splitlines()):
        bodies[name].update(chains)
    every = dict.fromkeys([*jumps, *early])
    lines: list[str] = []
    for name, chains in bodies.items():
        chains[PROXY_CANARY] = []
        base: dict[str, list[str]] = {chain: [] for chain in BASE_CHAINS[name]}
        for item in every:
            if item.table == name:
                rules = base[item.chain]
                rules.insert(len(rules) if item.last else 0, item.rule)
        lines.append(f"*{name}")
        lines += [f":{chain} ACCEPT [0:0]" for chain in base]
        lines += [f":{chain} - [0:0]" for chain in sorted(chains)]
        whole = {**base, **{chain: chains[chain] for chain in sorted(chains)}}
        lines += [f"-A {chain} {rule}" for chain, rules in whole.items() for rule in rules]
        lines.append("COMMIT")
    return "".join(f"{line}\n" for line in lines)


def complete_text(settings: ProxySettings, proxy: str, jumps: Sequence[Jump]) -> str:
    """Return the whole of a node's rules, as iptables-save prints them."""
    text = merged_text(settings, proxy, jumps)
    family = Family.IPV4 if settings.octets == IPV4 else Family.IPV6
    return print_ruleset(parse_ruleset(text, "kube-proxy's rules", family=family), counters=False)


def _sections(lines: Iterable[str]) -> list[tuple[str, dict[str, list[str]]]]:
    """Split restore text into tables and the rules of their chains."""
    found: list[tuple[str, dict[str, list[str]]]] = []
    for line in lines:
        if line.startswith("*"):
            found.append((line[1:], {}))
        elif line.startswith(":"):
            found[-1][1][line[1:].split(" ", 1)[0]] = []
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            found[-1][1][chain].append(rule)
    return found
