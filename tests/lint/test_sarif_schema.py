"""What `--output-format sarif` prints is valid against the schema of SARIF 2.1.0.

The schema is that of the OASIS standard (2.1.0, errata of rtm.5) without its descriptions.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner

from netemu.cli import cli
from tests.lint.exam import mutants

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "tests" / "oracle" / "sarif-2.1.0.schema.json").read_text())
RULES = ROOT / "rulesets"
SUBJECTS = (RULES / "faults.rules", RULES / "clusterip", RULES / "kube" / "stale-node.rules")


def sarif(path: Path) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["lint", str(path), "--output-format", "sarif"])
    assert done.exit_code in {0, 1}, done.output
    log: dict[str, Any] = json.loads(done.stdout)
    return log


@pytest.mark.parametrize("path", SUBJECTS, ids=lambda path: path.name)
def test_findings_of_the_scenes_are_valid(path: Path) -> None:
    jsonschema.validate(sarif(path), SCHEMA)


def test_findings_of_every_family_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "defect.rules"
    codes = set()
    for mutant in list(mutants(33, seed=3))[::4]:
        file.write_text("\n".join(mutant.planted.lines) + "\n")
        log = sarif(file)
        jsonschema.validate(log, SCHEMA)
        codes |= {result["ruleId"][:3] for result in log["runs"][0]["results"]}
    assert {"NE0", "NE1", "NE2", "NE3"} <= codes


def test_the_schema_refuses_what_is_wrong() -> None:
    log = sarif(SUBJECTS[0])
    log["runs"][0]["results"][0]["level"] = "dreadful"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(log, SCHEMA)
