"""The shape of a scenario file: every field, its type, and what it means."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from netemu.snapshot.lab_shape import Duration, Shape


class TimingShape(Shape, kw_only=True):
    """How long things take."""

    start: Annotated[Duration, Meta(description="from being bound until the container runs")] = "1s"
    probe: Annotated[Duration, Meta(description="readinessProbe.periodSeconds")] = "10s"
    failures: Annotated[int, Meta(description="readinessProbe.failureThreshold", ge=1)] = 3
    end: Annotated[Duration, Meta(description="from SIGTERM until the container is gone")] = "0.5s"
    restart: Annotated[Duration, Meta(description="until a crashed container runs again")] = "1s"


class TrafficShape(Shape, kw_only=True):
    """A client that asks a Service, once or again and again."""

    pod: Annotated[
        str,
        Meta(description="[NAMESPACE/]NAME of the pod, NAME of a node, or ADDRESS of one outside"),
    ]
    to: Annotated[
        str, Meta(description="SERVICE[:PORT], IP:PORT, with /udp for UDP, or http://HOST/PATH")
    ]
    kind: Annotated[
        Literal["", "http", "tcp", "udp", "dns", "ping"],
        Meta(description="empty: http, or udp for a UDP port"),
    ] = ""
    every: Duration = "1s"
    count: Annotated[int, Meta(ge=1)] = 1
    timeout: Duration = "2s"
    text: str = ""
    via: Annotated[
        str, Meta(description="from outside: the node that gets it; empty: the balancer's choice")
    ] = ""
    port: Annotated[int, Meta(description="source port; 0: a new one each time")] = 0


class ScaleShape(Shape, kw_only=True):
    """A Deployment's or ReplicaSet's number of pods."""

    deployment: str
    replicas: Annotated[int, Meta(ge=0)]


class ReadyShape(Shape, kw_only=True):
    """What a pod's readiness probe gets from now on."""

    pod: str
    answers: bool


class ProxyShape(Shape, kw_only=True):
    """A kube-proxy that stops or starts; rules stay as they are."""

    node: str
    running: bool


class ImageShape(Shape, kw_only=True):
    """A new template of a Deployment, which rolls over to it."""

    deployment: str
    version: str


class RulesShape(Shape, kw_only=True):
    """Rules that an administrator adds by hand, as `iptables-restore --noflush` takes them."""

    node: str
    text: str


class ShowShape(Shape, kw_only=True):
    """Something of the cluster's state."""

    what: Literal["revision", "neighbours", "sockets", "ipvs", "connections"]
    node: Annotated[str, Meta(description="for ipvs and connections")] = ""
    address: Annotated[str, Meta(description="for neighbours, sockets and connections")] = ""


class MomentShape(Shape, kw_only=True):
    """Something that happens; one field beside `at`."""

    at: Duration
    traffic: TrafficShape | None = None
    delete: Annotated[str, Meta(description="KIND/[NAMESPACE/]NAME")] = ""
    crash: Annotated[str, Meta(description="pod whose container ends and is restarted")] = ""
    freeze: Annotated[str, Meta(description="pod that falls silent, nobody is told")] = ""
    ready: ReadyShape | None = None
    scale: ScaleShape | None = None
    roll: ImageShape | None = None
    proxy: ProxyShape | None = None
    rules: RulesShape | None = None
    say: Annotated[str, Meta(description="a sentence that is told then")] = ""
    show: ShowShape | None = None
    apply: Annotated[
        dict[str, Any] | None, Meta(description="a Kubernetes object, new or changed")
    ] = None


class ScenarioShape(Shape, kw_only=True):
    """A cluster over time."""

    scenario: Annotated[str, Meta(description="what it shows, a sentence or two")] = ""
    objects: Annotated[list[str], Meta(description="files of Kubernetes objects")]
    mode: Literal["iptables", "ipvs", "userspace"] = "iptables"
    proxyVersion: str = ""  # noqa: N815 - as Kubernetes writes names
    timing: TimingShape = msgspec.field(default_factory=TimingShape)
    timeline: list[MomentShape] = msgspec.field(default_factory=list)
    until: Duration | None = None


def scenario_schema() -> dict[str, object]:
    """Return the JSON schema of a scenario."""
    return msgspec.json.schema(ScenarioShape)
