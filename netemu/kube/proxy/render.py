"""What kube-proxy of one node programs, in any mode: the one door to the modes."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct, field

from netemu.errors import UsageError
from netemu.kube.cluster import Cluster
from netemu.kube.proxy.iptables import render_iptables
from netemu.kube.proxy.iptables_xlb import render_iptables_xlb
from netemu.kube.proxy.ipvs import IpvsState, ipvs_jumps, render_ipvs
from netemu.kube.proxy.parts import (
    Jump,
    complete_text,
    iptables_jumps,
    jumps_text,
    kubelet_text,
    merged_text,
)
from netemu.kube.proxy.settings import ProxySettings, proxy_settings
from netemu.kube.proxy.userspace import ProxyPort, render_userspace, userspace_jumps
from netemu.kube.proxy.version import (
    DEFAULT_VERSION,
    FIRST_COUNTING,
    LAST_USERSPACE,
    parse_version,
)
from netemu.kube.service_ports import IPV4, endpoints_map, service_ports

MODES = ("iptables", "ipvs", "userspace")


class Rendered(Struct, kw_only=True):
    """What one node gets."""

    mode: str
    settings: ProxySettings
    rules: str
    """What kube-proxy hands to iptables-restore."""
    jumps: list[Jump]
    ipvs: IpvsState | None = None
    proxies: Sequence[ProxyPort] = ()
    """Userspace mode: where the proxy process listens."""
    notes: list[str] = field(default_factory=list)

    def jumps_text(self) -> str:
        """Return the base chains' jumps as restore text."""
        return jumps_text(self.rules, self.jumps)

    def kubelet_text(self) -> str:
        """Return kubelet's chains as restore text."""
        return kubelet_text(self.settings)

    def merged(self) -> str:
        """Return the node's whole rules as restore text, in the order of `complete`."""
        return merged_text(self.settings, self.rules, self.jumps)

    def complete(self) -> str:
        """Return the node's whole rules, as iptables-save prints them."""
        return complete_text(self.settings, self.rules, self.jumps)


def version_for(cluster: Cluster, mode: str, version: str | None) -> str:
    """Return the version that is meant: the given one, else the usual one of a mode.

    A configuration that says that there are nfacct counters means one that counts by them.
    """
    if version or mode == "userspace":
        return version or str(LAST_USERSPACE)
    return str(FIRST_COUNTING) if cluster.proxy_config().x_nfacct else DEFAULT_VERSION


def render(
    cluster: Cluster,
    node_name: str,
    mode: str,
    *,
    octets: int = IPV4,
    version: str | None = None,
) -> Rendered:
    """Return what kube-proxy programs on a node; `octets` is the family's address length.

    Raises UsageError for a mode that the version does not have, InputError for a configuration
    that kube-proxy would refuse.
    """
    if mode not in MODES:
        raise UsageError(f"there is no mode {mode!r}; there are {', '.join(MODES)}")
    chosen = version_for(cluster, mode, version)
    if mode == "userspace" and parse_version(chosen) > LAST_USERSPACE:
        raise UsageError(
            f"kube-proxy {chosen} has no userspace mode; {LAST_USERSPACE} was the last that had"
        )
    settings = proxy_settings(cluster, node_name, octets=octets, version=chosen)
    if mode == "ipvs" and settings.version.has_xlb_chains:
        raise UsageError(
            f"the IPVS mode of kube-proxy {settings.version} is not known; that of 1.25 and later"
            " is, as are its iptables and userspace modes"
        )
    ports = [
        port
        for service in cluster.services
        for port in service_ports(service, octets, settings.version)
    ]
    endpoints = endpoints_map(cluster.slices, octets, node_name)
    if mode == "iptables":
        rules = render_iptables_xlb if settings.version.has_xlb_chains else render_iptables
        return Rendered(
            mode=mode,
            settings=settings,
            rules=rules(settings, ports, endpoints),
            jumps=iptables_jumps(settings),
        )
    if mode == "ipvs":
        ipvs = render_ipvs(settings, ports, endpoints)
        return Rendered(
            mode=mode, settings=settings, rules=ipvs.rules, jumps=ipvs_jumps(settings), ipvs=ipvs
        )
    found = render_userspace(settings, ports, endpoints)
    return Rendered(
        mode=mode,
        settings=settings,
        rules=found.rules,
        jumps=userspace_jumps(),
        proxies=found.proxies,
    )
