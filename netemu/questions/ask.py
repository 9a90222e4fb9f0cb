"""`reach`, `never` and `always`: is there a packet of a class that comes to a fate?

Theory of operation: the packets of the class that come to the fate are a set. If it is empty, that
is a proof for all that is modelled. If not, it is said in few terms, and an example of each is sent
through the engine; what the engine does not confirm is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from msgspec import Struct, field

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.behaviour import End, behaviour
from netemu.analysis.example import Example, examples
from netemu.analysis.example6 import examples6
from netemu.analysis.question import Question, Wish
from netemu.analysis.reach import Reach
from netemu.analysis.reader import Reader
from netemu.analysis.space import FREE, Space
from netemu.analysis.terms import cover, product
from netemu.analysis.wording import axes, term_text
from netemu.errors import QuestionError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import CtState, Field
from netemu.questions.fates import Answer, ask_engine
from netemu.questions.plain import idle_devices, martians, plain_packets, readable
from netemu.questions.reasoned import reasoned
from netemu.questions.subject import Subject, routes_of, shared_space

CLASSES = 20
"""So many classes are said."""

TRIES = 6


class Found(Struct, frozen=True, kw_only=True):
    """A class of packets that come to the fate asked for, with one that was sent."""

    packets: str
    example: Example
    answer: Answer


class Reply(Struct, kw_only=True):
    """What a question came to."""

    question: Question
    holds: bool | None
    """Whether it is as the question has it; None where that could not be decided."""
    found: list[Found] = field(default_factory=list)
    """For `reach` classes that do, for the others classes that speak against it."""
    more: bool = False
    """There are more classes than those found."""
    unknown: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What was assumed."""


class Known:
    """A node with the analysis of its rules, at its addresses and routes."""

    def __init__(self, subject: Subject) -> None:
        """Analyse."""
        self.subject = subject
        self.space: Space = shared_space(subject, open_node=False)
        self.reach = Reach(subject.ruleset, self.space)
        self.ends = behaviour(self.reach, routes_of(subject, self.reach))
        self.read = Reader(self.space, self.space.start, "", 0)
        diagram = self.space.diagram
        self.domain = diagram.without(self.reach.path.domain, martians(self.read))
        self.domain = diagram.without(self.domain, idle_devices(self.read))
        self.plain = diagram.both(self.domain, plain_packets(self.read))

    def coming_to(self, wish: Wish) -> int:
        """Return the packets that come to a fate, as they enter, with what they do not tell."""
        diagram = self.space.diagram
        found = self.space.either(
            diagram.both(packets, self._changed(end, wish))
            for end, packets in self.ends.items()
            if end.verdict == wish.verdict
        )
        found = self.space.entered(found)
        if wish.chain or wish.line is not None:
            found = diagram.both(found, self._decided(wish))
        return found

    def _changed(self, end: End, wish: Wish) -> int:
        """Return where NAT brings packets as wished."""
        runs = dict(end.changed)
        found = ALL
        sides = (
            (wish.dnat, Field.DESTINATION, Field.DESTINATION_PORT),
            (wish.snat, Field.SOURCE, Field.SOURCE_PORT),
        )
        for wanted, address, port in sides:
            if wanted is None:
                continue
            for name, value in ((address, int.from_bytes(wanted[0], "big")), (port, wanted[1])):
                if value is None:
                    continue
                run = runs.get(name, self.space.base[name])
                whole = (1 << len(run)) - 1
                found = self.space.diagram.both(found, self.space.equal(run, value, whole))
        if wish.masquerade and Field.SOURCE not in runs:
            return EMPTY
        return found

    def _decided(self, wish: Wish) -> int:
        """Return the packets that a rule takes."""
        found, known = EMPTY, False
        for rule in self.reach.rules(policies=True):
            here = (
                rule.line == wish.line
                if wish.line is not None
                else rule.chain.name == wish.chain
                and wish.table in {"", rule.table.name}
                and wish.rule in {None, rule.number}
            )
            if here:
                known = True
                found = self.space.diagram.either(found, rule.taken)
        if not known:
            where = f"line {wish.line}" if wish.line is not None else f"{wish.chain}:{wish.rule}"
            raise QuestionError(f"the rules have no {where}", file=self.subject.name)
        return found

    def confirmed(
        self, packets: int, wish: Wish, *, met: bool, spare: int = EMPTY
    ) -> Iterator[Found | str]:
        """Yield classes of a set with examples that meet the wish, or do not; else why not.

        Nobody asks about `spare` packets, so that a class need not leave them out.
        """
        diagram = self.space.diagram
        names = set(self.space.unknowables)
        fields = diagram.forget(packets, lambda variable: variable >= FREE)
        order = [axis for axis in axes(self.space) if axis.first not in names]
        near = diagram.both(fields, self.plain)
        chosen, domain = (near, self.plain) if near != EMPTY else (fields, self.domain)
        own, devices = self.subject.own_addresses(), self.subject.devices()
        spare = diagram.either(spare, domain ^ 1)
        for term in cover(diagram, chosen, order, spare=spare):
            inside = diagram.both(product(diagram, term), chosen)
            text = term_text(self.space, readable(self.space, term, inside))
            some = diagram.both(inside, packets)
            for example, answer in self._answers(some, own, devices):
                if answer is not None and fits(answer, wish) == met:
                    yield Found(packets=text, example=example, answer=answer)
                    break
            else:
                given = [
                    self.space.unknowables[one].text
                    for one in sorted(diagram.support(some) & names)
                ]
                why = f"depends on {', '.join(given)}" if given else "no example could be sent"
                yield f"{text}: {why}"

    def _answers(
        self, packets: int, own: list[bytes], devices: list[str]
    ) -> Iterator[tuple[Example, Answer | None]]:
        """Yield examples with what the engine says of them; of IPv6 ones the sets alone say it."""
        if self.subject.walks:
            for example in islice(examples(self.space, packets, own, devices), TRIES):
                yield example, ask_engine(self.subject, example)
            return
        for chosen in islice(examples6(self.space, packets, own, devices), TRIES):
            yield chosen.example, reasoned(self.reach, self.ends, chosen.packets)


