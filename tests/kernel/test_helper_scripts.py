"""The scripts of tests/netfilter/helpers against the live kernel.

Run as a program, it records them anew: `python tests/kernel/test_helper_scripts.py FILE.script ...`
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from netemu.livekernel.runner import LiveNode

FOLDER = Path(__file__).parent.parent / "netfilter" / "helpers"


def load_scripts() -> ModuleType:
    """Import the module that reads scripts and builds packets."""
    spec = importlib.util.spec_from_file_location("helpers", FOLDER / "test_scripts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["helpers"] = module
    spec.loader.exec_module(module)
    return module


scripts = load_scripts()

BUSY_S = 8
"""How long a conversation may take on a busy machine, while its entries' time runs."""


def run_kernel(case: object) -> list[object]:
    """Run a conversation through the live kernel."""
    done = []
    with LiveNode(scripts.node_of(case)) as live:
        live.start()
        space = live._built.spaces[""]
        seen = 0
        for step in case.steps:
            sent = []
            if step.text.startswith("wait"):
                time.sleep(int(step.text.split()[1]))
            elif not step.text.startswith("load"):
                side, frame = scripts.build_frame(step.text)
                if side == scripts.LOCAL:
                    sent = live.send_local("", frame)
                else:
                    sent = live.send(scripts.DEVICES[side], frame)
            logs = live._phase.log.lines({"lo", *scripts.SIDES})
            entries = scripts.rows(space.run(["conntrack", "-L"]))
            expected = scripts.rows(space.run(["conntrack", "-L", "expect"]))
            done.append(
                scripts.Step(step.text, scripts.frames_of(sent), entries, expected, logs[seen:])
            )
            seen = len(logs)
    return done


CASES = [
    (path.stem, case)
    for path in sorted(FOLDER.glob("*.script"))
    for case in scripts.read_cases(path.read_text())
]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{stem}-{case.name}") for stem, case in CASES]
)
def test_kernel_still_says_so(case: object) -> None:
    """The running kernel follows the conversations as recorded."""
    scripts.check(case, run_kernel, BUSY_S)


def record(paths: list[str]) -> None:
    """Write the kernel's answers into the scripts."""
    for path in map(Path, paths):
        cases = scripts.read_cases(path.read_text())
        for case in cases:
            case.steps = run_kernel(case)
        path.write_text(scripts.write_cases(cases))


if __name__ == "__main__":
    record(sys.argv[1:])
