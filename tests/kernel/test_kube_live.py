"""Generated nodes in the live kernel: packets end where `netemu kube trace` says, frame by frame."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from netemu.cli.kube_walk import WalkOptions, entry_of, find_destination, find_sender
from netemu.kube.proxy.render import render
from netemu.livekernel.case import Case, InputFrame, LocalPacket
from netemu.livekernel.verify import verify_case
from netemu.sim.node import build_node
from netemu.snapshot.kube_node import cluster_node
from netemu.snapshot.objects import object_files, read_cluster

pytestmark = pytest.mark.kernel

SCENE = Path(__file__).resolve().parents[2] / "rulesets" / "kube" / "cluster.yaml"

PACKETS = [
    ("client", "web", "node-a"),
    ("web-1", "web", "node-a"),
    ("client", "web-out", "node-a"),
    ("client", "web-sticky", "node-a"),
    ("client", "nobody", "node-a"),
    ("client", "kube-system/kube-dns:53/udp", "node-a"),
    ("client", "192.168.0.11:30080", "node-a"),
    ("client", "192.168.0.12:30081", "node-a"),
    ("client", "203.0.113.80:80", "node-a"),
    ("192.168.0.11", "web", "node-a"),
    ("192.168.0.11", "198.51.100.80:80", "node-a"),
    ("127.0.0.1", "127.0.0.1:30080", "node-a"),
    ("203.0.113.9", "192.168.0.11:30080", "node-a"),
    ("203.0.113.9", "192.168.0.12:30081", "node-b"),
    ("203.0.113.9", "198.51.100.80:80", "node-a"),
    ("198.51.100.9", "198.51.100.80:80", "node-a"),
    ("198.51.100.9", "198.51.100.21:80", "node-b"),
    ("203.0.113.9", "10.96.0.24:80", "node-a"),
]


@pytest.mark.parametrize("mode", ["iptables", "userspace"])
@pytest.mark.parametrize("source, target, name", PACKETS)
def test_the_kernel_sends_the_same_frames(mode, source, target, name):
    """Twice, so that the second packet meets what the first one left behind."""
    cluster = read_cluster(object_files(str(SCENE)))
    options = WalkOptions(
        cluster=cluster,
        node=name,
        sender=find_sender(cluster, source, 4),
        destination=find_destination(cluster, target, 4),
        version=None,
        octets=4,
        seed=0,
        kernel="6.18",
        with_outcomes=False,
    )
    made = cluster_node(
        cluster,
        render(cluster, name, mode),
        wanted=(options.sender.ip, options.destination.ip),
        at_once=True,
    )
    entry = entry_of(options, made, build_node(made.spec))
    inputs: list[InputFrame | LocalPacket] = []
    for time_ns in (0, 2_000_000):
        if entry.device:
            inputs.append(InputFrame(device=entry.device, time_ns=time_ns, frame=entry.frame))
        else:
            inputs.append(LocalPacket(namespace="", time_ns=time_ns, packet=entry.packet, mark=0))
    outcome = verify_case(Case(node=made.spec, inputs=inputs, name=f"{mode} {source} {target}"))
    assert outcome.difference is None, str(outcome.difference)


@pytest.mark.parametrize("tool", ["iptables-legacy", "iptables-nft"])
@pytest.mark.parametrize("mode", ["iptables", "userspace"])
def test_rules_load(tool, mode):
    """As kube-proxy loads them: its chains, then the jumps; and what netemu says comes of it."""
    found = render(read_cluster(object_files(str(SCENE))), "node-a", mode)
    kubelet = "".join(
        f"{line}\n"
        for line in found.kubelet_text().splitlines()
        if line not in found.jumps_text().splitlines() or not line.startswith("-I")
    )
    script = f"""
        {tool}-restore --noflush --counters <<'END' || exit 1
{found.rules}END
        {tool}-restore --noflush <<'END' || exit 1
{found.jumps_text()}END
        {tool}-restore --noflush <<'END' || exit 1
{kubelet}END
        for table in mangle nat filter; do {tool}-save -t $table; done
    """
    run = subprocess.run(
        ["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    saved = [
        line.partition(" [")[0]
        for line in run.stdout.splitlines()
        if not line.startswith("#") and line
    ]
    ours = [line.partition(" [")[0] for line in found.complete().splitlines()]
    order = sorted if tool.endswith("nft") else list
    assert order(saved) == order(ours)
