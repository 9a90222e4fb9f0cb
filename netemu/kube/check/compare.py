"""One node against the objects: the one door to the comparison."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from netemu.errors import InputError
from netemu.kube.check.fault import Claim, Fault, Saying
from netemu.kube.check.inferred import (
    local_addresses,
    node_of,
    saved_modes,
    saved_version,
    with_local_addresses,
    with_saved_configuration,
)
from netemu.kube.check.iptables import compare_services
from netemu.kube.check.ipvs import IpvsCheck, read_servers
from netemu.kube.check.reading import KubeRules
from netemu.kube.check.services import Services, inside
from netemu.kube.check.sets import compare_sets
from netemu.kube.check.standing import compare_standing, nothing_there
from netemu.kube.check.userspace import compare_portals
from netemu.kube.cluster import Cluster
from netemu.kube.objects import KubeProxyConfiguration
from netemu.kube.proxy.render import Rendered, render
from netemu.kube.service_ports import IPV4
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Ruleset
from netemu.ruleset import parse_ruleset
from netemu.sim.spec import NamespaceSpec

AUTO = "auto"


class Checked(Struct, kw_only=True):
    """What the comparison brought."""

    node_name: str
    modes: list[str]
    """The modes whose traces the node bears."""
    rendered: Rendered
    """What kube-proxy would have programmed."""
    services: Services
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_node(  # noqa: PLR0913 - one keyword per command-line option
    ruleset: Ruleset,
    space: NamespaceSpec,
    cluster: Cluster,
    *,
    is_snapshot: bool,
    node_name: str = "",
    mode: str = AUTO,
    version: str | None = None,
    octets: int = IPV4,
) -> Checked:
    """Return what differs between a node's saved state and what its objects ask for.

    Raises InputError where the node cannot be told, or its rules are of a release that is not
    known; UsageError for a mode that the version does not have.
    """
    saved = KubeRules(ruleset)
    addresses = local_addresses(space, octets) if is_snapshot else []
    name = node_name or cluster.proxy_config().hostname_override or node_of(cluster, addresses)
    name = name or _only_node(cluster)
    modes = saved_modes(saved, space if is_snapshot else None)
    configured = bool(cluster.all(KubeProxyConfiguration))
    notes: list[str] = []
    wish = mode if mode != AUTO else _wished(cluster) if configured else ""
    chosen = wish or next(iter(modes), "iptables")
    compared = chosen if chosen in modes or not modes else modes[0]
    if not configured:
        schedulers = (
            [held.spec.scheduler for held in read_servers(space.ipvs).values()]
            if space.ipvs is not None
            else []
        )
        cluster = with_saved_configuration(cluster, saved, schedulers, compared, octets)
        notes.append(_taken(cluster))
    if addresses:
        cluster = with_local_addresses(cluster, addresses)
    version = version or saved_version(saved, compared)
    rendered = render(cluster, name, compared, octets=octets, version=version)
    found = Checked(
        node_name=name,
        modes=modes,
        rendered=rendered,
        services=Services.of(cluster, octets, name),
        notes=notes,
    )
    found.faults = list(_faults(saved, space, found, chosen, is_snapshot=is_snapshot))
    return found


def _only_node(cluster: Cluster) -> str:
    names = [node.metadata.name for node in cluster.nodes]
    if len(names) > 1:
        raise InputError(f"say with --node which node this is; the objects have {', '.join(names)}")
    return names[0] if names else ""


def _wished(cluster: Cluster) -> str:
    return cluster.proxy_config().mode or "iptables"


def _taken(cluster: Cluster) -> str:
    """Say what of the configuration was taken from the saved rules."""
    config = cluster.proxy_config()
    detected = config.cluster_cidr or config.detect_local.bridge_interface
    detected = detected or config.detect_local.interface_name_prefix
    pods = f", pods by {detected}" if detected else ""
    return (
        f"no KubeProxyConfiguration among the objects: mode {config.mode}{pods} and the other"
        " settings are taken from the saved rules"
    )


def _faults(
    saved: KubeRules, space: NamespaceSpec, found: Checked, wish: str, *, is_snapshot: bool
) -> Iterator[Fault]:
    rendered, services = found.rendered, found.services
    if not found.modes:
        yield nothing_there(services)
        return
    if wish not in found.modes or len(found.modes) > 1:
        yield _wrong_mode(found, wish)
    family = Family.IPV4 if rendered.settings.octets == IPV4 else Family.IPV6
    wanted = KubeRules(parse_ruleset(rendered.merged(), "kube-proxy's rules", family=family))
    yield from compare_standing(saved, wanted, services, rendered.mode)
    if rendered.mode == "iptables":
        yield from compare_services(saved, wanted, services)
    elif rendered.mode == "userspace":
        yield from compare_portals(saved, wanted, services)
    elif rendered.ipvs is not None:
        checking = IpvsCheck(
            wanted=rendered.ipvs,
            knows_addresses=is_snapshot,
            services=services,
            settings=rendered.settings,
        )
        if space.ipvs is not None:
            yield from checking.servers(space.ipvs)
        if space.ipset is not None:
            yield from compare_sets(space.ipset, rendered.ipvs, services)
        if is_snapshot:
            yield from checking.addresses(space)


def _wrong_mode(found: Checked, wish: str) -> Fault:
    others = [mode for mode in found.modes if mode != wish]
    both = " beside its own" if wish in found.modes else ""
    return Fault(
        code="NE331",
        message=f"kube-proxy is to run in {wish} mode, but the node has what"
        f" {' and '.join(others)} mode makes{both}",
        claim=Claim(saying=Saying.TRANSLATED),
        probes=tuple(probe for port in found.services.ports[:8] for probe in inside(port)),
    )
