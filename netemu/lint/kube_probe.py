"""Sends the packets that are to show a fault of Services through the engine, and judges them.

Kernel: none.

Theory of operation: one node is built of the subject; every packet comes from a port of its own, so
that connections do not meet, and clients' lists are emptied before each. The random choices of
`statistic` are all run through, one after the other; IPVS, which chooses by its state, gets several
packets of a fresh node. A claim of what may happen needs one run, a claim of what never happens
needs them all. Where there are many choices, one packet for which all miss tells what could have
been chosen (`kube_choices`), and only the choices that matter are run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from msgspec import Struct
from msgspec.structs import replace

from netemu.entropy import Script
from netemu.errors import UsageError
from netemu.events import ChainEntered, ChanceDrawn, Event, RuleVisited, Stamp
from netemu.kube.check.fault import Claim, Probe, Saying, Sender
from netemu.kube.check.reading import KubeRules
from netemu.lint.kube_choices import MISS, NEVER, UNEVEN, Choice, judge_choices
from netemu.netfilter.extensions.recent import RecentTables
from netemu.netfilter.ipvs.table import Ipvs
from netemu.sim.node import Node, build_node
from netemu.sim.probe import CHANCES, Branch, Entry, Watch, alternatives, enter
from netemu.sim.spec import NodeSpec
from netemu.wire.address import format_address, in_prefix, parse_address, parse_prefix
from netemu.wire.packet_text import parse_packet

OUTSIDER = "203.0.113.9"
"""A client beyond the uplink: of RFC 5737's TEST-NET-3."""
MOST_CHOICES = 40
"""More choices than that are not all run through."""
_ALL_MISS = (MISS,) * 20_000
FIRST_PORT = 40000


class Sent(Struct, frozen=True, kw_only=True):
    """A packet in one line, and how it enters."""

    packet: str
    device: str = ""
    local: bool = False
    setup: tuple[str, ...] = ()


class Run(Struct, frozen=True, kw_only=True):
    """What became of a packet in one course of chance."""

    sent: Sent
    share: Fraction
    verdict: str
    dnat: str
    masqueraded: bool
    kept: bool
    """The node took it, or answered it itself."""
    before: str
    """Where the client's earlier connection went."""
    matched: frozenset[tuple[str, str, int, str]]
    """(table, chain, rule, target) of all rules that matched."""
    visited: frozenset[tuple[str, str]]
    """(table, chain) of all chains that it entered."""


class Runs(Struct, frozen=True):
    """All that became of a packet."""

    runs: list[Run]
    complete: bool
    """Nothing else can become of it."""


class _Trail(Watch):
    """Notes rules and chains besides."""

    def __init__(self) -> None:
        super().__init__()
        self.matched: set[tuple[str, str, int, str]] = set()
        self.visited: set[tuple[str, str]] = set()
        self.choices: list[Choice] = []
        self._chance: int | None = None

    def __call__(self, stamp: Stamp, event: Event) -> None:
        super().__call__(stamp, event)
        if stamp.packet_id != self.packet_id:
            return
        if isinstance(event, ChanceDrawn):
            self._chance = event.threshold
        elif isinstance(event, RuleVisited):
            if self._chance is not None:
                self.choices.append(Choice(self._chance, event.target))
                self._chance = None
            if event.matched:
                self.matched.add((event.table, event.chain, event.rule, event.target))
        elif isinstance(event, ChainEntered):
            self.visited.add((event.table, event.chain))


