"""`info_data` of devices that stand above others: vlan, macvlan, vxlan.

Tool: iproute2 ip/iplink_vlan.c, ip/iplink_macvlan.c, ip/iplink_vxlan.c. The text form has the same
words in one line, with switches such as `nolearning` and flags in angle brackets.
"""

from __future__ import annotations

import re
from itertools import pairwise

from netemu.sim.spec import MacvlanSpec, VlanSpec, VxlanSpec
from netemu.snapshot.records import Options
from netemu.snapshot.values import VLAN_PROTOCOLS, address_of

MACVLAN_MODES = frozenset({"private", "vepa", "bridge", "passthru"})
"""Modes that are emulated; `source` is not."""

VXLAN_REFUSED = frozenset(
    {"external", "gpe", "gbp", "proxy", "rsc", "l2miss", "l3miss", "vnifilter", "group6", "remote6"}
)
"""Options that change what a VXLAN device does and are not emulated."""


def vlan_of(options: Options) -> VlanSpec | None:
    """Return what an 802.1Q device is; None when its id is not told."""
    vid = options.get("id")
    if not isinstance(vid, int):
        return None
    flags = options.get("flags")
    return VlanSpec(
        vid=vid,
        protocol=VLAN_PROTOCOLS.get(str(options.get("protocol")), VLAN_PROTOCOLS["802.1Q"]),
        reorder_header=not isinstance(flags, list) or "REORDER_HDR" in flags,
        ingress_qos=_qos(options.get("ingress_qos")),
        egress_qos=_qos(options.get("egress_qos")),
    )


def _qos(value: object) -> tuple[tuple[int, int], ...]:
    rows = value if isinstance(value, list) else []
    pairs = [(row.get("from"), row.get("to")) for row in rows if isinstance(row, dict)]
    return tuple((one, two) for one, two in pairs if isinstance(one, int) and isinstance(two, int))


def macvlan_of(options: Options) -> MacvlanSpec | None:
    """Return what a macvlan is; None for a mode that is not emulated."""
    mode = str(options.get("mode"))
    return MacvlanSpec(mode=mode) if mode in MACVLAN_MODES else None


def vxlan_of(options: Options) -> VxlanSpec | None:
    """Return what a VXLAN device is; None for one that is not emulated."""
    vni = options.get("id")
    local6 = ":" in str(options.get("local", ""))
    if not isinstance(vni, int) or local6 or any(options.get(name) for name in VXLAN_REFUSED):
        return None
    ports = options.get("port_range")
    low, high = (ports.get("low"), ports.get("high")) if isinstance(ports, dict) else (0, 0)
    remote = options.get("remote") or options.get("group")
    tos, ttl = options.get("tos", 0), options.get("ttl", 0)
    return VxlanSpec(
        vni=vni,
        remote=address_of(str(remote)) if remote else b"",
        local=address_of(str(options["local"])) if options.get("local") else b"",
        port=_number(options.get("port"), 8472),
        src_ports=(_number(low, 0), _number(high, 0)),
        learning=options.get("learning") is not False,
        ageing_s=_number(options.get("ageing"), 300),
        ttl=_number(ttl, 0),
        ttl_inherit=ttl == "inherit",
        tos=1 if tos == "inherit" else _number(tos, 0),
        df=str(options.get("df", "unset")),
        checksum=options.get("udp_csum") is not False,
        localbypass=options.get("localbypass") is not False,
    )


def _number(value: object, default: int) -> int:
    """Return a number that the tool prints as such or, some, as 0x1f in quotes."""
    if isinstance(value, int):
        return value
    try:
        return int(str(value), 0)
    except ValueError:
        return default


_FLAGS = re.compile(r"<([^>]*)>")
_PORTS = re.compile(r"\bsrcport (\d+) (\d+)")
_SWITCHES = {
    "nolearning": ("learning", False),
    "noudpcsum": ("udp_csum", False),
    "nolocalbypass": ("localbypass", False),
    **{name: (name, True) for name in VXLAN_REFUSED},
}
_HOSTS = frozenset({"remote", "group", "local"})
_WORDS = _HOSTS | {"id", "dev", "dstport", "ageing", "ttl", "tos", "df"}


def vlan_words(line: str) -> Options:
    """Return the members of `vlan protocol 802.1Q id 10 <REORDER_HDR>`."""
    flags = _FLAGS.search(line)
    words = _FLAGS.sub("", line).split()[1:]
    found = _pairs(words, frozenset({"protocol", "id"}))
    return found | {"flags": flags[1].split(",") if flags else []}


def macvlan_words(line: str) -> Options:
    """Return the members of `macvlan mode bridge bcqueuelen 1000`."""
    return _pairs(line.split()[1:], frozenset({"mode"}))


def vxlan_words(line: str) -> Options:
    """Return the members of `vxlan id 1 local 10.0.0.1 dev eth0 srcport 0 0 dstport 8472 ...`."""
    words = line.split()[1:]
    found = _pairs(words, _WORDS)
    found |= dict(_SWITCHES[word] for word in words if word in _SWITCHES)
    if "dstport" in found:
        found["port"] = found.pop("dstport")
    if ports := _PORTS.search(line):
        found["port_range"] = {"low": int(ports[1]), "high": int(ports[2])}
    return found


def _pairs(words: list[str], names: frozenset[str]) -> Options:
    found: Options = {}
    for name, value in pairwise(words):
        if name in names:
            found[name] = int(value) if value.isdecimal() else value
    return found
