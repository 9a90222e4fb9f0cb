"""Objects are read as kubectl prints them; what is wrong is named with its place."""

from __future__ import annotations

import io
import json

import pytest

from netemu.errors import InputError
from netemu.kube.proxy.render import render
from netemu.kube.service_ports import endpoints_map
from netemu.sim.spec import TextFile
from netemu.snapshot.objects import object_files, read_cluster

SERVICE = """apiVersion: v1
kind: Service
metadata:
  name: web
  creationTimestamp: 2024-01-01T00:00:00Z
spec:
  clusterIP: 10.96.0.20
  selector: {app: web}
  ports:
  - port: 80
    targetPort: http
"""
POD = """apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec:
  nodeName: node-a
  containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]
status:
  podIP: 10.244.1.5
  conditions: [{type: Ready, status: "True"}]
"""


def read(*texts: str):
    return read_cluster(TextFile(name="o.yaml", text=text) for text in texts)


def test_slices_are_made_of_selectors_and_ready_pods():
    found = read(f"{SERVICE}---\n{POD}")
    (slice_,) = found.slices
    assert slice_.endpoints is not None
    assert slice_.endpoints[0].addresses == ["10.244.1.5"]
    assert slice_.ports is not None
    assert slice_.ports[0].port == 8080
    assert "no EndpointSlices of default/web" in found.notes[0]


def test_lists_and_json_hold_the_same():
    one = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    text = json.dumps({"kind": "List", "items": [one, {"kind": "ConfigMap"}]})
    typed = json.dumps({"kind": "ServiceList", "items": [{"metadata": {"name": "web"}}]})
    assert [item.key for item in read(text).services] == ["web"]
    assert [item.key for item in read(typed).services] == ["web"]


@pytest.mark.parametrize(
    "old, new, message",
    [
        (
            "port: 80",
            "port: eighty",
            "o.yaml:10:11: Service web, field spec.ports[0].port: this is text",
        ),
        (
            "port: 80",
            "port: 70000",
            "o.yaml:10:11: Service web, field spec.ports[0].port: 70000 is no",
        ),
        (
            "10.96.0.20",
            "10.96.0",
            "o.yaml:7:14: Service web, field spec.clusterIP: '10.96.0' is no",
        ),
        ("kind: Service", "sort: Service", "o.yaml:1:1: object web: an object without kind"),
        ("  ports:", " ports:", "o.yaml:9:2: this is no YAML"),
    ],
)
def test_faults_name_object_field_and_place(old: str, new: str, message: str):
    with pytest.raises(InputError) as caught:
        read(SERVICE.replace(old, new))
    assert str(caught.value).startswith(message)


def test_a_text_that_is_no_object_is_refused():
    with pytest.raises(InputError, match=r"o\.yaml:1:1: object: this is no Kubernetes object"):
        read("just text")


DUMPED_NODE = '{"metadata": {"name": "node-a"}, "status": {}}'
DUMPED_POD = (
    '{"metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},'
    ' "spec": {"nodeName": "node-a"}, "status": {"podIP": "10.244.1.5",'
    ' "conditions": [{"type": "Ready", "status": "True"}]}}'
)
DUMPED_WEB = (
    '{"metadata": {"name": "web", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.20",'
    ' "selector": {"app": "web"}, "ports": [{"port": 80}]}}'
)


def listed(kind: str, *items: str) -> str:
    """Return a list as `cluster-info dump` prints it: its items have no kind."""
    return f'{{\n  "kind": "{kind}List",\n  "items": [\n{", ".join(items)}\n  ]\n}}\n'


def test_a_folder_of_cluster_info_dump_is_read(tmp_path):
    """It has nodes.json, a folder for each namespace with lists, and logs; no EndpointSlices."""
    space = tmp_path / "shop"
    (space / "web-1").mkdir(parents=True)
    (tmp_path / "nodes.json").write_text(listed("Node", DUMPED_NODE))
    (space / "pods.json").write_text(listed("Pod", DUMPED_POD))
    (space / "services.json").write_text(listed("Service", DUMPED_WEB))
    (space / "events.json").write_text(listed("Event", '{"metadata": {"name": "x"}}'))
    (space / "web-1" / "logs.txt").write_text("==== START logs for container web\n")
    found = read_cluster(object_files(str(tmp_path)))
    assert [node.metadata.name for node in found.nodes] == ["node-a"]
    (slice_,) = found.slices
    assert slice_.endpoints is not None
    assert slice_.endpoints[0].addresses == ["10.244.1.5"]
    assert "no EndpointSlices of shop/web" in found.notes[0]


def test_what_cluster_info_dump_prints_is_read():
    """To standard output it prints the lists one after the other, and the logs among them."""
    logs = "==== START logs for container web of pod shop/web-1 ====\n{oops\n==== END logs ====\n"
    text = (
        listed("Node", DUMPED_NODE)
        + listed("Service", DUMPED_WEB)
        + listed("Pod", DUMPED_POD)
        + logs
    )
    found = read_cluster([TextFile(name="dump.json", text=text)])
    assert len(found.slices) == 1
    bad = text.replace('"port": 80', '"port": 99999')
    with pytest.raises(InputError, match=r"dump\.json: .*field spec\.ports\[0\]\.port: 99999"):
        read_cluster([TextFile(name="dump.json", text=bad)])


