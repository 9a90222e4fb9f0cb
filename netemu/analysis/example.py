"""A plausible packet of a set, written in the one-line language, and what it needs.

Kernel: none.

Theory of operation: a set is narrowed by what a usual packet looks like (a first TCP segment from
a documentation address, from port 40000, with a TTL of 64), each wish as far as the set allows.
What is left gives the packet. Where rules alone are looked at, the node's addresses and routes are
open: then the example says which address and route it takes for granted, as options of `netemu
trace`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from msgspec import Struct

from netemu.analysis.bdd import ALL, EMPTY
from netemu.analysis.opened import Opened
from netemu.analysis.reader import Reader
from netemu.analysis.space import Space
from netemu.analysis.wording import axis_of
from netemu.netfilter.xtables.space import CtState, Field
from netemu.wire.address import format_address
from netemu.wire.ipv4 import Protocol
from netemu.wire.packet_text import parse_packet

SYN, ACK, RST = 0x02, 0x10, 0x04

_LETTERS = "FSRP.UEW"

_SOURCES = ("192.0.2.9", "198.51.100.9", "203.0.113.9")
_DESTINATIONS = ("198.51.100.7", "203.0.113.7")

_OTHER_NETWORK = "198.18.0.1/24"
"""Address of a device that only an example needs (RFC 2544)."""

OPEN_DEVICE = "own0"
"""A device that the node of a mere rule file gets for an address that it must have."""


class Example(Struct, frozen=True, kw_only=True):
    """A packet to send."""

    text: str
    """One line, as `netemu trace` takes it."""
    device: str
    """Where it enters; empty: the node sends it."""
    first: str = ""
    """A packet to send before it, so that the connection has its state.

    The other end answers it, unless this packet is that answer.
    """
    first_device: str = ""
    """Where that one enters; empty: as this one, or as what the node sends if this is an answer."""
    options: tuple[str, ...] = ()
    """What the node is assumed to have besides, as words of the command line."""
    replayed: bool = True
    """The engine walks such a packet."""

    @property
    def after(self) -> tuple[str, ...]:
        """The option of `netemu trace` that sends what comes before."""
        if not self.first:
            return ()
        where = f"{self.first_device}=" if self.first_device else ""
        return "--after", where + self.first

    @property
    def addresses(self) -> tuple[str, ...]:
        """Values of --addr."""
        return self._values("--addr")

    @property
    def routes(self) -> tuple[str, ...]:
        """Values of --route."""
        return self._values("--route")

    def _values(self, option: str) -> tuple[str, ...]:
        pairs = zip(self.options[::2], self.options[1::2], strict=True)
        return tuple(value for name, value in pairs if name == option)


Values = dict[Field, int]


def examples(
    space: Space,
    packets: int,
    own: Sequence[bytes] = (),
    devices: Sequence[str] = (),
    opened: Opened | None = None,
) -> Iterator[Example]:
    """Yield different examples of a set, the most plausible first.

    `own` are addresses that the node has in any case, `devices` such devices, liked ones first;
    `opened` tells what connections can begin.
    """
    seen: set[str] = set()
    for kind, tried in _variants():
        start = Reader(space, space.start, "", 0)
        likings = _likings(start, kind, own, devices, opened)
        chosen = _narrowed(start, packets, tried, likings)
        if chosen == EMPTY:
            continue
        values = _values(space, chosen)
        made = _example(space, packets, values, own, devices)
        if made is not None and made.text + made.device not in seen:
            seen.add(made.text + made.device)
            yield made


Wish = Callable[[Reader], int]


class _Kind(Struct, frozen=True):
    """What conntrack says of packets, and the TCP flags that go with it, best first."""

    state: CtState
    reply: int
    flags: tuple[int, ...]

    def way(self, opened: Opened | None) -> int:
        """Return packets of connections that can begin."""
        if opened is None or self.state not in {CtState.ESTABLISHED, CtState.RELATED}:
            return ALL
        return opened.answers if self.reply else opened.later


def _variants() -> Iterator[tuple[_Kind, list[Wish]]]:
    """Yield kinds of packets, with what must be so."""
    for kind in _KINDS:
        for protocol in (Protocol.TCP, Protocol.UDP, Protocol.ICMP, None):
            for local in (False, True):
                must: list[Wish] = [
                    partial(_comes, local=local),
                    partial(_has, Field.CT_STATE, kind.state),
                    partial(_has, Field.CT_REPLY, kind.reply),
                ]
                if protocol is not None:
                    must.append(partial(_has, Field.PROTOCOL, protocol))
                yield kind, must
    for local in (False, True):
        yield _Kind(CtState.RELATED, 1, ()), [partial(_comes, local=local), _is_error]


_KINDS = (
    _Kind(CtState.NEW, 0, (SYN, ACK)),
    _Kind(CtState.ESTABLISHED, 1, (SYN | ACK, ACK, RST)),
    _Kind(CtState.ESTABLISHED, 0, (ACK, SYN, RST)),
    _Kind(CtState.INVALID, 0, (RST, ACK, SYN)),
)

_ECHO, _ECHO_REPLY = 0x0800, 0x0000
"""Type and code."""

_UNREACHABLE = 0x0303
"""Type and code of the ICMP error that stands for all: port unreachable."""


def _comes(read: Reader, *, local: bool) -> int:
    return read.when(not local, read.masked(Field.IN_DEVICE, 0))


def _is_error(read: Reader) -> int:
    """Return what a host or router says of the first packet of a connection."""
    return read.both(
        read.masked(Field.CT_STATE, CtState.RELATED),
        read.masked(Field.CT_REPLY, 1),
        read.masked(Field.PROTOCOL, Protocol.ICMP),
        read.masked(Field.DESTINATION_PORT, _UNREACHABLE),
    )


def _has(field: Field, value: int, read: Reader) -> int:
    return read.masked(field, value)


def _narrowed(read: Reader, packets: int, first: list[Wish], likings: Iterable[int]) -> int:
    """Return the part of a set that fits as many wishes as it can; none if one of `first` fails."""
    both = read.space.diagram.both
    chosen = both(packets, _possible(read))
    for wish in first:
        chosen = both(chosen, wish(read))
    for liked in likings if chosen != EMPTY else ():
        left = both(chosen, liked)
        chosen = left if left != EMPTY else chosen
    return chosen


def _possible(read: Reader) -> int:
    """Return packets that are no martians."""
    outside = read.masked(Field.IN_DEVICE, 0) ^ 1
    bad = []
    for field in (Field.SOURCE, Field.DESTINATION):
        for value, length in ((0, 8), (127 << 24, 8), (224 << 24, 3)):
            mask = ((1 << length) - 1) << (32 - length)
            bad.append(read.masked(field, value, mask))
    bad += [read.local(Field.SOURCE), read.broadcast(Field.SOURCE)]
    return read.outside(read.both(outside, read.either(*bad)))


def _likings(
    read: Reader,
    kind: _Kind,
    own: Sequence[bytes],
    devices: Sequence[str],
    opened: Opened | None,
) -> Iterator[int]:
    yield kind.way(opened)
    yield read.outside(read.broadcast(Field.DESTINATION))
    yield read.masked(Field.FRAGMENT, 0)
    for name in (Field.IN_DEVICE, Field.OUT_DEVICE):
        yield from (read.device(name, device) for device in devices)
    yield from (read.masked(Field.TCP_FLAGS, one) for one in kind.flags)
    reply = read.masked(Field.CT_REPLY, 1)
    for echo, goes in ((_ECHO, read.outside(reply)), (_ECHO_REPLY, reply)):
        yield read.both(
            read.masked(Field.PROTOCOL, Protocol.ICMP),
            read.masked(Field.DESTINATION_PORT, echo),
            goes,
        )
    yield from usual(read, own)
    sent = read.masked(Field.IN_DEVICE, 0)
    for address in own:
        yield read.both(sent, read.masked(Field.SOURCE, int.from_bytes(address, "big")))
    for text in _SOURCES:
        yield _address(read, Field.SOURCE, text)
    yield read.span(Field.SOURCE, 1 << 24, (224 << 24) - 1)
    yield read.masked(Field.SOURCE, 9, 0xFF)
    for text in _DESTINATIONS:
        yield _address(read, Field.DESTINATION, text)
    yield read.masked(Field.DESTINATION, 2, 0xFF)
    for port in (80, 443, 22, 53, 8080):
        yield read.masked(Field.DESTINATION_PORT, port)


def usual(read: Reader, own: Sequence[bytes]) -> Iterator[int]:
    """Yield what usual packets of both families have in common; own addresses are local ones."""
    for field, number in (
        (Field.MARK, 0),
        (Field.CONNMARK, 0),
        (Field.TTL, 64),
        (Field.TOS, 0),
        (Field.CT_REPLY, 0),
        (Field.SOURCE_PORT, 40000),
    ):
        yield read.masked(field, number)
    here = read.local(Field.DESTINATION)
    for address in own:
        it = read.masked(Field.DESTINATION, int.from_bytes(address, "big"))
        yield read.outside(read.both(it, read.outside(here)))
        yield read.either(read.outside(here), read.both(here, it))


def _address(read: Reader, field: Field, text: str) -> int:
    number = int.from_bytes(bytes(int(part) for part in text.split(".")), "big")
    return read.masked(field, number)


def _values(space: Space, chosen: int) -> Values:
    """Return one packet of a set as values of fields."""
    bits = space.diagram.pick(chosen)
    values: Values = {}
    for field in Field:
        axis = axis_of(space, field)
        number = 0
        for variable in range(axis.first, axis.first + axis.width):
            number = number << 1 | bits.get(variable, 0)
        values[field] = number
    return values


def _example(
    space: Space, packets: int, values: Values, own: Sequence[bytes], devices: Sequence[str]
) -> Example | None:
    text = packet_text(values)
    number = values[Field.IN_DEVICE]
    device = space.devices[number] if number < len(space.devices) else ""
    options: list[str] = []
    if device and devices and device not in devices:
        options += ["--addr", f"{device}={_OTHER_NETWORK}"]
    destination = values[Field.DESTINATION].to_bytes(4, "big")
    if space.locals is None:
        local = bool(values[Field.DESTINATION_LOCAL])
        if local and destination not in own:
            options += ["--addr", f"{OPEN_DEVICE}={format_address(destination)}/32"]
        if not local and destination in own:
            return None
        out = space.devices[min(values[Field.OUT_DEVICE], len(space.devices) - 1)]
        later = values[Field.CT_STATE] in {CtState.ESTABLISHED, CtState.RELATED}
        if not local and out not in {"", "lo"} and (later or _out_matters(space, packets, values)):
            if devices and out not in {*devices, device}:
                options += ["--addr", f"{out}={_OTHER_NETWORK}"]
            options += ["--route", f"{format_address(destination)}/32,dev={out}"]
            if values[Field.CT_REPLY] and device not in {"", *devices[:1]}:
                # Its first packet went out where it comes in.
                source = format_address(values[Field.SOURCE].to_bytes(4, "big"))
                options += ["--route", f"{source}/32,dev={device}"]
    first, first_device = "", ""
    if values[Field.CT_REPLY] and space.locals is None and not values[Field.DESTINATION_LOCAL]:
        # It came from where this one goes to.
        first_device = space.devices[values[Field.OUT_DEVICE]]
    state = values[Field.CT_STATE]
    if state == CtState.ESTABLISHED:
        first = packet_text(_turned(values) if values[Field.CT_REPLY] else values, first=True)
    elif state == CtState.RELATED:
        first = packet_text(_refused(values), first=True)
        text += f" payload=0x{parse_packet(first).network[:_QUOTED].hex()}"
    return Example(
        text=text, device=device, first=first, first_device=first_device, options=tuple(options)
    )


_QUOTED = 28
"""Octets of the packet it is about that an ICMP error quotes: its header and 8 more."""


def _refused(error: Values) -> Values:
    """Return a first packet that an ICMP error is about."""
    return _turned(error) | {
        Field.PROTOCOL: Protocol.UDP,
        Field.SOURCE_PORT: 40000,
        Field.DESTINATION_PORT: 33434,
        Field.LENGTH: 28,
        Field.TTL: 64,
        Field.TOS: 0,
        Field.MARK: 0,
    }


def _out_matters(space: Space, packets: int, values: Values) -> bool:
    """Return whether some device would not do for the packet to leave by."""
    out = axis_of(space, Field.OUT_DEVICE)
    known = {
        axis.first + place: values[field] >> (axis.width - 1 - place) & 1
        for field in Field
        if field != Field.OUT_DEVICE
        for axis in (axis_of(space, field),)
        for place in range(axis.width)
    }
    left = space.diagram.under(packets, known)
    return not all(
        space.diagram.meet(left, out.value(space.diagram, number))
        for number, name in enumerate(space.devices)
        if name not in {"", "lo"}
    )


def _turned(values: Values) -> Values:
    """Return the packet's fields the other way round; for an echo reply, the echo."""
    ports = {
        Field.SOURCE_PORT: values[Field.DESTINATION_PORT],
        Field.DESTINATION_PORT: values[Field.SOURCE_PORT],
    }
    if values[Field.PROTOCOL] == Protocol.ICMP:
        ports = {Field.DESTINATION_PORT: _ECHO}
    return {
        **values,
        Field.SOURCE: values[Field.DESTINATION],
        Field.DESTINATION: values[Field.SOURCE],
        **ports,
    }


