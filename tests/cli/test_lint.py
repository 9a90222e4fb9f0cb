"""`netemu lint` from the command line."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import netemu
from netemu.cli import cli
from netemu.cli.run import run

BAD = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -o eth0 -j ACCEPT\nCOMMIT\n"
GOOD = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -j ACCEPT\nCOMMIT\n"
IDLE = GOOD.replace("-A", "# netemu: ignore=NE012 no more\n-A")


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.rules"
    path.write_text(BAD)
    return path


def lint(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(cli, ["lint", *arguments])
    return code, capsys.readouterr().out


def test_findings_are_exit_code_1(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = lint(capsys, "a.rules")
    assert code == 1
    assert out.startswith("a.rules:3:10: NE012 Can't use -o with INPUT\n")


def test_a_clean_file_is_exit_code_0(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules.write_text(GOOD)
    code, out = lint(capsys, "--select", "NE0,NE9", "a.rules")
    assert (code, out) == (0, "No findings in 1 file, 1 rule.\n")


def test_what_cannot_be_read_is_exit_code_3(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lint(capsys, "nosuch.rules")[0] == 3
    rules.write_bytes(b"\0\1\2")
    assert lint(capsys, "a.rules")[0] == 3
    assert lint(capsys)[0] == 2
    assert lint(capsys, "--select", "NE998", "a.rules")[0] == 2


def test_several_files_and_families(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("b.v6").write_text("*filter\n-A INPUT -s 2001:db8::/32 -m icmp -j DROP\nCOMMIT\n")
    _, out = lint(capsys, "a.rules", "b.v6", "--select", "NE0")
    assert [line.split()[:2] for line in out.splitlines()[:2]] == [
        ["a.rules:3:10:", "NE012"],
        ["b.v6:2:30:", "NE002"],
    ]


def test_fail_on(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rules.write_text(IDLE)
    assert lint(capsys, "a.rules", "--select", "NE0,NE9")[0] == 1
    assert lint(capsys, "a.rules", "--select", "NE0,NE9", "--fail-on", "error")[0] == 0


def test_fix_writes_what_is_proved_and_nothing_else(
    rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = IDLE.replace("-j ACCEPT", '-j ACCEPT -m comment --comment "\udcff"').encode(
        "utf-8", "surrogateescape"
    )
    rules.write_text(IDLE)
    code, out = lint(capsys, "a.rules", "--diff", "--select", "NE0,NE9")
    assert code == 1
    assert "-# netemu: ignore=NE012 no more" in out
    assert rules.read_text() == IDLE
    rules.write_bytes(odd)
    assert lint(capsys, "a.rules", "--fix", "--select", "NE0,NE9")[0] == 0
    assert rules.read_bytes() == odd.replace(b"# netemu: ignore=NE012 no more\n", b"")


def test_standard_input_is_fixed_onto_standard_output(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "netemu", "lint", "-", "--fix", "--select", "NE0,NE9"],
        input=IDLE,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout == GOOD
    assert "No findings" in done.stderr


def test_settings_from_the_nearest_file(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("pyproject.toml").write_text('[tool.netemu.lint]\nignore = ["NE012"]\nselect = ["NE0"]\n')
    assert lint(capsys, "a.rules")[0] == 0
    Path("netemu.toml").write_text('[lint]\nper-file-ignores = { "b.*" = ["NE012"] }\n')
    assert lint(capsys, "a.rules", "--select", "NE0")[0] == 1
    Path("netemu.toml").write_text('[lint]\nfail-on = "error"\nselect = ["NE9"]\n')
    assert lint(capsys, "a.rules")[0] == 0


@pytest.mark.parametrize(
    "text",
    ["[lint]\nselct = []\n", "[lint]\nselect = 'NE0'\n", "[lint]\nselect = ['NE998']\n", "[lint\n"],
)
def test_settings_that_mean_nothing(
    text: str, rules: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("netemu.toml").write_text(text)
    assert run(cli, ["lint", "a.rules"]) == 3
    assert "netemu.toml" in capsys.readouterr().err


def test_json(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = lint(capsys, "a.rules", "--output-format", "json")
    (found,) = [one for one in json.loads(out) if one["code"] < "NE1"]
    assert (found["file"], found["line"], found["column"]) == ("a.rules", 3, 10)


def test_rules_and_pages(capsys: pytest.CaptureFixture[str]) -> None:
    code, out = lint(capsys, "--rules")
    assert code == 0
    assert "NE012  error    misplaced-extension" in out
    assert run(cli, ["explain", "NE012"]) == 0
    assert "Use instead" in capsys.readouterr().out
    assert run(cli, ["explain", "NE998"]) == 2


def test_lint_needs_no_scapy(rules: Path) -> None:
    program = (
        "import sys; from netemu.cli import cli; from netemu.cli.run import run; "
        "run(cli, ['lint', 'a.rules']); "
        "assert not {'scapy', 'rich', 'yaml'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_library_says_the_same(rules: Path) -> None:
    (found,) = netemu.lint(rules, select=["NE0"])
    assert (found.code, found.level.word, found.span.line) == ("NE012", "error", 3)
    assert netemu.lint(rules, ignore=["NE0"]) == []
    with pytest.raises(netemu.InputError):
        netemu.lint("nosuch.rules")


def test_the_readme_s_router_has_the_faults_that_are_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = Path(__file__).parents[2] / "rulesets" / "faults.rules"
    code, out = lint(capsys, str(path), "--output-format", "json")
    assert code == 1
    found = [(one["code"], one["line"]) for one in json.loads(out)]
    assert found == [("NE702", 8), ("NE101", 9), ("NE201", 17)]


STATES = """*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -m conntrack --ctstate ESTABLISHED -j DROP
-A INPUT -p icmp -m conntrack --ctstate RELATED -j DROP
-A INPUT -i lo -j ACCEPT
-A FORWARD -i lan -o eth0 -m conntrack --ctstate NEW -j ACCEPT
-A FORWARD -i eth0 -o lan -m conntrack --ctstate ESTABLISHED -j ACCEPT
-A FORWARD -i eth0 -o lan -p udp -m conntrack --ctstate ESTABLISHED -j ACCEPT
COMMIT
"""


def test_the_command_of_a_witness_makes_its_connection_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each shadowed rule's packet meets the rule that shadows it, when its command is typed."""
    path = tmp_path / "states.rules"
    path.write_text(STATES)
    found = json.loads(lint(capsys, str(path), "--output-format", "json")[1])
    shadows = {one["line"]: one["related"][0]["line"] for one in found if one["code"] == "NE101"}
    assert shadows == {6: 5, 7: 5, 11: 10}
    for one in found:
        assert one["witness"]["setup"]
        run(cli, [*shlex.split(one["witness"]["command"])[1:], "--json"])
        events = json.loads(capsys.readouterr().out)["events"]
        matched = {event["line"] for event in events if event.get("matched")}
        assert one["line"] not in matched
        assert shadows[one["line"]] in matched


