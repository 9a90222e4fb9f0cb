"""A directory or archive as a read-only tree of the files that matter.

Nothing is unpacked to disk and no path of an archive is ever used as a path of this machine:
members are kept under their cleaned names in memory. Links that lead out of the tree are not
followed. Only files whose name is in the table of `items` (or below `netns/`) are looked at.
"""

from __future__ import annotations

import io
import lzma
import os
import re
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from msgspec import Struct, field

from netemu.errors import SnapshotError
from netemu.snapshot.items import NAMES

SIZE_LIMIT = 256 * 1024 * 1024
"""A single file above this is refused: no tool of a real node prints as much."""

DEPTH_LIMIT = 3
"""Folders deeper than this are only entered below `sos_commands/`."""

_PLACE = re.compile(
    r"^(?P<root>(?:.*?/)??)"
    r"(?:netns/(?P<own>[^/]+)/"
    r"|sos_commands/networking/namespaces/(?P<sos>[^/]+)/(?:.*/)?"
    r"|(?P<report>sos_commands)/(?:.*/)?"
    r"|proc/net/)?"
    r"(?P<base>[^/]+)$"
)
"""Where a file stands: the node's root, then how its namespace is told, then its name."""

_NETNS_EXEC = re.compile(r"^ip_netns_exec_(?P<ns>.+?)_(?P<rest>(?:ip6?tables-save|ip_|ss_).*)$")
"""How sosreports before 4.8 name the output of a namespace."""


class Tree(Struct, kw_only=True):
    """The interesting files of one node: namespace name ("" is the main one) -> file name."""

    name: str
    files: dict[str, dict[str, TreeFile]] = field(default_factory=dict)
    is_sosreport: bool = False

    def find(self, namespace: str, names: tuple[str, ...]) -> TreeFile | None:
        """Return the first of `names` that the namespace has."""
        held = self.files.get(namespace, {})
        return next((held[name] for name in names if name in held), None)

    def namespaces(self) -> list[str]:
        """Return the names below `netns/`, sorted."""
        return sorted(name for name in self.files if name)


class TreeFile(Struct, frozen=True, kw_only=True):
    """One file: where it came from, for messages, and its content."""

    path: str
    data: bytes

    def text(self) -> str:
        """Return the content as text; what is not UTF-8 is taken as Latin-1."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            return self.data.decode("latin-1")


def open_tree(path: str) -> Tree:
    """Read the files of the snapshot or sosreport at `path`, a directory or an archive."""
    members = _directory_members(Path(path)) if Path(path).is_dir() else _archive_members(path)
    root = _root([member for member, _ in members], path)
    tree = Tree(name=path)
    for member, data in members:
        if member.startswith(root):
            _place(
                tree, member[len(root) :], TreeFile(path=f"{path.rstrip('/')}/{member}", data=data)
            )
    return tree


def is_archive(head: bytes) -> bool:
    """Return whether a file that begins so is a tar archive, compressed or not."""
    compressed = head.startswith((b"\x1f\x8b", b"\xfd7zXZ\x00", b"BZh"))
    return compressed or head[257:262] == b"ustar"


def _root(members: list[str], path: str) -> str:
    """Return the folder of the one node that the members belong to, "" or with a slash."""
    roots = sorted({found["root"] for member in members if (found := _PLACE.match(member))})
    if not roots or "" in roots:
        return ""
    if len(roots) > 1:
        shown = ", ".join(root.rstrip("/") for root in roots[:4])
        message = f"holds several nodes ({shown}); one node is needed"
        raise SnapshotError(message, file=path)
    return roots[0]


def _place(tree: Tree, member: str, file: TreeFile) -> None:
    found = _PLACE.match(member)
    if not found or found["root"]:
        return
    namespace, base = found["own"] or found["sos"] or "", found["base"]
    if executed := _NETNS_EXEC.match(base):
        namespace, base = executed["ns"], executed["rest"]
    if base in NAMES:
        tree.is_sosreport = tree.is_sosreport or bool(found["sos"] or found["report"])
        tree.files.setdefault(namespace, {}).setdefault(base, file)


def _interesting(member: str) -> bool:
    base = PurePosixPath(member).name
    return base in NAMES or base.startswith("ip_netns_exec_")


def _directory_members(root: Path) -> list[tuple[str, bytes]]:
    top = root.resolve()
    found: list[tuple[str, bytes]] = []
    for folder, folders, names in os.walk(top):
        inner = Path(folder).relative_to(top).parts
        deep = len(inner) >= DEPTH_LIMIT and "sos_commands" not in inner
        folders[:] = [] if deep else sorted(folders)
        for name in sorted(names):
            full = Path(folder, name)
            if _interesting(name) and full.is_file() and full.resolve().is_relative_to(top):
                member = full.relative_to(top).as_posix()
                found.append((member, _read_file(full, f"{root}/{member}")))
    return found


def _read_file(path: Path, shown: str) -> bytes:
    try:
        if path.stat().st_size > SIZE_LIMIT:
            raise _too_large(shown)
        return path.read_bytes()
    except OSError as error:
        message = f"cannot be read ({error.strerror}); a readable file is needed"
        raise SnapshotError(message, file=shown) from error


def _too_large(shown: str) -> SnapshotError:
    megabytes = SIZE_LIMIT // 2**20
    return SnapshotError(f"is larger than {megabytes} MiB; a snapshot's file is needed", file=shown)


def _archive_members(path: str) -> list[tuple[str, bytes]]:
    try:
        with tarfile.open(path, "r:*") as archive:
            return [
                (_clean(member.name), _member_data(archive, member, path))
                for member in archive
                if member.isreg() and _interesting(member.name)
            ]
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        message = f"cannot be read as an archive ({error}); .tar, .tar.gz or .tar.xz is needed"
        raise SnapshotError(message, file=path) from error


def _member_data(archive: tarfile.TarFile, member: tarfile.TarInfo, path: str) -> bytes:
    if member.size > SIZE_LIMIT:
        raise _too_large(f"{path}/{member.name}")
    stream = archive.extractfile(member) or io.BytesIO()
    return stream.read()


def _clean(member: str) -> str:
    """Return an archive member's name without roots and parents."""
    return "/".join(part for part in PurePosixPath(member).parts if part not in ("/", "..", "."))
