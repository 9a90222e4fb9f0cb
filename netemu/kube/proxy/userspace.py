"""kube-proxy's userspace mode: rules that lead every connection into the proxy process.

Source: pkg/proxy/userspace/proxier.go (Kubernetes 1.20; the mode is gone since 1.26).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from netemu.kube.proxy.parts import Jump, jump
from netemu.kube.proxy.settings import ProxySettings
from netemu.kube.proxy.text import TableText, comment, restore_text
from netemu.kube.service_ports import EndpointInfo, PortKey, ServicePortInfo, port_key

FIRST_PROXY_PORT = 33000
"""Where the ports of the proxy process begin here; kube-proxy lets the kernel choose them."""

PORTALS_CONTAINER, PORTALS_HOST = "KUBE-PORTALS-CONTAINER", "KUBE-PORTALS-HOST"
NODEPORT_CONTAINER, NODEPORT_HOST = "KUBE-NODEPORT-CONTAINER", "KUBE-NODEPORT-HOST"
NON_LOCAL = "KUBE-NODEPORT-NON-LOCAL"

DIAL_TIMEOUTS_S = (0.25, 0.5, 1.0, 2.0)
"""How long the proxy waits for one endpoint after the other before it gives up."""


class ProxyPort(Struct, frozen=True, kw_only=True):
    """A port at which the proxy process listens for one Service port."""

    service: str
    protocol: str
    port: int
    affinity_s: int
    endpoints: tuple[EndpointInfo, ...]


class UserspaceState(Struct):
    """The rules, and what the proxy process listens to."""

    rules: str = ""
    proxies: list[ProxyPort] = field(default_factory=list)


def render_userspace(
    settings: ProxySettings,
    ports: Sequence[ServicePortInfo],
    endpoints: Mapping[PortKey, list[EndpointInfo]],
) -> UserspaceState:
    """Return the rules of a sync, Services by name, and the proxy's ports."""
    nat, filter_ = TableText("nat"), TableText("filter")
    for name in (PORTALS_CONTAINER, PORTALS_HOST, NODEPORT_CONTAINER, NODEPORT_HOST):
        nat.chain(name)
    filter_.chain(NON_LOCAL)
    state = UserspaceState()
    chosen = [port for port in ports if port.protocol != "sctp"]
    for port in sorted(chosen, key=lambda port: (port.name, port.protocol)):
        ready = tuple(item for item in endpoints.get(port_key(port), []) if item.ready)
        listen = FIRST_PROXY_PORT + len(state.proxies)
        state.proxies.append(
            ProxyPort(
                service=port.name,
                protocol=port.protocol,
                port=listen,
                affinity_s=port.affinity_s,
                endpoints=ready,
            )
        )
        _portal(nat, filter_, settings, port, listen)
    state.rules = restore_text(nat, filter_)
    return state


def _portal(
    nat: TableText,
    filter_: TableText,
    settings: ProxySettings,
    port: ServicePortInfo,
    listen: int,
) -> None:
    """Write the rules of one Service port."""
    length = settings.octets * 8
    redirect = f"-j REDIRECT --to-ports {listen}"
    host = f"[{settings.node_ip}]" if ":" in settings.node_ip else settings.node_ip
    translate = f"-j DNAT --to-destination {host}:{listen}"
    protocol = f"-p {port.protocol} -m {port.protocol}"
    text = comment(port.name)

    def words(ip: str) -> str:
        return f"{text} {protocol} --dport {port.port} -d {ip}/{length}"

    for ip in (port.cluster_ip, *port.load_balancer_ips):
        nat.rule(PORTALS_CONTAINER, words(ip), redirect)
        nat.rule(PORTALS_HOST, words(ip), translate)
    for ip in port.external_ips:
        nat.rule(PORTALS_CONTAINER, words(ip), "-m physdev ! --physdev-is-in", redirect)
        nat.rule(PORTALS_CONTAINER, words(ip), "-m addrtype --dst-type LOCAL", redirect)
        nat.rule(PORTALS_HOST, words(ip), "-m addrtype --dst-type LOCAL", translate)
    if port.node_port:
        node_port = f"{text} {protocol} --dport {port.node_port}"
        nat.rule(NODEPORT_CONTAINER, node_port, redirect)
        nat.rule(NODEPORT_HOST, node_port, translate)
        proxied = f"{text} {protocol} --dport {listen} -m state --state NEW -j ACCEPT"
        filter_.rule(NON_LOCAL, proxied)


def userspace_jumps() -> list[Jump]:
    """Return the jumps: those to ClusterIPs first in their chains, those to NodePorts last."""
    first = "handle ClusterIPs; NOTE: this must be before the NodePort rules"
    last = comment("handle service NodePorts; NOTE: this must be the last rule in the chain")
    local = f"-m addrtype --dst-type LOCAL {last} -j"
    non_local = "Ensure that non-local NodePort traffic can flow"
    return [
        jump("nat", "PREROUTING", PORTALS_CONTAINER, first),
        jump("nat", "OUTPUT", PORTALS_HOST, first),
        Jump("nat", "PREROUTING", f"{local} {NODEPORT_CONTAINER}", last=True),
        Jump("nat", "OUTPUT", f"{local} {NODEPORT_HOST}", last=True),
        jump("filter", "INPUT", NON_LOCAL, non_local),
    ]
