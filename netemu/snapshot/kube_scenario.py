"""A scenario file into a cluster that lives, and what happens to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import PurePath

import msgspec
from msgspec import Struct, field

from netemu.clock import NSEC_PER_SEC
from netemu.errors import UsageError
from netemu.kube.cluster import Cluster
from netemu.kube.controllers.kubelet import Timing
from netemu.kube.objects import KINDS, Deployment, KubeObject, Pod, ReplicaSet
from netemu.sim.spec import TextFile
from netemu.snapshot.document import BadValueError
from netemu.snapshot.kube_lab import KubeLab
from netemu.snapshot.kube_shape import MomentShape, ScenarioShape, TimingShape
from netemu.snapshot.kube_show import show
from netemu.snapshot.lab_values import duration_ns
from netemu.snapshot.objects import read_cluster
from netemu.snapshot.yaml_text import Path, YamlText

ReadText = Callable[[str], str]

ACTIONS = (
    "traffic",
    "delete",
    "crash",
    "freeze",
    "ready",
    "scale",
    "roll",
    "proxy",
    "rules",
    "say",
    "show",
    "apply",
)
_STEP = re.compile(r"\.([\w-]+)|\[(\d+|\.\.\.)\]")


class Scenario(Struct, kw_only=True):
    """A scenario that was read."""

    name: str
    shape: ScenarioShape
    cluster: Cluster
    moments: list[tuple[int, MomentShape]] = field(default_factory=list)
    """When, in ns, and what."""

    def timing(self) -> Timing:
        """Return how long things take."""
        given: TimingShape = self.shape.timing
        return Timing(
            start_s=_seconds(given.start),
            probe_period_s=_seconds(given.probe),
            probe_failures=given.failures,
            end_s=_seconds(given.end),
            restart_s=_seconds(given.restart),
        )


def _seconds(value: str | float) -> float:
    return duration_ns(value) / NSEC_PER_SEC


def read_scenario(name: str, text: str, read_text: ReadText) -> Scenario:
    """Read a scenario; object files are found beside it.

    Raises SnapshotError or InputError with the place of what is wrong.
    """
    document = YamlText(name, text)
    try:
        shape = msgspec.convert(document.value, ScenarioShape)
    except msgspec.ValidationError as problem:
        message, _, where = str(problem).partition(" - at ")
        steps: Path = tuple(
            int(index) if index.isdecimal() else part or index
            for part, index in _STEP.findall(where.strip("`"))
        )
        raise document.error(f"{message[:1].lower()}{message[1:]}", steps) from None
    files = []
    for number, path in enumerate(shape.objects):
        place = str(PurePath(name).parent / path)
        try:
            files.append(TextFile(name=place, text=read_text(place)))
        except OSError as problem:
            message = f"{place} cannot be read ({problem.strerror})"
            raise document.error(message, ("objects", number)) from None
    found = Scenario(name=name, shape=shape, cluster=read_cluster(files))
    for number, moment in enumerate(shape.timeline):
        chosen = [action for action in ACTIONS if getattr(moment, action)]
        if len(chosen) != 1:
            message = f"one thing happens at a moment; write one of {', '.join(ACTIONS)}"
            raise document.error(message, ("timeline", number))
        if moment.apply is not None and moment.apply.get("kind") not in KINDS:
            message = f"an object of a kind that is known is needed: {', '.join(KINDS)}"
            raise document.error(message, ("timeline", number, "apply"))
        try:
            found.moments.append((duration_ns(moment.at), moment))
        except BadValueError as problem:
            raise document.error(str(problem), ("timeline", number, "at")) from None
    return found


def act(lab: KubeLab, moment: MomentShape) -> str:
    """Do what happens at a moment, all but traffic; return it in words.

    Raises UsageError for objects that are not there.
    """
    found = next(action for action in ACTIONS if getattr(moment, action))
    return _ACTS[found](lab, moment)


def _key(name: str) -> str:
    return name if "/" in name else f"default/{name}"


def _pod(lab: KubeLab, name: str) -> Pod:
    return lab.store.get(Pod, _key(name))


def _delete(lab: KubeLab, moment: MomentShape) -> str:
    kind, _, name = moment.delete.partition("/")
    types = {known.lower(): type_ for known, type_ in KINDS.items()}
    type_: type[KubeObject] | None = types.get(kind.lower())
    if type_ is None:
        raise UsageError(f"delete: {moment.delete}: write KIND/NAME, such as pod/web-1")
    item = lab.store.get(type_, _key(name))
    if isinstance(item, Pod):
        lab.plane.kubelet.delete(item)
    else:
        lab.store.delete(item)
    return f"{kind} {item.key} is deleted"


def _crash(lab: KubeLab, moment: MomentShape) -> str:
    pod = _pod(lab, moment.crash)
    lab.plane.kubelet.crash(pod)
    return f"the container of pod {pod.key} crashes"


def _freeze(lab: KubeLab, moment: MomentShape) -> str:
    pod = _pod(lab, moment.freeze)
    lab.freeze(pod)
    return f"pod {pod.key} falls silent, and nobody is told"


def _ready(lab: KubeLab, moment: MomentShape) -> str:
    assert moment.ready is not None
    pod = _pod(lab, moment.ready.pod)
    lab.plane.kubelet.set_answers(pod, answers=moment.ready.answers)
    how = "succeeds" if moment.ready.answers else "fails"
    return f"the readiness probe of pod {pod.key} {how} from now on"


def _scale(lab: KubeLab, moment: MomentShape) -> str:
    assert moment.scale is not None
    key, count = _key(moment.scale.deployment), moment.scale.replicas
    found = lab.store.find(Deployment, key) or lab.store.get(ReplicaSet, key)
    spec = msgspec.structs.replace(found.spec, replicas=count)
    lab.store.apply(msgspec.structs.replace(found, spec=spec))
    return f"{found.kind} {key} is scaled to {count}"


def _roll(lab: KubeLab, moment: MomentShape) -> str:
    assert moment.roll is not None
    found = lab.store.get(Deployment, _key(moment.roll.deployment))
    template = found.spec.template
    labels = {**(template.metadata.labels or {}), "version": moment.roll.version}
    meta = msgspec.structs.replace(template.metadata, labels=labels)
    spec = msgspec.structs.replace(
        found.spec, template=msgspec.structs.replace(template, metadata=meta)
    )
    lab.store.apply(msgspec.structs.replace(found, spec=spec))
    return f"Deployment {found.key} rolls over to version {moment.roll.version}"


def _proxy(lab: KubeLab, moment: MomentShape) -> str:
    assert moment.proxy is not None
    name, running = moment.proxy.node, moment.proxy.running
    lab.cluster.node(name)
    syncer = lab.plane.proxy_of(name)
    syncer.stopped = not running
    if running:
        lab.proxies[name].restart()
        syncer.wanted()
    return f"kube-proxy on {name} {'starts' if running else 'stops; its rules stay'}"


def _apply(lab: KubeLab, moment: MomentShape) -> str:
    assert moment.apply is not None
    kind = str(moment.apply["kind"])
    try:
        item = lab.store.apply(msgspec.convert(moment.apply, KINDS[kind]))
    except msgspec.ValidationError as problem:
        raise UsageError(f"apply: {problem}") from None
    return f"{kind} {item.key} is applied"


def _rules(lab: KubeLab, moment: MomentShape) -> str:
    assert moment.rules is not None
    name = moment.rules.node
    lab.cluster.node(name)
    file = TextFile(name=f"rules for {name}", text=moment.rules.text)
    lab.lab.node.restore_rules(name, file)
    count = sum(line.startswith(("-A", "-I")) for line in file.text.splitlines())
    return f"{count} rules are added by hand on {name}"


def _say(lab: KubeLab, moment: MomentShape) -> str:
    del lab
    return moment.say


def _show(lab: KubeLab, moment: MomentShape) -> str:
    assert moment.show is not None
    return show(lab, moment.show)


_ACTS: dict[str, Callable[[KubeLab, MomentShape], str]] = {
    "delete": _delete,
    "crash": _crash,
    "freeze": _freeze,
    "ready": _ready,
    "scale": _scale,
    "roll": _roll,
    "proxy": _proxy,
    "rules": _rules,
    "say": _say,
    "show": _show,
    "apply": _apply,
}
