"""A node's saved state against its Kubernetes objects: the comparison behind rules NE320 to NE338.

Kernel: none.

The comparison runs once per subject; every fault is tried with packets, and only what a packet
shows is told.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

from netemu.kube.check.compare import AUTO, Checked, check_node
from netemu.kube.check.fault import Fault
from netemu.kube.cluster import Cluster
from netemu.kube.service_ports import IPV4, IPV6
from netemu.lint.finding import Finding, Span, Witness
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family
from netemu.sim.spec import TextFile


class KubeObjects(Struct, kw_only=True):
    """The objects, and what is to be known about the node."""

    cluster: Cluster
    node_name: str = ""
    """Empty: the one whose address the node has, or the only one."""
    mode: str = AUTO
    version: str | None = None
    checked: Checked | None = None
    subject: Subject | None = None
    """The one that was compared last."""
    confirmed: list[tuple[Fault, Witness | None]] = field(default_factory=list)

    @property
    def notes(self) -> list[str]:
        """What was taken from the node, since the objects do not tell."""
        return self.checked.notes if self.checked is not None else []

    def compare(self, subject: Subject) -> None:
        """Compare the objects with a subject, once."""
        if self.subject is subject:
            return
        assert subject.node is not None
        self.subject, self.confirmed = subject, []
        self.checked = check_node(
            subject.ruleset,
            subject.node.main,
            self.cluster,
            is_snapshot=subject.is_snapshot,
            node_name=self.node_name,
            mode=self.mode,
            version=self.version,
            octets=IPV4 if subject.family is Family.IPV4 else IPV6,
        )
        settings, view = self.checked.rendered.settings, subject.kube
        view.node_ip, view.local_range = settings.node_ip, settings.local_range
        view.pods = tuple(
            ip
            for pod in self.cluster.pods
            if pod.spec.node_name == self.checked.node_name and not pod.spec.host_network
            for ip in pod.ips
        )
        for fault in self.checked.faults:
            shown, witness = view.tried(fault.claim, fault.probes)
            if shown:
                self.confirmed.append((fault, witness))
                view.covered |= fault.covers


def of_objects(subject: Subject, code: str) -> Iterator[Finding]:
    """Yield the findings of one code."""
    objects = subject.objects
    assert isinstance(objects, KubeObjects)
    objects.compare(subject)
    for fault, witness in objects.confirmed:
        if fault.code == code:
            yield _finding(subject, fault, witness)


def _finding(subject: Subject, fault: Fault, witness: Witness | None) -> Finding:
    place = fault.place
    file, text = _file(subject, fault)
    lines = text.split("\n")
    span = None
    if 0 < fault.line <= len(lines):
        width = len(lines[fault.line - 1])
        span = Span(line=fault.line, end_line=fault.line, end_column=width + 1)
    return Finding(
        message=fault.message,
        span=span,
        table=place.table if place is not None else None,
        chain=place.chain if place is not None else None,
        rule=(place.rule or None) if place is not None else None,
        witness=witness,
        file=file,
    )


def _file(subject: Subject, fault: Fault) -> tuple[str, str]:
    """Return name and text of the file that a fault is in."""
    assert subject.node is not None
    space = subject.node.main
    files: dict[str, TextFile | None] = {"ipvs": space.ipvs, "ipset": space.ipset}
    found = files.get(fault.file)
    return (subject.file, subject.text) if found is None else (found.name, found.text)
