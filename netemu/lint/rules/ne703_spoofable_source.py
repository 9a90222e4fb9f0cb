"""Whoever writes an inner address into a packet is let in.

Kernel: none; fib_validate_source in net/ipv4/fib_frontend.c is what rp_filter switches on.

What it does: Finds rules that accept packets for their source in a private or inner network, where
others' are refused, also if they come in by a device that leads outside and rp_filter does not
refuse them there. A source of the node's own, or in 127.0.0.0/8, the kernel refuses in any case.

Why it matters: A sender chooses the source that it writes. Answers do not come to it, but a
datagram of UDP, or a first segment, needs none.

Example:
    *filter
    :INPUT DROP [0:0]
    -A INPUT -s 10.0.0.0/8 -j ACCEPT
    COMMIT

Use instead:

    *filter
    :INPUT DROP [0:0]
    -A INPUT -s 10.0.0.0/8 -i lan0 -j ACCEPT
    COMMIT

or `sysctl -w net.ipv4.conf.all.rp_filter=1`.

References: RFC 2827 (BCP 38); RFC 3704.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.lint.entering import STRANGER, entering_of, place_of
from netemu.lint.finding import Finding, Level
from netemu.lint.networks import Network, networks, outside_devices
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.model import Invert
from netemu.netfilter.xtables.space import Field
from netemu.wire.address import format_address, in_prefix
from netemu.wire.ipv4 import Protocol

PRIVATE = tuple(
    Network("", address, length)
    for address, length in (
        (bytes((10, 0, 0, 0)), 8),
        (bytes((172, 16, 0, 0)), 12),
        (bytes((192, 168, 0, 0)), 16),
        (bytes((100, 64, 0, 0)), 10),
    )
)
"""RFC 1918 and RFC 6598."""

MOST_RELATED = 5


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each chain that lets such packets in."""
    if subject.family is not Family.IPV4:
        return
    outside = [name for name in outside_devices(subject) if _strictness(subject, name) != 1]
    chains: dict[str, list[tuple[Site, str, int]]] = {}
    for site in subject.sites:
        if not _accepts_by_source(site) or subject.owner(site.chain.name):
            continue
        for device in outside:
            packets = _spoofed(subject, site, device)
            if packets != EMPTY:
                chains.setdefault(site.chain.name, []).append((site, device, packets))
                break
    for found in chains.values():
        (first, device, packets), *others = found
        witness = entering_of(subject).shown(
            packets, matched=[place_of(first)], verdicts={"ACCEPT"}
        ) or entering_of(subject).shown(packets, matched=[place_of(first)])
        if witness is not None:
            more = f" (so do {len(others)} more rules of this chain)" if others else ""
            yield subject.about(
                first,
                f"accepts whoever writes an address of {_source(first)} into a packet, also by "
                f"{device}: neither -i nor rp_filter asks where it comes from{more}",
                span=subject.option_span(first.rule, "-s", "--source", "--src"),
                witness=witness,
                related=tuple(
                    one for site, *_ in others[:MOST_RELATED] for one in subject.related(site.rule)
                ),
            )


def _accepts_by_source(site: Site) -> bool:
    """Return whether a rule of table filter accepts packets for the network they come from."""
    target, generic = site.rule.target, site.rule.generic
    return (
        site.table.name == "filter"
        and target is not None
        and target.standard is Verdict.ACCEPT
        and len(generic.source) == 4
        and _length(site) >= PRIVATE[0].length
        and not generic.invert & Invert.SRCIP
    )


def _spoofed(subject: Subject, site: Site, device: str) -> int:
    """Return first packets that a rule accepts from a device that their source is not behind.

    What a stranger may send as well is none of them.
    """
    generic = site.rule.generic
    known = networks(subject)
    inner = [one for one in known if one.overlaps(generic.source, _length(site))]
    if any(one.device == device for one in inner):
        return EMPTY
    if not inner and not _is_open(subject, site):
        return EMPTY
    entering = entering_of(subject)
    sources = entering.prefix(Field.SOURCE, generic.source, _length(site))
    if inner:
        behind = (entering.prefix(Field.SOURCE, one.address, one.length) for one in inner)
        sources = entering.both(sources, entering.either(*behind))
    accepted = entering.accepted("in", "forward")
    packets = entering.both(
        entering.taken(site), entering.fresh(), entering.from_device(device), sources, accepted
    )
    strangers = entering.both(accepted, entering.prefix(Field.SOURCE, STRANGER, 32))
    source = {literal >> 1 for literal in entering.space.base[Field.SOURCE]}
    return entering.without(packets, entering.space.diagram.drop(strangers, source))


def _is_open(subject: Subject, site: Site) -> bool:
    """Return whether a rule trusts a private network of which nothing is known but this rule.

    A handshake of TCP does not come about with a source that is not one's own.
    """
    generic = site.rule.generic
    return (
        not subject.is_snapshot
        and not generic.in_device
        and not generic.out_device
        and generic.protocol != Protocol.TCP
        and any(
            in_prefix(generic.source, one.address, one.length) and _length(site) >= one.length
            for one in PRIVATE
        )
        and not _names_behind_outside(subject, site)
    )


def _names_behind_outside(subject: Subject, site: Site) -> bool:
    """Return whether another rule places the network behind the device that leads outside."""
    outside = outside_devices(subject)
    source = Network("", site.rule.generic.source, _length(site))
    return any(
        one.rule.generic.in_device in outside
        and not one.rule.generic.invert & (Invert.VIA_IN | Invert.SRCIP)
        and one.rule.generic.source_mask
        and one.rule.target is not None
        and one.rule.target.standard is Verdict.ACCEPT
        and source.overlaps(one.rule.generic.source, _length(one))
        for one in subject.sites
    )


def _length(site: Site) -> int:
    return int.from_bytes(site.rule.generic.source_mask, "big").bit_count()


def _source(site: Site) -> str:
    return f"{format_address(site.rule.generic.source)}/{_length(site)}"


def _strictness(subject: Subject, device: str) -> int:
    """Return what rp_filter is for a device: the larger of its own value and that of `all`."""
    assert subject.node is not None
    names = ("all", device.replace(".", "/"))
    values = [subject.node.main.sysctls.get(f"net.ipv4.conf.{name}.rp_filter") for name in names]
    return max(int(value or 0) for value in values)


RULE = LintRule(
    code="NE703",
    name="spoofable-source",
    level=Level.INFO,
    summary="Whoever writes an inner address into a packet is let in",
    check=check,
)
