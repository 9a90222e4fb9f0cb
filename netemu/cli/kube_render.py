"""`netemu kube render`: what kube-proxy programs on a node."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import click

from netemu.cli.common import say_notes, write_output
from netemu.cli.kube_objects import ObjectSource, follow, object_source, watch_option
from netemu.errors import InputError, UsageError

if TYPE_CHECKING:
    from netemu.kube.cluster import Cluster

PARTS = ("rules", "jumps", "kubelet", "complete", "ipset", "ipvsadm", "addresses")
IPVS_PARTS = ("ipset", "ipvsadm", "addresses")


@click.command("render")
@object_source
@click.option("--node", "node_name", metavar="NAME", help="The node [the only one].")
@click.option(
    "--mode",
    type=click.Choice(["iptables", "ipvs", "userspace"]),
    help="kube-proxy's mode [as configured, else iptables].",
)
@click.option("--proxy-version", "version", metavar="V", help="kube-proxy's version [1.30].")
@click.option("-6", "ipv6", is_flag=True, help="The rules of IPv6 [if Services have no other].")
@click.option(
    "--part",
    type=click.Choice(PARTS),
    default="rules",
    show_default=True,
    help="What to print: kube-proxy's restore text, the base chains' jumps, kubelet's chains,"
    " all of them merged, or what IPVS mode has besides.",
)
@watch_option
def command(
    objects: ObjectSource,
    node_name: str | None,
    mode: str | None,
    version: str | None,
    ipv6: bool,
    part: str,
    watch: bool,
) -> int:
    """Print what kube-proxy hands to iptables-restore for a node, in canonical order."""
    from netemu.kube.service_ports import without_address

    cluster = objects.read()
    name = node_name or only_node(cluster)
    write = partial(_text, cluster, name, mode, version=version, ipv6=ipv6, part=part)
    text = write()
    write_output(None, text)
    say_notes([*cluster.notes, *without_address(cluster.services)])
    if watch:
        _follow(objects, cluster, text, write)
    return 0


def _text(
    cluster: Cluster, name: str, mode: str | None, *, version: str | None, ipv6: bool, part: str
) -> str:
    """Return the part that was asked for."""
    from netemu.kube.proxy.render import render
    from netemu.kube.service_ports import IPV6, family_of

    chosen = mode or cluster.proxy_config().mode or "iptables"
    octets = IPV6 if ipv6 else family_of(cluster.services)
    found = render(cluster, name, chosen, octets=octets, version=version)
    if part in IPVS_PARTS and found.ipvs is None:
        raise UsageError(f"--part {part} is a part of --mode ipvs")
    if part == "rules":
        return found.rules
    if part == "jumps":
        return found.jumps_text()
    if part == "kubelet":
        return found.kubelet_text()
    if part == "complete":
        return found.complete()
    assert found.ipvs is not None
    texts = {
        "ipset": found.ipvs.ipset_text,
        "ipvsadm": found.ipvs.ipvsadm_text,
        "addresses": found.ipvs.addresses_text,
    }
    return texts[part]()


def _follow(objects: ObjectSource, cluster: Cluster, text: str, write: Callable[[], str]) -> None:
    """Print what events there were, and the lines that they took away and added."""
    before = text.splitlines()

    def tell(events: list[str]) -> None:
        nonlocal before
        after = write().splitlines()
        # the first two lines of a diff name the files
        changed = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
        if changed:
            lines = [*(f"# {event}" for event in events), *changed]
            write_output(None, "".join(f"{line}\n" for line in lines if not line.startswith("@@")))
        before = after

    follow(objects, cluster, tell)


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
