"""Runs a case through the live kernel.

Kernel: the one that runs. Frames go through a veth pair, whose far end hands them over in the
sender's own context: when send(2) is back, the kernel has dealt with the frame.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Self

from netemu.livekernel import kmsg
from netemu.livekernel.build import BuiltNode
from netemu.livekernel.case import Case, InputFrame, LocalPacket, OutputFrame, Result
from netemu.livekernel.compare import Follower
from netemu.livekernel.namespace import require_kernel, run_tool
from netemu.livekernel.ruletext import canonical_rules
from netemu.livekernel.tap import Tap
from netemu.sim.spec import NamespaceSpec, NodeSpec

SO_MARK = 36
LATE_NS = 3_000_000
"""How long to wait at the end for frames that a busy machine has put off."""


@contextmanager
def kernel_lock() -> Iterator[None]:
    """Keep other runs away: the kernel log is one for all. Pins the process to one processor.

    With one processor a frame that was put off cannot be overtaken by a later one.
    """
    require_kernel()
    processors = os.sched_getaffinity(0)
    with Path(gettempdir(), "netemu-livekernel.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = kmsg.open_floodgates()
        os.sched_setaffinity(0, {max(processors)})
        try:
            yield
        finally:
            os.sched_setaffinity(0, processors)
            kmsg.restore(before)


class LiveNode:
    """A node in the live kernel, to be used inside `kernel_lock`."""

    def __init__(self, node: NodeSpec) -> None:
        """Build the node and begin to listen."""
        self.node = node
        self.inputs: list[InputFrame | LocalPacket] = []
        """What was sent so far, with the moments at which it was."""
        self._built = BuiltNode(node)
        self.notes = self._built.notes
        with self._built.helper.entered():
            self._tap = Tap(self._built.far_of_port())
        self._log = kmsg.KernelLog()
        self._result = Result(frames={key: [] for key in self._built.ports})
        self._start_ns = time.monotonic_ns()

    @property
    def ports(self) -> list[str]:
        """Devices at which frames enter and leave."""
        return self._built.ports

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the node down."""
        self._tap.close()
        self._log.close()
        self._built.close()

    def start(self) -> None:
        """Let the case's time begin now."""
        self._start_ns = time.monotonic_ns()

    def now_ns(self) -> int:
        """Return how long the case has run."""
        return time.monotonic_ns() - self._start_ns

    def wait_until(self, time_ns: int) -> list[tuple[str, bytes]]:
        """Wait for a moment of the case; return what left meanwhile, as (port, frame)."""
        heard: list[tuple[str, bytes]] = []
        while (left_ns := time_ns - self.now_ns()) > 0:
            time.sleep(min(left_ns / 1e9, 0.05))
            heard += self.hear()
        return heard

    def send(self, device: str, frame: bytes) -> list[tuple[str, bytes]]:
        """Let a frame enter the node; return what left, as (port, frame)."""
        self.inputs.append(InputFrame(device=device, time_ns=self.now_ns(), frame=frame))
        with self._built.helper.entered():
            self._tap.send(device, frame)
        return self.hear()

    def send_local(self, namespace: str, packet: bytes, mark: int = 0) -> list[tuple[str, bytes]]:
        """Let the node send a packet itself; return what left, as (port, frame)."""
        self.inputs.append(
            LocalPacket(namespace=namespace, time_ns=self.now_ns(), packet=packet, mark=mark)
        )
        with (
            self._built.spaces[namespace].entered(),
            socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
        ):
            raw.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            # As a program's own socket: bound to the source if that is an address of the node.
            raw.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, packet[1])
            with suppress(OSError):
                raw.bind((socket.inet_ntoa(packet[12:16]), 0))
            # No route, or a hook dropped it: that is seen in counters and frames.
            with suppress(OSError):
                raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
        return self.hear()

    def hear(self) -> list[tuple[str, bytes]]:
        """Collect frames and log lines; return the frames that are new."""
        heard = self._tap.heard()
        for item in heard:
            self._result.frames[item.device].append(
                OutputFrame(time_ns=item.monotonic_ns - self._start_ns, frame=item.frame)
            )
        self._log.drain()
        return [(item.device, item.frame) for item in heard]

    def result(self) -> Result:
        """Collect the state as it is now."""
        deadline_ns = time.monotonic_ns() + LATE_NS
        while time.monotonic_ns() < deadline_ns:
            self.hear()
            time.sleep(LATE_NS / 4e9)
        devices = {link.name for space in self.node.namespaces() for link in space.links}
        for space in self.node.namespaces():
            with self._built.spaces[space.name].entered():
                _collect(space, self._result)
        self.hear()
        self._result.log = self._log.lines(devices | {"lo"})
        return self._result


def _collect(space: NamespaceSpec, result: Result) -> None:
    if space.rules4 is not None:
        saved = run_tool([f"iptables-{space.backend}-save", "-c"])
        result.rules[space.name] = canonical_rules(saved, space.rules4.text)
    rows = run_tool(["conntrack", "-L"]).splitlines()
    result.conntrack[space.name] = rows
    result.neighbours[space.name] = run_tool(["ip", "-4", "neigh"]).splitlines()
    if any(link.kind == "bridge" for link in space.links):
        result.fdb[space.name] = run_tool(["bridge", "fdb", "show"]).splitlines()


def run_case(case: Case, expected: Result | None = None) -> Result:
    """Run a case through the live kernel, frames at the moments that it says.

    `expected` as in `emulator.emulate_case`: an earlier run, whose random draws the frames answer.
    """
    follower = Follower(case, expected)
    with kernel_lock(), LiveNode(case.node) as live:
        live.start()
        for item in case.inputs:
            follower.heard(live.wait_until(item.time_ns))
            if isinstance(item, InputFrame):
                follower.heard(live.send(item.device, follower.translate(item.frame)))
            else:
                follower.heard(live.send_local(item.namespace, item.packet, item.mark))
        last_ns = case.inputs[-1].time_ns if case.inputs else 0
        live.wait_until(last_ns + case.until_ns)
        return live.result()