NE101 = ("--select", "NE101", "--output-format", "json")

SETS = """*filter
:INPUT DROP [0:0]
-A INPUT -m set --match-set admins src -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -j DROP
-A INPUT -p tcp -m set --match-set web src,dst -j ACCEPT
COMMIT
"""


def test_rules_that_name_sets_have_witnesses_with_empty_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sets.rules"
    path.write_text(SETS)
    found = json.loads(lint(capsys, str(path), *NE101)[1])
    assert [(one["code"], one["line"]) for one in found] == [("NE101", 5)]
    words = shlex.split(found[0]["witness"]["command"])
    assert words[-2:] == ["--ipset", "empty"]
    assert run(cli, [*words[1:], "--expect", "drop"]) == 0


def test_a_witness_is_sent_to_the_node_that_was_looked_at(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a snapshot it is the snapshot, of a rule file it is what the options make of it."""
    rules = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -j DROP\n-A INPUT -p 6 -j ACCEPT\nCOMMIT\n"
    snapshot = tmp_path / "node.snap"
    snapshot.mkdir()
    (snapshot / "iptables-save_-c").write_text(rules)
    (snapshot / "ip_-j_addr_show").write_text(
        json.dumps(
            [
                {
                    "ifindex": 2,
                    "ifname": "wan0",
                    "addr_info": [{"family": "inet", "local": "10.5.5.5", "prefixlen": 16}],
                }
            ]
        )
    )
    file = tmp_path / "a.rules"
    file.write_text(rules)
    address = ("--addr", "eth0=10.5.5.5/16")
    for node, options in ((snapshot, ()), (file, address)):
        found = json.loads(lint(capsys, str(node), *options, *NE101)[1])
        words = shlex.split(found[0]["witness"]["command"])
        assert words[2] == str(node)
        assert "10.5.5.5" in words[3]
        assert tuple(words[len(words) - len(options) :]) == options
        assert run(cli, [*words[1:], "--expect", "drop"]) == 0
        capsys.readouterr()
