"""A rule file, a node or a lab as lint looks at it: each rule file with the node it is on."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterator, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from netemu.errors import SnapshotError
from netemu.lint.subject import Subject
from netemu.netfilter.hook import Family
from netemu.sim.spec import NamespaceSpec, NodeSpec, TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.snapshot.no_entries import NO_ENTRIES, empty_sets
from netemu.snapshot.read_rules import backend_of
from netemu.snapshot.scan import family_of, looks_like_rules

STDIN = "-"
_ARCHIVES = (b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh")
_FAMILIES = {4: Family.IPV4, 6: Family.IPV6}


class Reading(Struct, frozen=True, kw_only=True):
    """How to read what a command line names."""

    as_kind: str | None = None
    backend: str | None = None
    family: int | None = None
    changes: Changes = field(default_factory=Changes)
    ipset: str | None = None
    """Name of a file with the sets that the rules name."""


def read_subjects(path: str, reading: Reading) -> list[Subject]:
    """Return the rule files that `path` names or holds.

    Raises InputError for what cannot be read at all; lines that would not load are left to lint.
    """
    data = _octets(path)
    if reading.as_kind in {"snapshot", "sosreport"} or data is None or _is_archive(data):
        found = list(_of_tree(path, reading))
    else:
        text = data.decode("utf-8", "surrogateescape")
        if reading.as_kind is None and _is_lab(path, text):
            found = list(_of_lab(path))
        else:
            found = [_of_text(path, text, reading)]
    for subject in found:
        subject.siblings = tuple(found)
    return found


def pair_files(subjects: Sequence[Subject]) -> None:
    """Make those rule files partners that are of one node by their names, or are the only two.

    Names of a pair differ in a 4 and a 6, or in `iptables` and `ip6tables`.
    """
    files = [subject for subject in subjects if not subject.is_snapshot]
    by_name: dict[str, list[Subject]] = {}
    for subject in files:
        by_name.setdefault(_FAMILY.sub("", subject.file), []).append(subject)
    for group in (*by_name.values(), files):
        _pair(group)


_FAMILY = re.compile(r"(?<![0-9])[46](?![0-9])|(?<=ip)6(?=tables)")


def _pair(subjects: Sequence[Subject]) -> None:
    """Make two rule files of different families partners, unless they have some."""
    if len(subjects) == PAIR and len({subject.family for subject in subjects}) == PAIR:
        one, other = subjects
        if one.partner is None and other.partner is None:
            one.partner, other.partner = other, one


PAIR = 2


def _octets(path: str) -> bytes | None:
    """Return what a file holds, None for a directory."""
    if path == STDIN:
        return sys.stdin.buffer.read()
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except IsADirectoryError:
        return None
    except OSError as problem:
        raise SnapshotError(
            f"cannot be read ({problem.strerror}); iptables-save text or a node is needed",
            file=path,
        ) from None


def _is_archive(data: bytes) -> bool:
    return data.startswith(_ARCHIVES) or data[257:262] == b"ustar"


def _is_lab(path: str, text: str) -> bool:
    return path.endswith((".lab.yaml", ".lab.yml")) or (
        not looks_like_rules(text) and text.startswith(("nodes:", "netemu:"))
    )


def _of_text(path: str, text: str, reading: Reading) -> Subject:
    """Return a rule file on the bare node that its rules let one assume."""
    name = "<stdin>" if path == STDIN else path
    if reading.as_kind is None and "\0" in text:
        raise SnapshotError("is no text; iptables-save text or a node is needed", file=name)
    if reading.as_kind is None and ("apiVersion:" in text or '"apiVersion"' in text):
        raise SnapshotError(
            "looks like Kubernetes objects; the rules are what `netemu kube render` makes of them",
            file=name,
        )
    if reading.as_kind is None and text.startswith("create "):
        raise SnapshotError("looks like `ipset save` text; --ipset takes it", file=name)
    family = reading.family or family_of(text)
    subject = Subject(
        text,
        name,
        family=_FAMILIES[family],
        backend=reading.backend or backend_of(text),
        make_node=functools.partial(_bare, reading=reading),
    )
    subject.path = subject.trace_node = path
    return subject


def _bare(subject: Subject, *, reading: Reading) -> NodeSpec:
    file = TextFile(name=subject.file, text=subject.text)
    family = 6 if subject.family == Family.IPV6 else 4
    node = bare_node(file, reading.changes, family=family, backend=subject.backend)
    node.main.ipset = _sets(reading, subject.text, family)
    return node


def _sets(reading: Reading, text: str, family: int) -> TextFile | None:
    if reading.ipset is None:
        return None
    if reading.ipset == NO_ENTRIES:
        return empty_sets(text, family)
    data = _octets(reading.ipset)
    if data is None:
        raise SnapshotError("is a directory; `ipset save` text is needed", file=reading.ipset)
    return TextFile(name=reading.ipset, text=data.decode("utf-8", "surrogateescape"))


def _of_tree(path: str, reading: Reading) -> Iterator[Subject]:
    """Yield the rule files of a snapshot; where several backends hold rules, those of each."""
    from netemu.snapshot.read import read_tree  # noqa: PLC0415 - not for mere rule files
    from netemu.snapshot.read_rules import gather  # noqa: PLC0415 - as above
    from netemu.snapshot.read_space import SpaceReader  # noqa: PLC0415 - as above
    from netemu.snapshot.source import open_tree  # noqa: PLC0415 - as above

    tree = open_tree(path)
    held = gather(SpaceReader(tree, "", reading.backend).text_file)
    active = held.active()
    chosen: list[str | None] = [reading.backend]
    if reading.backend is None and (len(active) > 1 or held.native):
        chosen = [*active] or ["legacy"]
    for backend in chosen:
        node = read_tree(tree, backend=backend, changes=reading.changes)
        if reading.ipset is not None:
            rules = node.main.rules4
            node.main.ipset = _sets(reading, "" if rules is None else rules.text, 4)
        for subject in _of_node(node, path):
            subject.backends = tuple(active)
            subject.native_tables = held.native
            yield subject


def _of_lab(path: str) -> Iterator[Subject]:
    from netemu.snapshot.read import load_lab  # noqa: PLC0415 - not for mere rule files

    yield from _of_node(load_lab(path).node, path)


def _of_node(node: NodeSpec, path: str) -> Iterator[Subject]:
    """Yield the rule files of a node's namespaces, the main one's first."""
    seen = False
    for space in node.namespaces():
        found = [
            _of_file(file, family, space, _seen_from(node, space))
            for family, file in ((Family.IPV4, space.rules4), (Family.IPV6, space.rules6))
            if file is not None
        ]
        _pair(found)
        for subject in found:
            subject.trace_node, subject.namespace = path, space.name
            yield subject
            seen = True
    if not seen:
        yield _of_file(TextFile(name=node.source, text=""), Family.IPV4, node.main, node)


def _seen_from(node: NodeSpec, space: NamespaceSpec) -> NodeSpec:
    if space is node.main:
        return node
    others = [other for other in node.namespaces() if other is not space]
    return replace(node, main=space, others=others)


def _of_file(file: TextFile, family: Family, space: NamespaceSpec, node: NodeSpec) -> Subject:
    return Subject(
        file.text,
        file.name,
        family=family,
        backend=space.backend,
        make_node=lambda _: node,
        is_snapshot=True,
    )