_SHORTEST: dict[int, int] = {
    Protocol.TCP: 40,
    Protocol.UDP: 28,
    Protocol.ICMP: 28,
    Protocol.SCTP: 52,
}
"""Octets of a packet without payload."""


def packet_text(values: Values, *, first: bool = False) -> str:
    """Write a packet in one line, or the `first` of its connection."""
    source, destination = (
        format_address(values[field].to_bytes(4, "big"))
        for field in (Field.SOURCE, Field.DESTINATION)
    )
    protocol = values[Field.PROTOCOL]
    ports = values[Field.SOURCE_PORT], values[Field.DESTINATION_PORT]
    name = {Protocol.TCP: "tcp", Protocol.UDP: "udp", Protocol.SCTP: "sctp"}.get(
        Protocol(protocol) if protocol in set(Protocol) else Protocol.TCP
    )
    words: list[str] = []
    if protocol in {Protocol.TCP, Protocol.UDP, Protocol.SCTP}:
        words += [str(name), f"{source}:{ports[0]} > {destination}:{ports[1]}"]
        if protocol == Protocol.TCP:
            words.append(flag_letters(SYN if first else values[Field.TCP_FLAGS]))
    elif protocol == Protocol.ICMP:
        kind, code = divmod(values[Field.DESTINATION_PORT], 256)
        words += ["icmp", f"{source} > {destination}", f"type={kind}", f"code={code}"]
        words.append(f"id={ports[0]}")
    else:
        words += ["ip", f"{source} > {destination}", f"proto={protocol}"]
    if values[Field.LENGTH] > _SHORTEST.get(protocol, 20):
        words.append(f"len={values[Field.LENGTH]}")
    if values[Field.TTL] not in {0, 64}:
        words.append(f"ttl={values[Field.TTL]}")
    if values[Field.TOS]:
        words.append(f"tos={values[Field.TOS]}")
    if values[Field.MARK]:
        words.append(f"mark={values[Field.MARK]:#x}")
    return " ".join(word for word in words if word)


def flag_letters(octet: int) -> str:
    """Write TCP flags as tcpdump does."""
    return "".join(letter for bit, letter in enumerate(_LETTERS) if octet >> bit & 1)