class KubeProbe:
    """Tries packets on one node."""

    def __init__(
        self,
        spec: NodeSpec,
        rules: KubeRules,
        *,
        node_ip: str,
        pods: Sequence[str] = (),
        local_range: str = "",
    ) -> None:
        """Keep what senders there are; the node is built when the first packet is sent.

        `pods` are addresses of pods on this node, `local_range` the prefix of all pods.
        """
        self.spec = spec
        self.rules = rules
        self._own = _own_address(spec, node_ip)
        self._pods = _pod_sources(spec, pods, local_range)
        self._node: Node | None = None
        self._port = FIRST_PORT
        self._known: dict[Probe, Runs | None] = {}
        self._wide: dict[Probe, tuple[Run, list[Choice]] | None] = {}

    def shown(self, claim: Claim, probes: Iterable[Probe]) -> Run | None:
        """Return what the first packet that shows a claim came to, None if none does."""
        for probe in probes:
            wide = self._choices(replace(probe, known_client=False))
            if wide is not None and len(wide[1]) > MOST_CHOICES:
                run = self._chosen(claim, probe, *wide)
            else:
                found = self._runs(probe)
                run = judged(claim, found) if found is not None else None
            if run is not None:
                return run
        return None

    # --- Many choices -----------------------------------------------------------------------------

    def _choices(self, probe: Probe) -> tuple[Run, list[Choice]] | None:
        """Return a run in which every chance misses, and what could have been chosen."""
        if self.spec.main.ipvs is not None:
            return None
        if probe not in self._wide:
            self._wide[probe] = None
            played = self._play(probe, _ALL_MISS)
            if played is not None:
                self._wide[probe] = played.run(), played.trail.choices
        return self._wide[probe]

    def _chosen(self, claim: Claim, probe: Probe, missed: Run, choices: list[Choice]) -> Run | None:
        """Judge a claim by the choices, and run the one that shows it."""
        verdict = judge_choices(claim, self.rules, choices, missed.dnat)
        if verdict.never:
            return judged(claim, Runs([missed], complete=True))
        for script in verdict.scripts:
            played = self._play(probe, script)
            run = played.run() if played is not None else None
            if run is not None and (verdict.proved or _holds(claim, run)) and _blamed(claim, run):
                return run
        return None

    def _play(self, probe: Probe, script: Sequence[int]) -> _Played | None:
        """Send a packet in one course of chance, after the client's earlier one if it had one."""
        destination = probe.destination or self._own
        for source, device in self._sources(probe):
            if not destination or not source:
                continue
            node = self._ready()
            _forget_clients(node)
            played = _Played(node, script)
            try:
                self._send(played, probe, source, device, destination)
            except UsageError:
                continue
            return played
        return None

    # --- Running ----------------------------------------------------------------------------------

    def _runs(self, probe: Probe) -> Runs | None:
        """Return how a packet is sent, what can become of it, and whether that is all."""
        if probe not in self._known:
            self._known[probe] = self._find_runs(probe)
        return self._known[probe]

    def _find_runs(self, probe: Probe) -> Runs | None:
        for source, device in self._sources(probe):
            try:
                return self._run_all(probe, source, device)
            except UsageError:
                continue
        return None

    def _sources(self, probe: Probe) -> Iterator[tuple[str, str]]:
        """Yield addresses of such a sender, and devices where a certain one is known."""
        if probe.source:
            yield probe.source, probe.device
        elif probe.sender is Sender.NODE:
            yield self._own, ""
        elif probe.sender is Sender.OUTSIDE:
            yield OUTSIDER, probe.device
        else:
            yield from ((pod, probe.device) for pod in self._pods if pod != probe.destination)

    def _run_all(self, probe: Probe, source: str, device: str) -> Runs | None:
        destination = probe.destination or self._own
        if not destination or not source:
            return None
        by_state = self.spec.main.ipvs is not None
        if by_state:
            self._node = None
        scripts: list[tuple[int, ...]] = [()]
        runs: list[Run] = []
        before: list[str] = []
        most = 2 * _most_servers(self._ready()) + 2 if by_state else 2 * MOST_CHOICES**2
        while scripts and len(runs) < most:
            node = self._ready()
            if not by_state:
                _forget_clients(node)
                before = []
            play = _Played(node, scripts.pop(), before)
            self._send(play, probe, source, device, destination)
            runs.append(play.run())
            before = play.sent
            # Earlier choices are varied first: a known client's first connection is the earlier.
            scripts += [()] if by_state else reversed([*play.alternatives()])
        return Runs(runs, complete=by_state or not scripts)

    def _send(
        self, play: _Played, probe: Probe, source: str, device: str, destination: str
    ) -> None:
        for _ in range(1 + probe.known_client):
            text = self._text(probe, source, destination)
            local = probe.sender is Sender.NODE
            play.send(text, enter(play.node, parse_packet(text), device, local=local), local=local)

    def _text(self, probe: Probe, source: str, destination: str) -> str:
        self._port = self._port + 1 if self._port < 60000 else FIRST_PORT
        head = f"{probe.protocol} {_end(source)}:{self._port}"
        flags = " S" if probe.protocol == "tcp" else ""
        return f"{head} > {_end(destination)}:{probe.port}{flags}"

    def _ready(self) -> Node:
        """Return the node."""
        if self._node is None:
            self._node = build_node(self.spec)
            self._node.assume_neighbours()
        return self._node


