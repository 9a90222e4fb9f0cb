"""The file that reproduces a failure of netemu itself: what was asked, and with which input."""

from __future__ import annotations

import io
import os
import platform
import shlex
import tarfile
import tempfile
import traceback
from pathlib import Path

import netemu

SAVED_INPUT_LIMIT = 32 << 20
"""Octets of input that a report keeps at most."""


def save_report(problem: BaseException, arguments: list[str]) -> str:
    """Write the report and return its path; empty if it cannot be written."""
    text = "\n".join(
        [
            f"netemu {netemu.__version__}",
            f"Python {platform.python_version()} on {platform.platform()}",
            f"command: netemu {shlex.join(arguments)}",
            "",
            "".join(traceback.format_exception(problem)),
        ]
    )
    try:
        handle, path = tempfile.mkstemp(prefix="netemu-report-", suffix=".tar.gz")
        with (
            os.fdopen(handle, "wb") as stream,
            tarfile.open(fileobj=stream, mode="w:gz") as archive,
        ):
            data = text.encode()
            entry = tarfile.TarInfo("report.txt")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
            _add_inputs(archive, arguments)
    except OSError:
        return ""
    return path


def _add_inputs(archive: tarfile.TarFile, arguments: list[str]) -> None:
    room = SAVED_INPUT_LIMIT
    for argument in arguments:
        for word in (argument, argument.partition("=")[2], argument.rpartition("#")[0]):
            path = Path(word) if word else None
            if path is None or not path.exists() or path == Path("/"):
                continue
            size = sum(file.stat().st_size for file in [path, *path.rglob("*")] if file.is_file())
            if size <= room:
                room -= size
                archive.add(path, arcname=f"input/{path.name}")
            break
