"""Directories and archives as one tree; nothing outside of them is read."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from netemu.errors import SnapshotError
from netemu.snapshot.source import is_archive, open_tree

FILES = {"ip_-j_addr_show": b"[]", "netns/pod/ip_-j_addr_show": b"[1]", "unrelated": b"x"}


def pack(path: Path, mode: str, files: dict[str, bytes], prefix: str = "") -> str:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return str(path)


@pytest.mark.parametrize("mode, suffix", [("w", ".tar"), ("w:gz", ".tar.gz"), ("w:xz", ".tar.xz")])
@pytest.mark.parametrize("prefix", ["", "./", "node.snap/", "./node.snap/"])
def test_archives_of_every_kind(tmp_path: Path, mode: str, suffix: str, prefix: str) -> None:
    path = pack(tmp_path / f"node{suffix}", mode, FILES, prefix)
    tree = open_tree(path)
    assert {"", "pod"} == set(tree.files)
    assert tree.files["pod"]["ip_-j_addr_show"].data == b"[1]"
    with open(path, "rb") as file:
        assert is_archive(file.read(512))


def test_members_with_parents_or_roots_stay_names(tmp_path: Path) -> None:
    """A traversing name is only a name: nothing is unpacked."""
    path = pack(tmp_path / "evil.tar", "w", {"../../ip_-j_addr_show": b"[]"}, "/")
    assert list(open_tree(path).files) == [""]


def test_links_out_of_the_tree_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("[]")
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "ip_-j_addr_show").symlink_to(tmp_path / "secret")
    (tmp_path / "node" / "sysctl_-a").symlink_to("/nonexistent")
    assert open_tree(str(tmp_path / "node")).files == {}


def test_links_in_an_archive_are_not_followed(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("ip_-j_addr_show")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    assert open_tree(str(tmp_path / "a.tar")).files == {}


def test_a_sosreport_is_known_by_its_folder(tmp_path: Path) -> None:
    base = "sosreport-h/sos_commands/networking/"
    path = pack(
        tmp_path / "sos.tar.xz",
        "w:xz",
        {
            base + "ip_-o_addr": b"1",
            base + "namespaces/red/ip_route_show_table_all": b"2",
            base + "ip_netns_exec_blue_ip_route_show_table_all": b"3",
            base + "ip_netns_exec_blue_iptables-save": b"4",
            "sosreport-h/proc/net/nf_conntrack": b"5",
        },
    )
    tree = open_tree(path)
    assert tree.is_sosreport
    assert {"ip_-o_addr", "nf_conntrack"} == set(tree.files[""])
    assert tree.files["red"]["ip_route_show_table_all"].data == b"2"
    assert {"ip_route_show_table_all", "iptables-save"} == set(tree.files["blue"])


def test_several_nodes_are_refused(tmp_path: Path) -> None:
    path = pack(tmp_path / "two.tar", "w", {"a/ip_-j_addr_show": b"", "b/ip_-j_addr_show": b""})
    with pytest.raises(SnapshotError, match=r"holds several nodes \(a, b\); one node is needed"):
        open_tree(path)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
@pytest.mark.parametrize("mode", ["w:gz", "w:xz", "w"])
def test_damaged_archives_are_refused(tmp_path: Path, damage: str, mode: str) -> None:
    path = tmp_path / "node.tar"
    pack(path, mode, {"ip_-j_addr_show": bytes(range(256)) * 99})
    data = path.read_bytes()
    changed = {"cut": data[: len(data) // 3], "flipped": data[:40] + b"!!!" * 60, "empty": b""}
    path.write_bytes(changed[damage])
    with pytest.raises(SnapshotError, match="cannot be read as an archive"):
        open_tree(str(path))


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "sysctl_-a").write_bytes(b"net.x = caf\xe9")
    assert open_tree(str(tmp_path)).files[""]["sysctl_-a"].text() == "net.x = café"
