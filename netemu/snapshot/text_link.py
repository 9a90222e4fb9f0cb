"""Text of `ip -d link`, `ip -d address` and `ip -o addr` into records: sosreports have no JSON.

Tool: iproute2 ip/ipaddress.c. A device begins with `N: NAME[@LINK]: <FLAGS> mtu ...`; indented
lines follow. With `-o` everything about one address stands in one line, `N: NAME    inet ...`.
"""

from __future__ import annotations

import re

from netemu.snapshot.document import Document
from netemu.snapshot.read_upper import macvlan_words, vlan_words, vxlan_words
from netemu.snapshot.records import AddressRecord, DeviceRecord, LinkInfo, LinkRecord, Options

_HEAD = re.compile(
    r"^(?P<index>\d+): (?P<name>[^\s@:]\S*?)(?:@(?P<link>\S+))?:\s+<(?P<flags>[^>]*)>(?P<rest>.*)$"
)
_ONE_LINE = re.compile(r"^(?P<index>\d+): (?P<name>\S+)\s+(?P<rest>inet6? .*)$")
_LINK = re.compile(r"^link/(?P<type>\S+)(?: (?P<address>[0-9a-f:.]+))?")
_NETNSID = re.compile(r"\blink-netnsid (\d+)")
_NETNS = re.compile(r"\blink-netns (\S+)")

FIRST_NAMED_ID = 1_000_000
"""Ids given to namespaces that the text form prints by name instead of by their id."""
_BY_NUMBER = re.compile(r"^if(\d+)$")

KINDS = frozenset(
    {
        "bond",
        "bridge",
        "dummy",
        "gre",
        "gretap",
        "ifb",
        "ip6tnl",
        "ipip",
        "ipvlan",
        "macvlan",
        "macvtap",
        "sit",
        "team",
        "tun",
        "veth",
        "vlan",
        "vrf",
        "vxlan",
        "wireguard",
    }
)
"""First words of detail lines: the kinds of devices that nodes have."""

SWITCHES = {"on": True, "off": False}


def link_records(document: Document) -> list[LinkRecord]:
    """Return the devices of `ip -d link`."""
    return list(device_records_text(document))


def names_of_netns(document: Document) -> dict[int, str]:
    """Return id -> name for namespaces that are printed as `link-netns NAME`."""
    names = dict.fromkeys(_NETNS.findall(document.text))
    return {FIRST_NAMED_ID + place: name for place, name in enumerate(names)}


def device_records_text(document: Document) -> list[DeviceRecord]:
    """Return the devices of any of the three forms, with their addresses."""
    records: dict[int, DeviceRecord] = {}
    current: DeviceRecord | None = None
    ids = {name: number for number, name in names_of_netns(document).items()}
    for number, line in enumerate(document.text.splitlines(), 1):
        if head := _HEAD.match(line):
            current = records.setdefault(int(head["index"]), _device(document, number, head))
        elif one := _ONE_LINE.match(line):
            index = int(one["index"])
            current = records.setdefault(index, DeviceRecord(ifname=one["name"], ifindex=index))
            current.addr_info.append(_address(document, number, one["rest"]))
        elif current and line[:1] in " \t":
            _detail(current, document, number, line.strip())
            if netns := _NETNS.search(line):
                current.link_netnsid = ids[netns[1]]
        elif line.strip():
            raise document.line_error(number, "this is no line of ip(8)")
    return list(records.values())


def _device(document: Document, number: int, head: re.Match[str]) -> DeviceRecord:
    words = head["rest"].split()
    link = head["link"]
    by_number = _BY_NUMBER.match(link or "")
    return DeviceRecord(
        ifname=head["name"],
        ifindex=int(head["index"]),
        flags=head["flags"].split(","),
        link=None if by_number else link,
        link_index=int(by_number[1]) if by_number else 0,
        mtu=document.whole_number(number, _after(words, "mtu"), 1500),
        master=_after(words, "master"),
    )


def _after(words: list[str], name: str) -> str:
    return words[words.index(name) + 1] if name in words[:-1] else ""


def _detail(record: DeviceRecord, document: Document, number: int, line: str) -> None:
    first = line.partition(" ")[0]
    if link := _LINK.match(line):
        record.link_type = link["type"]
        record.address = link["address"] or ""
        if netnsid := _NETNSID.search(line):
            record.link_netnsid = int(netnsid[1])
    elif first in {"inet", "inet6"}:
        record.addr_info.append(_address(document, number, line))
    elif first == "bridge_slave":
        record.linkinfo.info_slave_kind = "bridge"
        record.linkinfo.info_slave_data = _options(line)
    elif first in KINDS and not record.linkinfo.info_kind:
        data = _DETAILS[first](line) if first in _DETAILS else {}
        slave = record.linkinfo
        record.linkinfo = LinkInfo(
            info_kind=first,
            info_data=data,
            info_slave_kind=slave.info_slave_kind,
            info_slave_data=slave.info_slave_data,
        )


def _options(line: str) -> Options:
    """Return `name value` pairs; switches as booleans, numbers as numbers."""
    words = line.split()[1:]
    found: Options = {}
    for name, value in zip(words[::2], words[1::2], strict=False):
        if value in SWITCHES:
            found[name] = SWITCHES[value]
        else:
            found[name] = int(value) if value.isdecimal() else value
    return found


_DETAILS = {
    "bridge": _options,
    "macvlan": macvlan_words,
    "vlan": vlan_words,
    "vxlan": vxlan_words,
}
"""How the rest of a kind's detail line is read."""


def _address(document: Document, number: int, line: str) -> AddressRecord:
    words = line.split("\\", maxsplit=1)[0].split()
    peer = _after(words, "peer")
    _, _, length = (peer or words[1]).partition("/")
    local = words[1].partition("/")[0]
    return AddressRecord(
        family=words[0],
        local=local,
        address=peer.partition("/")[0],
        prefixlen=document.whole_number(number, length, 128 if ":" in local else 32),
        broadcast=_after(words, "brd"),
        scope=_after(words, "scope") or "global",
        secondary="secondary" in words,
    )
