"""A packet of a set, sent through the engine: what a finding about reach stands on.

Kernel: none.

The analysis says which packets there are; `examples` writes one of them down; the engine is given
it on a fresh copy of the node, as `netemu trace` would, and what it says is what the finding shows.
A set of which no example does what the analysis claims makes no finding; `unconfirmed` counts such.

Any rule about reach, NAT or exposure can ask for a packet: the sets of `RuleReach` are of packets
as they entered, so what two rules of different tables take can be intersected, and the claim looks
at what the engine saw. A packet that a nat rule takes and FORWARD drops afterwards:

    reach = subject.prover.reach
    translated = reach.rule("nat", "PREROUTING", 1).taken
    dropped = reach.rule("filter", "FORWARD", 7).taken
    witness = subject.prover.shown(
        reach.space.diagram.both(translated, dropped),
        lambda seen: ("nat", "PREROUTING", 1) in seen.matched and seen.fate.verdict == "DROP",
    )
"""

from __future__ import annotations

import copy
import functools
import shlex
from collections.abc import Callable, Iterable
from itertools import islice
from typing import TYPE_CHECKING

from msgspec import Struct, field
from msgspec.structs import replace

from netemu.analysis.bdd import EMPTY
from netemu.analysis.example import Example, examples
from netemu.analysis.example6 import examples6
from netemu.analysis.follow import follow
from netemu.analysis.node import space_of
from netemu.analysis.opened import Opened
from netemu.analysis.reach import Reach, RuleReach
from netemu.errors import NetemuError
from netemu.events import Event, RuleVisited, Stamp
from netemu.lint.finding import Step, Witness
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Ruleset
from netemu.sim.spec import NodeSpec
from netemu.skb import Fate, RulePlace
from netemu.snapshot.change import add_device, change_addresses, change_routes
from netemu.wire.packet_text import parse_packet

if TYPE_CHECKING:
    from netemu.sim.node import Node

TRIES = 12
"""So many examples of a set are sent before it is given up."""

OCTETS_IPV6 = 16
LINK_LOCAL = bytes((0xFE, 0x80))

_MADE_UP_MAC = bytes((2, 0, 0, 2, 0, 1))

Place = tuple[str, str, int]
"""Table, chain and number of a rule."""


class Seen(Struct, kw_only=True):
    """What became of one packet."""

    fate: Fate
    visited: set[Place] = field(default_factory=set)
    """Rules that it was tried on."""
    matched: set[Place] = field(default_factory=set)
    steps: list[Step] = field(default_factory=list)
    lines: dict[Place, int | None] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """As a witness has it: `DROP at line 37`, or `passes at line 37, then NO_SOCKET`."""
        place = self.fate.decided_by
        where = "" if place is None or place.line is None else f" at line {place.line}"
        if self.fate.verdict == "DROP" and self.fate.reason != "NETFILTER_DROP":
            return f"passes{where}, then {self.fate.reason}"
        return f"{self.fate.verdict}{where}"


Claim = Callable[[Seen], bool]


class TraceCall(Struct, frozen=True, kw_only=True):
    """How `netemu trace` is told the node."""

    node: str
    namespace: str = ""
    words: tuple[str, ...] = ()
    """Options besides."""

    def command(self, example: Example) -> str:
        """Return the line that sends an example."""
        within = f"{self.namespace}/" if self.namespace else ""
        where = ["--in", within + example.device] if example.device else ["--local"]
        after = list(example.after)
        if example.first_device:
            after = ["--after", f"{within}{example.first_device}={example.first}"]
        words = ["netemu", "trace", self.node, example.text, *where, *after]
        return shlex.join([*words, *example.options, *self.words])


