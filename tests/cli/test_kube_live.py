"""`netemu kube ... --live`: a real cluster by way of kubectl, for which a stand-in replays."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from netemu.cli.kube import command
from netemu.errors import InputError, NetemuError, UsageError

STANDIN = Path(__file__).with_name("kubectl") / "standin.py"
CONFIG = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"


def listed(kind: str, name: str, namespace: str = "", **fields: object) -> dict[str, object]:
    """Return an object with the fields of which netemu knows nothing, as kubectl prints it."""
    meta = {
        "name": name,
        "uid": "0b0a3f5e-8d1c-4f4e-9b0e-2f6b5c0d7a11",
        "resourceVersion": "4711",
        "creationTimestamp": "2026-11-01T08:00:00Z",
        "managedFields": [{"manager": "kubelet", "operation": "Update"}],
        **({"namespace": namespace} if namespace else {}),
    }
    given = fields.pop("metadata", {})
    assert isinstance(given, dict)
    return {"apiVersion": "v1", "kind": kind, "metadata": {**meta, **given}, **fields}


NODE = listed(
    "Node",
    "node-a",
    spec={"podCIDR": "10.244.1.0/24"},
    status={"addresses": [{"type": "InternalIP", "address": "192.168.0.11"}]},
)
SERVICE = listed(
    "Service",
    "web",
    "default",
    spec={
        "type": "ClusterIP",
        "clusterIP": "10.96.0.20",
        "clusterIPs": ["10.96.0.20"],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080}],
    },
    status={"loadBalancer": {}},
)


def slice_of(*ips: str) -> dict[str, object]:
    return listed(
        "EndpointSlice",
        "web-x7k2p",
        "default",
        metadata={"labels": {"kubernetes.io/service-name": "web"}},
        addressType="IPv4",
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
        endpoints=[{"addresses": [ip], "conditions": {"ready": True}} for ip in ips],
    )


@pytest.fixture
def cluster(tmp_path):
    """Return a folder of what kubectl printed."""
    items = [NODE, SERVICE, slice_of("10.244.1.5")]
    whole = {"apiVersion": "v1", "kind": "List", "items": items, "metadata": {}}
    (tmp_path / "get.json").write_text(json.dumps(whole, indent=4))
    config = {"config.conf": f"{CONFIG}clusterCIDR: 10.244.0.0/16\nmode: ''\n", "kubeconfig": "x"}
    (tmp_path / "configmap.json").write_text(
        json.dumps({"kind": "ConfigMap", "data": config}, indent=4)
    )
    return tmp_path


def events(cluster: Path, resource: str, *items: tuple[str, dict[str, object]]) -> None:
    documents = [json.dumps({"type": kind, "object": item}, indent=4) for kind, item in items]
    (cluster / f"watch-{resource}.json").write_text("\n".join(documents) + "\n")


def run(cluster: Path, *words: str):
    kubectl = f"{sys.executable} {STANDIN} {cluster}"
    arguments = [*words, "--live", "--kubectl", kubectl]
    return CliRunner().invoke(command, arguments, standalone_mode=False)


def test_objects_and_configuration_are_read(cluster):
    result = run(cluster, "render", "--context", "prod")
    assert result.exception is None
    assert "-d 10.96.0.20 --dport 80 ! -s 10.244.0.0/16 -j KUBE-MARK-MASQ" in result.stdout
    assert result.stderr == ""


def test_a_configuration_that_is_not_there_or_not_shown_is_noted(cluster):
    (cluster / "configmap.json").unlink()
    assert "no ConfigMap kube-system/kube-proxy" in run(cluster, "render").stderr
    refusal = 'Error from server (Forbidden): configmaps "kube-proxy" is forbidden\n'
    (cluster / "refuse-configmap").write_text(refusal)
    result = run(cluster, "render")
    assert result.exception is None
    assert "configuration is not read: kubectl get configmap: Error from server" in result.stderr


def test_a_packet_is_traced_through_a_real_cluster(cluster):
    result = run(cluster, "trace", "--from", "203.0.113.9", "--to", "web", "--json", "--outcomes")
    assert json.loads(result.stdout)["outcomes"][0]["dnat"] == "10.244.1.5:8080"


def test_changes_are_followed(cluster):
    """What is there already is no change; a change is told with the lines that it changed."""
    events(
        cluster,
        "endpointslices",
        ("ADDED", slice_of("10.244.1.5")),
        ("BOOKMARK", {"kind": "EndpointSlice"}),
        ("MODIFIED", slice_of("10.244.1.6")),
    )
    result = run(cluster, "render", "--watch")
    assert isinstance(result.exception, InputError)
    told = result.stdout.partition("# ")[2].splitlines()
    assert told[0] == "EndpointSlice default/web-x7k2p MODIFIED"
    assert any(line.startswith("-") and "--to-destination 10.244.1.5:8080" in line for line in told)
    assert any(line.startswith("+") and "--to-destination 10.244.1.6:8080" in line for line in told)
    assert not any("10.96.0.20" in line for line in told)


def test_a_trace_follows_a_service_that_goes(cluster):
    events(cluster, "services", ("DELETED", SERVICE))
    result = run(cluster, "trace", "--from", "203.0.113.9", "--to", "web", "--watch")
    assert "there is no Service default/web" in result.stdout
    assert "# Service default/web DELETED" in result.stderr


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("refuse-get", "error: You must be logged in to the server (Unauthorized)\nmore\n", "Unau"),
        ("refuse-get", "Unable to connect to the server: dial tcp 10.0.0.1:6443\n", "Unable to"),
        ("refuse-watch-pods", "Error from server (Forbidden): pods is forbidden\n", "pods --watch"),
        ("watch-pods.json", '{"type": "ERROR", "object": {"message": "too old"}}\n', "too old"),
        ("watch-pods.json", '{"kind": "Pod"}\n', "no watch event"),
        ("watch-pods.json", "", "kubectl get pods --watch has ended"),
    ],
)
def test_what_kubectl_complains_of_is_one_line(cluster, name: str, text: str, message: str):
    (cluster / name).write_text(text)
    result = run(cluster, "render", "--watch")
    assert isinstance(result.exception, NetemuError)
    assert result.exception.exit_code == 3
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_kubectl_that_is_not_there():
    arguments = ["render", "--live", "--kubectl", "/nowhere/kubectl"]
    result = CliRunner().invoke(command, arguments, standalone_mode=False)
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == (
        "/nowhere/kubectl cannot be run (No such file or directory);"
        " say with --kubectl how kubectl is called"
    )


@pytest.mark.parametrize(
    "words, message",
    [
        (["render"], "OBJECTS are needed"),
        (["render", "rulesets/kube/cluster.yaml", "--node", "node-a", "--watch"], "add --live"),
        (["render", "--live", "--kubectl", "'"], "--kubectl ': No closing quotation"),
    ],
)
def test_options_that_do_not_fit(words: list[str], message: str):
    result = CliRunner().invoke(command, words, standalone_mode=False)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
