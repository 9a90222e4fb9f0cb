"""Rules of a shape met before, read without the grammar.

Kernel: none.

Theory of operation: two lines have one shape if they differ only in values. The first line of a
shape is read the slow way; what claimed which word is kept as a `Plan`. For later lines the plan
picks the values by position and calls the same kinds, defaults and checks. Nothing is taken on
trust: what a plan cannot read, or reads into an error, is a miss, and the slow way reads the line
again and words the error. A shape holds every word that begins with `-` or `!`, every match and
protocol name, and the name behind -j when it is a target.
"""

from __future__ import annotations

from dataclasses import dataclass

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.addresses import Network, check_interface
from netemu.netfilter.xtables.kit import AnyMatch, AnyTarget, Given, Match, Settings, Target
from netemu.netfilter.xtables.model import Invert, Table
from netemu.netfilter.xtables.registry import Registry
from netemu.ruleset.build import INPUT_ONLY, OUTPUT_ONLY, assemble, make_generic, networks
from netemu.ruleset.draft import Draft, Loaded, Use

Shape = tuple[str | None, ...]

_NAMED = frozenset({"-m", "-p"})
"""The word behind them belongs to the shape."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where the values of one shape stand; -1 for a part that is not there."""

    chain: int
    source: int
    destination: int
    in_device: int
    out_device: int
    protocol: int
    """The number itself, since the name belongs to the shape."""
    fragment: bool
    invert: Invert
    matches: tuple[tuple[AnyMatch, tuple[Use, ...]], ...]
    target: tuple[AnyTarget, tuple[Use, ...]] | None
    jump: int
    goto: bool


class ShapeCache:
    """The plans of one file."""

    __slots__ = ("_family", "_plans", "_targets")

    def __init__(self, registry: Registry, family: Family) -> None:
        """Start empty."""
        self._family = family
        self._plans: dict[Shape, Plan] = {}
        self._targets = frozenset(
            target.name for target in registry.targets if family in target.families
        )

    def _shape(self, words: list[str]) -> Shape:
        shape: list[str | None] = []
        before = ""
        for word in words:
            if word[:1] == "-" or word == "!" or before in _NAMED:
                shape.append(word)
            elif before == "-j":
                shape.append(word if word in self._targets else "")
            else:
                shape.append(None)
            before = word
        return tuple(shape)

    def learn(self, words: list[str], draft: Draft) -> None:
        """Keep the plan of a line that was read the slow way."""
        if draft.command != "A" or not draft.plain or draft.own_counters:
            return
        places = draft.places
        target = draft.target
        self._plans[self._shape(words)] = Plan(
            chain=places["A"],
            source=places.get("s", -1),
            destination=places.get("d", -1),
            in_device=places.get("i", -1),
            out_device=places.get("o", -1),
            protocol=draft.protocol,
            fragment=draft.fragment,
            invert=draft.invert,
            matches=tuple((_match(item), tuple(item.uses)) for item in draft.matches),
            target=None if target is None else (_target(target), tuple(target.uses)),
            jump=places.get("j", -1),
            goto=draft.goto,
        )

    def append(
        self, table: Table, words: list[str], counters: tuple[int, int] | None, line: int
    ) -> bool:
        """Append the rule to its chain if its shape is known and all its values are good."""
        plan = self._plans.get(self._shape(words))
        if plan is None:
            return False
        try:
            return self._append(plan, table, words, counters, line)
        except RulesetError:
            return False

    def _append(
        self,
        plan: Plan,
        table: Table,
        words: list[str],
        counters: tuple[int, int] | None,
        line: int,
    ) -> bool:
        name = words[plan.chain]
        chain = table.chains.get(name)
        if chain is None:
            return False
        jump = words[plan.jump] if plan.jump >= 0 else ""
        if jump and (jump in table.chains) != (plan.target is None):
            return False
        source = self._network(words, plan.source)
        destination = self._network(words, plan.destination)
        if source is _SEVERAL or destination is _SEVERAL:
            return False
        in_device = words[plan.in_device] if plan.in_device >= 0 else ""
        out_device = words[plan.out_device] if plan.out_device >= 0 else ""
        if (plan.in_device >= 0 and (not in_device or name in OUTPUT_ONLY)) or (
            plan.out_device >= 0 and (not out_device or name in INPUT_ONLY)
        ):
            return False
        check_interface(in_device)
        check_interface(out_device)
        matches = tuple(
            match.bind(self._settings(match, uses, words, plan, table.name))
            for match, uses in plan.matches
        )
        target = None
        if plan.target is not None:
            declared, uses = plan.target
            target = declared.bind(self._settings(declared, uses, words, plan, table.name))
        chain.rules.append(
            assemble(
                make_generic(
                    source,
                    destination,
                    in_device,
                    out_device,
                    plan.protocol,
                    fragment=plan.fragment,
                    invert=plan.invert,
                ),
                matches,
                target,
                jump=jump if target is None else "",
                goto=plan.goto,
                counters=counters,
                line=line,
            )
        )
        return True

    def _network(self, words: list[str], place: int) -> Network | None:
        if place < 0:
            return None
        found = networks(words[place], self._family)
        return found[0] if len(found) == 1 else _SEVERAL

    def _settings(
        self,
        extension: AnyMatch | AnyTarget,
        uses: tuple[Use, ...],
        words: list[str],
        plan: Plan,
        table: str,
    ) -> Settings:
        """Read the values of one extension, fill its defaults and check them."""
        given: dict[str, Given] = {}
        order: list[Given] = []
        for option, canonical, call, place, inverted in uses:
            arity = option.kind.arity
            value: object = True
            if arity == 1:
                value = option.kind.parse(words[place], call)
            elif arity:
                value = option.kind.parse(" ".join(words[place : place + arity]), call)
            if option.into and option.convert is not None:
                value = option.convert(value)
            given[canonical.name] = Given(canonical, value, inverted)
            order.append(Given(option, value, inverted))
        settings = Settings(
            extension.name,
            given,
            tuple(order),
            family=self._family,
            protocol=plan.protocol,
            protocol_inverted=bool(plan.invert & Invert.PROTO),
            table=table,
        )
        extension.settle(settings)
        return settings


_SEVERAL = Network(b"", b"")
"""Stands for a list of addresses, which makes several rules."""


def _match(loaded: Loaded) -> AnyMatch:
    assert isinstance(loaded.extension, Match)
    return loaded.extension


def _target(loaded: Loaded) -> AnyTarget:
    assert isinstance(loaded.extension, Target)
    return loaded.extension
