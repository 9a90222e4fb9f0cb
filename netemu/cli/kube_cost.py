"""`netemu kube cost`: what a packet to a Service costs, by mode and number of Services."""

from __future__ import annotations

import json

import click

from netemu.cli.kube_walk import Destination, Sender, WalkOptions, walk
from netemu.errors import UsageError
from netemu.events import IpvsServiceFound, SetLookedUp
from netemu.kube.cluster import Cluster
from netemu.kube.proxy.render import MODES
from netemu.sim.spec import TextFile
from netemu.snapshot.objects import read_cluster

MOST = 16384
LOOK_UPS = (SetLookedUp, IpvsServiceFound)
"""What is found by its hash, however many there are: sets' entries, virtual servers."""
CLIENT = "10.244.1.250"

NODE: dict[str, object] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node-a"},
    "spec": {"podCIDR": "10.244.0.0/16"},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.11"}]},
}
CONFIG: dict[str, object] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "clusterCIDR": "10.244.0.0/16",
}


@click.command("cost")
@click.option(
    "--services",
    "counts",
    metavar="N,...",
    default="10,100,1000,5000",
    show_default=True,
    help="How many Services there are.",
)
def command(counts: str) -> int:
    """Compare the modes: what the packet that opens a connection to a Service meets.

    The cluster is made up: one node, one endpoint to each Service, and the packet goes to the last
    one, whose rule stands behind those of all others. Sets and virtual servers are found by hash.
    """
    numbers = [_number(text) for text in counts.split(",")]
    click.echo(f"{'Services':>8}  " + "  ".join(f"{mode:>18}" for mode in MODES))
    for number in numbers:
        cluster = made_up(number)
        cells = (_cell(cluster, number, mode) for mode in MODES)
        click.echo(f"{number:>8}  " + "  ".join(f"{cell:>18}" for cell in cells))
    return 0


def _number(text: str) -> int:
    if not text.strip().isdigit() or not 0 < int(text) <= MOST:
        raise UsageError(f"--services {text}: write numbers from 1 to {MOST}, such as 10,1000")
    return int(text)


def virtual_ip(number: int) -> str:
    """Return the ClusterIP of a Service."""
    return f"10.96.{number // 250}.{number % 250 + 1}"


def made_up(services: int) -> Cluster:
    """Return a cluster of so many Services."""
    items: list[dict[str, object]] = [NODE, CONFIG]
    for number in range(services):
        name = f"svc-{number:05}"
        items.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"clusterIP": virtual_ip(number), "ports": [{"port": 80}]},
            }
        )
        items.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
                "addressType": "IPv4",
                "ports": [{"port": 80}],
                "endpoints": [
                    {
                        "addresses": [f"10.244.{100 + number // 250}.{number % 250 + 1}"],
                        "nodeName": "node-a",
                    }
                ],
            }
        )
    text = json.dumps({"kind": "List", "apiVersion": "v1", "items": items})
    return read_cluster([TextFile(name="made-up.json", text=text)])


def _cell(cluster: Cluster, services: int, mode: str) -> str:
    options = WalkOptions(
        cluster=cluster,
        node="node-a",
        sender=Sender(ip=CLIENT, node="node-a"),
        destination=Destination(ip=virtual_ip(services - 1), port=80, protocol="tcp"),
        version=None,
        octets=4,
        seed=0,
        kernel="6.18",
        with_outcomes=False,
    )
    passage = walk(options, mode).trace.passage
    looked_up = sum(isinstance(event, LOOK_UPS) for _, event in passage.told)
    by_hash = f", {looked_up} by hash" if looked_up else ""
    return f"{passage.rules_visited} rules{by_hash}"
