"""`netemu kube check`: every finding has a packet, and that packet fares as it says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from netemu.cli import cli
from tests.lint.kube_scene import NODE, SCENE, clean, planted, rendered

WEB_1, WEB_2 = "KUBE-SEP-AFGSLHOD2HFNCBX4", "KUBE-SEP-OAIGUPJHOE4YU7HS"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli, [*arguments], standalone_mode=False)


def check(path: Path, *more: str) -> tuple[list[dict[str, object]], Result]:
    options = ["--objects", str(SCENE), "--node", NODE, "--output-format", "json", *more]
    result = call("kube", "check", str(path), *options)
    assert result.exception is None, result.exception
    return json.loads(result.stdout), result


def node(folder: Path, mode: str = "iptables", text: str = "") -> Path:
    """Save a node: a rule file, or in IPVS mode a folder with sets and virtual servers."""
    text = text or clean(mode)
    if mode != "ipvs":
        path = folder / "node.rules"
        path.write_text(text, encoding="utf-8")
        return path
    state = rendered("ipvs").ipvs
    assert state is not None
    (folder / "iptables-save_-c").write_text(text, encoding="utf-8")
    (folder / "ipset_save").write_text(state.ipset_text(), encoding="utf-8")
    (folder / "ipvsadm_-Sn").write_text(state.ipvsadm_text(), encoding="utf-8")
    return folder


@pytest.mark.parametrize("mode", ["iptables", "ipvs", "userspace"])
def test_a_clean_node(tmp_path: Path, mode: str) -> None:
    found, result = check(node(tmp_path, mode), "--mode", mode)
    assert (found, result.return_value) == ([], 0)


def test_every_witness_fares_as_told(tmp_path: Path) -> None:
    """The command of each finding shows what the finding says."""
    text = planted(clean(), f"--probability 0.33333333349 -j {WEB_1}", "")
    text = planted(
        text,
        '"default/web-local:http" -m tcp -j DNAT --to-destination 10.244.1.5:8080',
        '"default/web-local:http" -m tcp -j DNAT --to-destination 10.244.1.7:8080',
    )
    text = planted(text, '-A OUTPUT -m comment --comment "kubernetes service portals"', "")
    found, result = check(node(tmp_path, text=text))
    assert result.return_value == 1
    assert [one["code"] for one in found] == ["NE334", "NE321", "NE325"]
    for one in found:
        witness = one["witness"]
        assert isinstance(witness, dict)
        words = shlex.split(str(witness["command"]))
        assert words[:2] == ["netemu", "trace"]
        more = [] if "--outcomes" in words else ["--outcomes"]
        fate = call(*words[1:], *more, "--format", "json")
        assert fate.exception is None, fate.exception
        endpoints = {item["dnat"] for item in json.loads(fate.stdout)["outcomes"]}
        match one["code"]:
            case "NE334":
                assert endpoints == {None}
            case "NE321":
                assert endpoints == {"10.244.2.5:8080", "10.244.2.6:8080"}
            case "NE325":
                assert "10.244.1.7:8080" in endpoints


def test_a_snapshot_in_ipvs_mode(tmp_path: Path) -> None:
    """A real server that is gone is found by enough connections, which come before it."""
    folder = node(tmp_path, "ipvs")
    servers = folder / "ipvsadm_-Sn"
    line = "-a -t 10.96.0.20:80 -r 10.244.1.5:8080 -m -w 1\n"
    text = servers.read_text(encoding="utf-8")
    servers.write_text(text.replace(line, line.replace("1.5", "1.7")), encoding="utf-8")
    found, result = check(folder, "--mode", "ipvs")
    assert sorted(str(one["code"]) for one in found) == ["NE320", "NE321"]
    assert {one["file"] for one in found} == {str(servers)}
    assert all(one["witness"] for one in found)
    assert "those of kube-ipvs0 are not compared" in result.stderr


def test_what_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    path = node(tmp_path)
    result = call("kube", "check", str(path), "--objects", str(SCENE))
    assert "say with --node which node this is" in str(result.exception)
    result = call("kube", "check", str(path))
    assert "--objects FILE is needed" in str(result.exception)


def test_a_node_is_known_by_its_address(tmp_path: Path) -> None:
    """Of several Nodes, a snapshot is the one whose InternalIP it has."""
    (tmp_path / "iptables-save_-c").write_text(clean(), encoding="utf-8")
    (tmp_path / "ip_-j_addr_show").write_text(
        json.dumps(
            [
                {
                    "ifindex": 2,
                    "ifname": "eth0",
                    "addr_info": [
                        {"family": "inet", "local": "192.168.0.11", "prefixlen": 24,
                         "scope": "global"}
                    ],
                }
            ]
        ),
        encoding="utf-8",
    )  # fmt: skip
    result = call("kube", "check", str(tmp_path), "--objects", str(SCENE))
    assert result.exception is None, result.exception
    assert result.return_value == 0


def test_the_scene_of_a_stale_node() -> None:
    """What its header says is found: an address of before, and a pod that cannot meet itself."""
    path = SCENE.with_name("stale-node.rules")
    objects = ["--objects", str(SCENE.with_name("deployment.yaml"))]
    result = call("kube", "check", str(path), *objects, "--node", NODE, "--output-format", "json")
    assert result.exception is None, result.exception
    found = [(one["code"], one["line"]) for one in json.loads(result.stdout)]
    lines = path.read_text(encoding="utf-8").splitlines()
    chain = next(n for n, line in enumerate(lines, 1) if line.startswith(":KUBE-SVC-CDGG"))
    itself = next(n for n, line in enumerate(lines, 1) if "--to-destination 10.244.1.5" in line)
    stale = next(n for n, line in enumerate(lines, 1) if "-> 10.244.2.7:8080" in line)
    assert found == [("NE321", chain), ("NE303", itself), ("NE320", stale)]