def fits(answer: Answer, wish: Wish) -> bool:
    """Return whether chance may bring a packet to the fate that is wished."""
    for ending in answer.shares:
        if ending.verdict != wish.verdict:
            continue
        if wish.masquerade and ending.snat != "masqueraded":
            continue
        return True
    return False


def ask(subject: Subject, question: Question) -> Reply:
    """Answer a question about a node.

    Raises QuestionError when the question does not fit the node.
    """
    if question.families == {Family.IPV6} and subject.spec.main.rules6 is not None:
        subject = subject.of_family(Family.IPV6)
    if question.families - {subject.family}:
        raise QuestionError("the question is of addresses of one family, the rules of the other")
    known = Known(subject)
    _check_devices(known.space, question)
    diagram = known.space.diagram
    asked = diagram.both(question.packets(known.read), known.domain)
    there = known.coming_to(question.wish)
    wanted = diagram.without(asked, there) if question.kind == "always" else diagram.both(
        asked, there
    )  # fmt: skip
    reply = Reply(question=question, holds=None, notes=subject.notes)
    met = question.kind != "always"
    later = EMPTY if question.states_said else known.read.masked(Field.CT_STATE, CtState.NEW) ^ 1
    for found in known.confirmed(wanted, question.wish, met=met, spare=later):
        if isinstance(found, str):
            reply.unknown.append(found)
        elif len(reply.found) == CLASSES:
            reply.more = True
            break
        else:
            reply.found.append(found)
    if reply.found:
        reply.holds = question.kind == "reach"
        reply.unknown = []
    elif not reply.unknown:
        reply.holds = question.kind != "reach"
    return reply


def _check_devices(space: Space, question: Question) -> None:
    for name in question.devices:
        prefix = name.removesuffix("+")
        if name not in space.index and not (
            name.endswith("+") and any(known.startswith(prefix) for known in space.devices)
        ):
            known = ", ".join(device for device in space.devices if device)
            raise QuestionError(
                f"the node has no device {name!r}; it has {known}",
                file="<question>",
                line=1,
                column=question.text.rfind(name) + 1,
                context=question.text,
            )
