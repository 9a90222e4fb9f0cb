"""IPVS mode's sets: which addresses are masqueraded, filtered, or left alone.

Source: pkg/proxy/ipvs/ipset.go (Kubernetes 1.30), by way of the renderer.
"""

from __future__ import annotations

from collections.abc import Iterator

from netemu.kube.check.fault import Claim, Fault, Place, Probe, Saying, Sender
from netemu.kube.check.ipvs import node_probes
from netemu.kube.check.services import Services
from netemu.kube.proxy.ipvs import (
    CLUSTER_IP,
    EXTERNAL_IP,
    HEALTH_CHECK,
    IPVS_IPS,
    LOAD_BALANCER,
    LOOP_BACK,
    SETS,
    SOURCE_CIDR,
    SOURCE_IP,
    IpvsState,
)
from netemu.ruleset.ipset import is_listing, listing_to_commands
from netemu.sim.spec import TextFile

_MASQUERADING = frozenset({CLUSTER_IP, EXTERNAL_IP, LOAD_BALANCER, LOOP_BACK})


def read_entries(file: TextFile) -> dict[str, dict[str, int]]:
    """Return every set's entries with their lines; 0 where the text is a listing."""
    listing = is_listing(file.text)
    text = listing_to_commands(file.text) if listing else file.text
    found: dict[str, dict[str, int]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if words[:1] == ["create"] and len(words) > 1:
            found.setdefault(words[1], {})
        elif words[:1] == ["add"] and len(words) > 2:
            found.setdefault(words[1], {})[_entry(words[2])] = 0 if listing else number
    return found


def _entry(text: str) -> str:
    """Return an entry without the lengths of single addresses."""
    return ",".join(part.removesuffix("/32").removesuffix("/128") for part in text.split(","))


def compare_sets(file: TextFile, wanted: IpvsState, services: Services) -> Iterator[Fault]:
    """Yield sets and entries that are missing, and entries that should not be there."""
    held = read_entries(file)
    for name in SETS:
        if name not in wanted.sets:
            continue
        real = wanted.set_name(name)
        want = {_entry(entry) for entry in wanted.sets[name]}
        have = held.get(real)
        if have is None:
            if want:
                yield _fault(name, f"the set {real} is not there", min(want), 0, services)
            continue
        for entry in sorted(want - have.keys()):
            yield _fault(name, f"{real} lacks {entry}{_owner(entry, services)}", entry, 0, services)
        for entry in sorted(have.keys() - want):
            if name == LOOP_BACK and _is_draining(entry, services):
                continue
            text = f"{real} has {entry}, which no Service asks for"
            yield _fault(name, text, entry, have[entry], services, stale=True)


def _is_draining(entry: str, services: Services) -> bool:
    """Return whether an entry is of an endpoint that is on its way out."""
    ip = entry.partition(",")[0]
    return any(
        item.ip == ip and item.terminating
        for items in services.endpoints.values()
        for item in items
    )


def _owner(entry: str, services: Services) -> str:
    """Return `, of NAME` for an entry whose address is a Service's."""
    ip = entry.partition(",")[0]
    for port in services.ports:
        if ip in {port.cluster_ip, *port.external_ips, *port.load_balancer_ips}:
            return f" of {port.name.partition(':')[0]}"
        if entry == str(port.node_port) or entry == str(port.health_check_node_port):
            return f" of {port.name}"
    pod = services.pods.get(ip)
    return f" of pod {pod}" if pod else ""


def _fault(
    name: str, text: str, entry: str, line: int, services: Services, *, stale: bool = False
) -> Fault:
    claim, probes = _shown_by(name, entry, services, stale=stale)
    return Fault(
        code="NE337",
        message=text,
        file="ipset",
        line=line,
        claim=claim,
        probes=tuple(probes),
    )


def _shown_by(
    name: str, entry: str, services: Services, *, stale: bool
) -> tuple[Claim, list[Probe]]:
    """Return what a wrong entry does to which packets."""
    parts = entry.split(",")
    kept = Claim(saying=Saying.MASQUERADED if stale else Saying.UNMASQUERADED)
    if len(parts) == 1 and parts[0].isdigit():
        if name == HEALTH_CHECK:
            place = Place(table="filter", chain="KUBE-NODE-PORT")
            claim = Claim(saying=Saying.MEETS if stale else Saying.UNMATCHED, place=place)
            return claim, list(node_probes(int(parts[0]), "tcp"))
        protocol = "udp" if "UDP" in name else "tcp"
        saying = kept.saying
        if "LOCAL" in name:
            saying = Saying.UNMASQUERADED if stale else Saying.MASQUERADED
        return Claim(saying=saying), list(node_probes(int(parts[0]), protocol))
    ip, protocol, number = parts[0], "tcp", 80
    if len(parts) > 1 and ":" in parts[1]:
        protocol, _, text = parts[1].partition(":")
        number = int(text)
    if name == LOOP_BACK:
        targets = [
            port
            for port in services.ports
            for item in services.of_port(port)
            if item.ip == ip and item.port == number
        ]
        return kept, [
            Probe(
                sender=Sender.POD,
                protocol=port.protocol,
                destination=port.cluster_ip,
                port=port.port,
                source=ip,
            )
            for port in targets
        ]
    source = parts[2].partition("/")[0] if len(parts) > 2 else ""
    probes = [
        Probe(sender=sender, protocol=protocol, destination=ip, port=number, source=source)
        for sender in (Sender.OUTSIDE, Sender.POD, Sender.NODE)
        if not source or sender is Sender.OUTSIDE
    ]
    if name in {SOURCE_CIDR, SOURCE_IP}:
        return Claim(saying=Saying.PASSES if stale else Saying.STUCK), probes
    if name in _MASQUERADING:
        return kept, probes
    if name == IPVS_IPS:
        place = Place(table="filter", chain="KUBE-IPVS-FILTER")
        saying = Saying.MEETS if stale else Saying.UNMATCHED
        idle = [Probe(sender=one.sender, protocol="tcp", destination=ip, port=9) for one in probes]
        return Claim(saying=saying, place=place, action="REJECT"), idle
    if "LOCAL" in name:
        return Claim(saying=Saying.UNMASQUERADED if stale else Saying.MASQUERADED), probes
    return Claim(saying=Saying.STUCK if stale else Saying.PASSES), probes
