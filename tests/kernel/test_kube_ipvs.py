"""Generated nodes in IPVS mode, in a kernel that has it: the same frames, log, counters and rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.cli.kube_walk import WalkOptions, entry_of, find_destination, find_sender
from netemu.kube.proxy.render import render
from netemu.livekernel.case import Case, InputFrame, LocalPacket
from netemu.livekernel.compare import first_difference
from netemu.livekernel.emulator import emulate_case
from netemu.sim.node import build_node
from netemu.snapshot.kube_node import cluster_node
from netemu.snapshot.objects import object_files, read_cluster
from tests.kernel import oracle
from tests.kernel.test_kube_live import PACKETS, SCENE

pytestmark = pytest.mark.kernel


def case_of(source: str, target: str, name: str) -> Case:
    """Return a cluster with one packet, sent twice."""
    cluster = read_cluster(object_files(str(SCENE)))
    options = WalkOptions(
        cluster=cluster,
        node=name,
        sender=find_sender(cluster, source, 4),
        destination=find_destination(cluster, target, 4),
        version=None,
        octets=4,
        seed=0,
        kernel="6.1",
        with_outcomes=False,
    )
    made = cluster_node(
        cluster,
        render(cluster, name, "ipvs"),
        wanted=(options.sender.ip, options.destination.ip),
        at_once=True,
    )
    entry = entry_of(options, made, build_node(made.spec, kernel="6.1"))
    inputs: list[InputFrame | LocalPacket] = []
    for time_ns in (0, 2_000_000):
        if entry.device:
            inputs.append(InputFrame(device=entry.device, time_ns=time_ns, frame=entry.frame))
        else:
            inputs.append(LocalPacket(namespace="", time_ns=time_ns, packet=entry.packet, mark=0))
    return Case(node=made.spec, inputs=inputs, name=f"{source} to {target}")


def test_the_kernel_sends_the_same_frames(tmp_path: Path) -> None:
    """Pods, nodes and clients from outside to Services of every kind."""
    cases = [case_of(*packet) for packet in PACKETS]
    found = []
    for case, kernel in zip(cases, oracle.ask(cases, tmp_path), strict=True):
        difference = first_difference(case, kernel, emulate_case(case, kernel, kernel="6.1"))
        if difference is not None:
            found.append(f"{case.name}: {difference}")
    assert not found, f"{len(found)} of {len(cases)} differ\n" + "\n".join(found)
