"""Networks that hosts behind the node are in, and the devices that lead outside.

Kernel: none.

Of a snapshot its addresses and routes tell them. A mere rule file tells what its rules place behind
a device (as for a bare node), and what they translate on its way out: `-s NET -o DEV -j MASQUERADE`
says that NET is inside and DEV leads outside. Where such a network is behind a device that no rule
names, that device is made up, with an address for the node.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from netemu.lint.nat_rules import nat_sites
from netemu.lint.subject import Subject
from netemu.netfilter.xtables.model import Invert
from netemu.sim.spec import LinkSpec, NodeSpec
from netemu.wire.address import format_address, in_prefix, network_of

UPLINK = "eth0"
"""What leads outside of a bare node."""

SHORTEST = 8
"""A prefix shorter than this is no network of hosts."""

_CONTAINERS = re.compile(
    r"(?:docker|cni|cbr|virbr|lxcbr|lxdbr|podman|nerdctl|weave|kube-bridge)\d*$|br-[0-9a-f]{12}$"
)
"""Bridges whose ports are containers and virtual machines of the node itself."""


class Network(NamedTuple):
    """A network that the node is connected to."""

    device: str
    address: bytes
    length: int
    option: str = ""
    """Value of --addr, where the network is nowhere but in the rules."""

    def __str__(self) -> str:
        """Return it as the rules write it."""
        return f"{format_address(self.address)}/{self.length}"

    def holds(self, address: bytes) -> bool:
        """Return whether an address is in the network."""
        return in_prefix(address, self.address, self.length)

    def overlaps(self, address: bytes, length: int) -> bool:
        """Return whether a prefix and the network have addresses in common."""
        return self.holds(address) or in_prefix(self.address, address, length)


@functools.lru_cache(maxsize=1)
def networks(subject: Subject) -> tuple[Network, ...]:
    """Return the IPv4 networks of the node, but those that a mere rule file does not tell."""
    node = subject.node
    if node is None:
        return ()
    found = [
        Network(route.nexthops[0].device, route.prefix, route.prefix_len)
        for route in node.main.routes
        if route.kind == "unicast"
        and route.table == 254
        and len(route.prefix) == 4
        and SHORTEST <= route.prefix_len < 31
        and len(route.nexthops) == 1
        and not route.nexthops[0].gateway
        and (subject.is_snapshot or route.nexthops[0].device != UPLINK)
    ]
    if not subject.is_snapshot:
        outside = outside_devices(subject)
        found += [
            network
            for network in _translated(subject)
            if not any(other.overlaps(network.address, network.length) for other in found)
        ]
        found = [network for network in found if network.device not in outside]
    return tuple(dict.fromkeys(found))


def outside_devices(subject: Subject) -> tuple[str, ...]:
    """Return the devices that lead to everybody else."""
    node = subject.node
    if node is None:
        return ()
    if subject.is_snapshot:
        return tuple(
            dict.fromkeys(
                way.device
                for route in node.main.routes
                if not route.prefix_len and len(route.prefix) == 4 and route.kind == "unicast"
                for way in route.nexthops
            )
        )
    named = [
        site.rule.generic.out_device
        for site in nat_sites(subject, "MASQUERADE", "SNAT")
        if not site.rule.generic.invert & Invert.VIA_OUT
        and site.rule.generic.out_device not in {"", "lo"}
        and not site.rule.generic.out_device.endswith("+")
        and not _CONTAINERS.match(site.rule.generic.out_device)
    ]
    return tuple(dict.fromkeys(named)) or (UPLINK,)


def _translated(subject: Subject) -> list[Network]:
    """Return what is translated on its way out, and so is behind some other device."""
    assert subject.node is not None
    space = subject.prover.reach.space
    made_up = space.devices[-1]
    if made_up in outside_devices(subject):
        return []
    found = []
    for site in nat_sites(subject, "MASQUERADE", "SNAT"):
        generic = site.rule.generic
        length = int.from_bytes(generic.source_mask, "big").bit_count()
        if (
            len(generic.source) == 4
            and SHORTEST <= length < 31
            and not generic.invert & (Invert.SRCIP | Invert.VIA_OUT)
            and generic.out_device in outside_devices(subject)
        ):
            network = network_of(generic.source, length)
            first = (int.from_bytes(network, "big") + 1).to_bytes(4, "big")
            option = f"{made_up}={format_address(first)}/{length}"
            found.append(Network(made_up, network, length, option))
    return found


def own_addresses(subject: Subject, network: Network) -> list[bytes]:
    """Return the node's addresses in a network."""
    assert subject.node is not None
    found = [
        one.address
        for one in subject.node.main.addresses
        if len(one.address) == 4 and network.holds(one.address)
    ]
    if network.option:
        found.append((int.from_bytes(network.address, "big") + 1).to_bytes(4, "big"))
    return found


def is_container_bridge(subject: Subject, device: str) -> bool:
    """Return whether answers between ports of a device meet conntrack on the bridge."""
    node = subject.node
    assert node is not None
    if not subject.is_snapshot:
        return bool(_CONTAINERS.match(device))
    link = _link(node, device)
    off = node.main.sysctls.get("net.bridge.bridge-nf-call-iptables") == "0"
    return link is not None and link.kind == "bridge" and not off


def _link(node: NodeSpec, device: str) -> LinkSpec | None:
    return next((link for link in node.main.links if link.name == device), None)
