"""Addresses and ports that the control plane hands out.

Source: pkg/registry/core/service/ipallocator, portallocator (Kubernetes 1.30): a range begins with
a band for those that users choose themselves, which dynamic choices leave alone while they can.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from netemu.errors import UsageError
from netemu.wire.address import format_address, parse_address, parse_prefix

SERVICE_CIDR = "10.96.0.0/12"
"""kubeadm's default (--service-cidr)."""
NODE_PORTS = range(30000, 32768)
NODE_PORT_BAND = (16, 32, 128)
CLUSTER_IP_BAND = (16, 16, 256)


def band(size: int, limits: tuple[int, int, int]) -> int:
    """Return how many of a range are left to users (calculateRangeOffset).

    >>> (
    ...     band(1 << 20, CLUSTER_IP_BAND),
    ...     band(len(NODE_PORTS), NODE_PORT_BAND),
    ...     band(16, (16, 16, 256)),
    ... )
    (256, 86, 0)
    """
    least, step, most = limits
    if size <= least:
        return 0
    return min(max(least, size // step), most)


def free_cluster_ip(taken: Iterable[str], cidr: str = SERVICE_CIDR) -> str:
    """Return the next ClusterIP; the network's own and the broadcast address are none.

    Kubernetes draws it at random; here it is the first that is free. Raises UsageError when the
    range is used up.
    """
    prefix, length = parse_prefix(cidr)
    size = (1 << (len(prefix) * 8 - length)) - 2
    base = int.from_bytes(prefix, "big") + 1
    used = {int.from_bytes(parse_address(ip), "big") for ip in taken}
    offset = band(size, CLUSTER_IP_BAND)
    for number in (*range(offset, size), *range(offset)):
        if base + number not in used:
            return format_address((base + number).to_bytes(len(prefix), "big"))
    raise UsageError(f"the range of ClusterIPs {cidr} is used up")


def free_node_port(taken: Iterable[int]) -> int:
    """Return the next NodePort. Raises UsageError when all are used."""
    used = set(taken)
    offset = band(len(NODE_PORTS), NODE_PORT_BAND)
    first = NODE_PORTS.start
    for port in range(first + offset, first + offset + len(NODE_PORTS)):
        found = port if port in NODE_PORTS else port - len(NODE_PORTS)
        if found not in used:
            return found
    raise UsageError("the range of NodePorts 30000-32767 is used up")


def pod_addresses(cidr: str) -> Iterator[str]:
    """Yield a node's pod addresses in the order in which host-local IPAM gives them.

    The first address of the range is the bridge's.
    """
    prefix, length = parse_prefix(cidr)
    base = int.from_bytes(prefix, "big")
    for number in range(2, (1 << (len(prefix) * 8 - length)) - 1):
        yield format_address((base + number).to_bytes(len(prefix), "big"))
