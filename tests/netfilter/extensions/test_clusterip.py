"""CLUSTERIP as iptables 1.8.9 prints it for Linux 6.1, and refused where it would run."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from tests.netfilter.extensions.packets import rule
from tests.netfilter.extensions.targets import apply, udp

NEW = "-j CLUSTERIP --new --hashmode sourceip --clustermac 01:aa:7b:47:f7:d7 --total-nodes 2"
PLACE = "-d 10.31.3.236/32 -i lo"


def test_text():
    found = rule(f"{PLACE} {NEW} --local-node 1 --hash-init 1")
    mac = "01:AA:7B:47:F7:D7"
    assert found.text == (
        f"{PLACE} -j CLUSTERIP --new --hashmode sourceip --clustermac {mac} --total-nodes 2 "
        "--local-node 1 --hash-init 1"
    )
    assert rule("-d 10.31.3.236 -j CLUSTERIP").text == "-d 10.31.3.236/32 -j CLUSTERIP"


@pytest.mark.parametrize(
    "words",
    [
        f"{PLACE} {NEW} --local-node 0",
        f"-d 10.31.3.236 {NEW} --local-node 1",
        f"-d 10.31.3.0/24 -i lo {NEW} --local-node 1",
        f"! {PLACE} {NEW} --local-node 1",
        "-j CLUSTERIP",
    ],
)
def test_refusals(words):
    with pytest.raises(RulesetError):
        rule(words)


def test_no_node_runs_it():
    with pytest.raises(RulesetError, match="no such target"):
        apply("-d 10.31.3.236 -j CLUSTERIP", udp())
