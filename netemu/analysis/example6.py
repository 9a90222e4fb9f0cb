"""A plausible IPv6 packet of a set, as one line of text.

Kernel: none.

The engine walks no IPv6 packets, so nobody sends such an example: `follow.py` says by the sets
alone what becomes of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from netemu.analysis.bdd import EMPTY
from netemu.analysis.domain import IPPROTO_ICMPV6
from netemu.analysis.example import ACK, SYN, Example, Values, flag_letters, usual
from netemu.analysis.reader import Reader
from netemu.analysis.space import Space
from netemu.analysis.wording import axis_of
from netemu.netfilter.xtables.space import CtState, Field
from netemu.wire.address import format_address, parse_address
from netemu.wire.ipv4 import Protocol

_SOURCES = ("2001:db8::9", "2001:db8:9::9")
_DESTINATIONS = ("2001:db8:f::7", "2001:db8:e::7")
"""RFC 3849."""

_ECHO = 0x8000
"""Type and code of an ICMPv6 echo request."""

_PORTED = {int(Protocol.TCP): "tcp", int(Protocol.UDP): "udp", int(Protocol.SCTP): "sctp"}


class Chosen(NamedTuple):
    """A packet of a set."""

    example: Example
    packets: int
    """The set of this packet alone."""


def examples6(
    space: Space, packets: int, own: Sequence[bytes] = (), devices: Sequence[str] = ()
) -> Iterator[Chosen]:
    """Yield different packets of a set, the most plausible first."""
    read = Reader(space, space.start, "", 0)
    both = space.diagram.both
    seen: set[str] = set()
    for state in (CtState.NEW, CtState.ESTABLISHED, CtState.RELATED, CtState.INVALID, None):
        for protocol in (Protocol.TCP, Protocol.UDP, IPPROTO_ICMPV6, None):
            for local in (False, True):
                wanted = [read.when(not local, read.masked(Field.IN_DEVICE, 0)), _possible(read)]
                if state is not None:
                    wanted.append(read.masked(Field.CT_STATE, state))
                if protocol is not None:
                    wanted.append(read.masked(Field.PROTOCOL, protocol))
                chosen = read.both(packets, *wanted)
                if chosen == EMPTY:
                    continue
                for liked in _likings(read, own, devices):
                    left = both(chosen, liked)
                    chosen = left if left != EMPTY else chosen
                made = _chosen(space, chosen)
                if made.example.text + made.example.device not in seen:
                    seen.add(made.example.text + made.example.device)
                    yield made


def _possible(read: Reader) -> int:
    """Return packets whose addresses hosts have."""
    bad = [read.masked(Field.SOURCE, 0), read.masked(Field.SOURCE, 0xFF << 120, 0xFF << 120)]
    loopback = [read.masked(field, 1) for field in (Field.SOURCE, Field.DESTINATION)]
    outside = read.outside(read.masked(Field.IN_DEVICE, 0))
    bad.append(read.both(outside, read.either(*loopback, read.local(Field.SOURCE))))
    return read.outside(read.either(*bad))


def _likings(read: Reader, own: Sequence[bytes], devices: Sequence[str]) -> Iterator[int]:
    """Yield what usual packets have in common; what comes first counts most."""
    yield read.masked(Field.FRAGMENT, 0)
    for name in (Field.IN_DEVICE, Field.OUT_DEVICE):
        yield from (read.device(name, device) for device in devices)
    for flags in (SYN, ACK):
        yield read.masked(Field.TCP_FLAGS, flags)
    yield read.both(
        read.masked(Field.PROTOCOL, IPPROTO_ICMPV6), read.masked(Field.DESTINATION_PORT, _ECHO)
    )
    yield from usual(read, own)
    linked = read.masked(Field.DESTINATION, 0xFE80 << 112, 0xFFC0 << 112)
    yield read.outside(linked)
    for field, texts in ((Field.SOURCE, _SOURCES), (Field.DESTINATION, _DESTINATIONS)):
        yield from (
            read.masked(field, int.from_bytes(parse_address(text), "big")) for text in texts
        )
        yield read.masked(field, 0x2000 << 112, 0xE000 << 112)
        yield read.outside(read.masked(field, 0, 0xFF))
    for port in (80, 443, 22, 53, 8080):
        yield read.masked(Field.DESTINATION_PORT, port)


def _chosen(space: Space, packets: int) -> Chosen:
    """Return one packet of a set."""
    bits = space.diagram.pick(packets)
    values: Values = {}
    whole: dict[int, int] = {}
    for field in Field:
        axis = axis_of(space, field)
        number = 0
        for variable in range(axis.first, axis.first + axis.width):
            whole[variable] = bits.get(variable, 0)
            number = number << 1 | whole[variable]
        values[field] = number
    device = values[Field.IN_DEVICE]
    reply = bool(values[Field.CT_REPLY])
    first = ""
    if values[Field.CT_STATE] == CtState.ESTABLISHED:
        first = packet6_text(_turned(values) if reply else values, first=True)
    example = Example(
        text=packet6_text(values),
        device=space.devices[device] if device < len(space.devices) else "",
        first=first,
        replayed=False,
    )
    return Chosen(example, space.diagram.cube(whole.items()))


def _turned(values: Values) -> Values:
    return {
        **values,
        Field.SOURCE: values[Field.DESTINATION],
        Field.DESTINATION: values[Field.SOURCE],
        Field.SOURCE_PORT: values[Field.DESTINATION_PORT],
        Field.DESTINATION_PORT: values[Field.SOURCE_PORT],
    }


def packet6_text(values: Values, *, first: bool = False) -> str:
    """Write a packet in one line, or the `first` of its connection."""
    source, destination = (
        format_address(values[field].to_bytes(16, "big"))
        for field in (Field.SOURCE, Field.DESTINATION)
    )
    protocol = values[Field.PROTOCOL]
    ports = values[Field.SOURCE_PORT], values[Field.DESTINATION_PORT]
    if protocol in _PORTED:
        words = [_PORTED[protocol], f"[{source}]:{ports[0]} > [{destination}]:{ports[1]}"]
        if protocol == Protocol.TCP:
            words.append(flag_letters(SYN if first else values[Field.TCP_FLAGS]))
    elif protocol == IPPROTO_ICMPV6:
        kind, code = divmod(_ECHO if first else ports[1], 256)
        words = ["icmpv6", f"{source} > {destination}", f"type={kind}", f"code={code}"]
    else:
        words = ["ip", f"{source} > {destination}", f"proto={protocol}"]
    if values[Field.TTL] not in {0, 64}:
        words.append(f"ttl={values[Field.TTL]}")
    if values[Field.TOS]:
        words.append(f"tos={values[Field.TOS]}")
    if values[Field.MARK]:
        words.append(f"mark={values[Field.MARK]:#x}")
    return " ".join(word for word in words if word)
