"""A published port is open to all, although INPUT is closed.

Kernel: none.

What it does: Finds DNAT rules of docker (chains DOCKER and CNI-DN-) that let in packets from any
address, on a host whose INPUT drops by policy.

Why it matters: The host's own rules never see what is published: it passes by FORWARD. Whoever
closes INPUT by hand or with ufw believes that the port is closed.

Example:
    *filter
    :INPUT DROP [0:0]
    :FORWARD ACCEPT [0:0]
    -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    COMMIT
    *nat
    :PREROUTING ACCEPT [0:0]
    :DOCKER - [0:0]
    -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
    -A DOCKER ! -i docker0 -p tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80
    COMMIT

Use instead: `docker run -p 127.0.0.1:8080:80`, or a rule in DOCKER-USER.

References: Docker's documentation, "Packet filtering and firewalls".
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from netemu.lint.entering import STRANGER, entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import nat_sites
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.space import Field

_PUBLISHING = re.compile(r"DOCKER$|CNI-DN-|NETAVARK-DN-")


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each port that a stranger may use past a closed INPUT."""
    table = subject.table("filter")
    if subject.family is not Family.IPV4 or table is None:
        return
    chain = table.chains["INPUT"]
    if chain.policy is not Verdict.DROP or not chain.rules:
        return
    for site in nat_sites(subject, "DNAT"):
        if not _PUBLISHING.match(site.chain.name):
            continue
        entering = entering_of(subject)
        packets = entering.both(
            entering.taken(site),
            entering.accepted("forward"),
            entering.fresh(),
            entering.from_outside(),
            entering.prefix(Field.SOURCE, STRANGER, 32),
        )
        witness = entering.shown(packets, matched=[place_of(site)], verdicts={"ACCEPT"})
        if witness is not None:
            yield subject.about(
                site,
                "this published port is open to any address: the closed INPUT does not see it",
                witness=witness,
            )


RULE = LintRule(
    code="NE701",
    name="published-past-input",
    level=Level.INFO,
    summary="A published port is open to all, although INPUT is closed",
    check=check,
)
