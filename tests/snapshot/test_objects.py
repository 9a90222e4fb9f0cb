"""Objects are read as kubectl prints them; what is wrong is named with its place."""

from __future__ import annotations

import json

import pytest

from netemu.errors import InputError
from netemu.sim.spec import TextFile
from netemu.snapshot.objects import read_cluster

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
            "o.yaml:10:11: Service web, field spec.ports[0].port: expected",
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
