"""The files of one namespace into a NamespaceSpec."""

from __future__ import annotations

import re

from netemu.sim.spec import LinkSpec, NamespaceSpec, TextFile
from netemu.snapshot.document import Document
from netemu.snapshot.items import ITEM, LISTED_TABLES
from netemu.snapshot.read_addr import device_records, read_addresses
from netemu.snapshot.read_bridge import read_bridge_vlans, read_mdb
from netemu.snapshot.read_link import read_bridge_links, read_links, specs_of
from netemu.snapshot.read_neigh import read_fdb, read_neighbours, read_proxies
from netemu.snapshot.read_plain import (
    read_modules,
    read_netns_ids,
    read_sockets,
    read_sysctls,
)
from netemu.snapshot.read_route import Routes
from netemu.snapshot.read_rules import Choice, choose, gather
from netemu.snapshot.source import Tree
from netemu.snapshot.text_link import names_of_netns

NEVER_EMPTY = frozenset({"link", "addr", "sysctl"})
"""Items whose command always prints something: an empty file is a failed command."""

_FAILED = re.compile(
    r"(?:\S+: )?(?:failed to run command|Permission denied|.*command not found|No such file)"
    r"|RTNETLINK answers:|Dump terminated|Object \".*\" is unknown"
)
"""What a report holds instead of output where a tool is missing or not allowed."""

_LINK_RULE = re.compile(
    r"^(?:\[\d+:\d+\] )?-A |^:\S+ DROP|^-[a-z] .* -j |, entries: [1-9]|policy: DROP", re.MULTILINE
)
"""A rule or a dropping policy in what ebtables and arptables print."""

RULE_KEYS = ("save4", "legacy4", "nft4", *(f"list_{table}4" for table in LISTED_TABLES))


class SpaceReader:
    """Reads one namespace of a tree; `notes` collects what it has to say."""

    def __init__(self, tree: Tree, name: str, backend: str | None) -> None:
        """Take the namespace `name` ("" is the main one) of `tree`."""
        self.tree = tree
        self.name = name
        self.backend = backend
        self.notes: list[str] = []

    def document(self, key: str) -> Document | None:
        """Return the best file of an item, None when there is none."""
        item = ITEM[key]
        file = self.tree.find(self.name, item.names)
        if file is None:
            return None
        text = file.text()
        if (key in NEVER_EMPTY and not text.strip()) or _FAILED.match(text):
            return None
        return Document(name=file.path, text=text, command=item.command)

    def text_file(self, key: str) -> TextFile | None:
        """Return an item's text for a reader of its own."""
        document = self.document(key)
        return TextFile(name=document.name, text=document.text) if document else None

    def lacks(self, key: str) -> bool:
        """Return whether the item is missing in all its forms."""
        keys = RULE_KEYS if key == "save4" else (key,)
        return all(self.document(each) is None for each in keys)

    def describes_devices(self) -> bool:
        """Return whether devices are known."""
        return not (self.lacks("link") and self.lacks("addr"))

    def choice(self) -> Choice:
        """Return the rules to evaluate, or raise when that would be a guess."""
        where = f"{self.tree.name}/netns/{self.name}" if self.name else self.tree.name
        return choose(gather(self.text_file), backend=self.backend, where=where)

    def read(self) -> NamespaceSpec:
        """Return everything that the files say."""
        choice = self.choice()
        self._note(choice.notes)
        space = NamespaceSpec(
            name=self.name,
            links=self._links(),
            rules4=choice.rules4,
            rules6=choice.rules6,
            backend=choice.backend,
            ipset=self.text_file("ipset"),
            ipvs=self.text_file("ipvs"),
            conntrack=self._connections(),
        )
        if document := self.document("addr"):
            space.addresses = read_addresses(document)
        if document := self.document("neigh"):
            space.neighbours = read_neighbours(document)
        if document := self.document("proxy"):
            space.proxies = read_proxies(document)
        if document := self.document("fdb"):
            space.fdb, space.vxlan_fdb = read_fdb(document)
        if document := self.document("bridge_mdb"):
            space.mdb = read_mdb(document)
        if document := self.document("bridge_vlan"):
            space.bridge_vlans = read_bridge_vlans(document)
        if document := self.document("sysctl"):
            space.sysctls = read_sysctls(document)
        if document := self.document("sockets"):
            space.sockets = read_sockets(document)
        if document := self.document("modules"):
            space.modules = read_modules(document)
        if document := self.document("netns"):
            space.netns_ids = read_netns_ids(document)
        if (document := self.document("link")) and not document.is_json:
            space.netns_ids |= names_of_netns(document)
        self._read_routes(space)
        self._note(self._link_layer_rules())
        return space

    def _link_layer_rules(self) -> list[str]:
        """Say which rules of the link layer there are, since none is evaluated."""
        return [
            f"the rules of {key} are not evaluated: frames pass as if there were none"
            for key in ("ebtables", "arptables")
            if (document := self.document(key)) and _LINK_RULE.search(document.text)
        ]

    def _connections(self) -> TextFile | None:
        """Return the connections; an empty list says no more than no list.

        It does not even say that conntrack is at work: nobody may have asked for it.
        """
        file = self.text_file("conntrack")
        return file if file and file.text.strip() else None

    def _links(self) -> list[LinkSpec]:
        if document := self.document("link"):
            links = read_links(document)
        elif document := self.document("addr"):
            links = specs_of([record for record in device_records(document) if record.ifname])
        else:
            return []
        if document := self.document("bridge_link"):
            links = read_bridge_links(document, links)
        return links

    def _read_routes(self, space: NamespaceSpec) -> None:
        routes = Routes()
        if document := self.document("route"):
            space.routes = routes.read_routes(document)
        if document := self.document("rule"):
            space.policy_rules = routes.read_rules(document)
        self._note(routes.notes)
        if routes.tables.foreign:
            names = ", ".join(routes.tables.foreign)
            self._note([f"routing tables {names} are named by the node's own rt_tables file"])

    def _note(self, sentences: tuple[str, ...] | list[str]) -> None:
        prefix = f"netns/{self.name}: " if self.name else ""
        self.notes += [prefix + sentence for sentence in sentences]
