"""The library's own small surface: a node to send packets through, and a ruleset to read.

    import netemu
    node = netemu.Node.from_snapshot("node1.snap")
    fate = node.send("tcp 192.0.2.9:40000 > 10.96.0.1:443 S", "eth0")
    fate.verdict, fate.reason          # 'ACCEPT', ''
    fate.frames[0].device              # 'veth1'
    fate.frames[0].scapy().show()

Nothing here prints, reads the machine's clock or draws from the global `random`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from netemu.errors import UsageError
from netemu.events import Event, Stamp
from netemu.lint.engine import look
from netemu.lint.finding import Finding
from netemu.lint.settings import LintSettings
from netemu.netfilter.conntrack.table import Form
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables import model
from netemu.questions import diff as questions_diff
from netemu.questions.subject import Subject
from netemu.ruleset import parse_ruleset, print_ruleset
from netemu.sim import node as sim_node
from netemu.sim.probe import enter
from netemu.sim.replay import CapturedAt, Comparison, Replay
from netemu.sim.spec import NodeSpec, TextFile
from netemu.sim.state import state_files
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.snapshot.read import read_node
from netemu.snapshot.subjects import Reading, read_subjects
from netemu.trace.model import Recorder
from netemu.wire.composed import ComposedPacket
from netemu.wire.packet_text import parse_packet

if TYPE_CHECKING:
    from netemu.interop.scapy import ScapyPacket


class Frame(Struct, frozen=True, kw_only=True):
    """A frame that left the node."""

    device: str
    """`DEV` or `NS/DEV`."""
    time_ns: int
    data: bytes

    def __bytes__(self) -> bytes:
        """Return the frame's octets."""
        return self.data

    def scapy(self) -> ScapyPacket:
        """Return it as a Scapy packet."""
        from netemu.interop.scapy import to_scapy  # noqa: PLC0415 - loads Scapy, only when asked

        return to_scapy(self.data)


class Fate(Struct, frozen=True, kw_only=True):
    """What became of one packet."""

    verdict: str
    """ACCEPT DROP REJECT QUEUE STOLEN."""
    reason: str
    """SKB_DROP_REASON name or reject type; empty for ACCEPT."""
    frames: tuple[Frame, ...]
    """Every frame that left the node because of it, answers and ARP requests included."""
    events: tuple[tuple[Stamp, Event], ...]


class Node:
    """A node to send packets through; its state lives on between packets."""

    __slots__ = ("_recorder", "_sent", "engine")

    def __init__(self, spec: NodeSpec, *, seed: int = 0, kernel: str = "6.18") -> None:
        """Build a node from values; see `from_snapshot` and `from_rules`."""
        self.engine = sim_node.build_node(spec, seed=seed, kernel=kernel)
        """The node itself: namespaces, ports, clock, kernel log."""
        self._recorder = Recorder()
        self._sent = Replay(self.engine, set())
        self.engine.set_sink(self._recorder)

    @classmethod
    def from_snapshot(
        cls,
        path: str | Path,
        *,
        backend: str | None = None,
        seed: int = 0,
        kernel: str = "6.18",
    ) -> Node:
        """Read a snapshot or sosreport, a directory or an archive.

        Raises SnapshotError or RulesetError with file, line and column.
        """
        return cls(read_node(str(path), backend=backend), seed=seed, kernel=kernel)

    @classmethod
    def from_rules(  # noqa: PLR0913 - one keyword per command-line option
        cls,
        text: str,
        *,
        file: str = "<rules>",
        addresses: Sequence[str] = (),
        routes: Sequence[str] = (),
        sysctls: Sequence[str] = (),
        ipset: str = "",
        seed: int = 0,
        kernel: str = "6.18",
    ) -> Node:
        """Make a bare node of iptables-save text; the keywords change what is assumed.

        `file` is the name in error messages, `ipset` the text of the IP sets that rules name; the
        other keywords are the command line's --addr, --route and --sysctl.
        """
        changes = Changes(addresses=addresses, routes=routes, sysctls=sysctls)
        spec = bare_node(TextFile(name=file, text=text), changes)
        if ipset:
            spec.main.ipset = TextFile(name="<ipset>", text=ipset)
        return cls(spec, seed=seed, kernel=kernel)

    @property
    def notes(self) -> list[str]:
        """What was missing or assumed, a sentence each."""
        return self.engine.notes

    def send(self, packet: bytes | str | ScapyPacket, device: str = "") -> Fate:
        """Send a packet through the node and return what became of it at this instant.

        Args:
            packet: an Ethernet frame as bytes, a one-line packet as text, or a Scapy packet.
            device: where it enters (`DEV` or `NS/DEV`); empty for the reverse route.

        Raises PacketTextError or UsageError.

        """
        before = {name: len(frames) for name, frames in self._sent.sent.items()}
        self._recorder.take()
        if isinstance(packet, bytes):
            if not device:
                raise UsageError("a frame of bytes needs the device where it enters")
            fate = self.engine.receive(device, packet)
        else:
            fate = enter(self.engine, _composed(packet), device).send(self.engine)
        return Fate(
            verdict=fate.verdict,
            reason=fate.reason,
            frames=tuple(self._frames_after(before)),
            events=tuple(self._recorder.take()),
        )

    def wait(self, seconds: float) -> None:
        """Let simulated time pass: timers fire, entries expire."""
        self.engine.run_until(self.engine.clock.now_ns + round(seconds * 1e9))

    def state(self, *, conntrack_form: str = "plain") -> dict[str, str]:
        """Return `iptables-save`, `ipset-save`, `conntrack`, `neigh`, `fdb` as the tools do.

        `conntrack_form` is `plain`, `extended` (conntrack -o extended) or `proc`
        (/proc/net/nf_conntrack).
        """
        return state_files(self.engine, Form[conntrack_form.upper()])

    def _frames_after(self, before: dict[str, int]) -> Iterable[Frame]:
        frames = [
            Frame(device=sent.device, time_ns=sent.time_ns, data=sent.frame)
            for name, sent_there in self._sent.sent.items()
            for sent in sent_there[before[name] :]
        ]
        return sorted(frames, key=lambda frame: frame.time_ns)