def _forget_clients(node: Node) -> None:
    """Empty the lists of clients that stay with their endpoints."""
    for space in node.namespaces.values():
        for table in space.net.generic(RecentTables).by_name.values():
            table.entries.clear()


class _Played:
    """One course of chance: packets that are sent one after the other."""

    def __init__(self, node: Node, script: Sequence[int], before: Sequence[str] = ()) -> None:
        self.node = node
        self.fixed = len(script)
        self.draws: list[tuple[int, int]] = []
        self.results: list[Result] = []
        self.sent: list[str] = list(before)
        self.device = ""
        self.local = False
        self.trail = _Trail()
        play = Script(script)
        for space in node.namespaces.values():
            space.net.entropy.play("statistic", play)

    def send(self, text: str, entry: Entry, *, local: bool) -> None:
        """Send one more."""
        self.trail = _Trail()
        self.node.set_sink(self.trail)
        fate = entry.send(self.node)
        self.node.set_sink(None)
        self.results.append(self.trail.result(fate))
        self.draws += self.trail.draws
        self.sent.append(text)
        self.device, self.local = entry.device, local

    def alternatives(self) -> Iterator[tuple[int, ...]]:
        """Yield the scripts that let one later draw miss."""
        branch = Branch(result=self.results[-1], draws=tuple(self.draws))
        return alternatives(branch, self.fixed)

    def run(self) -> Run:
        """Return what became of the last one."""
        verdict, dnat, _, masqueraded, delivered = self.results[-1]
        share = Fraction(1)
        for value, threshold in self.draws:
            share *= Fraction(threshold if value < threshold else CHANCES - threshold, CHANCES)
        *before, last = self.sent
        return Run(
            sent=Sent(packet=last, device=self.device, local=self.local, setup=tuple(before)),
            share=share,
            verdict=verdict,
            dnat=dnat or "",
            masqueraded=masqueraded,
            kept=verdict == "REJECT" or (delivered or "").startswith("node:"),
            before=(self.results[-2][1] or "") if len(self.results) > 1 else "",
            matched=frozenset(self.trail.matched),
            visited=frozenset(self.trail.visited),
        )


Result = tuple[str, str | None, str | None, bool, str | None]
"""verdict, dnat, snat, masquerade, delivered_to"""


def _most_servers(node: Node) -> int:
    """Return how many real servers the largest virtual server has."""
    services = node.main.net.generic(Ipvs).services.values()
    return max((len(service.destinations) for service in services), default=0)


def _end(ip: str) -> str:
    return f"[{ip}]" if ":" in ip else ip


def _own_address(spec: NodeSpec, node_ip: str) -> str:
    """Return the node's address, if it has it, else the first that leads outside."""
    own = [
        format_address(item.address)
        for item in spec.main.addresses
        if item.scope == "global" and len(item.address) == 4
    ]
    return node_ip if node_ip in own else next(iter(own), "")


