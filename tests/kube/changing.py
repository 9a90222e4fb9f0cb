"""Clusters that change step by step, by chance but always the same way."""

from __future__ import annotations

import random
from collections.abc import Iterator

from netemu.kube.cluster import Cluster
from netemu.kube.objects import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    KubeObject,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
)
from netemu.kube.service_ports import SERVICE_NAME_LABEL
from netemu.sim.spec import TextFile
from netemu.snapshot.objects import read_cluster

NODE = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
status: {addresses: [{type: InternalIP, address: 192.168.0.11}]}
"""
SERVICES = 5


def a_node() -> Cluster:
    """Return a cluster of one node without Services."""
    return read_cluster([TextFile(name="objects.yaml", text=NODE)])


def service(number: int, **spec: object) -> Service:
    """Return a Service."""
    ports = [ServicePort(name="http", port=80, target_port=8080)]
    given = {"cluster_ip": f"10.96.0.{number + 20}", "ports": ports, **spec}
    return Service(
        kind="Service",
        metadata=ObjectMeta(name=f"svc-{number}", namespace="ns"),
        spec=ServiceSpec(**given),  # type: ignore[arg-type]
    )


def endpoints(number: int, hosts: list[int], *, protocol: str = "TCP") -> EndpointSlice:
    """Return a Service's slice; endpoints 10.244.NUMBER.HOST are on the node if HOST is even."""
    return EndpointSlice(
        kind="EndpointSlice",
        metadata=ObjectMeta(
            name=f"svc-{number}-1", namespace="ns", labels={SERVICE_NAME_LABEL: f"svc-{number}"}
        ),
        ports=[EndpointPort(name="http", port=8080, protocol=protocol)],
        endpoints=[
            Endpoint(
                addresses=[f"10.244.{number}.{host}"],
                node_name="node-b" if host % 2 else "node-a",
                conditions=EndpointConditions(ready=True, serving=True),
            )
            for host in hosts
        ],
    )


def changes(seed: int, count: int) -> Iterator[tuple[KubeObject, bool]]:
    """Yield objects that are new, changed or gone."""
    dice = random.Random(seed)
    for _ in range(count):
        number = dice.randrange(SERVICES)
        what = dice.randrange(6)
        if what < 3:
            yield endpoints(number, dice.sample(range(1, 9), dice.randrange(4))), False
        elif what == 3:
            yield endpoints(number, []), True
        elif what == 4:
            yield service(number), True
        else:
            policy = dice.choice(["Cluster", "Local"])
            ports = [ServicePort(name="http", port=80, target_port=8080, node_port=30000 + number)]
            plain = service(number, session_affinity=dice.choice(["None", "ClientIP"]))
            outside = service(number, type="NodePort", ports=ports, external_traffic_policy=policy)
            yield dice.choice([plain, outside]), False
