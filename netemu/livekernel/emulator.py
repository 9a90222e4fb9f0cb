"""Runs a case through netemu, with the same kind of result as the live kernel gives."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from netemu.link.bridge import Bridge
from netemu.livekernel.case import Case, InputFrame, OutputFrame, Result, split_device
from netemu.livekernel.compare import Follower, input_frames
from netemu.livekernel.first_numbers import choose_first_numbers, first_numbers
from netemu.livekernel.ruletext import canonical_rules
from netemu.sim.node import Node, build_node
from netemu.sim.spec import NodeSpec
from netemu.sim.state import state_files
from netemu.skb import Skb

EPOCH_NS = 0


class EmulatedNode:
    """A node in netemu; the counterpart of `LiveNode`."""

    def __init__(
        self,
        spec: NodeSpec,
        *,
        seed: int = 0,
        kernel: str = "6.18",
        first_numbers: Mapping[int, list[int]] | None = None,
    ) -> None:
        """Build the node and begin to listen; `first_numbers` as the function of that name."""
        self.node: Node = build_node(spec, seed=seed, kernel=kernel, start_ns=EPOCH_NS)
        for space in self.node.namespaces.values():
            # kmsg.open_floodgates lifts the limit in the kernel, too.
            space.net.sysctl.set("net.core.message_cost", "0")
        choose_first_numbers(self.node, first_numbers or {})
        self._spec = spec
        self._frames: dict[str, list[OutputFrame]] = {name: [] for name in self.node.ports}
        self._new: list[tuple[str, bytes]] = []
        for name, port in self.node.ports.items():
            port.on_frame = partial(self._heard, name)

    def run_until(self, time_ns: int) -> None:
        """Let the simulated clock go on to a moment of the case."""
        self.node.run_until(EPOCH_NS + time_ns)

    def send(self, device: str, frame: bytes) -> list[tuple[str, bytes]]:
        """Let a frame enter the node; return what left, as (port, frame)."""
        self.node.receive(device, frame)
        return self.take()

    def send_local(self, namespace: str, packet: bytes, mark: int = 0) -> list[tuple[str, bytes]]:
        """Let the node send a packet itself; return what left, as (port, frame)."""
        self.node.send_local(packet, namespace, mark=mark)
        return self.take()

    def result(self) -> Result:
        """Collect the state as it is now."""
        result = Result(frames=self._frames, log=list(self.node.log))
        models = {
            space.name: space.rules4.text
            for space in self._spec.namespaces()
            if space.rules4 is not None
        }
        for space in self.node.namespaces.values():
            bridges = [each for each in space.net.devices.values() if isinstance(each, Bridge)]
            rows = [row for each in bridges for row in each.mdb.text(each.name).splitlines()]
            result.mdb[space.net.name] = rows
        for file, text in state_files(self.node).items():
            namespace, kind = split_device(file)
            rows = text.splitlines()
            if kind == "iptables-save":
                result.rules[namespace] = canonical_rules(text, models[namespace])
            elif kind == "ipset-save":
                result.sets[namespace] = rows
            elif kind == "conntrack":
                result.conntrack[namespace] = rows
            elif kind == "neigh":
                result.neighbours[namespace] = rows
            elif kind == "fdb":
                result.fdb[namespace] = rows
        return result

    def _heard(self, name: str, skb: Skb, frame: bytes) -> None:
        time_ns = self.node.clock.now_ns - EPOCH_NS
        self._frames[name].append(OutputFrame(time_ns=time_ns, frame=frame))
        self._new.append((name, frame))

    def take(self) -> list[tuple[str, bytes]]:
        """Return the frames that left since the last time, as (port, frame)."""
        new, self._new = self._new, []
        return new


def emulate_case(
    case: Case,
    expected: Result | None = None,
    *,
    seed: int = 0,
    phase_ns: int = 0,
    idle: bool = False,
    kernel: str = "6.18",
) -> Result:
    """Run a case through netemu, `phase_ns` late: where in a jiffy the kernel began is unknown.

    So is whether its processor was `idle` when timers came up.

    `expected` is what the kernel did in the run that the frames were recorded from: where it drew
    numbers at random, frames that answer them are made to answer netemu's draws instead, but for
    first sequence numbers: listeners choose what they chose there.
    """
    numbers = {} if expected is None else first_numbers(input_frames(case), expected)
    emulated = EmulatedNode(case.node, seed=seed, kernel=kernel, first_numbers=numbers)
    if expected is not None:
        emulated.node.clock.booted(expected.uptime_ns)
    emulated.node.clock.idle = idle
    follower = Follower(case, expected)
    for item in case.inputs:
        emulated.run_until(phase_ns + item.time_ns)
        follower.heard(emulated.take())
        if isinstance(item, InputFrame):
            sent = emulated.send(item.device, follower.translate(item.frame))
        else:
            sent = emulated.send_local(item.namespace, item.packet, item.mark)
        follower.heard(sent)
    last_ns = case.inputs[-1].time_ns if case.inputs else 0
    emulated.run_until(phase_ns + last_ns + case.until_ns)
    return emulated.result()
