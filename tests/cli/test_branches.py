"""Branches do not see each other's changes."""

from __future__ import annotations

import os

import pytest

from netemu.cli import branches
from netemu.cli.branches import branch_runner
from netemu.cli.common import NodeOptions
from netemu.errors import InternalError
from netemu.sim.probe import enter
from netemu.wire.packet_text import parse_packet


def options(rules):
    return NodeOptions(
        node=rules, as_kind=None, backend=None, family=None, addresses=("cni0=10.244.1.1/24",),
        routes=(), sysctls=(), seed=0, kernel="6.18", time=None,
    )  # fmt: skip


@pytest.mark.parametrize("fork", [True, False])
def test_the_same_script_gives_the_same_branch(rules, fork, monkeypatch):
    if not fork:
        monkeypatch.delattr(os, "fork")
    chosen = options(rules)
    spec = chosen.read()

    def build():
        return chosen.build(spec, 0)

    packet = parse_packet("tcp 192.0.2.9:1 > 10.96.0.10:80")
    run = branch_runner(build, enter(build(), packet))
    assert run(()).result[1] == "10.244.1.5:80"
    assert run((1 << 30,)).result[1] == "10.244.1.6:8080"
    assert run(()) == run(())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_branch_that_fails_is_an_internal_error(rules, monkeypatch):
    def broken(*arguments):
        raise KeyError("promise")

    monkeypatch.setattr(branches, "run_branch", broken)
    chosen = options(rules)
    spec = chosen.read()
    run = branch_runner(lambda: chosen.build(spec, 0), object())
    with pytest.raises(InternalError, match="failed: KeyError"):
        run(())
