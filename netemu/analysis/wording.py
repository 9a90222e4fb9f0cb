"""Terms in words: `tcp 10.0.0.0/8 > 172.17.0.2:22 in eth0 ct NEW`.

The words are those of a one-line packet where it has some: protocol, source, destination, ports;
then devices, the state of the connection, and what else a term asks. What is free is left out, a
free address is `any`. Of many values the first are shown, and how many there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from netemu.analysis.bdd import ALL
from netemu.analysis.space import Space
from netemu.analysis.terms import Axis, Span, Term, prefixes, spans
from netemu.netfilter.xtables.names import protocol_name
from netemu.netfilter.xtables.space import CtState, Field
from netemu.wire.address import format_address
from netemu.wire.ipv4 import Protocol

SHOWN = 6
"""So many values are shown of one field."""

MOST = 10_000
"""So many values are counted."""

ANY = "any"

INTEREST = (
    Field.DESTINATION_BROADCAST,
    Field.SOURCE_MAC,
    Field.LENGTH,
    Field.TOS,
    Field.TTL,
    Field.FRAGMENT,
    Field.CT_ASSURED,
    Field.CT_SEEN_REPLY,
    Field.CT_SNAT,
    Field.CT_DNAT,
    Field.CT_REPLY,
    Field.CONNMARK,
    Field.MARK,
    Field.TCP_FLAGS,
    Field.SOURCE_PORT,
    Field.SOURCE_LOCAL,
    Field.DESTINATION_LOCAL,
    Field.OUT_DEVICE,
    Field.SOURCE,
    Field.CT_STATE,
    Field.IN_DEVICE,
    Field.DESTINATION_PORT,
    Field.DESTINATION,
    Field.PROTOCOL,
)
"""Fields, those first that a reader cares for least."""

_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")

_BITS = {
    Field.CT_REPLY: ("of a reply", "not of a reply"),
    Field.CT_DNAT: ("ct DNAT", "not ct DNAT"),
    Field.CT_SNAT: ("ct SNAT", "not ct SNAT"),
    Field.CT_SEEN_REPLY: ("ct with replies", "ct without replies"),
    Field.CT_ASSURED: ("ct ASSURED", "not ct ASSURED"),
    Field.FRAGMENT: ("later fragments", "no later fragments"),
    Field.DESTINATION_LOCAL: ("to the node", "forwarded"),
    Field.SOURCE_LOCAL: ("from the node", "not from the node"),
    Field.DESTINATION_BROADCAST: ("to a broadcast address", "to no broadcast address"),
}
"""Fields of one bit, in words: 1, then 0."""


def axis_of(space: Space, field: Field) -> Axis:
    """Return the variables of a field, as the packet entered."""
    run = space.base[field]
    return Axis(field.name, run[0] >> 1, len(run))


def axes(space: Space) -> list[Axis]:
    """Return the fields in the order in which terms are widened, then what no packet tells."""
    fields = [axis_of(space, field) for field in INTEREST]
    return [*fields, *(Axis("", variable, 1) for variable in space.unknowables)]


def term_text(space: Space, term: Term) -> str:
    """Return a term in words."""
    held = {Field[axis.name]: (axis, values) for axis, values in term.items() if axis.name}
    words = [_heading(space, held)]
    words += [_other(space, field, *held[field]) for field in reversed(INTEREST) if field in held]
    return " ".join(word for word in words if word)


def given_texts(space: Space, term: Term) -> list[str]:
    """Return what a term asks that no packet tells, such as whether a `limit` holds."""
    found = []
    for axis, values in sorted(term.items(), key=lambda item: item[0].first):
        if axis.name:
            continue
        one = space.unknowables[axis.first]
        holds = values == axis.value(space.diagram, 1)
        found.append(f"{one.text}{' holds' if holds else ' does not hold'}")
    return found


def field_text(space: Space, field: Field, values: int) -> str:
    """Return the values of one field in words, without its name."""
    axis = axis_of(space, field)
    if field in {Field.SOURCE, Field.DESTINATION}:
        return _listed(space, axis, values, lambda span: _networks(span, axis.width))
    if field == Field.PROTOCOL:
        return _listed(space, axis, values, _numbers(protocol_name))
    if field in {Field.SOURCE_PORT, Field.DESTINATION_PORT}:
        return _listed(space, axis, values, _numbers(str))
    text = _other(space, field, axis, values)
    return text.partition(" ")[2] or text


Held = Mapping[Field, tuple[Axis, int]]


def _heading(space: Space, held: Held) -> str:
    """Write protocol, both addresses and ports."""
    protocol, icmp = _protocol(space, held)
    source = _address(space, held, Field.SOURCE)
    destination = _address(space, held, Field.DESTINATION)
    if icmp:
        kind = _icmp_type(space, held)
        return f"{protocol} {source} > {destination}{kind}"
    source += _port(space, held, Field.SOURCE_PORT)
    destination += _port(space, held, Field.DESTINATION_PORT)
    return f"{protocol} {source} > {destination}"


def _protocol(space: Space, held: Held) -> tuple[str, bool]:
    if Field.PROTOCOL not in held:
        return ANY, False
    axis, values = held[Field.PROTOCOL]
    found = spans(space.diagram, values, axis)
    icmp = found in ([(int(Protocol.ICMP),) * 2], [(int(Protocol.ICMPV6),) * 2])
    return _listed(space, axis, values, _numbers(protocol_name)), icmp


def _address(space: Space, held: Held, field: Field) -> str:
    if field not in held:
        return ANY
    axis, values = held[field]
    return _listed(space, axis, values, lambda span: _networks(span, axis.width))


def _networks(span: Span, width: int) -> list[str]:
    """Write a span of addresses as prefixes, or as a range where those are many."""
    octets = width // 8
    blocks = prefixes(span, width)
    if len(blocks) > 2:
        return ["-".join(format_address(end.to_bytes(octets, "big")) for end in span)]
    return [
        format_address(value.to_bytes(octets, "big")) + (f"/{length}" if length < width else "")
        for value, length in blocks
    ]


def _port(space: Space, held: Held, field: Field) -> str:
    if field not in held:
        return ""
    return ":" + _listed(space, *held[field], _numbers(str))


def _icmp_type(space: Space, held: Held) -> str:
    if Field.DESTINATION_PORT not in held:
        return ""
    axis, values = held[Field.DESTINATION_PORT]
    return " type " + _listed(space, axis, values, _types)


def _types(span: Span) -> list[str]:
    """Write a span of type * 256 + code."""
    low, high = span
    if low % 256 == 0 and high % 256 == 255:
        first, last = low // 256, high // 256
        return [str(first) if first == last else f"{first}-{last}"]
    ends = dict.fromkeys((low, high))
    return ["-".join(f"{end // 256}/{end % 256}" for end in ends)]


def _numbers(name: Callable[[int], str]) -> Callable[[Span], list[str]]:
    """Return what writes spans of numbers."""

    def write(span: Span) -> list[str]:
        low, high = span
        if high - low > 1:
            return [f"{name(low)}-{name(high)}"]
        return [name(number) for number in range(low, high + 1)]

    return write


def _listed(space: Space, axis: Axis, values: int, write: Callable[[Span], Iterable[str]]) -> str:
    """List the values, or those that are missing if these are fewer."""
    inside = spans(space.diagram, values, axis, most=MOST)
    outside = spans(space.diagram, values ^ 1, axis, most=MOST)
    sign = "!" if len(outside) < len(inside) else ""
    pieces = [piece for span in (outside if sign else inside) for piece in write(span)]
    more = f",... ({len(pieces)} in all)" if len(pieces) > SHOWN else ""
    return sign + ",".join(pieces[:SHOWN]) + more


def _other(space: Space, field: Field, axis: Axis, values: int) -> str:
    """Write what has no place in the heading."""
    if field in _BITS:
        holds = values == axis.value(space.diagram, 1)
        return _BITS[field][not holds]
    if field in {Field.IN_DEVICE, Field.OUT_DEVICE}:
        return _device(space, field, axis, values)
    if field == Field.CT_STATE:
        return "ct " + ",".join(
            state.name
            for state in CtState
            if space.diagram.meet(values, axis.value(space.diagram, state))
        )
    if field == Field.TCP_FLAGS:
        return "flags " + _masked(space, axis, values, _flag_names)
    if field in {Field.MARK, Field.CONNMARK}:
        return f"{field.name.lower()} " + _masked(space, axis, values, hex)
    if field in _PLAIN:
        return f"{_PLAIN[field]} " + _listed(space, axis, values, _numbers(str))
    if field == Field.SOURCE_MAC:
        return "from MAC " + _masked(space, axis, values, _mac)
    return ""


_PLAIN = {Field.TTL: "ttl", Field.TOS: "tos", Field.LENGTH: "len"}


def _device(space: Space, field: Field, axis: Axis, values: int) -> str:
    word = "in" if field == Field.IN_DEVICE else "out"
    inside = [
        name
        for number, name in enumerate(space.devices)
        if space.diagram.meet(values, axis.value(space.diagram, number))
    ]
    named = [name for name in inside if name]
    others = [name for name in space.devices if name not in {"", "lo", *inside}]
    if not named:
        return "local" if word == "in" else "not sent on"
    if not others:
        return "" if "" in inside else f"{word} any"
    shown = f"!{','.join(others)}" if len(others) < len(named) else ",".join(named)
    return f"{word} {shown}" + (" or local" if "" in inside and word == "in" else "")


def _masked(space: Space, axis: Axis, values: int, write: Callable[[int], str]) -> str:
    """Write VALUE/MASK where the values are those with some bits fixed, else list them."""
    for sign, tried in (("", values), ("!", values ^ 1)):
        cube = cube_of(space, axis, tried)
        if cube is not None:
            value, mask = cube
            whole = mask == (1 << axis.width) - 1
            return f"{sign}{write(value)}" + ("" if whole else f"/{write(mask)}")
    return _listed(space, axis, values, _numbers(write))


def cube_of(space: Space, axis: Axis, values: int) -> tuple[int, int] | None:
    """Return value and mask of a set that fixes some bits and leaves the others free."""
    value = mask = 0
    last = axis.first + axis.width - 1
    of = values
    while of != ALL:
        variable, low, high = space.diagram.branches(of)
        empty = ALL ^ 1
        if empty not in {low, high}:
            return None
        bit = 1 << (last - variable)
        mask |= bit
        if low == empty:
            value |= bit
        of = high if low == empty else low
    return value, mask


def _flag_names(number: int) -> str:
    return ",".join(name for bit, name in enumerate(_FLAGS) if number >> bit & 1) or "NONE"


def _mac(number: int) -> str:
    return number.to_bytes(6, "big").hex(":")
