"""What a live kernel did with frames, replayed.

The `.script` files were recorded by tests/kernel/test_ip_scripts.py on Linux 6.18.44 (HZ 250) at the
router of conftest.py; `read_script` there tells their form. Reasons come from the tracepoint
skb:kfree_skb. Identifications that the kernel draws at random are masked.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from netemu.livekernel.masks import Masks
from netemu.netfilter.conntrack.core import nf_ct_netns_get

FOLDER = Path(__file__).parent

COUNTED = ("receive", "options")
"""Files whose drop reasons are compared: of reassembly the kernel counts pieces otherwise, and what
a program sends in vain is no packet yet there."""


def load_world() -> ModuleType:
    """Import the module that reads scripts and builds the router."""
    spec = importlib.util.spec_from_file_location("ip_world", FOLDER / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ip_world"] = module
    spec.loader.exec_module(module)
    return module


world = load_world()

CASES = [
    (path.stem, case)
    for path in sorted(FOLDER.glob("*.script"))
    for case in world.read_script(path.read_text())
]


def masked(masks: Masks, frames: list[tuple[str, bytes]]) -> list[tuple[str, str]]:
    return [(port, masks.frame(frame).hex()) for port, frame in frames]


def reaches_all(frames: list[tuple[str, bytes]]) -> bool:
    """Whether the far ends take a frame, too: they drop it for reasons of their own."""
    return any(frame[0] & 1 for _, frame in frames)


@pytest.mark.parametrize("file,case", CASES, ids=[f"{file}-{case.name}" for file, case in CASES])
def test_frames_and_reasons_are_the_kernels(file: str, case: object) -> None:
    assert isinstance(case, world.ScriptCase)
    lab = world.Lab(case.spec())
    if "conntrack" in case.settings:
        nf_ct_netns_get(lab.net)
    if case.reject:
        lab.refuse(case.reject)
    inputs = [step.text.split() for step in case.steps]
    masks = Masks([bytes.fromhex(data) for place, data in inputs if place != "wait"], [])
    for step, (place, argument) in zip(case.steps, inputs, strict=True):
        lab.out.clear()
        lab.drops.clear()
        if place == "wait":
            lab.wait(float(argument))
        elif place == "local":
            lab.send_local(bytes.fromhex(argument))
        else:
            lab.send(place, bytes.fromhex(argument))
        assert masked(masks, step.frames) == masked(masks, lab.out)
        if file in COUNTED and not reaches_all(step.frames):
            assert step.reasons == lab.drops
