"""The formats as their readers want them."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

from netemu.lint.codes import RULES
from netemu.lint.engine import Looked, Report
from netemu.lint.finding import Edit, Finding, Fix, Related, Span, Step, Witness
from netemu.lint.formats import concise, full, github, gitlab, json_form, junit, sarif
from netemu.lint.settings import LintSettings
from netemu.lint.subject import Subject

TEXT = "*filter\n-A INPUT -j DROP\n-A INPUT -j ACCEPT\nCOMMIT\n"
SPAN = Span(line=3, end_line=3, end_column=19)


def finding(**more: object) -> Finding:
    return Finding(
        message="it says: 100% never, really",
        span=SPAN,
        table="filter",
        chain="INPUT",
        rule=2,
        code="NE012",
        file="/w/a b.rules",
        witness=Witness(
            packet="tcp 192.0.2.9:1024 > 192.0.2.1:22 S",
            device="eth0",
            command="netemu trace 'a b.rules' 'tcp ...'",
            outcome="DROP at line 2",
            steps=(Step(message="filter/INPUT rule 1: DROP", line=2),),
        ),
        related=(
            Related(
                file="/w/a b.rules",
                span=Span(line=2, end_line=2, end_column=17),
                message="takes all",
            ),
        ),
        fix=Fix(
            message="delete line 3",
            safe=True,
            edits=(Edit(span=Span(line=3, end_line=4, end_column=1), text=""),),
        ),
        **more,  # type: ignore[arg-type]
    )


def report(*findings: Finding) -> Report:
    looked = Looked(subject=Subject(TEXT, "/w/a b.rules"), findings=list(findings))
    return Report(looked=[looked], settings=LintSettings(), directory="/w", version="1")


def test_json_is_the_published_shape() -> None:
    assert json.loads(json_form.render(report(finding()))) == [
        {
            "code": "NE012",
            "name": "misplaced-extension",
            "level": "error",
            "file": "/w/a b.rules",
            "line": 3,
            "column": 1,
            "end_line": 3,
            "end_column": 19,
            "message": "it says: 100% never, really",
            "table": "filter",
            "chain": "INPUT",
            "rule": 2,
            "witness": {
                "packet": "tcp 192.0.2.9:1024 > 192.0.2.1:22 S",
                "in": "eth0",
                "local": False,
                "setup": [],
                "command": "netemu trace 'a b.rules' 'tcp ...'",
            },
            "related": [{"file": "/w/a b.rules", "line": 2, "column": 1}],
            "fix": {
                "safe": True,
                "edits": [
                    {"line": 3, "column": 1, "end_line": 4, "end_column": 1, "text": ""},
                ],
            },
        }
    ]


def test_json_without_a_line() -> None:
    bare = Finding(message="m", code="NE012", file="n")
    (told,) = json.loads(json_form.render(report(bare)))
    assert (told["line"], told["witness"], told["fix"], told["related"]) == (None, None, None, [])


def test_concise() -> None:
    assert concise.render(report(finding())) == (
        "/w/a b.rules:3:1: NE012 [*] it says: 100% never, really\n"
        "Found 1 (1 error) in 1 file, 2 rules. [*] 1 fixable with --fix.\n"
    )
    assert concise.render(report()) == "No findings in 1 file, 2 rules.\n"


def test_full_shows_both_places_and_the_packet() -> None:
    assert full.render(report(finding())) == (
        "NE012 [*] error: it says: 100% never, really  [misplaced-extension]\n"
        "  --> /w/a b.rules:3:1   filter/INPUT rule 2\n"
        "  |\n"
        "2 | -A INPUT -j DROP\n"
        "  | ---------------- takes all\n"
        "3 | -A INPUT -j ACCEPT\n"
        "  | ^^^^^^^^^^^^^^^^^^\n"
        "  |\n"
        "  = witness: tcp 192.0.2.9:1024 > 192.0.2.1:22 S in eth0 -> DROP at line 2\n"
        "  = try:     netemu trace 'a b.rules' 'tcp ...'\n"
        "  = fix:     delete line 3 (safe)\n"
        "\n"
        "Found 1 (1 error) in 1 file, 2 rules. [*] 1 fixable with --fix.\n"
    )


def test_github_escapes_as_its_toolkit_does() -> None:
    assert github.render(report(finding())) == (
        "::error title=netemu (NE012),file=a b.rules,line=3,col=1,endLine=3,endColumn=19::"
        "it says: 100%25 never, really\n"
    )


def test_gitlab() -> None:
    first, second = json.loads(gitlab.render(report(finding(), finding())))
    assert first["location"] == {"path": "a b.rules", "lines": {"begin": 3, "end": 3}}
    assert first["severity"] == "critical"
    assert first["fingerprint"] != second["fingerprint"]


def test_fingerprints_do_not_move_with_lines_or_counters() -> None:
    other = Report(
        looked=[
            Looked(
                subject=Subject("#\n" + TEXT.replace("-A", "[1:2] -A"), "/x/a b.rules"),
                findings=[
                    Finding(
                        message="",
                        code="NE012",
                        file="/x/a b.rules",
                        span=Span(line=4, end_line=4, end_column=2),
                    )
                ],
            )
        ],
        settings=LintSettings(),
    )
    (one,) = json.loads(gitlab.render(report(finding())))
    (two,) = json.loads(gitlab.render(other))
    assert one["fingerprint"] == two["fingerprint"]


def test_junit() -> None:
    root = ET.fromstring(junit.render(report(finding())))
    assert (root.get("tests"), root.get("failures")) == ("1", "1")
    assert root[0][0][0].get("message") == "it says: 100% never, really"
    empty = ET.fromstring(junit.render(report()))
    assert (empty.get("tests"), empty.get("failures")) == ("1", "0")


def test_sarif() -> None:
    log = json.loads(sarif.render(report(finding())))
    (run,) = log["runs"]
    (result,) = run["results"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [rule.code for rule in RULES]
    assert rules[result["ruleIndex"]]["id"] == result["ruleId"] == "NE012"
    assert run["columnKind"] == "unicodeCodePoints"
    place = result["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "a%20b.rules"
    assert place["region"] == {"startLine": 3, "startColumn": 1, "endLine": 3, "endColumn": 19}
    assert result["relatedLocations"][0]["physicalLocation"]["region"]["startLine"] == 2
    assert set(result["partialFingerprints"]) == {"primaryLocationLineHash"}
    (flow,) = result["codeFlows"][0]["threadFlows"]
    told = [step["location"]["message"]["text"] for step in flow["locations"]]
    assert told == [
        "tcp 192.0.2.9:1024 > 192.0.2.1:22 S enters by eth0",
        "filter/INPUT rule 1: DROP",
        "DROP at line 2",
    ]
    (change,) = result["fixes"][0]["artifactChanges"]
    assert change["replacements"][0]["deletedRegion"]["endLine"] == 4


def test_sarif_keeps_the_worst_five_thousand() -> None:
    mild = [Finding(message="m", code="NE901", file="f", span=SPAN)] * 5000
    log = json.loads(sarif.render(report(*mild, finding())))
    (run,) = log["runs"]
    assert len(run["results"]) == 5000
    assert run["results"][0]["ruleId"] == "NE012"
    (told,) = run["invocations"][0]["toolExecutionNotifications"]
    assert told["message"]["text"].startswith("1 more findings are left out")


def test_sarif_knows_every_page() -> None:
    (run,) = json.loads(sarif.render(report()))["runs"]
    assert all(rule["fullDescription"]["text"] for rule in run["tool"]["driver"]["rules"])
