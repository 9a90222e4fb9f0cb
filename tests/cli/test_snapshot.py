"""`netemu snapshot` as typed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from netemu.cli import snapshot as module
from netemu.cli.snapshot import command
from netemu.errors import UsageError
from netemu.snapshot.script import script
from netemu.snapshot.take import Taken

SCENE = str(Path(__file__).parent.parent / "snapshot" / "scene")


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments))


def test_script() -> None:
    done = invoke("--script")
    assert (done.exit_code, done.output) == (0, script())


def test_check_of_a_whole_node() -> None:
    done = invoke("--check", SCENE)
    assert done.exit_code == 0
    assert "7 devices" in done.output and "netns/sk_t_pod" in done.output
    assert done.output.endswith("Nothing lacks, nothing contradicts.\n")


def test_check_of_a_poor_node(tmp_path: Path) -> None:
    (tmp_path / "ip_-j_addr_show").write_text(json.dumps([{"ifname": "lo", "ifindex": 1}]))
    done = invoke("--check", str(tmp_path))
    assert done.exit_code == 1
    assert "Lacks:\n  - no ip_-j_-d_link_show: " in done.output


def test_check_of_a_broken_node(tmp_path: Path) -> None:
    (tmp_path / "ip_-j_addr_show").write_text("[{]")
    done = invoke("--check", str(tmp_path))
    assert done.exit_code == 3
    assert f"Cannot be read:\n  - {tmp_path}/ip_-j_addr_show:1:3: " in done.output


def test_check_of_rules_alone(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("*filter\nCOMMIT\n")
    done = invoke("--check", str(tmp_path / "rules"))
    assert done.exit_code == 0
    assert "rules only: assumed are devices lo, eth0" in done.output


def test_take_and_redact(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[bool] = []

    def fake(*, all_netns: bool) -> Taken:
        seen.append(all_netns)
        return Taken(files={"ip_-j_addr_show": '[{"local":"8.8.8.8"}]'})

    monkeypatch.setattr(module, "take", fake)
    plain = invoke("-o", str(tmp_path / "plain"))
    redacted = invoke("--all-netns", "--redact", "-o", str(tmp_path / "redacted"))
    assert seen == [False, True]
    assert f"{tmp_path}/plain: 1 files\n" == plain.output
    assert redacted.exit_code == 0
    assert "8.8.8.8" in (tmp_path / "plain/ip_-j_addr_show").read_text()
    assert "8.8.8.8" not in (tmp_path / "redacted/ip_-j_addr_show").read_text()


def test_redact_what_the_script_took(tmp_path: Path) -> None:
    (tmp_path / "in/netns/pod").mkdir(parents=True)
    (tmp_path / "in/netns/pod/iptables-save_-c").write_text("-A I -d 8.8.8.8/32 -j DROP\n")
    (tmp_path / "in/ip_-j_addr_show").write_text("[]")
    done = invoke("--redact", "--from", str(tmp_path / "in"), "-o", str(tmp_path / "out"))
    assert done.exit_code == 0
    text = (tmp_path / "out/netns/pod/iptables-save_-c").read_text()
    assert text.startswith("-A I -d ") and "8.8.8.8" not in text


@pytest.mark.parametrize(
    "arguments",
    [["--script", "--check", "x"], ["--script", "--redact"], ["--check", "x", "--all-netns"]],
)
def test_what_excludes_each_other(arguments: list[str]) -> None:
    assert isinstance(invoke(*arguments).exception, UsageError)
