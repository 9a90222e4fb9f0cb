"""What the sets alone say of one packet: the answer where the engine walks no such packets."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from netemu.analysis.bdd import EMPTY
from netemu.analysis.behaviour import EFFECT, End
from netemu.analysis.difference import Comparison, Condition, Share
from netemu.analysis.follow import follow
from netemu.analysis.reach import Reach
from netemu.analysis.space import FREE, Space
from netemu.netfilter.xtables.space import Field
from netemu.questions.fates import Answer, Ending
from netemu.skb import RulePlace
from netemu.wire.address import format_address


def reasoned(reach: Reach, ends: Mapping[End, int], packet: int) -> Answer | None:
    """Return what becomes of one packet; None where that depends on what no packet tells."""
    diagram, space = reach.space.diagram, reach.space
    left = {
        end: diagram.forget(inside, lambda variable: variable < FREE)
        for end, packets in ends.items()
        if (inside := diagram.both(packets, packet)) != EMPTY
    }
    lot = Comparison(space, left, {}).lot(left)
    if isinstance(lot, Condition):
        return None
    shares: dict[Ending, Fraction] = {}
    effects = tuple(sorted(end.how for end, _, part in lot if end.verdict == EFFECT and part == 1))
    for share in lot:
        if share[0].verdict == EFFECT:
            continue
        ending = _ending(space, share, packet, effects)
        shares[ending] = shares.get(ending, Fraction(0)) + share[2]
    met = follow(reach, packet)
    place = met.decided_by
    return Answer(
        shares,
        None
        if place is None
        else RulePlace(
            table=place.table.name, chain=place.chain.name, rule=place.number, line=place.line
        ),
        frozenset(rule.line or 0 for rule in met.matched),
    )


def _ending(space: Space, share: Share, packet: int, effects: tuple[str, ...]) -> Ending:
    """Return an end in words, with one of the values that changed fields may have."""
    end, twins, _ = share
    detail = end.how if end.verdict in {"REJECT", "QUEUE"} else ""
    if end.verdict != "ACCEPT":
        return Ending(end.verdict, detail, effects=effects)
    bits = space.diagram.pick(space.diagram.both(twins, packet))
    runs = dict(end.changed)

    def value(field: Field) -> int:
        number = 0
        for literal in runs.get(field, space.base[field]):
            bit = literal + 2 if literal < 0 else bits.get(literal >> 1, 0) ^ (literal & 1)
            number = number << 1 | bit
        return number

    def endpoint(address: Field, port: Field) -> str:
        if address not in runs and port not in runs:
            return ""
        text = format_address(value(address).to_bytes(len(space.base[address]) // 8, "big"))
        return f"[{text}]:{value(port)}" if port in runs else text

    snat = endpoint(Field.SOURCE, Field.SOURCE_PORT) if Field.SOURCE in runs else ""
    return Ending(
        "ACCEPT",
        "",
        endpoint(Field.DESTINATION, Field.DESTINATION_PORT),
        f"from {snat}" if snat else "",
        value(Field.MARK),
        effects,
    )
