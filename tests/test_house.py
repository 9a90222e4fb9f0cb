"""The house's own files: public names, README's derived parts, the bootstrap."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import netemu

ROOT = Path(__file__).parent.parent


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_every_public_name_can_be_loaded():
    assert sorted(netemu.__all__) == list(netemu.__all__)
    for name in netemu.__all__:
        assert getattr(netemu, name) is not None
    assert set(dir(netemu)) == set(netemu.__all__)


def test_the_readme_is_fresh():
    """Run tools/readme.py when this fails."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert load("readme").updated(readme) == readme


def test_a_differing_paragraph_is_found(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('"""One.\n\nDiffers from Linux: a | b\nand c.\n\nMore.\n"""\n')
    assert list(load("readme").paragraphs(path)) == [("", "A \\| b and c.")]


def test_the_first_command_sets_up_once(tmp_path, monkeypatch):
    """The second run asks pip for nothing."""
    bootstrap = load("bootstrap")
    monkeypatch.setenv("NETEMU_VENV", str(tmp_path / "venv"))
    calls = []

    def installed(command, **how):
        calls.append([str(word) for word in command])
        return subprocess.CompletedProcess(command, 0, b"", b"")

    monkeypatch.setattr(bootstrap.subprocess, "run", installed)
    monkeypatch.setattr(bootstrap, "works", lambda python: bool(calls))
    python = bootstrap.python_of(tmp_path / "venv")
    (tmp_path / "venv").mkdir()
    monkeypatch.setattr(bootstrap.shutil, "rmtree", lambda *a, **k: None)
    assert bootstrap.ensure("dev") == python
    assert any("--editable" in call for call in calls)
    before = len(calls)
    assert bootstrap.ensure("dev") == python
    assert len(calls) == before


def test_without_any_way_the_package_is_named(tmp_path, monkeypatch):
    bootstrap = load("bootstrap")

    def failed(command, **how):
        return subprocess.CompletedProcess(command, 1, b"", b"")

    monkeypatch.setattr(bootstrap.subprocess, "run", failed)
    with pytest.raises(SystemExit, match="apt-get install python3-venv"):
        bootstrap.make(tmp_path / "venv")
