"""Folders that the tests of this package build, and the recorded scenes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Put = Callable[..., str]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """Write files (name -> text or JSON value) into a snapshot folder; return its path."""

    def write(files: dict[str, object], folder: str = "node") -> str:
        for name, content in files.items():
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(tmp_path / folder)

    return write


@pytest.fixture(scope="session")
def scene() -> str:
    """A node with a pod, recorded from Linux 6.18 with iproute2 6.1 (`ip -j`)."""
    return str(Path(__file__).parent / "scene")


@pytest.fixture(scope="session")
def scene_text() -> str:
    """The same node in the text forms of a sosreport."""
    return str(Path(__file__).parent / "scene_text")
