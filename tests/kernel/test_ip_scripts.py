"""The scripts of tests/ip against the live kernel.

Run as a program, it records them anew, reasons included where the tracing file system is mounted:
`python tests/kernel/test_ip_scripts.py FILE.script ...`
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from netemu.livekernel.masks import Masks
from netemu.livekernel.runner import LiveNode, kernel_lock
from netemu.sim.spec import NodeSpec

FOLDER = Path(__file__).parent.parent / "ip"
TRACING = Path("/sys/kernel/tracing")
SAMPLE = 8
"""Every eighth case is asked again, since each needs namespaces of its own; recording asks all."""

SETTLE_S = 0.03
"""Time for frames to leave the node."""


def load_world() -> ModuleType:
    """Import the module that reads scripts and tells the router."""
    spec = importlib.util.spec_from_file_location("ip_world", FOLDER / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ip_world"] = module
    spec.loader.exec_module(module)
    return module


world = load_world()


class DropReasons:
    """Why packets of this process were dropped, from the tracepoint skb:kfree_skb."""

    def __init__(self) -> None:
        self.folder = TRACING / "instances" / f"netemu{os.getpid()}"
        self.folder.mkdir()
        event = self.folder / "events/skb/kfree_skb"
        (event / "filter").write_text(f"common_pid=={os.getpid()}")
        (event / "enable").write_text("1")

    def take(self) -> list[str]:
        """Return the reasons since the last time, without those of far ends and of old sockets."""
        trace = self.folder / "trace"
        found = re.findall(r"reason: (\S+)", trace.read_text())
        trace.write_text("")
        return [reason for reason in found if reason not in {"OTHERHOST", "QUEUE_PURGE"}]

    def close(self) -> None:
        (self.folder / "events/skb/kfree_skb/enable").write_text("0")
        self.folder.rmdir()


def run(
    case: object, reasons: DropReasons | None = None
) -> Iterator[tuple[list[tuple[str, bytes]], list[str]]]:
    """Run a case; yield frames and reasons of each step."""
    assert isinstance(case, world.ScriptCase)
    with LiveNode(NodeSpec(main=case.spec())) as node:
        for step in case.steps:
            place, argument = step.text.split()
            if reasons is not None:
                reasons.take()
            if place == "wait":
                frames = node.wait_until(node.now_ns() + round(float(argument) * 1e9))
            elif place == "local":
                frames = node.send_local("", bytes.fromhex(argument))
            else:
                frames = node.send(place, bytes.fromhex(argument))
            time.sleep(SETTLE_S)
            frames += node.hear()
            yield frames, reasons.take() if reasons is not None else []


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.script")), ids=lambda path: path.stem)
def test_the_kernel_still_does_so(path: Path) -> None:
    with kernel_lock():
        for case in world.read_script(path.read_text())[::SAMPLE]:
            inputs = [step.text.split()[1] for step in case.steps]
            masks = Masks([bytes.fromhex(text) for text in inputs if len(text) > 20], [])
            for step, (frames, _) in zip(case.steps, run(case), strict=True):
                expected = [(port, masks.frame(frame)) for port, frame in step.frames]
                assert expected == [(port, masks.frame(frame)) for port, frame in frames], case.name


def record(path: Path) -> None:
    """Record a script anew."""
    cases = world.read_script(path.read_text())
    reasons = DropReasons() if (TRACING / "instances").is_dir() else None
    try:
        with kernel_lock():
            for case in cases:
                for step, (frames, why) in zip(case.steps, run(case, reasons), strict=True):
                    step.frames = frames
                    if reasons is not None:
                        step.reasons = why
    finally:
        if reasons is not None:
            reasons.close()
    path.write_text(world.write_script(cases))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        record(Path(name))
