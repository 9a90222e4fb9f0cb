"""Small clusters written as YAML."""

from __future__ import annotations

import pytest

from netemu.kube.cluster import Cluster
from netemu.sim.spec import TextFile
from netemu.snapshot.objects import read_cluster

NODES = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
{config}
---
apiVersion: v1
kind: Node
metadata: {{name: node-a, labels: {{topology.kubernetes.io/zone: zone-1}}}}
status: {{addresses: [{{type: InternalIP, address: 192.168.0.11}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: ns{annotations}}}
spec:
  clusterIP: 10.96.0.20
  ports: [{{name: http, port: 80, targetPort: 8080, nodePort: {node_port}}}]
{spec}
status: {status}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: ns, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: {endpoints}
"""


@pytest.fixture
def cluster():
    """Return a function that makes a cluster of one Service."""

    def make(
        *spec: str,
        endpoints: str = "[{addresses: [10.244.1.5]}]",
        node_port: int = 0,
        status: str = "{}",
        config: str = "",
        annotations: str = "",
    ) -> Cluster:
        text = NODES.format(
            spec="\n".join(f"  {line}" for line in spec),
            endpoints=endpoints,
            node_port=node_port,
            status=status,
            config=config,
            annotations=annotations,
        )
        return read_cluster([TextFile(name="objects.yaml", text=text)])

    return make