@pytest.mark.parametrize(
    "text, message",
    [
        ("kind: Pod\nmetadata: {name: 80}\n", r"2:18: Pod 80, field metadata\.name: .* in quotes"),
        (
            "kind: Service\nmetadata: {name: x}\nspec: {ports: [{port: http}]}\n",
            r"3:23: Service x, field spec\.ports\[0\]\.port: this is text; a whole number is needed",
        ),
        (
            "kind: EndpointSlice\nmetadata: {name: x}\nendpoints:\n- address: 10.0.0.1\n",
            r"4:3: EndpointSlice x, field endpoints\[0\]: 'addresses' is missing",
        ),
        (
            "kind: KubeProxyConfiguration\nclusterCIDR: 10.244.0.0\n",
            r"2:14: .*clusterCIDR: '10\.244\.0\.0' is an address, not a prefix; write 10\.244\.0\.0/24",
        ),
        (
            "kind: KubeProxyConfiguration\nipvs: {scheduler: round}\n",
            r"2:19: .*ipvs\.scheduler: 'round' is not known",
        ),
        (
            "kind: Ingress\nmetadata: {name: i}\nspec: {rules: [{http: {paths: [{path: cart,"
            " backend: {service: {name: x}}}]}}]}\n",
            r"3:39: Ingress i, field spec\.rules\[0\]\.http\.paths\[0\]\.path: .*write /cart",
        ),
        (
            "kind: Service\nmetadata: {name: x}\nspec: {type: ExternalName}\n",
            r"field spec\.externalName: a name is needed",
        ),
        (
            "kind: Service\nmetadata: {name: x}\nspec: {healthCheckNodePort: 70000}\n",
            r"3:29: .*healthCheckNodePort: 70000 is no port",
        ),
        ("kind: Secret\n", "no Kubernetes object of a known kind"),
        ("", "no Kubernetes object of a known kind"),
    ],
)
def test_faults_are_told_in_words_and_with_their_place(text: str, message: str):
    with pytest.raises(InputError, match=message):
        read_cluster([TextFile(name="objects.yaml", text=text)])


def test_null_fields_count_as_not_given():
    text = "kind: Pod\nmetadata: {name: p, creationTimestamp: null}\nspec:\nstatus: {phase: null}\n"
    (pod,) = read_cluster([TextFile(name="objects.yaml", text=text)]).pods
    assert pod.status.phase == ""


def test_leading_zeros_of_addresses_count_for_nothing():
    """The API server lets them in for old objects' sake; they are decimal, never octal."""
    (service,) = read(
        """apiVersion: v1
kind: Service
metadata: {name: web, annotations: {made-by: 10.010.0.1}}
spec:
  type: LoadBalancer
  clusterIP: 10.96.000.020
  externalIPs: [198.051.100.007]
  loadBalancerSourceRanges: [" 203.0.113.000/025"]
status: {loadBalancer: {ingress: [{ip: 192.000.2.100}]}}
"""
    ).services
    assert service.spec.cluster_ip == "10.96.0.20"
    assert service.spec.external_ips == ["198.51.100.7"]
    assert service.spec.load_balancer_source_ranges == [" 203.0.113.0/25"]
    assert service.status.load_balancer.ingress is not None
    assert service.status.load_balancer.ingress[0].ip == "192.0.2.100"
    assert service.metadata.annotations == {"made-by": "10.010.0.1"}


SLICE = """---
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: "", port: 8080}]
endpoints: [{addresses: [10.244.1.5], topology: {kubernetes.io/hostname: node-a}}]
"""


def test_slices_of_v1beta1_name_the_node_in_their_topology():
    endpoints = endpoints_map(read(SERVICE + SLICE).slices, 4, "node-a")
    (endpoint,) = endpoints["default/web", "", "tcp"]
    assert (endpoint.node_name, endpoint.local) == ("node-a", True)


def test_a_slice_of_no_service_is_told():
    (note,) = read(SERVICE + SLICE.replace("service-name", "service")).notes
    assert note == "without label kubernetes.io/service-name, so of no Service: EndpointSlice web-1"


def test_kubeadm_keeps_the_configuration_in_a_config_map():
    found = read(
        """apiVersion: v1
kind: ConfigMap
metadata: {name: kube-proxy, namespace: kube-system}
data:
  config.conf: |-
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    clusterCIDR: 10.244.0.0/16
    iptables: {masqueradeBit: null, masqueradeAll: true}
  kubeconfig.conf: "apiVersion: v1"
"""
    ).proxy_config()
    assert (found.cluster_cidr, found.iptables.masquerade_all) == ("10.244.0.0/16", True)


def test_a_dash_is_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(SERVICE))
    assert [item.key for item in read_cluster(object_files("-")).services] == ["web"]


def test_traffic_distribution_keeps_traffic_in_its_zone_since_1_31():
    """The controller hints each ready endpoint's own zone; kube-proxy 1.30 does not heed that."""
    zones = {"node-a": "east", "node-b": "west"}
    nodes = "".join(
        f"---\nkind: Node\napiVersion: v1\nmetadata: {{name: {name}, labels:"
        f" {{topology.kubernetes.io/zone: {zone}}}}}\nstatus: {{addresses:"
        f" [{{type: InternalIP, address: 192.168.0.1{number}}}]}}\n"
        for number, (name, zone) in enumerate(zones.items())
    )
    other = POD.replace("web-1", "web-2").replace("node-a", "node-b").replace(".1.5", ".2.6")
    given = SERVICE.replace("  ports:", "  trafficDistribution: PreferClose\n  ports:")
    cluster = read(f"{given}---\n{POD}---\n{other}{nodes}")
    counts = {
        version: render(cluster, "node-a", "iptables", version=version).rules.count("-j DNAT")
        for version in ("1.30", "1.31")
    }
    assert counts == {"1.30": 2, "1.31": 1}
