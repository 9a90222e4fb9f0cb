"""A clean node's rules as kube-proxy writes them, and defects to plant in them."""

from __future__ import annotations

import functools
from pathlib import Path

from netemu.kube.cluster import Cluster
from netemu.kube.proxy.render import Rendered, render
from netemu.snapshot.objects import object_files, read_cluster

SCENE = Path(__file__).resolve().parents[2] / "rulesets" / "kube" / "cluster.yaml"
NODE = "node-a"


def cluster() -> Cluster:
    """Return the scene's objects, which a test may change."""
    return read_cluster(object_files(str(SCENE)))


@functools.cache
def rendered(mode: str = "iptables", version: str | None = None) -> Rendered:
    """Return what kube-proxy programs on one node."""
    return render(cluster(), NODE, mode, version=version)


@functools.cache
def clean(mode: str = "iptables", version: str | None = None) -> str:
    """Return the whole of that node's rules."""
    return rendered(mode, version).complete()


def planted(text: str, old: str, new: str) -> str:
    """Replace one piece of the rules by another; an empty one takes the whole line away."""
    assert text.count(old) == 1, (old, text.count(old))
    if new:
        return text.replace(old, new)
    return "".join(f"{line}\n" for line in text.splitlines() if old not in line)


def line_of(text: str, piece: str) -> int:
    """Return the number of the first line that has a piece."""
    lines = text.splitlines()
    return next(number for number, line in enumerate(lines, start=1) if piece in line)