def _pod_sources(spec: NodeSpec, pods: Sequence[str], local_range: str) -> list[str]:
    """Return addresses of pods on this node, those surely there first."""
    found = dict.fromkeys(pods)
    if local_range:
        prefix = parse_prefix(local_range)
        for entry in spec.main.neighbours:
            if len(entry.address) == len(prefix[0]) and in_prefix(entry.address, *prefix):
                found[format_address(entry.address)] = None
        last = int.from_bytes(prefix[0], "big") + (1 << (len(prefix[0]) * 8 - prefix[1])) - 2
        found[format_address(last.to_bytes(len(prefix[0]), "big"))] = None
    own = {item.address for item in spec.main.addresses}
    return [ip for ip in found if parse_address(ip) not in own]


# --- Judging --------------------------------------------------------------------------------------


def judged(claim: Claim, found: Runs) -> Run | None:
    """Return a run that shows a claim; None when the runs do not."""
    runs, complete = found.runs, found.complete
    if claim.saying in NEVER:
        if not complete or any(_claimed(claim, run) for run in runs):
            return None
        reaching = [run for run in runs if run.dnat or claim.place is None or _entered(claim, run)]
        if claim.saying is Saying.MISSES and not reaching:
            return None
        return next((run for run in runs if _blamed(claim, run)), None)
    if claim.saying is Saying.UNEVEN:
        return _uneven(claim, runs) if complete else None
    return next((run for run in runs if _holds(claim, run) and _blamed(claim, run)), None)


def _claimed(claim: Claim, run: Run) -> bool:
    """Return whether a run does what a claim says never happens."""
    match claim.saying:
        case Saying.MISSES:
            return run.dnat == claim.endpoint
        case Saying.AVOIDS:
            return _entered(claim, run)
        case _:
            return _acted(claim, run)


def _holds(claim: Claim, run: Run) -> bool:
    to_wanted = run.dnat == claim.endpoint if claim.endpoint else bool(run.dnat or claim.by)
    match claim.saying:
        case Saying.REACHES:
            return run.dnat == claim.endpoint
        case Saying.UNTRANSLATED:
            return not run.dnat
        case Saying.TRANSLATED:
            return bool(run.dnat)
        case Saying.UNMASQUERADED:
            marked = claim.place is None or _acted(claim, run)
            return to_wanted and marked and not run.masqueraded
        case Saying.MASQUERADED:
            return to_wanted and run.masqueraded
        case Saying.STUCK:
            return run.verdict == "DROP"
        case Saying.REFUSED:
            return run.verdict in {"DROP", "REJECT"}
        case Saying.PASSES:
            return run.verdict not in {"DROP", "REJECT"}
        case Saying.MEETS:
            return _acted(claim, run)
        case Saying.KEPT:
            return run.kept
        case Saying.ENTERS:
            return _entered(claim, run)
        case Saying.UNSTEADY:
            return run.before == claim.endpoint != run.dnat
    return False


def _blamed(claim: Claim, run: Run) -> bool:
    """Return whether the rule that is to blame matched."""
    blamed = claim.by
    return blamed is None or any(
        (table, chain, number) == (blamed.table, blamed.chain, blamed.rule)
        for table, chain, number, _ in run.matched
    )


def _entered(claim: Claim, run: Run) -> bool:
    place = claim.place
    return place is not None and (place.table, place.chain) in run.visited


def _acted(claim: Claim, run: Run) -> bool:
    """Return whether a rule at the claim's place matched, or one of its chain."""
    place = claim.place
    return place is not None and any(
        (table, chain) == (place.table, place.chain)
        and place.rule in {0, number}
        and claim.action in {"", target}
        for table, chain, number, target in run.matched
    )


def _uneven(claim: Claim, runs: Sequence[Run]) -> Run | None:
    """Return a run to an endpoint whose share is not that of the others."""
    shares: dict[str, Fraction] = {}
    for run in runs:
        shares[run.dnat] = shares.get(run.dnat, Fraction(0)) + run.share
    even = Fraction(1, len(shares))
    for run in sorted(runs, key=lambda run: run.dnat != claim.endpoint):
        if abs(shares[run.dnat] - even) > even * UNEVEN or not run.dnat:
            return run
    return None
