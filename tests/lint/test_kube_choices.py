"""A Service of many endpoints: what could be chosen is judged without running every choice."""

from __future__ import annotations

import functools
import re

import pytest

from netemu.kube.cluster import Cluster
from netemu.kube.proxy.render import render
from netemu.lint.finding import Finding
from netemu.lint.kube_objects import KubeObjects, of_objects
from netemu.lint.kube_probe import MOST_CHOICES
from netemu.lint.subject import Subject
from netemu.sim.spec import TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.snapshot.objects import read_cluster
from tests.lint.cases import findings_of
from tests.lint.kube_scene import line_of

MANY = MOST_CHOICES + 20
OBJECTS = """
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clusterCIDR: 10.244.0.0/16
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
status: {addresses: [{type: InternalIP, address: 192.168.0.11}]}
---
apiVersion: v1
kind: Service
metadata: {name: big, namespace: ns}
spec:
  clusterIP: 10.96.0.20
  sessionAffinity: %s
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: big-1, namespace: ns, labels: {kubernetes.io/service-name: big}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [%s]
"""


@functools.cache
def objects(affinity: str = "None") -> Cluster:
    endpoints = ", ".join(f"{{addresses: [10.244.1.{number + 1}]}}" for number in range(MANY))
    return read_cluster([TextFile(name="objects.yaml", text=OBJECTS % (affinity, endpoints))])


@functools.cache
def rules(affinity: str = "None") -> str:
    return render(objects(affinity), "node-a", "iptables").complete()


def choice_of(text: str, ip: str) -> str:
    """Return the rule that chooses an endpoint."""
    pattern = rf'^-A KUBE-SVC-.*-> {re.escape(ip)}:8080".* -j KUBE-SEP-\S+$'
    return next(one for one in re.findall(pattern, text, re.MULTILINE) if "recent" not in one)


def checked(text: str) -> list[tuple[str, Finding]]:
    file = TextFile(name="node.rules", text=text)
    subject = Subject(text, file.name, make_node=lambda _: bare_node(file, Changes()))
    subject.objects = KubeObjects(cluster=objects())
    return [
        (code, one) for code in ("NE320", "NE321", "NE325") for one in of_objects(subject, code)
    ]


def test_an_endpoint_that_is_never_chosen() -> None:
    gone = choice_of(rules(), "10.244.1.30")
    found = checked(rules().replace(f"{gone}\n", ""))
    assert [code for code, _ in found] == ["NE321"]
    assert found[0][1].witness is not None


def test_a_target_that_is_another() -> None:
    """The packet that shows it takes just this one of many choices."""
    text = rules().replace("--to-destination 10.244.1.30:8080", "--to-destination 10.9.9.9:8080")
    found = checked(text)
    assert [code for code, _ in found] == ["NE325"]
    assert found[0][1].witness is not None
    assert found[0][1].witness.outcome == "sent to 10.9.9.9:8080"


@pytest.mark.parametrize("ip", ["10.244.1.1", "10.244.1.30", "10.244.1.59"])
def test_a_chance_that_is_wrong(ip: str) -> None:
    rule = choice_of(rules(), ip)
    wrong = re.sub(r"--probability \S+", "--probability 0.9", rule)
    text = rules().replace(rule, wrong)
    found = findings_of(text, "NE302")
    assert [one.span.line for one in found if one.span] == [line_of(text, wrong)]
    assert found[0].witness is not None


def test_a_hairpin_mark_and_an_empty_chain_far_down() -> None:
    text = re.sub(r"-A KUBE-SEP-\S+ -s 10.244.1.40/32 .*\n", "", rules())
    assert [one.code for one in findings_of(text, "NE3")] == ["NE303"]
    text = re.sub(r"-A KUBE-SEP-.*--to-destination 10.244.1.40:8080\n", "", rules())
    assert [one.code for one in findings_of(text, "NE3")] == ["NE301"]


@pytest.mark.parametrize("ip", ["10.244.1.1", "10.244.1.30"])
def test_affinity_of_one_endpoint(ip: str) -> None:
    text = rules("ClientIP")
    assert findings_of(text, "NE3") == []
    asked = next(
        line for line in text.splitlines() if f"-> {ip}:8080" in line and "--rcheck" in line
    )
    found = findings_of(text.replace(f"{asked}\n", ""), "NE3")
    assert [one.code for one in found] == ["NE311"]
    assert found[0].witness is not None
    assert len(found[0].witness.setup) == 1


def test_what_is_clean_is_clean() -> None:
    assert findings_of(rules(), "NE3") == []
    assert checked(rules()) == []
