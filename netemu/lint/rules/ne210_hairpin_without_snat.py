"""Clients reach a neighbour by DNAT, and its answer comes directly.

Kernel: none.

What it does: Finds DNAT rules that take packets of clients which are in one network with the host
that they are sent to, where no SNAT or MASQUERADE gives them the node's address.

Why it matters: The host answers its neighbour directly. The client has asked another address, and
refuses an answer from this one: from inside, the published address does not work.

Example:
    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -d 192.0.2.1/32 -p tcp --dport 80 -j DNAT --to-destination 192.168.1.10
    -A POSTROUTING -s 192.168.1.0/24 -o eth0 -j MASQUERADE
    COMMIT

Use instead:

    *nat
    :PREROUTING ACCEPT [0:0]
    :POSTROUTING ACCEPT [0:0]
    -A PREROUTING -d 192.0.2.1/32 -p tcp --dport 80 -j DNAT --to-destination 192.168.1.10
    -A POSTROUTING -s 192.168.1.0/24 -d 192.168.1.10/32 -p tcp --dport 80 -j MASQUERADE
    -A POSTROUTING -s 192.168.1.0/24 -o eth0 -j MASQUERADE
    COMMIT

References: RFC 4787, 6 (hairpinning).
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.analysis.bdd import EMPTY
from netemu.lint.entering import Entering, entering_of, place_of
from netemu.lint.finding import Finding, Level, Witness
from netemu.lint.nat_rules import SOURCE, nat_sites, translated
from netemu.lint.networks import Network, is_container_bridge, networks, own_addresses
from netemu.lint.rule import LintRule
from netemu.lint.subject import Site, Subject
from netemu.lint.witness import Seen
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import Field


def check(subject: Subject) -> Iterator[Finding]:
    """Yield a finding for each such translation."""
    if subject.family is not Family.IPV4:
        return
    for site in nat_sites(subject, "DNAT"):
        to = translated(site)
        if to is None or subject.owner(site.chain.name):
            continue
        network = next((one for one in networks(subject) if one.holds(to.low)), None)
        if network is None or is_container_bridge(subject, network.device):
            continue
        witness = _witness(subject, site, network, to.low)
        if witness is not None:
            yield subject.about(
                site,
                f"clients in {network} reach their neighbour by this translation, and it answers "
                "them directly, from an address that they did not ask",
                witness=witness,
            )


def _witness(subject: Subject, site: Site, network: Network, host: bytes) -> Witness | None:
    """Return a packet of a client that goes back to its network as it came."""
    entering = entering_of(subject)
    if entering.reach.path.coarse:
        return None
    packets = entering.both(
        entering.taken(site),
        entering.fresh(),
        entering.from_device(network.device),
        entering.to_device(network.device),
        _clients(subject, network, host),
        _with_their_source(entering),
    )
    if packets == EMPTY:
        return None
    translating = {place_of(one) for one in nat_sites(subject, *SOURCE, "NETMAP")}

    def goes_back(seen: Seen) -> bool:
        return (
            place_of(site) in seen.matched
            and not translating & seen.matched
            and any(sent.device == network.device for sent in seen.fate.frames)
        )

    return subject.prover.shown(
        entering.at_home(packets), goes_back, addresses=(network.option,) * bool(network.option)
    )


def _clients(subject: Subject, network: Network, host: bytes) -> int:
    """Return packets of hosts in a network, less the one that they are sent to."""
    entering = entering_of(subject)
    read = entering.read
    last = int.from_bytes(network.address, "big") | (1 << (32 - network.length)) - 1
    others = [host, network.address, last.to_bytes(4, "big"), *own_addresses(subject, network)]
    return entering.without(
        entering.prefix(Field.SOURCE, network.address, network.length),
        read.either(*(entering.prefix(Field.SOURCE, one, 32) for one in others)),
    )


def _with_their_source(entering: Entering) -> int:
    """Return forwarded packets that leave with the source that they came with."""
    return entering.read.either(
        *(
            entering.space.entered(packets)
            for way, crowd in entering.reach.path.delivered
            if way == "forward"
            for view, packets in crowd.parts.items()
            if Field.SOURCE not in view.runs
        )
    )


RULE = LintRule(
    code="NE210",
    name="hairpin-without-snat",
    level=Level.WARNING,
    summary="Clients reach a neighbour by DNAT, and its answer comes directly",
    check=check,
)
