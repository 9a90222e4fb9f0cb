"""The doctor: what a snapshot holds, what it lacks, what that disables, what contradicts.

Every file is read on its own, so that one broken file does not hide the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sized

from msgspec import Struct, field

from netemu.errors import InputError, SnapshotError
from netemu.ruleset.ipvsadm import parse_ipvs
from netemu.sim.spec import NamespaceSpec, TextFile
from netemu.snapshot.document import Document
from netemu.snapshot.items import ITEMS, Item
from netemu.snapshot.names import pair_names, peer_of
from netemu.snapshot.read import is_tree, lacks_of, read_node
from netemu.snapshot.read_addr import read_addresses
from netemu.snapshot.read_link import read_links
from netemu.snapshot.read_neigh import read_fdb, read_neighbours
from netemu.snapshot.read_plain import read_netns_ids, read_sockets, read_sysctls
from netemu.snapshot.read_route import Routes
from netemu.snapshot.read_rules import backend_of, native_tables
from netemu.snapshot.read_space import SpaceReader
from netemu.snapshot.scan import device_patterns, rules_of
from netemu.snapshot.source import Tree, open_tree
from netemu.wire.address import format_address, in_prefix, network_of


class Row(Struct, frozen=True, kw_only=True):
    """One line of the table."""

    namespace: str
    item: str
    file: str
    """Name found, empty when there is none."""
    content: str
    """How much it holds."""


class Report(Struct, kw_only=True):
    """What the doctor found."""

    rows: list[Row] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)
    contradictions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """3 when something cannot be read, 1 when something lacks or contradicts, else 0."""
        if self.unreadable:
            return SnapshotError.exit_code
        return 1 if self.lacks or self.contradictions else 0


def check(path: str, *, backend: str | None = None) -> Report:
    """Examine a NODE: a snapshot, a sosreport, or rules alone."""
    if is_tree(path):
        return check_tree(open_tree(path), backend=backend)
    return Report(notes=read_node(path, backend=backend).notes)


def check_tree(tree: Tree, *, backend: str | None = None) -> Report:
    """Examine every namespace of a tree."""
    report = Report()
    readers = [SpaceReader(tree, name, backend) for name in ("", *tree.namespaces())]
    spaces: list[NamespaceSpec] = []
    for reader in readers:
        report.rows += _rows(reader, report.unreadable)
        try:
            spaces.append(reader.read())
        except SnapshotError as error:
            if str(error) not in report.unreadable:
                report.unreadable.append(str(error))
        report.notes += reader.notes
    if not tree.files:
        report.unreadable.append(f"{tree.name}: holds no file of a snapshot")
    pair_names(spaces)
    report.lacks = lacks_of([reader for reader in readers if tree.files], spaces)
    for space in spaces:
        report.contradictions += [_placed(space, text) for text in _contradictions(space)]
        report.notes += [_placed(space, text) for text in _ports(spaces, space)]
    return report


def _placed(space: NamespaceSpec, text: str) -> str:
    return f"netns/{space.name}: {text}" if space.name else text


def _rows(reader: SpaceReader, unreadable: list[str]) -> Iterator[Row]:
    for item in ITEMS:
        document = reader.document(item.key)
        content = ""
        if document:
            try:
                content = _content(item, document)
            except InputError as error:
                unreadable.append(str(error))
                content = "unreadable"
        name = document.name.rpartition("/")[2] if document else ""
        yield Row(namespace=reader.name, item=item.key, file=name, content=content)


def _read_routes(document: Document) -> Sized:
    return Routes().read_routes(document)


def _read_rules(document: Document) -> Sized:
    return Routes().read_rules(document)


_COUNTED: dict[str, tuple[Callable[[Document], Sized], str]] = {
    "link": (read_links, "devices"),
    "addr": (read_addresses, "addresses"),
    "route": (_read_routes, "routes"),
    "rule": (_read_rules, "policy rules"),
    "neigh": (read_neighbours, "neighbours"),
    "netns": (read_netns_ids, "named namespaces"),
    "fdb": (read_fdb, "entries of bridges"),
    "sysctl": (read_sysctls, "parameters"),
    "sockets": (read_sockets, "listening sockets"),
}


def _content(item: Item, document: Document) -> str:
    if item.key in _COUNTED:
        read, what = _COUNTED[item.key]
        return f"{len(read(document))} {what}"
    if item.key.startswith(("save", "legacy", "nft")) and item.key != "nft":
        count = sum(1 for _ in rules_of(document.text))
        return f"{count} rules ({backend_of(document.text)})" if document.text else "no tables"
    if item.key == "nft":
        native, _ = native_tables(document.text)
        return f"native tables that act: {', '.join(native)}" if native else "no native table acts"
    if item.key == "ipvs":
        commands = parse_ipvs(document.text, document.name).commands
        virtual = sum(command.do == "A" for command in commands)
        return f"{virtual} virtual servers, {len(commands) - virtual} real ones"
    return f"{len(document.text.splitlines())} lines"


def _contradictions(space: NamespaceSpec) -> Iterator[str]:
    devices = {link.name for link in space.links}
    indexes = [link.ifindex for link in space.links]
    for index in sorted({index for index in indexes if indexes.count(index) > 1}):
        yield f"ifindex {index} is that of several devices"
    if not devices:
        return
    for link in space.links:
        if link.master and link.master not in devices:
            yield f"{link.name} is a port of {link.master}, which is no device of the node"
    used = {
        "an address": {address.device for address in space.addresses},
        "a route": {way.device for route in space.routes for way in route.nexthops},
        "a neighbour": {neighbour.device for neighbour in space.neighbours},
        "an FDB entry": {entry.device for entry in space.fdb},
    }
    for what, names in used.items():
        for name in sorted(names - devices - {""}):
            yield f"{what} stands on {name}, which is no device of the node"
    yield from _unreachable_gateways(space)


def _unreachable_gateways(space: NamespaceSpec) -> Iterator[str]:
    """Tell gateways that no connected route covers: the kernel would have refused them."""
    connected = [
        (route.prefix, route.prefix_len)
        for route in space.routes
        if route.kind in {"unicast", "local"} and any(not way.gateway for way in route.nexthops)
    ]
    connected += [
        (network_of(address.peer or address.address, address.prefix_len), address.prefix_len)
        for address in space.addresses
    ]
    for route in space.routes:
        for way in route.nexthops:
            if len(way.gateway) != 4 or way.onlink or len(route.prefix) != 4:
                continue
            if not any(in_prefix(way.gateway, *prefix) for prefix in connected):
                shown = f"{format_address(route.prefix)}/{route.prefix_len}"
                yield f"the gateway {format_address(way.gateway)} of {shown} is in no subnet"


def _ports(spaces: list[NamespaceSpec], space: NamespaceSpec) -> Iterator[str]:
    """Tell which devices are ports, and which devices of rules do not exist."""
    ports = [
        link.name
        for link in space.links
        if link.kind == "" or (link.kind == "veth" and peer_of(spaces, space, link) is None)
    ]
    if ports:
        yield f"ports, where frames enter and leave: {', '.join(ports)}"
    devices = {link.name for link in space.links}
    for file in _rule_files(space):
        missing = [
            pattern
            for pattern in device_patterns(file.text)
            if not any(_matches(pattern, name) for name in devices)
        ]
        if missing and devices:
            yield f"rules name devices that do not exist: {', '.join(missing)}"


def _rule_files(space: NamespaceSpec) -> Iterator[TextFile]:
    for file in (space.rules4, space.rules6):
        if file is not None:
            yield file


def _matches(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("+") else name == pattern
