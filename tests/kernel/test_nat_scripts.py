"""The scripts of tests/netfilter/nat against the live kernel.

Run as a program, it records them anew: `python tests/kernel/test_nat_scripts.py FILE.script ...`
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from netemu.livekernel.namespace import run_tool

HERE = Path(__file__).parent
FOLDER = HERE.parent / "netfilter" / "nat"


def load(name: str, path: Path) -> ModuleType:
    """Import a file as a module."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


kernel = load("kernel_scripts", HERE / "test_conntrack_scripts.py")
nat = load("nat_scripts", FOLDER / "test_scripts.py")


class NatRouter(kernel.Router):
    """The router, with a nat table and a network beyond each host."""

    def __init__(self) -> None:
        super().__init__()
        with self.space.entered():
            run_tool(["ip", "route", "add", "10.3.0.0/16", "via", "10.2.0.2"])
            run_tool(["ip", "route", "add", "10.4.0.0/16", "via", "10.1.0.2"])
            run_tool(["ip", "route", "add", "10.2.0.96/28", "via", "10.2.0.2"])
            run_tool(["ip", "route", "add", "10.2.0.77", "via", "10.2.0.2"])
            for last in range(3, 20):
                run_tool(["ip", "route", "add", f"10.1.0.{last}", "via", "10.1.0.2"])

    def rules(self, case: object) -> None:
        lines = ["*nat"]
        for rule in case.rules:
            manip, protocol, where, *flags = rule.words
            chain = "PREROUTING" if manip == "dnat" else "POSTROUTING"
            option = "--to-destination" if manip == "dnat" else "--to-source"
            match = "" if protocol == "all" else f"-p {protocol} "
            extra = "".join(f" --{flag}" for flag in flags)
            lines.append(f"-A {chain} {match}-j {manip.upper()} {option} {where}{extra}")
        run_tool(["iptables-legacy-restore"], "\n".join([*lines, "COMMIT", ""]))

    def run(self, case: object) -> list[object]:
        with self.space.entered():
            self.rules(case)
            run_tool(["conntrack", "-F"])
        outs: list[str] = []
        done = []
        for step in case.steps:
            side, packet = nat.build_packet(step.text, outs)
            outs.append(self.through(side, packet))
            done.append(nat.Step(step.text, outs[-1], self.entries()))
        return done

    def through(self, side: str, packet: bytes) -> str:
        self.tap.heard()
        far = bytes.fromhex((kernel.MACS[side][:-1] + "2").replace(":", ""))
        near = bytes.fromhex(kernel.MACS[side].replace(":", ""))
        self.tap.send(kernel.PORTS[side], far + near + b"\x08\x00" + packet)
        for _ in range(6):
            frames = [
                heard.frame for heard in self.tap.heard() if heard.frame[12:14] == b"\x08\x00"
            ]
            if frames:
                return frames[0][14:].hex()
            time.sleep(0.002)
        return ""


@pytest.fixture(scope="module")
def router() -> Iterator[NatRouter]:
    made = NatRouter()
    yield made
    made.close()


CASES = [
    (path.stem, case)
    for path in sorted(FOLDER.glob("*.script"))
    for case in nat.read_cases(path.read_text())
]


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{stem}-{case.name}") for stem, case in CASES]
)
def test_kernel_still_says_so(router: NatRouter, case: object) -> None:
    """The running kernel translates as recorded."""
    for expected, actual in zip(case.steps, router.run(case), strict=True):
        assert (expected.text, expected.out) == (actual.text, actual.out)
        assert kernel.scripts.near(expected.entries, actual.entries), (expected, actual)


def record(paths: list[str]) -> None:
    """Write the kernel's answers into the scripts."""
    made = NatRouter()
    for path in map(Path, paths):
        cases = nat.read_cases(path.read_text())
        for case in cases:
            case.steps = made.run(case)
        path.write_text(nat.write_cases(cases))
    made.close()


if __name__ == "__main__":
    record(sys.argv[1:])
