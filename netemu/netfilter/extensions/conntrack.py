"""What conntrack knows of the packet's connection: matches `conntrack` and `state`.

Kernel: net/netfilter/xt_conntrack.c (conntrack_mt, revision 3).

Without a connection only the state test counts: the packet is INVALID or UNTRACKED, and every other
option of the match is passed over. So `-m conntrack --ctproto tcp` never matches such a packet, and
`-m conntrack --ctstate INVALID --ctproto tcp` matches one of any protocol.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    IPS_CONFIRMED,
    IPS_DST_NAT,
    IPS_SRC_NAT,
    Connection,
    CtInfo,
    ctinfo_direction,
    nf_ct_get,
    state_word,
)
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.xtables.abbreviated import AbbreviatedList
from netemu.netfilter.xtables.addresses import Network
from netemu.netfilter.xtables.hosts import LooseHostMask
from netemu.netfilter.xtables.kinds import U32_MAX, Kind, OptionCall, Span, UnsignedRange
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import ResolvedPorts
from netemu.netfilter.xtables.protocols import ProtocolNumber
from netemu.netfilter.xtables.space import CtState, Field, PacketSpace
from netemu.skb import Skb

INVALID = 1 << 0
STATE_BIT = {
    CtInfo.ESTABLISHED: 1 << 1,
    CtInfo.RELATED: 1 << 2,
    CtInfo.NEW: 1 << 3,
    CtInfo.ESTABLISHED_REPLY: 1 << 1,
    CtInfo.RELATED_REPLY: 1 << 2,
    CtInfo.UNTRACKED: 1 << 2,
}
"""XT_CONNTRACK_STATE_BIT: 1 << (ctinfo % IP_CT_IS_REPLY + 1)."""
SNAT = 1 << 6
DNAT = 1 << 7
UNTRACKED = 1 << 8

STATES = {
    "INVALID": INVALID,
    "NEW": 1 << 3,
    "ESTABLISHED": 1 << 1,
    "RELATED": 1 << 2,
    "UNTRACKED": UNTRACKED,
}
SHOWN_STATES = ("INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED")
STATUSES = {"NONE": 0, "EXPECTED": 1, "SEEN_REPLY": 2, "ASSURED": 4, "CONFIRMED": 8}


class Direction(Kind[str]):
    """ORIGINAL or REPLY, in any case."""

    form = "ORIGINAL|REPLY"

    def read(self, text: str, call: OptionCall) -> str:
        """Return the word in capitals."""
        if text.upper() not in {"ORIGINAL", "REPLY"}:
            raise RulesetError(
                f'conntrack: Bad value for "--ctdir" option: "{text}"; ORIGINAL or REPLY would do'
            )
        return text.upper()

    def show(self, value: str) -> str:
        """Print the word."""
        return value


Test = Callable[[Connection, XtParam, int], bool]
"""Whether one option other than the state holds, inversion included; the int is the direction."""


class ConntrackMatch:
    """struct xt_conntrack_mtinfo3."""

    __slots__ = ("invert_state", "settings", "state_mask", "tests")

    def __init__(self, settings: Settings) -> None:
        """List the tests in the kernel's order."""
        name = "ctstate" if "ctstate" in settings else "state"
        self.state_mask = settings.get(name, int)
        """None when no state was asked for."""
        self.invert_state = settings.inverted(name)
        self.tests = tuple(_tests(settings))
        self.settings = settings


def _tests(settings: Settings) -> list[Test]:
    tests: list[Test] = []
    if "ctdir" in settings:
        wanted = 1 if settings.need("ctdir", str) == "REPLY" else 0
        tests.append(lambda connection, param, direction: direction == wanted)
    for name, pick_address in _ADDRESSES.items():
        if name in settings:
            tests.append(_address_test(settings, name, pick_address))
    if "ctproto" in settings:
        tests.append(_protocol_test(settings))
    for name, pick_part in _PARTS.items():
        if name in settings:
            tests.append(_part_test(settings, name, pick_part))
    if "ctstatus" in settings:
        tests.append(_status_test(settings))
    if "ctexpire" in settings:
        tests.append(_expire_test(settings))
    return tests


_ADDRESSES: dict[str, Callable[[Connection], bytes]] = {
    "ctorigsrc": lambda connection: connection.original.src,
    "ctorigdst": lambda connection: connection.original.dst,
    "ctreplsrc": lambda connection: connection.reply.src,
    "ctrepldst": lambda connection: connection.reply.dst,
}

