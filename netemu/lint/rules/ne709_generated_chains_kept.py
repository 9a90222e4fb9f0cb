"""A file that is loaded at boot holds chains that a program makes.

Kernel: none.

What it does: Finds chains of kube-proxy, docker, CNI plug-ins, Calico, fail2ban and the like in
files that are loaded at boot: rules.v4, rules.v6, /etc/sysconfig/iptables, iptables.rules.

Why it matters: They are a copy of what was once. At boot they come back with addresses of
containers and pods that are gone, before the program writes them anew, or for ever if it is gone,
too.

Example:
    # /etc/iptables/rules.v4
    *filter
    :FORWARD ACCEPT [0:0]
    :f2b-sshd - [0:0]
    -A FORWARD -j f2b-sshd
    -A f2b-sshd -s 192.0.2.9/32 -j DROP
    COMMIT

Use instead: save without them: `iptables-save | grep -v -e f2b- -e KUBE- -e DOCKER > rules.v4`.

References: netfilter-persistent(8).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject

AT_BOOT = ("rules.v4", "rules.v6", "iptables.rules", "ip6tables.rules", "sysconfig/iptables",
           "sysconfig/ip6tables")  # fmt: skip
FIREWALLS = frozenset({"ufw", "firewalld", "NixOS", "OpenWrt's fw3"})
"""They load their files themselves, and at boot."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for the first chain of each program."""
    if not subject.file.endswith(AT_BOOT):
        return
    told: set[str] = set()
    for site in subject.sites:
        owner = subject.owner(site.chain.name)
        if not owner or owner in FIREWALLS or owner in told:
            continue
        finding = _finding(subject, site, owner)
        if finding is not None:
            told.add(owner)
            yield finding


def _finding(subject: Subject, site: Site, owner: str) -> Finding | None:
    entering = entering_of(subject)
    witness = entering.shown(entering.taken(site), matched=[place_of(site)])
    if witness is None:
        return None
    return subject.about(
        site,
        f"chain {site.chain.name} is made by {owner}, which does not know of this copy",
        witness=witness,
    )


RULE = LintRule(
    code="NE709",
    name="generated-chains-kept",
    level=Level.INFO,
    summary="A file that is loaded at boot holds chains that a program makes",
    check=check,
)
