"""Traffic within one network is masqueraded.

Kernel: none.

What it does: Finds MASQUERADE and SNAT rules that ask for a source network and for nothing else, so
that packets from this network to itself are translated, too.

Why it matters: Pods and containers see the node instead of each other: network policies and logs
are about the wrong address.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A POSTROUTING -s 10.244.0.0/16 -j MASQUERADE
    COMMIT

Use instead:

    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A POSTROUTING -s 10.244.0.0/16 ! -d 10.244.0.0/16 -j MASQUERADE
    COMMIT

References: "Configuring the ip-masq-agent" of Kubernetes' documentation.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.lint.entering import entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.nat_rules import is_plain, nat_sites
from netemu.lint.rule import LintRule
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Invert
from netemu.netfilter.xtables.space import Field


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each network that is translated on the way to itself."""
    if subject.family is not Family.IPV4:
        return
    for site in nat_sites(subject, "MASQUERADE", "SNAT"):
        generic = site.rule.generic
        length = int.from_bytes(generic.source_mask, "big").bit_count()
        if generic.destination_mask or generic.out_device or not is_plain(site):
            continue
        if not 8 <= length < 31 or generic.invert & Invert.SRCIP:
            continue
        entering = entering_of(subject)
        packets = entering.both(
            entering.taken(site),
            entering.prefix(Field.SOURCE, generic.source, length),
            entering.prefix(Field.DESTINATION, generic.source, length),
            entering.fresh(),
            entering.from_outside(),
        )
        if not all(entering.meet(packets, entering.to_device(one)) for one in entering.devices()):
            continue  # Whoever jumps here has asked for a device.
        witness = entering.shown(packets, matched=[place_of(site)], verdicts={"ACCEPT"})
        if witness is not None:
            yield subject.about(
                site,
                "packets from this network to itself are translated, too",
                span=subject.option_span(site.rule, "-s", "--source", "--src"),
                witness=witness,
            )


RULE = LintRule(
    code="NE211",
    name="inner-traffic-masqueraded",
    level=Level.INFO,
    summary="Traffic within one network is masqueraded",
    check=check,
)
