"""A snapshot, a sosreport or a rule file into a NodeSpec.

Theory of operation: a `Tree` holds the files, a `SpaceReader` per namespace turns those it finds
into specs and knows which it did not find; the lacks of all namespaces become one note each. Only
when all namespaces are read are ids of namespaces resolved to names.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from netemu.errors import SnapshotError, UsageError
from netemu.sim.lab_spec import LabSpec
from netemu.sim.spec import NamespaceSpec, NodeSpec, TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes, change_addresses, change_routes, change_sysctls
from netemu.snapshot.items import ITEM, ITEMS
from netemu.snapshot.names import pair_names
from netemu.snapshot.no_entries import NO_ENTRIES, empty_sets
from netemu.snapshot.read_rules import BACKENDS
from netemu.snapshot.read_space import SpaceReader
from netemu.snapshot.scan import looks_like_lab, looks_like_rules
from netemu.snapshot.source import SIZE_LIMIT, Tree, is_archive, open_tree

KINDS = ("snapshot", "sosreport", "rules", "lab")
"""What `--as` accepts."""

STDIN = "-"

LAB_SUFFIXES = (".lab.yaml", ".lab.yml")


def read_node(  # noqa: PLR0913 - one keyword per command-line option
    path: str,
    *,
    backend: str | None = None,
    as_kind: str | None = None,
    family: int | None = None,
    addresses: Sequence[str] = (),
    routes: Sequence[str] = (),
    sysctls: Sequence[str] = (),
    host: str | None = None,
    ipset: str | None = None,
) -> NodeSpec:
    """Read a NODE: a snapshot or sosreport (directory or archive), iptables-save text, or a lab.

    Args:
        path: file or directory, `-` for iptables-save text on standard input.
        backend: `legacy` or `nft` where both hold rules.
        as_kind: one of KINDS, overriding what the content says.
        family: 4 or 6 for a rule file, overriding its header and addresses.
        addresses: `DEV=IP/LEN` each.
        routes: `PREFIX[,via=IP][,dev=DEV]` each.
        sysctls: `KEY=VALUE` each.
        host: the host of a lab that is looked at; its first one otherwise.
        ipset: file of `ipset save` text for the main namespace, instead of the snapshot's own;
            `empty` for the sets that the rules name, without entries.

    """
    if backend not in (None, *BACKENDS):
        message = f"--backend {backend}: legacy or nft would be right"
        raise UsageError(message)
    if as_kind not in (None, *KINDS):
        message = f"--as {as_kind}: one of {', '.join(KINDS)} would be right"
        raise UsageError(message)
    changes = Changes(addresses=addresses, routes=routes, sysctls=sysctls)
    if as_kind == "lab" or (as_kind is None and is_lab(path)):
        if changes:
            raise UsageError("--addr, --route and --sysctl are for nodes; a lab says that itself")
        return _host_of(load_lab(path), host)
    if host is not None:
        raise UsageError(f"--host {host}: NODE is no lab")
    if as_kind != "rules" and is_tree(path):
        node = read_tree(open_tree(path), backend=backend, changes=changes)
    else:
        file = _rule_file(path, as_kind)
        node = bare_node(file, changes, family=family, backend=backend)
    if ipset is not None:
        node.main.ipset = _sets(ipset, node.main)
        lacks = f"no {ITEM['ipset'].name}:"
        node.notes = [note for note in node.notes if not note.startswith(lacks)]
    return node


def _sets(ipset: str, space: NamespaceSpec) -> TextFile:
    if ipset != NO_ENTRIES:
        return TextFile(name=ipset, text=_read_text(ipset))
    family, rules = (6, space.rules6) if space.rules4 is None else (4, space.rules4)
    return empty_sets("" if rules is None else rules.text, family)


def is_lab(path: str) -> bool:
    """Return whether `path` is a lab file."""
    if path == STDIN or Path(path).is_dir() or is_archive(_head(path)):
        return False
    return path.endswith(LAB_SUFFIXES) or looks_like_lab(_read_text(path))


def load_lab(path: str) -> LabSpec:
    """Read a lab file. Raises SnapshotError or RulesetError, with the place."""
    from netemu.snapshot.lab_file import read_lab  # noqa: PLC0415 - loads YAML, only for labs

    return read_lab(path, _read_text(path), lambda name: Path(name).read_text(encoding="utf-8"))


def _host_of(lab: LabSpec, host: str | None) -> NodeSpec:
    if host is not None and host not in lab.hosts:
        raise UsageError(f"--host {host}: the lab has {', '.join(lab.hosts)}")
    node = lab.node.seen_from(host or lab.hosts[0])
    if host is None and len(lab.hosts) > 1:
        node.notes.append(
            f"devices without a host are those of {lab.hosts[0]}; --host chooses another"
        )
    return node


def is_tree(path: str) -> bool:
    """Return whether `path` is a directory or an archive rather than a text."""
    return Path(path).is_dir() or is_archive(_head(path))


def _head(path: str) -> bytes:
    if path == STDIN:
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(512)
    except OSError as error:
        message = f"cannot be read ({error.strerror}); a snapshot or iptables-save text is needed"
        raise SnapshotError(message, file=path) from None


def _rule_file(path: str, as_kind: str | None) -> TextFile:
    text = _read_text(path)
    if as_kind in {"snapshot", "sosreport"}:
        message = f"is a text file; a {as_kind} is a directory, .tar, .tar.gz or .tar.xz"
        raise SnapshotError(message, file=path)
    if as_kind != "rules" and not looks_like_rules(text):
        message = (
            f"is not recognised{_guess(text)}; a snapshot (directory or .tar archive) or "
            "iptables-save text is needed"
        )
        raise SnapshotError(message, file=path)
    return TextFile(name="<stdin>" if path == STDIN else path, text=text)


def _guess(text: str) -> str:
    if "apiVersion:" in text or '"apiVersion"' in text:
        return " (it looks like Kubernetes objects, which are not a single node)"
    if text.startswith(("\xd4\xc3\xb2\xa1", "\xa1\xb2", "\n\r\r\n")):
        return " (it looks like a capture)"
    return ""


def _read_text(path: str) -> str:
    if path == STDIN:
        return sys.stdin.read()
    try:
        if Path(path).stat().st_size > SIZE_LIMIT:
            message = "is too large for iptables-save or ipset text"
            raise SnapshotError(message, file=path)
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        message = f"cannot be read ({error.strerror}); a readable file is needed"
        raise SnapshotError(message, file=path) from None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def read_tree(
    tree: Tree, *, backend: str | None = None, changes: Changes | None = None
) -> NodeSpec:
    """Turn the files of a tree into a node."""
    readers = [SpaceReader(tree, name, backend) for name in ("", *tree.namespaces())]
    if not readers[0].describes_devices():
        return _from_rules_only(tree, readers[0], backend, changes or Changes())
    notes: list[str] = []
    spaces: list[NamespaceSpec] = []
    for reader in readers:
        if reader.describes_devices() or not reader.name:
            spaces.append(reader.read())
            notes += reader.notes
        else:
            notes.append(f"netns/{reader.name} has neither links nor addresses: it is left out")
    for space in spaces[1:]:
        space.modules = space.modules or spaces[0].modules  # one kernel for all
    pair_names(spaces)
    if changes:
        change_addresses(spaces[0], changes.addresses)
        change_routes(spaces[0], changes.routes)
        change_sysctls(spaces[0], changes.sysctls)
        notes.append("addresses, routes or parameters were changed on the command line")
    return NodeSpec(
        main=spaces[0],
        others=spaces[1:],
        notes=[*lacks_of(readers, spaces), *notes],
        source=tree.name,
    )


def _from_rules_only(
    tree: Tree, reader: SpaceReader, backend: str | None, changes: Changes
) -> NodeSpec:
    """Return a bare node with whatever else the files say besides devices and addresses."""
    choice = reader.choice()
    file = choice.rules4 or choice.rules6
    if not file:
        wanted = ", ".join(ITEM[key].name for key in ("link", "addr", "save4"))
        message = f"holds no node: one of {wanted} is needed"
        raise SnapshotError(message, file=tree.name)
    family = 4 if choice.rules4 else 6
    node = bare_node(file, changes, family=family, backend=backend or choice.backend)
    said = reader.read()
    main = node.main
    main.rules4, main.rules6 = choice.rules4, choice.rules6
    main.sysctls = {**(said.sysctls or main.sysctls)}
    change_sysctls(main, changes.sysctls)
    main.ipset, main.ipvs, main.conntrack = said.ipset, said.ipvs, said.conntrack
    main.modules = said.modules
    main.sockets = said.sockets
    node.notes += reader.notes
    node.source = tree.name
    return node


def lacks_of(readers: list[SpaceReader], spaces: list[NamespaceSpec]) -> list[str]:
    """Return one sentence per lacking file, naming the namespaces that lack it."""
    read = {space.name: space for space in spaces}
    present = [reader for reader in readers if reader.name in read]
    notes: list[str] = []
    for item in ITEMS:
        lacking = [
            reader.name
            for reader in present
            if item.disables and reader.lacks(item.key) and _needed(item.key, read[reader.name])
        ]
        if not lacking:
            continue
        everywhere = len(lacking) == len(present)
        shown = ", ".join(f"netns/{name}" if name else "the main namespace" for name in lacking)
        where = "" if everywhere else f" in {shown}"
        notes.append(f"no {item.name}{where}: {item.disables}")
    return notes


def _needed(key: str, space: NamespaceSpec) -> bool:
    """Return whether a namespace as it is could make use of the lacking file."""
    rules = space.rules4.text if space.rules4 else ""
    if key == "ipset":
        return "--match-set" in rules or "-j SET" in rules
    if key == "ipvs":
        return "-m ipvs" in rules or any(link.name == "kube-ipvs0" for link in space.links)
    if key == "fdb":
        return any(link.kind == "bridge" for link in space.links)
    if key == "netns":
        return False
    if key == "nft":
        return space.rules4 is not None and not space.name
    return True