_PARTS: dict[str, Callable[[Connection], int]] = {
    "ctorigsrcport": lambda connection: connection.original.src_part,
    "ctorigdstport": lambda connection: connection.original.dst_part,
    "ctreplsrcport": lambda connection: connection.reply.src_part,
    "ctrepldstport": lambda connection: connection.reply.dst_part,
}
"""Of ICMP the source part is the id and the destination part type * 256 + code."""


def _address_test(settings: Settings, name: str, pick: Callable[[Connection], bytes]) -> Test:
    network = settings.need(name, Network)
    mask = int.from_bytes(network.mask, "big")
    wanted = int.from_bytes(network.address, "big") & mask
    invert = settings.inverted(name)
    return lambda connection, param, direction: (
        (int.from_bytes(pick(connection), "big") & mask == wanted) != invert
    )


def _protocol_test(settings: Settings) -> Test:
    protocol = settings.need("ctproto", int)
    invert = settings.inverted("ctproto")
    return lambda connection, param, direction: (connection.protocol == protocol) != invert


def _part_test(settings: Settings, name: str, pick: Callable[[Connection], int]) -> Test:
    span = settings.need(name, Span)
    invert = settings.inverted(name)
    return lambda connection, param, direction: (
        (span.low <= pick(connection) <= span.high) != invert
    )


def _status_test(settings: Settings) -> Test:
    mask = settings.need("ctstatus", int)
    invert = settings.inverted("ctstatus")
    return lambda connection, param, direction: bool(connection.status & mask) != invert


def _expire_test(settings: Settings) -> Test:
    span = settings.need("ctexpire", Span)
    invert = settings.inverted("ctexpire")

    def test(connection: Connection, param: XtParam, direction: int) -> bool:
        return (span.low <= expires_s(param.net, connection) <= span.high) != invert

    return test


def expires_s(net: Net, connection: Connection) -> int:
    """Return the whole seconds left (nf_ct_expires).

    The timeout of an entry that is not yet in the table is still a length of time, which the
    kernel takes for a moment: one long gone, except in the first minutes after boot.
    """
    if not connection.status & IPS_CONFIRMED:
        left = (connection.timeout - net.clock.jiffies32) & 0xFFFFFFFF
        return left // net.clock.hz if left < 1 << 31 else 0
    return net.generic(Conntrack).expires_s(connection)


def conntrack_mt(info: ConntrackMatch, skb: Skb, param: XtParam) -> bool:
    """Compare state, then direction, addresses, protocol, ports, status and time left."""
    connection, ctinfo = nf_ct_get(skb)
    if info.state_mask is not None:
        bits = state_bits(connection, ctinfo)
        if bool(info.state_mask & bits) == info.invert_state:
            return False
    if connection is None:
        return info.state_mask is not None
    direction = ctinfo_direction(ctinfo)
    return all(test(connection, param, direction) for test in info.tests)


def state_bits(connection: Connection | None, ctinfo: CtInfo) -> int:
    """Return the bits that `--ctstate` is compared with."""
    if connection is None:
        return UNTRACKED if ctinfo == CtInfo.UNTRACKED else INVALID
    bits = STATE_BIT[ctinfo]
    if connection.status & IPS_SRC_NAT:
        bits |= SNAT
    if connection.status & IPS_DST_NAT:
        bits |= DNAT
    return bits


def conntrack_packets(info: ConntrackMatch, space: PacketSpace) -> int:
    """Return the packets that fit; without a connection only the state counts."""
    connected = space.span(Field.CT_STATE, CtState.NEW, CtState.RELATED)
    found = space.both()
    if info.state_mask is not None:
        found = space.when(info.invert_state, _states(info.state_mask, space))
    others = space.both(
        *(
            space.when(info.settings.inverted(name), inside)
            for name, inside in _asked(info.settings, space)
        )
    )
    found = space.both(found, space.either(space.outside(connected), others))
    return found if info.state_mask is not None else space.both(found, connected)


def _states(mask: int, space: PacketSpace) -> int:
    bits = {
        INVALID: (Field.CT_STATE, CtState.INVALID),
        UNTRACKED: (Field.CT_STATE, CtState.UNTRACKED),
        STATES["NEW"]: (Field.CT_STATE, CtState.NEW),
        STATES["ESTABLISHED"]: (Field.CT_STATE, CtState.ESTABLISHED),
        STATES["RELATED"]: (Field.CT_STATE, CtState.RELATED),
        SNAT: (Field.CT_SNAT, 1),
        DNAT: (Field.CT_DNAT, 1),
    }
    return space.either(
        *(space.masked(field, value) for bit, (field, value) in bits.items() if mask & bit)
    )


