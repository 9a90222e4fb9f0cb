"""Runs a case through the live kernel.

Kernel: the one that runs. Frames go through a veth pair, whose far end hands them over in the
sender's own context: when send(2) is back, the kernel has dealt with the frame.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from statistics import mode
from tempfile import gettempdir
from typing import Self

from netemu.clock import INITIAL_JIFFIES, NSEC_PER_SEC
from netemu.livekernel import kmsg
from netemu.livekernel.build import BuiltNode
from netemu.livekernel.case import Case, InputFrame, LocalPacket, OutputFrame, Result
from netemu.livekernel.compare import Follower
from netemu.livekernel.namespace import require_kernel, run_tool
from netemu.livekernel.ruletext import canonical_rules
from netemu.livekernel.sets import set_names
from netemu.livekernel.tap import Tap
from netemu.sim.spec import NamespaceSpec, NodeSpec

SO_MARK = 36
HZ = 250
"""Ticks a second of the kernel that netemu emulates."""

LONGEST_SEND_NS = 2_000_000
"""The kernel deals with a frame in a tenth of that, but for other programs that run meanwhile."""

LATE_NS = 3_000_000
"""How long to wait at the end for frames that a busy machine has put off."""


@cache
def jiffies_lag_ns() -> int:
    """Return how far jiffies lag behind the monotonic clock: they wait for the first tick."""
    return mode(_jiffies_lag_ns() for _ in range(5))


def _jiffies_lag_ns() -> int:
    text = Path("/proc/timer_list").read_text()
    now = re.search(r"^now at (\d+)", text, re.MULTILINE)
    jiffies = re.search(r"^jiffies: (\d+)", text, re.MULTILINE)
    if now is None or jiffies is None:
        return 0
    ticks = int(now[1]) * HZ // NSEC_PER_SEC
    return (ticks - int(jiffies[1]) + INITIAL_JIFFIES) * NSEC_PER_SEC // HZ


MOST_LOOKS = 5
"""So often the state is looked at until nothing leaves meanwhile."""

OVERDUE = ("DELAY", "PROBE")
OVERDUE_NS = 12_000_000
"""The timer of such an entry, when it is loaded, fires at the next jiffy: three of them."""


@contextmanager
def kernel_lock() -> Iterator[None]:
    """Make sure that the live kernel can be asked; a started node keeps other runs away itself."""
    require_kernel()
    yield


class LogPhase:
    """The time in which frames run: one case at a time, since the kernel log is one for all.

    The process keeps to one processor meanwhile, so that a frame which the kernel has put off
    cannot be overtaken by a later one.
    """

    def __init__(self) -> None:
        """Wait until no other run is in that phase, then begin it."""
        self._lock = Path(gettempdir(), "netemu-livekernel.lock").open("w")  # noqa: SIM115
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._settings = kmsg.open_floodgates()
        self._processors = os.sched_getaffinity(0)
        mine = sorted(self._processors)[os.getpid() % len(self._processors)]
        os.sched_setaffinity(0, {mine})
        self.log = kmsg.KernelLog()

    def close(self) -> None:
        """Let others go on."""
        self.log.close()
        os.sched_setaffinity(0, self._processors)
        kmsg.restore(self._settings)
        self._lock.close()


class LiveNode:
    """A node in the live kernel: built, then started, then frames, then its result."""

    def __init__(self, node: NodeSpec) -> None:
        """Build the node."""
        require_kernel()
        self.node = node
        self.inputs: list[InputFrame | LocalPacket] = []
        """What was sent so far, with the moments at which it was."""
        self._built = BuiltNode(node)
        self.notes = self._built.notes
        with self._built.helper.entered():
            self._tap = Tap(self._built.far_of_port())
        self._phase: LogPhase | None = None
        self._result = Result(frames={key: [] for key in self._built.ports}, inputs=self.inputs)
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
        self._end_phase()
        self._tap.close()
        self._built.close()

    def start(self) -> None:
        """Begin to listen, and let the case's time begin now."""
        if self._phase is None:
            self._phase = LogPhase()
            self._built.load_state()
            self._let_probes_out()
        self._built.refresh_sets()
        self._tap.heard()
        self._start_ns = time.monotonic_ns()
        self._result.uptime_ns = self._start_ns - jiffies_lag_ns()

    def _let_probes_out(self) -> None:
        """Wait for the first probes of neighbours loaded as DELAY or PROBE: they are overdue."""
        spaces = self.node.namespaces()
        if any(entry.state in OVERDUE for space in spaces for entry in space.neighbours):
            time.sleep(OVERDUE_NS / 1e9)

    def _end_phase(self) -> None:
        if self._phase is not None:
            self._phase.close()
            self._phase = None

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

    def pause(self, duration_ns: int) -> list[tuple[str, bytes]]:
        """Let time pass; return what left meanwhile, as (port, frame)."""
        if self._phase is None:
            self.start()
        return self.wait_until(self.now_ns() + duration_ns)

    def send(self, device: str, frame: bytes) -> list[tuple[str, bytes]]:
        """Let a frame enter the node; return what left, as (port, frame)."""
        if self._phase is None:
            self.start()
        with self._built.helper.entered():
            now_ns = self.now_ns()
            self.inputs.append(InputFrame(device=device, time_ns=now_ns, frame=frame))
            self._tap.send(device, frame)
            self._note_delay(now_ns)
        return self.hear()

    def send_local(self, namespace: str, packet: bytes, mark: int = 0) -> list[tuple[str, bytes]]:
        """Let the node send a packet itself; return what left, as (port, frame)."""
        if self._phase is None:
            self.start()
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
            now_ns = self.now_ns()
            self.inputs.append(
                LocalPacket(namespace=namespace, time_ns=now_ns, packet=packet, mark=mark)
            )
            # No route, or a hook dropped it: that is seen in counters and frames.
            with suppress(OSError):
                raw.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
            self._note_delay(now_ns)
        return self.hear()

    def _note_delay(self, sent_ns: int) -> None:
        self._result.disturbed |= self.now_ns() - sent_ns > LONGEST_SEND_NS

    def hear(self) -> list[tuple[str, bytes]]:
        """Collect frames and log lines; return the frames that are new."""
        heard = self._tap.heard()
        for item in heard:
            self._result.frames[item.device].append(
                OutputFrame(time_ns=item.monotonic_ns - self._start_ns, frame=item.frame)
            )
        if self._phase is not None:
            self._phase.log.drain()
        return [(item.device, item.frame) for item in heard]

    def result(self) -> Result:
        """Collect what happened and the state as it is now; nothing can be sent afterwards."""
        if self._phase is None:
            self.start()
        assert self._phase is not None
        deadline_ns = time.monotonic_ns() + LATE_NS
        while time.monotonic_ns() < deadline_ns:
            self.hear()
            time.sleep(LATE_NS / 4e9)
        first_ns = began_ns = self.now_ns()
        for _ in range(MOST_LOOKS):
            began_ns = self.now_ns()
            for space in self.node.namespaces():
                with self._built.spaces[space.name].entered():
                    _collect(space, self._result)
            if not self.hear():
                break  # else the state may be that before and after what left
        self._result.waited_ns = began_ns - first_ns
        self._result.collecting_ns = self.now_ns() - began_ns
        devices = {link.name for space in self.node.namespaces() for link in space.links}
        self._result.log = self._phase.log.lines(devices | {"lo"}, set_names(self.node))
        self._end_phase()
        return self._result


def _collect(space: NamespaceSpec, result: Result) -> None:
    """Look at the state, first at what changes by itself."""
    result.neighbours[space.name] = run_tool(["ip", "-4", "neigh"]).splitlines()
    rows = run_tool(["conntrack", "-L"]).splitlines()
    result.conntrack[space.name] = rows
    if space.ipset is not None:
        result.sets[space.name] = run_tool(["ipset", "save"]).splitlines()
    if space.rules4 is not None:
        saved = run_tool([f"iptables-{space.backend}-save", "-c"])
        result.rules[space.name] = canonical_rules(saved, space.rules4.text)
    if any(link.kind in {"bridge", "vxlan"} for link in space.links):
        result.fdb[space.name] = run_tool(["bridge", "fdb", "show"]).splitlines()
        rows = run_tool(["bridge", "mdb", "show"]).splitlines()
        result.mdb[space.name] = [row for row in rows if " grp " in row and ":" not in row]


def run_case(case: Case, expected: Result | None = None) -> Result:
    """Run a case through the live kernel, frames at the moments that it says.

    `expected` as in `emulator.emulate_case`: an earlier run, whose random draws the frames answer.
    """
    follower = Follower(case, expected)
    with LiveNode(case.node) as live:
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
