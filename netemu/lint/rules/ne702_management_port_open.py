"""A port for administration or data is open to any address.

Kernel: none.

What it does: Finds rules of INPUT that accept, from any address, new connections to a port they
name and that is for administrators or other servers: SSH, RDP, VNC, telnet, Docker's and kubelet's
API, etcd, SMB, and databases.

Why it matters: Such ports are tried from everywhere, all the time.

Example:
    *filter
    :INPUT DROP [0:0]
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A INPUT -p tcp --dport 3306 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT DROP [0:0]
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    -A INPUT -s 192.0.2.0/24 -p tcp --dport 3306 -j ACCEPT
    COMMIT

References: the service names and port numbers of IANA.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.entering import STRANGER, entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.space import Field
from netemu.wire.ipv4 import Protocol

PORTS = {
    22: "SSH",
    23: "telnet",
    445: "SMB",
    1433: "SQL Server",
    2375: "Docker's API without TLS",
    2379: "etcd",
    3306: "MySQL",
    3389: "RDP",
    5432: "PostgreSQL",
    5900: "VNC",
    6379: "Redis",
    9200: "Elasticsearch",
    10250: "kubelet",
    11211: "memcached",
    27017: "MongoDB",
}
MOST_NAMED = 4
"""A rule that opens more of them at once names none."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each rule that opens such ports to a stranger."""
    if subject.family is not Family.IPV4:
        return
    for site in subject.sites:
        if not _opens_ports(site):
            continue
        entering = entering_of(subject)
        taken = entering.both(
            entering.taken(site),
            entering.accepted("in"),
            entering.prefix(Field.SOURCE, STRANGER, 32),
            entering.from_outside(),
            entering.fresh(),
        )
        open_ports = {
            port: entering.both(taken, entering.to_port(Protocol.TCP, port))
            for port in PORTS
            if entering.meet(taken, entering.to_port(Protocol.TCP, port))
        }
        if not open_ports or len(open_ports) > MOST_NAMED:
            continue
        first = next(iter(open_ports.values()))
        witness = entering.shown(first, matched=[place_of(site)])
        if witness is not None:
            names = ", ".join(f"{port} ({PORTS[port]})" for port in open_ports)
            yield subject.about(site, f"open to any address: port {names}", witness=witness)


def _opens_ports(site: Site) -> bool:
    """Return whether a rule of table filter accepts ports that it names, from anywhere."""
    target, generic = site.rule.target, site.rule.generic
    return (
        site.table.name == "filter"
        and target is not None
        and target.standard is Verdict.ACCEPT
        and not generic.source_mask
        and any("--dport" in match.text for match in site.rule.matches)
    )


RULE = LintRule(
    code="NE702",
    name="management-port-open",
    level=Level.INFO,
    summary="A port for administration or data is open to any address",
    check=check,
)
