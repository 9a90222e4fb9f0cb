"""`netemu diff`: exit codes, the report, JSON."""

from __future__ import annotations

import json

RULES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A FORWARD -i eth0 -d 10.1.0.0/16 -j ACCEPT
COMMIT
"""


def test_equal_rules_exit_with_0(netemu, tmp_path):
    old, new = tmp_path / "old.rules", tmp_path / "new.rules"
    old.write_text(RULES)
    new.write_text(RULES.replace("-p tcp -m tcp --dport 22", "-p 6 -m tcp --dport 22:22"))
    done = netemu("diff", str(old), str(new))
    assert done.code == 0
    assert done.out.startswith(f"equal: {old} and {new} do the same with every packet")


def test_a_difference_exits_with_1_and_says_what(netemu, tmp_path):
    old, new = tmp_path / "old.rules", tmp_path / "new.rules"
    old.write_text(RULES)
    new.write_text(RULES.replace("--dport 22", "--dport 2222"))
    done = netemu("diff", str(old), str(new), "--bisect")
    assert done.code == 1
    assert "+ tcp any > any:2222 to the node\n    DROP (filter/INPUT:2)" in done.out
    assert "- tcp any > any:22 to the node\n" in done.out
    assert "    -4  -A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n" in done.out
    assert netemu("diff", str(old), str(new), "--quiet").out == ""


def test_json_is_one_object(netemu, tmp_path):
    old, new = tmp_path / "old.rules", tmp_path / "new.rules"
    old.write_text(RULES)
    new.write_text(RULES.replace("FORWARD DROP", "FORWARD ACCEPT"))
    found = json.loads(netemu("diff", str(old), str(new), "--json").out)
    assert (found["equal"], found["unknown"]) == (False, [])
    for difference in found["differences"]:
        assert difference["old"]["verdict"] == "DROP"
        assert difference["new"]["verdict"] == "ACCEPT"
        witness = difference["witness"]
        for path, side in ((old, "old"), (new, "new")):
            words = [*witness["options"], "--in", witness["in"]]
            done = netemu("trace", str(path), *words, witness["packet"], "--json")
            assert json.loads(done.out)["verdict"] == difference[side]["verdict"]


def test_what_cannot_be_read_exits_with_3(netemu, tmp_path):
    bad = tmp_path / "bad.rules"
    bad.write_text("*filter\n-A INPUT -j NOWHERE\nCOMMIT\n")
    assert netemu("diff", str(bad), str(bad)).code == 3