def _composed(packet: str | ScapyPacket) -> ComposedPacket:
    if isinstance(packet, str):
        return parse_packet(packet)
    from netemu.interop.scapy import compose  # noqa: PLC0415 - loads Scapy, only when asked

    return compose(packet)


class Ruleset:
    """iptables-save text, read and printed."""

    __slots__ = ("tables",)

    def __init__(self, tables: model.Ruleset) -> None:
        """Wrap what was read; see `parse`."""
        self.tables = tables

    @classmethod
    def parse(cls, text: str, *, file: str = "", ipv6: bool = False) -> Ruleset:
        """Read iptables-save text as iptables-restore does.

        Raises RulesetError with file, line and column.
        """
        family = Family.IPV6 if ipv6 else Family.IPV4
        return cls(parse_ruleset(text, file, family=family))

    def print(self, *, counters: bool = False, backend: str = "legacy") -> str:
        """Return the text that iptables-save (with -c: `counters`) would print, without dates."""
        return print_ruleset(self.tables, counters=counters, backend=backend)


def replay(node: Node, frames: Iterable[CapturedAt], *, until_s: float = 0) -> Comparison:
    """Feed captured frames through a node; return how its output compares with the capture."""
    items = list(frames)
    run = Replay(node.engine, {item.device for item in items})
    for item in items:
        run.feed(item)
    return run.finish(node.engine.clock.now_ns + round(until_s * 1e9))


def diff(old: str | Path, new: str | Path) -> questions_diff.DiffResult:
    """Compare two rule files or node snapshots by what they do with packets.

    `equal` of the result is True, False, or None where that could not be decided.
    Raises InputError for what cannot be read.
    """
    return questions_diff.diff(*(Subject(read_node(str(path))) for path in (old, new)))


def lint(
    path: str | Path,
    *,
    select: Sequence[str] = (),
    ignore: Sequence[str] = (),
    backend: str | None = None,
    ipset: str | Path | None = None,
) -> list[Finding]:
    """Look for faults in a rule file or node, as `netemu lint` does without a settings file.

    Args:
        path: iptables-save text, or a node snapshot.
        select: codes of lint rules, or beginnings of codes; empty for those on by default.
        ignore: likewise, those to leave out.
        backend: `legacy` or `nft`, whose rules are looked at.
        ipset: file of `ipset save` text, the sets that the rules name.

    Raises InputError for what cannot be read at all, UsageError for a code that no rule has.

    """
    settings = LintSettings(select=tuple(select), ignore=tuple(ignore))
    reading = Reading(backend=backend, ipset=None if ipset is None else str(ipset))
    return [
        finding
        for subject in read_subjects(str(path), reading)
        for finding in look(subject, settings).findings
    ]
