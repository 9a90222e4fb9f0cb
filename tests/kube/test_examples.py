"""Rules and packets of the example clusters are those of kube-proxy's own test-suite."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netemu.cli.kube_render import command as render_command
from netemu.cli.kube_trace import command as trace_command

EXAMPLES = Path(__file__).resolve().parents[3] / "shared" / "examples" / "kube-proxy"

pytestmark = pytest.mark.skipif(
    not EXAMPLES.is_dir(), reason="the example clusters beside the checkout are absent"
)


def rendered(case: Path, *options: str) -> str:
    result = CliRunner().invoke(render_command, [str(case), *options], standalone_mode=False)
    assert result.exception is None, result.exception
    return result.output


@pytest.mark.parametrize("case", sorted(EXAMPLES.glob("*.save")), ids=lambda path: path.stem)
def test_rules_are_kube_proxys(case):
    """Upstream's tests write the mark as 0x4000, kube-proxy as 0x004000."""
    text = rendered(case.with_suffix(".yaml"))
    assert text.replace("0x004000", "0x4000") == case.read_text(encoding="utf-8")


FLOWS = [
    pytest.param(path, row, id=f"{path.name.removesuffix('.flows.json')}-{row['name']}")
    for path in sorted(EXAMPLES.glob("*.flows.json"))
    for row in json.loads(path.read_text(encoding="utf-8"))["flows"]
]


@pytest.mark.parametrize("path, row", FLOWS)
def test_packets_fare_as_kube_proxys_tracer_says(path, row):
    case = path.with_name(path.name.replace(".flows.json", ".yaml"))
    target = f"{row['dest_ip']}:{row['dest_port']}/{row['protocol'].lower()}"
    arguments = [str(case), "--from", row["source_ip"], "--to", target, "--outcomes", "--json"]
    result = CliRunner().invoke(trace_command, arguments, standalone_mode=False)
    assert result.exception is None, result.exception
    found = json.loads(result.output)["outcomes"]
    assert row["dnat"] == sorted({item["dnat"] for item in found if item["dnat"]})
    verdicts = {item["verdict"] for item in found}
    if row["verdict"] in {"DNAT", "none", "ACCEPT"}:
        assert verdicts == {"ACCEPT"}
        assert {item["masquerade"] for item in found} == {row["masquerade"]}
    else:
        assert verdicts == {row["verdict"]}
