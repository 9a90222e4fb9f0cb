"""`netemu kube render`: what kube-proxy programs on a node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from netemu.cli.common import say_notes, write_output
from netemu.errors import InputError, UsageError

if TYPE_CHECKING:
    from netemu.kube.cluster import Cluster

PARTS = ("rules", "jumps", "kubelet", "complete", "ipset", "ipvsadm", "addresses")
IPVS_PARTS = ("ipset", "ipvsadm", "addresses")


@click.command("render")
@click.argument("objects", metavar="OBJECTS...", nargs=-1, required=True)
@click.option("--node", "node_name", metavar="NAME", help="The node [the only one].")
@click.option(
    "--mode",
    type=click.Choice(["iptables", "ipvs", "userspace"]),
    help="kube-proxy's mode [as configured, else iptables].",
)
@click.option("--proxy-version", "version", metavar="V", help="kube-proxy's version [1.30].")
@click.option("-6", "ipv6", is_flag=True, help="The rules of IPv6.")
@click.option(
    "--part",
    type=click.Choice(PARTS),
    default="rules",
    show_default=True,
    help="What to print: kube-proxy's restore text, the base chains' jumps, kubelet's chains,"
    " all of them merged, or what IPVS mode has besides.",
)
def command(
    objects: tuple[str, ...],
    node_name: str | None,
    mode: str | None,
    version: str | None,
    ipv6: bool,
    part: str,
) -> int:
    """Print what kube-proxy hands to iptables-restore for a node, in canonical order."""
    from netemu.kube.proxy.render import render
    from netemu.kube.service_ports import IPV4, IPV6
    from netemu.snapshot.objects import object_files, read_cluster

    cluster = read_cluster(file for path in objects for file in object_files(path))
    name = node_name or only_node(cluster)
    chosen = mode or cluster.proxy_config().mode or "iptables"
    found = render(cluster, name, chosen, octets=IPV6 if ipv6 else IPV4, version=version)
    if part in IPVS_PARTS and found.ipvs is None:
        raise UsageError(f"--part {part} is a part of --mode ipvs")
    if part == "rules":
        text = found.rules
    elif part == "jumps":
        text = found.jumps_text()
    elif part == "kubelet":
        text = found.kubelet_text()
    elif part == "complete":
        text = found.complete()
    else:
        assert found.ipvs is not None
        texts = {
            "ipset": found.ipvs.ipset_text,
            "ipvsadm": found.ipvs.ipvsadm_text,
            "addresses": found.ipvs.addresses_text,
        }
        text = texts[part]()
    write_output(None, text)
    say_notes(cluster.notes)
    return 0


def only_node(cluster: Cluster) -> str:
    """Return the name of the node when there is just one, or kube-proxy's configured one."""
    configured = cluster.proxy_config().hostname_override
    if configured:
        return configured
    names = [node.metadata.name for node in cluster.nodes]
    if len(names) != 1:
        known = f"; the objects have {', '.join(names)}" if names else ""
        raise InputError(f"say with --node which node{known}")
    return names[0]