class Prover:
    """The analysis of one rule file, and the engine to ask about it."""

    def __init__(
        self,
        ruleset: Ruleset,
        call: TraceCall,
        find_node: Callable[[], NodeSpec | None],
        *,
        bare: bool,
    ) -> None:
        """`bare`: the node is assumed, so its addresses and routes are open."""
        self.ruleset = ruleset
        self.call = call
        self.bare = bare
        self.unconfirmed = 0
        """Sets of which the engine confirmed no example."""
        self._find_node = find_node

    @functools.cached_property
    def node(self) -> NodeSpec | None:
        """The node, if anybody can make one."""
        return self._find_node()

    @functools.cached_property
    def reach(self) -> Reach:
        """Which packets reach which rule."""
        node = None if self.bare or self.node is None else self.node.main
        # What is in an IP set now may be gone tomorrow: no rule is dead because of it.
        return Reach(self.ruleset, space_of([self.ruleset], node))

    @functools.cached_property
    def opened(self) -> Opened:
        """What connections can begin."""
        return Opened(self.reach)

    @property
    def walks(self) -> bool:
        """Whether the engine walks such packets: it does those of IPv4."""
        return self.ruleset.family == Family.IPV4 and self.node is not None

    def shown(self, packets: int, claim: Claim, *, addresses: Iterable[str] = ()) -> Witness | None:
        """Return a packet of a set of which the engine says what is claimed.

        `addresses` are those that the node must have besides, as values of --addr.
        """
        node = self.node
        if packets == EMPTY or node is None:
            return None
        if not self.walks:
            return self._reasoned(node, packets, claim)
        own, devices = self._own_addresses(node), self._devices(node)
        tried = examples(self.reach.space, packets, own, devices, self.opened)
        more = tuple(word for address in addresses for word in ("--addr", address))
        for made in islice(tried, TRIES):
            example = replace(made, options=(*made.options, *more))
            try:
                seen = self._send(node, example)
            except NetemuError:
                continue
            if claim(seen):
                return self._witness(example, seen)
        self.unconfirmed += 1
        return None

    def _reasoned(self, node: NodeSpec, packets: int, claim: Claim) -> Witness | None:
        """Return a packet that the engine does not walk; the analysis says what it meets."""
        own = [
            one.address
            for one in node.main.addresses
            if len(one.address) == OCTETS_IPV6 and one.scope != "host"
        ]
        own.sort(key=lambda address: address.startswith(LINK_LOCAL))
        tried = examples6(self.reach.space, packets, own, self._devices(node))
        for chosen in islice(tried, TRIES):
            seen = _followed(self.reach, chosen.packets)
            if claim(seen):
                return replace(self._witness(chosen.example, seen), command="", replayed=False)
        return None

    def shown_of(self, sets: Iterable[int], claim: Claim) -> Witness | None:
        """Return a packet of the first set that has one which shows what is claimed."""
        for packets in sets:
            found = self.shown(packets, claim)
            if found is not None:
                return found
        return None

    def _send(self, node: NodeSpec, example: Example) -> Seen:
        from netemu.sim.probe import Written, begin_connection  # noqa: PLC0415 - the engine

        built = self._build(node, example)
        packet = parse_packet(example.text)
        written = Written(packet=packet, device=example.device, local=not example.device)
        if example.first:
            begin_connection(built, parse_packet(example.first), written, example.first_device)
        entry = written.entry(built)
        watch = _Watch()
        built.set_sink(watch)
        fate = entry.send(built)
        return Seen(
            fate=fate,
            visited=watch.visited,
            matched=watch.matched,
            steps=watch.steps,
            lines=watch.lines,
        )

    @staticmethod
    def _build(node: NodeSpec, example: Example) -> Node:
        from netemu.sim.node import build_node  # noqa: PLC0415 - the engine

        if example.options:
            node = copy.deepcopy(node)
            for option in example.addresses:
                add_device(node.main, option.partition("=")[0], _MADE_UP_MAC)
            change_addresses(node.main, example.addresses)
            change_routes(node.main, example.routes)
        built = build_node(node)
        built.assume_neighbours()
        return built

    @staticmethod
    def _own_addresses(node: NodeSpec) -> list[bytes]:
        return [
            one.address
            for one in node.main.addresses
            if len(one.address) == 4 and one.scope != "host"
        ]

    @staticmethod
    def _devices(node: NodeSpec) -> list[str]:
        """Return the node's devices, those that reach most hosts first."""
        links = [link.name for link in node.main.links if link.kind != "loopback"]
        ways = [
            way.device
            for route in sorted(node.main.routes, key=lambda route: route.prefix_len)
            for way in route.nexthops
        ]
        return list(dict.fromkeys([name for name in ways if name in links] + links))

    def _witness(self, example: Example, seen: Seen) -> Witness:
        return Witness(
            packet=example.text,
            device=example.device,
            local=not example.device,
            setup=(example.first,) if example.first else (),
            command=self.call.command(example),
            outcome=seen.outcome,
            steps=tuple(seen.steps),
        )


def _followed(reach: Reach, packet: int) -> Seen:
    """Return what the analysis says that one packet meets, as the engine would."""
    met = follow(reach, packet)
    fate = Fate(packet_id=0)
    match met.verdict:
        case "ACCEPT":
            fate.delivered_to = "node"
        case "REJECT":
            fate.reject_type = "reject"
        case "QUEUE":
            fate.queue_number = 0
        case "DROP":
            fate.drop_reason = "NETFILTER_DROP"
    if met.decided_by is not None:
        table, chain, rule = _place(met.decided_by)
        fate.decided_by = RulePlace(table=table, chain=chain, rule=rule, line=met.decided_by.line)
    return Seen(
        fate=fate,
        visited={_place(rule) for rule in met.visited},
        matched={_place(rule) for rule in met.matched},
        steps=[
            Step(
                message=f"{rule.table.name}/{rule.chain.name} rule {rule.number} matches",
                line=rule.line,
            )
            for rule in met.matched
            if rule.rule is not None
        ],
        lines={_place(rule): rule.line for rule in met.visited},
    )


def _place(rule: RuleReach) -> Place:
    return rule.table.name, rule.chain.name, rule.number


class _Watch:
    """A sink that notes which rules one packet met."""

    def __init__(self) -> None:
        self.visited: set[Place] = set()
        self.matched: set[Place] = set()
        self.steps: list[Step] = []
        self.lines: dict[Place, int | None] = {}
        self._packet = 0

    def __call__(self, stamp: Stamp, event: Event) -> None:
        """Take one event."""
        self._packet = self._packet or stamp.packet_id
        if stamp.packet_id != self._packet or not isinstance(event, RuleVisited):
            return
        place = (event.table, event.chain, event.rule)
        self.visited.add(place)
        self.lines[place] = event.line
        if event.matched:
            self.matched.add(place)
            self.steps.append(
                Step(
                    message=f"{event.table}/{event.chain} rule {event.rule} matches",
                    line=event.line,
                )
            )
