"""What the collector keeps, with commands of our own making; the live part is in tests/kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.errors import SnapshotError
from netemu.snapshot import take as module
from netemu.snapshot.items import ITEM
from netemu.snapshot.take import EXPIRED, MANIFEST, NOT_FOUND, Outcome, Taken, run, save, take


def test_run() -> None:
    assert run(["echo", "a"], timeout_s=9) == (0, "a\n", "")
    assert run(["no-such-tool"], timeout_s=9) == (NOT_FOUND, "", "no-such-tool: not found")
    assert run(["sleep", "9"], timeout_s=0.01) == (EXPIRED, "", "no answer within 0 s")


def test_output_of_failed_commands_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(command: list[str], *, timeout_s: float) -> tuple[int, str, str]:
        return {"ip": (0, "[]", ""), "sysctl": (255, "a = 1\n", "denied\tx\nmore")}.get(
            command[0], (1, "half of it", "failed")
        )

    monkeypatch.setattr(module, "run", fake)
    monkeypatch.setattr(module, "_program", lambda name: name)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("shutil.which", lambda name: name)
    taken = take(all_netns=False)
    assert {
        item.name
        for item in ITEM.values()
        if item.collect and item.command.startswith(("ip -", "sysctl"))
    } == set(taken.files)
    assert "\t255\tsysctl -a\tdenied x\n" in taken.manifest()


@pytest.mark.parametrize(
    "attribute, value, message",
    [
        ("sys.platform", "darwin", "a snapshot is taken on Linux; --script prints"),
        ("os.geteuid", lambda: 1000, "a snapshot is taken by root"),
        ("shutil.which", lambda name: None, r"ip\(8\) is not installed"),
    ],
)
def test_where_it_cannot_be_taken(
    monkeypatch: pytest.MonkeyPatch, attribute: str, value: object, message: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(attribute, value)
    with pytest.raises(SnapshotError, match=message):
        take(all_netns=False)


def test_save(tmp_path: Path) -> None:
    outcome = Outcome(place="pod", command="ip -j addr show", code=0, error="")
    taken = Taken(files={"netns/pod/ip_-j_addr_show": "[]"}, outcomes=[outcome])
    save(taken, tmp_path / "new")
    assert (tmp_path / "new/netns/pod/ip_-j_addr_show").read_text() == "[]"
    assert (tmp_path / "new" / MANIFEST).read_text() == "pod\t0\tip -j addr show\t\n"
    with pytest.raises(SnapshotError, match="exists already"):
        save(taken, tmp_path / "new")
    (tmp_path / "file").write_text("")
    with pytest.raises(SnapshotError, match="exists already"):
        save(taken, tmp_path / "file")