def _asked(settings: Settings, space: PacketSpace) -> Iterator[tuple[str, int]]:
    """Yield the options besides the state, each with the packets of connections that fit."""
    if "ctdir" in settings:
        reply = int(settings.need("ctdir", str) == "REPLY")
        yield "ctdir", space.masked(Field.CT_REPLY, reply)
    if "ctproto" in settings:
        protocol = settings.need("ctproto", int)
        yield "ctproto", space.masked(Field.PROTOCOL, protocol)
    for name, (forth, back) in _TUPLE_FIELDS.items():
        if name in settings:
            yield name, _of_tuple(settings, name, forth, back, space)
    if "ctstatus" in settings:
        yield "ctstatus", _status(settings.need("ctstatus", int), space)
    if "ctexpire" in settings:
        yield "ctexpire", space.unknown(space.text)


_TUPLE_FIELDS = {
    "ctorigsrc": (Field.SOURCE, Field.DESTINATION),
    "ctorigdst": (Field.DESTINATION, Field.SOURCE),
    "ctreplsrc": (Field.DESTINATION, Field.SOURCE),
    "ctrepldst": (Field.SOURCE, Field.DESTINATION),
    "ctorigsrcport": (Field.SOURCE_PORT, Field.DESTINATION_PORT),
    "ctorigdstport": (Field.DESTINATION_PORT, Field.SOURCE_PORT),
    "ctreplsrcport": (Field.DESTINATION_PORT, Field.SOURCE_PORT),
    "ctrepldstport": (Field.SOURCE_PORT, Field.DESTINATION_PORT),
}
"""Where packets of the original direction have a part of the tuples, and answers."""


def _of_tuple(settings: Settings, name: str, forth: Field, back: Field, space: PacketSpace) -> int:
    """Return the packets whose connection has such an address or port.

    A packet tells its own direction's tuple, as it entered; without NAT the other one is its
    inverse. A new connection's reply tuple is where its packet goes now.
    """
    original = name.startswith("ctorig")

    def fits(field: Field, *, entered: bool) -> int:
        if name.endswith("port"):
            span = settings.need(name, Span)
            return space.span(field, span.low, span.high, entered=entered)
        network = settings.need(name, Network)
        mask = int.from_bytes(network.mask, "big")
        wanted = int.from_bytes(network.address, "big") & mask
        return space.masked(field, wanted, mask, entered=entered)

    reply = space.masked(Field.CT_REPLY, 1)
    new = space.masked(Field.CT_STATE, CtState.NEW)
    related = space.masked(Field.CT_STATE, CtState.RELATED)
    plain = space.both(space.masked(Field.CT_DNAT, 0), space.masked(Field.CT_SNAT, 0))
    unknown = space.unknown(space.text)

    def cases(*pairs: tuple[int, int]) -> int:
        """Take the first case that holds."""
        left, found = space.both(), space.outside(space.both())
        for case, inside in pairs:
            found = space.either(found, space.both(left, case, inside))
            left = space.both(left, space.outside(case))
        return space.either(found, space.both(left, unknown))

    if original:
        return cases(
            (related, unknown),
            (space.outside(reply), fits(forth, entered=True)),
            (plain, fits(back, entered=True)),
        )
    return cases(
        (related, unknown),
        (new, fits(forth, entered=False)),
        (reply, fits(back, entered=True)),
        (plain, fits(forth, entered=True)),
    )


def _status(mask: int, space: PacketSpace) -> int:
    """Return the packets of connections with any of these in their status."""
    established = space.masked(Field.CT_STATE, CtState.ESTABLISHED)
    expected = space.either(
        space.masked(Field.CT_STATE, CtState.RELATED),
        space.both(established, space.unknown("an expected connection")),
    )
    bits = {
        STATUSES["EXPECTED"]: expected,
        STATUSES["SEEN_REPLY"]: space.masked(Field.CT_SEEN_REPLY, 1),
        STATUSES["ASSURED"]: space.masked(Field.CT_ASSURED, 1),
        STATUSES["CONFIRMED"]: space.outside(space.masked(Field.CT_STATE, CtState.NEW)),
    }
    return space.either(*(inside for bit, inside in bits.items() if mask & bit))


