"""What the engine does with an example, with the exact share of each thing that chance can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from msgspec import Struct

from netemu.analysis.example import Example
from netemu.entropy import Script
from netemu.errors import UsageError
from netemu.events import ChanceDrawn, Event, HeaderRewritten, MarkChanged, RuleVisited, Stamp
from netemu.link.bridge import Bridge
from netemu.questions.subject import Subject
from netemu.sim.node import Node
from netemu.sim.probe import CHANCES, Branch, Written, alternatives, begin_connection
from netemu.skb import Fate, RulePlace
from netemu.wire.packet_text import parse_packet

MAXIMUM_BRANCHES = 2_000

_NETFILTER_DROP = "NETFILTER_DROP"


class Ending(Struct, frozen=True, order=True):
    """What became of a packet, as far as rules decide it."""

    verdict: str
    """ACCEPT if the rules let it through, whatever came after that."""
    detail: str = ""
    """Of REJECT its type."""
    dnat: str = ""
    snat: str = ""
    mark: int = 0
    effects: tuple[str, ...] = ()
    """Targets that it met and that are told: `LOG --log-prefix "x "`."""

    @property
    def text(self) -> str:
        """The ending in words."""
        words = [f"{self.verdict} {self.detail}".rstrip()]
        if self.dnat:
            words.append(f"to {self.dnat}")
        if self.snat:
            words.append(self.snat)
        if self.mark and self.verdict == "ACCEPT":
            words.append(f"mark {self.mark:#x}")
        words += [f"by {effect}" for effect in self.effects]
        return " ".join(words)


class Answer(Struct, frozen=True):
    """What the engine says about one example."""

    shares: Mapping[Ending, Fraction]
    decided_by: RulePlace | None
    """The rule or policy that decided, on the branch in which every draw hits."""
    lines: frozenset[int]
    """Lines of the file that the packet met on that branch."""

    @property
    def text(self) -> str:
        """All endings, the most probable first."""
        if len(self.shares) == 1:
            return next(iter(self.shares)).text
        ordered = sorted(self.shares.items(), key=lambda item: (-item[1], item[0]))
        return ", ".join(f"{ending.text} {share}" for ending, share in ordered)

    @property
    def verdict(self) -> str:
        """The verdict; MIXED where chance decides about it."""
        verdicts = {ending.verdict for ending in self.shares}
        return verdicts.pop() if len(verdicts) == 1 else "MIXED"


def ask_engine(subject: Subject, example: Example) -> Answer:
    """Send an example through fresh copies of a node, a copy for each branch of its draws."""
    shares: dict[Ending, Fraction] = {}
    scripts: list[tuple[int, ...]] = [()]
    first: _Watch | None = None
    place: RulePlace | None = None
    count = 0
    while scripts:
        script = scripts.pop()
        count += 1
        if count > MAXIMUM_BRANCHES:
            raise UsageError(f"{example.text} has more than {MAXIMUM_BRANCHES} branches")
        watch, fate = _run(subject, example, script)
        if first is None:
            first, place = watch, fate.decided_by
            watch.lines.add(place.line or 0 if place is not None else 0)
        ending = watch.ending(fate)
        draws = tuple(watch.draws)
        shares[ending] = shares.get(ending, Fraction(0)) + _share(draws)
        scripts.extend(alternatives(Branch(result=_NOTHING, draws=draws), len(script)))
    assert first is not None
    return Answer(shares, place, frozenset(first.lines))


_NOTHING = ("", None, None, False, None)


def _run(subject: Subject, example: Example, script: Sequence[int]) -> tuple[_Watch, Fate]:
    node = subject.build(example.addresses, example.routes)
    packet = parse_packet(example.text)
    device = port_of(node, example.device)
    written = Written(packet=packet, device=device, local=not example.device)
    if example.first:
        first = parse_packet(example.first)
        begin_connection(node, first, written, port_of(node, example.first_device))
    play = Script(script)
    for space in node.namespaces.values():
        space.net.entropy.play("statistic", play)
    entry = written.entry(node)
    watch = _Watch(entry.mark, subject)
    node.set_sink(watch)
    return watch, entry.send(node)


def port_of(node: Node, device: str) -> str:
    """Return where frames enter that a rule sees come in by `device`: of a bridge, a port."""
    if not device:
        return ""
    found = node.main.net.devices.get(device)
    if isinstance(found, Bridge):
        ports = (name for name, one in node.main.net.devices.items() if one.master is found)
        return next(ports, device)
    return device


def _share(draws: Sequence[tuple[int, int]]) -> Fraction:
    share = Fraction(1)
    for value, threshold in draws:
        share *= Fraction(threshold if value < threshold else CHANCES - threshold, CHANCES)
    return share


class _Watch:
    """A sink that notes draws, rules met and what was changed of one packet."""

    def __init__(self, mark: int, subject: Subject) -> None:
        self._subject = subject
        self.effects: set[str] = set()
        self.draws: list[tuple[int, int]] = []
        self.lines: set[int] = set()
        self.mark = mark
        self.dnat = self.snat = ""
        self.masquerade = False
        self.packet_id = 0

    def __call__(self, stamp: Stamp, event: Event) -> None:
        """Take one event."""
        self.packet_id = self.packet_id or stamp.packet_id
        if isinstance(event, ChanceDrawn):
            self.draws.append((event.value, event.threshold))
        if stamp.packet_id != self.packet_id:
            return
        if isinstance(event, MarkChanged) and event.what == "mark":
            self.mark = event.after
        elif isinstance(event, RuleVisited):
            self.lines.add(event.line or 0)
            if event.matched and event.target == "MASQUERADE":
                self.masquerade = True
            if event.matched:
                self.effects |= self._subject.effects_at(event.table, event.chain, event.rule)
        elif isinstance(event, HeaderRewritten):
            if event.what in {"dnat", "un-snat"}:
                self.dnat = event.after
            elif event.what in {"snat", "un-dnat"}:
                self.snat = event.after.partition(":")[0].partition(" ")[0]

    def ending(self, fate: Fate) -> Ending:
        """Return what the rules made of the packet."""
        verdict, detail = fate.verdict, ""
        if verdict == "REJECT":
            detail = fate.reason
        elif verdict != "QUEUE" and fate.drop_reason != _NETFILTER_DROP:
            verdict = "ACCEPT"
        effects = tuple(sorted(self.effects))
        if verdict != "ACCEPT":
            return Ending(verdict, detail, effects=effects)
        snat = "masqueraded" if self.masquerade else f"from {self.snat}" if self.snat else ""
        return Ending(verdict, detail, self.dnat, snat, self.mark, effects)
