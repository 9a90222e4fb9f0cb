"""A lab that runs: hosts and pods on one clock, clients that ask, things that happen.

Theory of operation: all namespaces of all hosts are those of one `Node`, so that cables between
hosts are pairs of devices like any other, and traces, replays and the live kernel take a lab as
they take a node. Time passes only by `run_until`; equal moments keep the order in which they were
asked for. The lab itself starts with what stands at moment 0.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from netemu.errors import UsageError
from netemu.events import Event, Sink, Stamp
from netemu.sim.clients import CLIENTS, Client
from netemu.sim.lab_spec import ClientSpec, Happening, LabSpec
from netemu.sim.node import Node, build_node
from netemu.sim.spec import NodeSpec

AFTERWARDS_NS = 500_000_000
"""What follows the last answer (closing, delayed ACKs) gets half a second."""


class Note(Struct, frozen=True, kw_only=True):
    """What a client saw, or what happened."""

    time_ns: int
    """Since the start."""
    who: str
    """Name of the client; empty for the time line."""
    text: str


class Lab:
    """A running lab."""

    __slots__ = ("_ends", "_listeners", "_sinks", "clients", "node", "notes", "spec")

    def __init__(self, spec: LabSpec, *, seed: int = 0, kernel: str = "6.18") -> None:
        """Build it; nothing has happened yet."""
        self.spec = spec
        self.node: Node = build_node(spec.node, seed=seed, kernel=kernel)
        self.notes: list[Note] = []
        """What clients saw and what happened, in order."""
        self.clients: list[Client] = []
        self._sinks: list[Sink] = []
        self._listeners: list[Callable[[Note], None]] = []
        self._ends: list[int] = []
        for happening in spec.timeline:
            self.schedule(happening)
        for client in spec.clients:
            self.add_client(client)

    @property
    def now_ns(self) -> int:
        """Simulated time since the start."""
        return self.node.clock.now_ns - self.node.clock.start_ns

    def grow(self, new: NodeSpec) -> None:
        """Add namespaces, or devices and what is set on them, to the running lab."""
        self.node.grow(new)

    def subscribe(self, sink: Sink) -> None:
        """Tell every event of every namespace to `sink` from now on."""
        self._sinks.append(sink)
        self.node.set_sink(sink if len(self._sinks) == 1 else self._tell_all)

    def _tell_all(self, stamp: Stamp, event: Event) -> None:
        for sink in self._sinks:
            sink(stamp, event)

    def listen(self, listener: Callable[[Note], None]) -> None:
        """Tell what clients see and what happens from now on."""
        self._listeners.append(listener)

    def schedule(self, happening: Happening) -> None:
        """Let something happen at its moment."""

        def run() -> None:
            self._note("", happening.text)
            try:
                happening.do(self.node)
            except UsageError as problem:
                self._note("", f"which fails: {problem}")

        self.at(happening.at_ns, run)

    def at(self, when_ns: int, function: Callable[[], None]) -> None:
        """Call `function` when the lab's clock stands at `when_ns`; a past moment is now."""
        self._ends.append(when_ns)
        self.node.clock.call_at(self.node.clock.start_ns + when_ns, function)

    def add_client(self, spec: ClientSpec) -> Client:
        """Let a client start at its moment. Raises UsageError for an unknown namespace."""
        space = self.node.namespaces.get(spec.namespace)
        if space is None:
            known = ", ".join(self.node.namespaces)
            message = f"the lab has no {spec.namespace!r}; it has {known}"
            raise UsageError(message)
        client = CLIENTS[spec.kind](space.net, spec, self._client_says)
        self.clients.append(client)

        def start() -> None:
            client.start()

        self.at(spec.start_ns, start)
        return client

    def _client_says(self, spec: ClientSpec, text: str) -> None:
        self._note(spec.name, text)

    def _note(self, who: str, text: str) -> None:
        note = Note(time_ns=self.now_ns, who=who, text=text)
        self.notes.append(note)
        for listener in self._listeners:
            listener(note)

    def run_until(self, when_ns: int) -> None:
        """Let time pass until `when_ns` since the start."""
        self.node.run_until(self.node.clock.start_ns + when_ns)

    def run(self) -> None:
        """Run until all clients have ended, all has happened, and nothing is on its way.

        A lab that says how long it runs ends then.
        """
        if self.spec.until_ns is not None:
            self.run_until(self.spec.until_ns)
            return
        self.run_until(max(self._ends, default=0))
        clock = self.node.clock
        while any(client.ok is None for client in self.clients):
            when_ns = clock.next_timer_ns()
            if when_ns is None:
                break
            self.node.run_until(when_ns)
        self.run_until(self.now_ns + AFTERWARDS_NS)
        self.node.settle()
