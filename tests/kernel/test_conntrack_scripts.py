"""The scripts of tests/netfilter/conntrack against the live kernel.

Run as a program, it records them anew:
`python tests/kernel/test_conntrack_scripts.py FILE.script ...`
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

from netemu.livekernel.conntrack_load import insert_commands
from netemu.livekernel.kmsg import KernelLog
from netemu.livekernel.namespace import Namespace, run_tool, write_sysctl
from netemu.livekernel.runner import LogPhase
from netemu.livekernel.tap import Tap

FOLDER = Path(__file__).parent.parent / "netfilter" / "conntrack"
STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")
MACS = {"o": "02:00:00:00:0a:01", "r": "02:00:00:00:0b:01"}
PORTS = {"o": f"ct{os.getpid()}a", "r": f"ct{os.getpid()}b"}
"""Of this process alone: all namespaces share one kernel log."""
DEFAULTS = {
    "log_invalid": "255", "acct": "0", "checksum": "1", "tcp_loose": "1", "tcp_be_liberal": "0",
    "tcp_max_retrans": "3", "tcp_ignore_invalid_rst": "0", "tcp_timeout_close": "10",
    "tcp_timeout_syn_sent": "120", "tcp_timeout_time_wait": "120", "udp_timeout": "30",
    "udp_timeout_stream": "120", "icmp_timeout": "30", "generic_timeout": "600",
    "tcp_timeout_established": "432000",
}  # fmt: skip


def load_scripts() -> ModuleType:
    """Import the module that reads scripts and builds packets."""
    spec = importlib.util.spec_from_file_location("scripts", FOLDER / "test_scripts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["scripts"] = module
    spec.loader.exec_module(module)
    return module


scripts = load_scripts()


class Router:
    """A router in a namespace between two ends that only we speak for."""

    def __init__(self) -> None:
        self.space = Namespace()
        self.hosts = Namespace()
        with self.hosts.entered():
            for side, port in PORTS.items():
                run_tool(
                    ["ip", "link", "add", f"h{port}", "address", MACS[side], "type", "veth",
                     "peer", "name", port, "address", MACS[side][:-1] + "2",
                     "netns", self.space.path]
                )  # fmt: skip
                write_sysctl(f"net.ipv6.conf.h{port}.disable_ipv6", "1")
                run_tool(["ip", "link", "set", f"h{port}", "up"])
            self.tap = Tap({port: f"h{port}" for port in PORTS.values()})
        with self.space.entered():
            write_sysctl("net.ipv4.ip_forward", "1")
            for side, net in (("o", "10.1.0"), ("r", "10.2.0")):
                port = PORTS[side]
                write_sysctl(f"net.ipv6.conf.{port}.disable_ipv6", "1")
                run_tool(["ip", "link", "set", port, "up"])
                run_tool(["ip", "addr", "add", f"{net}.1/24", "dev", port])
                run_tool(["ip", "neigh", "add", f"{net}.2", "lladdr", MACS[side], "dev", port])
            rules = [f"-A PREROUTING -m conntrack --ctstate {state}" for state in STATES]
            # What is lost would leave no entry; the far hosts must not answer by themselves.
            run_tool(
                ["iptables-legacy-restore"],
                "*mangle\n" + "\n".join(rules) + "\nCOMMIT\n",
            )
        self.log: KernelLog | None = None

    def close(self) -> None:
        self.tap.close()
        self.space.close()
        self.hosts.close()

    def run(self, case: object) -> list[object]:
        """Send the packets of a case and say what came of each."""
        with self.space.entered():
            run_tool(["conntrack", "-F"])
            for key, value in {**DEFAULTS, **case.sysctls}.items():
                assert write_sysctl(f"net.netfilter.nf_conntrack_{key}", value), key
        phase = LogPhase()
        self.log = phase.log
        try:
            return [self.step(step) for step in case.steps]
        finally:
            phase.close()

    def step(self, step: object) -> object:
        if step.text.startswith("wait"):
            time.sleep(float(step.text.split()[1]))
            return scripts.Step(step.text, "", self.entries(), [])
        if step.text.startswith("load"):
            with self.space.entered():
                for command in insert_commands(step.text.removeprefix("load ")):
                    run_tool(command)
            return scripts.Step(step.text, "", self.entries(), [])
        side, packet = scripts.build_packet(step.text)
        with self.space.entered():
            run_tool(["iptables-legacy", "-t", "mangle", "-Z"])
        self.log.drain()
        seen = len(self.log._lines)
        far = bytes.fromhex((MACS[side][:-1] + "2").replace(":", ""))
        near = bytes.fromhex(MACS[side].replace(":", ""))
        self.tap.send(PORTS[side], far + near + b"\x08\x00" + packet)
        state = self.state()
        self.log.drain()
        logs = [
            found.group(1).strip()
            for line in self.log._lines[seen:]
            if PORTS["o"][:-1] in line and (found := re.match(r"(?s)(nf_ct_proto_.*?) +IN=", line))
        ]
        return scripts.Step(step.text, state, self.entries(), logs)

    def entries(self) -> list[str]:
        with self.space.entered():
            lines = run_tool(["conntrack", "-L"]).splitlines()
        return [re.sub(r" use=\d+$", "", re.sub(r"  +", " ", line)) for line in sorted(lines)]

    def state(self) -> str:
        for _ in range(20):
            with self.space.entered():
                saved = run_tool(["iptables-legacy-save", "-t", "mangle", "-c"])
            hits = re.findall(r"\[([1-9]\d*):\d+\].*--ctstate (\w+)", saved)
            if hits:
                return " ".join(word for _, word in hits)
            time.sleep(0.005)
        return "NONE"


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    made = Router()
    yield made
    made.close()


CASES = [
    (path.stem, case)
    for path in sorted(FOLDER.glob("*.script"))
    for case in scripts.read_cases(path.read_text())
]


@pytest.mark.parametrize(
    "stem,case", [pytest.param(*row, id=f"{row[0]}-{row[1].name}") for row in CASES]
)
def test_kernel_still_says_so(router: Router, stem: str, case: object) -> None:
    """The running kernel tracks the connections as recorded."""
    for expected, actual in zip(case.steps, router.run(case), strict=True):
        assert (expected.text, expected.state, expected.logs) == (
            actual.text, actual.state, actual.logs,
        )  # fmt: skip
        assert scripts.near(expected.entries, actual.entries), (expected, actual)


def record(paths: list[str]) -> None:
    """Write the kernel's answers into the scripts."""
    made = Router()
    for path in map(Path, paths):
        cases = scripts.read_cases(path.read_text())
        for case in cases:
            case.steps = made.run(case)
        path.write_text(scripts.write_cases(cases))
    made.close()


if __name__ == "__main__":
    record(sys.argv[1:])
