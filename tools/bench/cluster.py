"""What a large cluster costs: rules rendered, loaded, one packet traced, one endpoint changed.

    .venv/bin/python tools/bench/cluster.py
    .venv/bin/python tools/bench/cluster.py --services N --endpoints M

Services have their endpoints on ten nodes, M each. `re-synced` is what kube-proxy of one node does
when one endpoint changes: the text of a partial sync, restored onto the tables that run. All is
processor time of one process; exits 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource

from netemu.cli.kube_walk import Destination, Sender, WalkOptions, walk
from netemu.kube.cluster import Cluster
from netemu.kube.objects import EndpointSlice
from netemu.kube.proxy.parts import iptables_jumps, merged_text
from netemu.kube.proxy.render import render
from netemu.kube.proxy.settings import proxy_settings
from netemu.kube.proxy.sync import IptablesSync
from netemu.kube.proxy.view import ProxyView
from netemu.sim.node import build_node
from netemu.sim.spec import NamespaceSpec, NodeSpec, TextFile
from netemu.snapshot.objects import read_cluster

NODES = 10
NODE = "node-0"
TRACE_LIMIT_S = 10.0
SYNC_LIMIT_S = 1.0
MEMORY_LIMIT_MB = 1500


def objects(services: int, endpoints: int) -> str:
    """Return the objects of a cluster as JSON."""
    items: list[dict[str, object]] = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": f"node-{number}"},
            "spec": {"podCIDR": f"10.{100 + number}.0.0/16"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": f"192.168.0.{10 + number}"}]
            },
        }
        for number in range(NODES)
    ]
    items.append(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clusterCIDR": "10.64.0.0/10",
        }
    )
    for number in range(services):
        items += [_service(number), _slice(number, endpoints)]
    return json.dumps({"kind": "List", "apiVersion": "v1", "items": items})


def _service(number: int) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"svc-{number}", "namespace": "default"},
        "spec": {
            "clusterIP": cluster_ip(number),
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    }


def cluster_ip(number: int) -> str:
    """Return the ClusterIP of a Service."""
    return f"172.16.{number // 256}.{number % 256}"


def _slice(number: int, endpoints: int) -> dict[str, object]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"svc-{number}-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": f"svc-{number}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [f"10.{100 + place % NODES}.{number // 250}.{number % 250 + 2}"],
                "nodeName": f"node-{place % NODES}",
                "conditions": {"ready": True},
            }
            for place in range(endpoints)
        ],
    }


def _processor_s() -> float:
    """Return the time of this process and of the children it waited for."""
    return sum(os.times()[:4])


class Watch:
    """Prints how long each step took."""

    def __init__(self) -> None:
        """Start."""
        self.last = _processor_s()

    def lap(self, what: str) -> float:
        """Print and return the time since the last lap."""
        now = _processor_s()
        taken, self.last = now - self.last, now
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{what:<34} {taken:7.2f} s   {peak_mb:5} MB at most so far")
        return taken


def trace_one(cluster: Cluster, services: int, *, with_outcomes: bool) -> str:
    """Send a packet from a pod to the last Service."""
    options = WalkOptions(
        cluster=cluster,
        node=NODE,
        sender=Sender(ip="10.100.200.9", node=NODE),
        destination=Destination(ip=cluster_ip(services - 1), port=80, protocol="tcp"),
        version=None,
        octets=4,
        seed=0,
        kernel="6.18",
        with_outcomes=with_outcomes,
    )
    return walk(options, "iptables").trace.passage.verdict


def resync(cluster: Cluster, watch: Watch) -> float:
    """Change one endpoint on a node that runs; return how long the sync took."""
    settings = proxy_settings(cluster, NODE)
    view = ProxyView(4, NODE, settings.version)
    view.fill(cluster.objects.values())
    memory = IptablesSync()
    view.take_changes()
    first = memory.sync(settings, view, (), now_ns=0, existing=())
    text = merged_text(settings, first.text, iptables_jumps(settings))
    watch.lap("kube-proxy's first sync")
    rules = TextFile(name="rules", text=text)
    node = build_node(NodeSpec(main=NamespaceSpec(rules4=rules)))
    watch.lap(f"loaded: {first.rules} rules")
    item = cluster.all(EndpointSlice)[0]
    item.endpoints = (item.endpoints or [])[1:]
    view.told(item, gone=False)
    changed = view.take_changes()
    assert node.main.ruleset is not None
    chains = [name for table in node.main.ruleset.tables for name in table.chains]
    partial = memory.sync(settings, view, changed, now_ns=0, existing=chains)
    node.restore_rules("", TextFile(name="rules", text=partial.text))
    return watch.lap(f"re-synced: {partial.rules} rules written")


def main() -> int:
    """Measure, and compare with the goals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--services", type=int, default=5000)
    parser.add_argument("--endpoints", type=int, default=10)
    options = parser.parse_args()
    text = objects(options.services, options.endpoints)
    watch = Watch()
    cluster = read_cluster([TextFile(name="objects.json", text=text)])
    watch.lap("objects read")
    render(cluster, NODE, "iptables")
    watch.lap("rendered")
    verdict = trace_one(cluster, options.services, with_outcomes=False)
    traced = watch.lap(f"one packet traced: {verdict}")
    verdict = trace_one(cluster, options.services, with_outcomes=True)
    followed = watch.lap(f"all its outcomes: {verdict}")
    synced = resync(cluster, watch)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    late = max(traced, followed) > TRACE_LIMIT_S
    return int(late or synced > SYNC_LIMIT_S or peak_mb > MEMORY_LIMIT_MB)


if __name__ == "__main__":
    raise SystemExit(main())
