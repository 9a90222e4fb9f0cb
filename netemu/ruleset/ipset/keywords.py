"""The options of ipset's commands (its lib/args.c), by the words that set types name them with."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from netemu.netfilter.hook import Family
from netemu.ruleset.ipset import values
from netemu.wire.address import format_address

Printer = Callable[[object], str]


class Keyword(Struct, frozen=True):
    """One option."""

    name: str
    """As it is written; `--` may stand before it."""
    option: str
    """The attribute that it sets."""
    parse: values.Parser
    takes_value: bool = True
    show: Printer | None = str
    """Prints its value in a listing; None: it is never printed."""


def _hex8(value: object) -> str:
    assert isinstance(value, int)
    return f"0x{value:08x}"


def _quoted(value: object) -> str:
    return f'"{value}"'


def _skbmark(value: object) -> str:
    assert isinstance(value, int)
    mark, mask = value >> 32, value & values.U32
    return f"0x{mark:x}" if mask == values.U32 else f"0x{mark:x}/0x{mask:x}"


def _skbprio(value: object) -> str:
    assert isinstance(value, int)
    return f"{value >> 16:x}:{value & values.U16:x}"


def _family(value: object) -> str:
    return "inet6" if value == Family.IPV6 else "inet"


def _address(value: object) -> str:
    assert isinstance(value, bytes)
    return format_address(value)


def _flag(name: str, option: str) -> Keyword:
    return Keyword(name, option, values.parse_flag, takes_value=False)


def _ignored(name: str) -> Keyword:
    return Keyword(name, name, values.parse_ignored, show=None)


_u8, _u16, _u32 = (values.number_up_to(high) for high in (values.U8, values.U16, values.U32))
_counter = values.number_up_to(values.U64 - 1)

KEYWORDS = {
    "family": Keyword("family", "family", values.parse_family, show=_family),
    "-4": Keyword("-4", "family", values.parse_family, takes_value=False, show=None),
    "-6": Keyword("-6", "family", values.parse_family, takes_value=False, show=None),
    "hashsize": Keyword("hashsize", "hashsize", _u32),
    "maxelem": Keyword("maxelem", "maxelem", _u32),
    "probes": _ignored("probes"),
    "resize": _ignored("resize"),
    "gc": _ignored("gc"),
    "ignored-from": _ignored("from"),
    "ignored-to": _ignored("to"),
    "ignored-network": _ignored("network"),
    "size": Keyword("size", "size", _u32),
    "ip-range": Keyword("range", "ip", values.parse_netrange),
    "netmask": Keyword("netmask", "netmask", values.parse_netmask),
    "bitmask": Keyword("bitmask", "bitmask", values.parse_bitmask, show=_address),
    "port-range": Keyword("range", "port", values.parse_tcp_udp_port),
    "before": Keyword("before", "nameref", values.parse_before, show=None),
    "after": Keyword("after", "nameref", values.parse_setname, show=None),
    "from-ip": Keyword("from", "ip", values.parse_single_ip, show=None),
    "to-ip": Keyword("to", "ip_to", values.parse_single_ip, show=None),
    "network": Keyword("network", "ip", values.parse_net, show=None),
    "from-port": Keyword("from", "port", values.parse_single_tcp_port, show=None),
    "to-port": Keyword("to", "port_to", values.parse_single_tcp_port, show=None),
    # ipset 7.17 sets it and forgets to print it, so that it is lost in a saved set.
    "forceadd": Keyword("forceadd", "forceadd", values.parse_flag, takes_value=False, show=None),
    "markmask": Keyword("markmask", "markmask", _u32, show=_hex8),
    "nomatch": _flag("nomatch", "nomatch"),
    "wildcard": _flag("wildcard", "wildcard"),
    "timeout": Keyword("timeout", "timeout", values.number_up_to(values.MAX_TIMEOUT)),
    "counters": _flag("counters", "counters"),
    "packets": Keyword("packets", "packets", _counter),
    "bytes": Keyword("bytes", "bytes", _counter),
    "comment": _flag("comment", "comment"),
    "adt-comment": Keyword("comment", "adt_comment", values.parse_comment, show=_quoted),
    "skbinfo": _flag("skbinfo", "skbinfo"),
    "skbmark": Keyword("skbmark", "skbmark", values.parse_skbmark, show=_skbmark),
    "skbprio": Keyword("skbprio", "skbprio", values.parse_skbprio, show=_skbprio),
    "skbqueue": Keyword("skbqueue", "skbqueue", _u16),
    "bucketsize": Keyword("bucketsize", "bucketsize", _u8),
    "initval": Keyword("initval", "initval", _u32, show=_hex8),
}
"""By the words in `SetType.create`, `add`, `delete` and `test`."""


def matches(word: str, name: str) -> bool:
    """Return whether a word is this option (ipset_match_option)."""
    return word in {name, f"--{name}"}