def describe_conntrack(info: ConntrackMatch, skb: Skb, param: XtParam) -> str:
    """Say the state and, where there is one, the connection."""
    connection, ctinfo = nf_ct_get(skb)
    state = state_word(connection, ctinfo)
    if connection is None or not info.tests:
        return state
    return f"{state} {param.net.generic(Conntrack).text(connection)}"


def attach_conntrack(net: Net, info: ConntrackMatch) -> None:
    """Begin to track connections (conntrack_mt_check)."""
    from netemu.netfilter.conntrack.core import (  # noqa: PLC0415 - the engine, once a node
        nf_ct_netns_get,
    )

    nf_ct_netns_get(net)


def _check_conntrack(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError("conntrack: At least one option is required")


_HOST = LooseHostMask()

MATCHES = (
    Match(
        name="conntrack",
        kernel="xt_conntrack.c",
        duty="Compares what conntrack knows of the packet's connection.",
        options=(
            Option(
                "ctstate",
                AbbreviatedList(
                    {**STATES, "SNAT": SNAT, "DNAT": DNAT},
                    shown=(*SHOWN_STATES, "SNAT", "DNAT"),
                    bad='Bad ctstate "%s"',
                ),
                invertible=True,
                help="What the packet is to its connection; SNAT and DNAT look at the connection.",
                says="the state of its connection {is} {value}",
            ),
            Option(
                "ctproto",
                ProtocolNumber(),
                invertible=True,
                help="Protocol of the connection.",
                says="the protocol of its connection {is} {value}",
            ),
            Option(
                "ctorigsrc",
                _HOST,
                invertible=True,
                help="Source of the original direction.",
                says="the connection {is} opened from {value}",
            ),
            Option(
                "ctorigdst",
                _HOST,
                invertible=True,
                help="Destination before any DNAT.",
                says="the connection {is} opened to {value}, before any DNAT",
            ),
            Option(
                "ctreplsrc",
                _HOST,
                invertible=True,
                help="Who answers: the DNATed address.",
                says="answers {is} sent by {value}",
            ),
            Option(
                "ctrepldst",
                _HOST,
                invertible=True,
                help="Where answers go: after SNAT.",
                says="answers {is} sent to {value}",
            ),
            Option(
                "ctorigsrcport",
                ResolvedPorts(),
                invertible=True,
                help="Source port of the original direction.",
                says="the source port that it was opened with {is} {value}",
            ),
            Option(
                "ctorigdstport",
                ResolvedPorts(),
                invertible=True,
                help="Destination port before any DNAT.",
                says="the destination port that it was opened to {is} {value}",
            ),
            Option(
                "ctreplsrcport",
                ResolvedPorts(),
                invertible=True,
                help="Port that answers come from.",
            ),
            Option(
                "ctrepldstport", ResolvedPorts(), invertible=True, help="Port that answers go to."
            ),
            Option(
                "ctstatus",
                AbbreviatedList(
                    STATUSES,
                    shown=("EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"),
                    bad='Bad ctstatus "%s"',
                    none="NONE",
                ),
                invertible=True,
                help="What has become of the connection.",
                says="the status of its connection {is} {value}",
            ),
            Option("ctexpire", UnsignedRange(U32_MAX), invertible=True, help="Whole seconds left."),
            Option(
                "ctdir",
                Direction(),
                help="Direction of this packet.",
                says="the packet goes in the direction {value}",
            ),
        ),
        check=_check_conntrack,
        shares=always,
        build=ConntrackMatch,
        evaluate=conntrack_mt,
        packets=conntrack_packets,
        attach=attach_conntrack,
        attach_alike=True,
        describe=describe_conntrack,
    ),
    Match(
        name="state",
        kernel="xt_conntrack.c",
        duty="Compares what the packet is to its connection: the old name of conntrack --ctstate.",
        options=(
            Option(
                "state",
                AbbreviatedList(STATES, shown=SHOWN_STATES, bad='Bad state "%s"'),
                invertible=True,
                mandatory=True,
                help="What the packet is to its connection.",
                says="the state of its connection {is} {value}",
            ),
        ),
        shares=always,
        build=ConntrackMatch,
        evaluate=conntrack_mt,
        packets=conntrack_packets,
        attach=attach_conntrack,
        attach_alike=True,
        describe=describe_conntrack,
    ),
)
