"""A scene recorded anew from the live kernel replays to the last byte."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import closing
from pathlib import Path

import pytest

from netemu.cli import cli
from netemu.cli.run import run

TOOLS = Path(__file__).parents[2] / "tools"


@pytest.fixture(scope="module")
def recorder():
    """The recording tool as a module."""
    sys.path.insert(0, str(TOOLS))
    spec = importlib.util.spec_from_file_location("record_scenes", TOOLS / "record_scenes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["record_scenes"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["clusterip", "hairpin", "docker", "firewall", "ipset"])
def test_a_fresh_recording_replays(recorder, name, tmp_path, capsys):
    scene = next(scene for scene in recorder.SCENES if scene.name == name)
    for folder in ("rulesets", "captures"):
        (tmp_path / folder).mkdir()
    with closing(recorder.LogPhase()):
        recorder.record(scene, tmp_path)
    capture = tmp_path / "captures" / f"{name}.pcapng"
    node = tmp_path / "rulesets" / name
    out = tmp_path / "out"
    code = run(cli, ["replay", str(node), "--in", str(capture), "--out", str(out)])
    assert code == 0, capsys.readouterr().out
    log = tmp_path / "captures" / name / "trace.log"
    assert (out / "trace.log").read_text() == log.read_text()
