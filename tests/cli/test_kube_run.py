"""Scenarios: what the control plane does over time, and what clients get meanwhile."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netemu.cli.kube_run import command
from netemu.cli.schema import command as schema
from netemu.errors import SnapshotError

KUBE = Path(__file__).resolve().parents[2] / "rulesets" / "kube"


def run(name: str, *options: str) -> dict[str, list[dict[str, object]]]:
    path = str(KUBE / f"{name}.scenario.yaml")
    result = CliRunner().invoke(command, [path, "--json", *options], standalone_mode=False)
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def answers(found, after_s: float = 0, before_s: float = 1e9, who: str = "web:http") -> list[str]:
    """Return what clients of one target were told in a span of time."""
    return [
        line["text"].partition(", which sees ")[0]
        for line in found["lines"]
        if who in line["who"] and after_s <= line["time_ns"] / 1e9 < before_s
    ]


def test_a_deleted_pod_comes_back_under_another_name():
    found = run("pod-crash")
    assert all(client["ok"] for client in found["clients"])
    texts = [line["text"] for line in found["lines"]]
    assert "pod default/web-1 is gone" in texts
    assert any(text.startswith("pod default/web-") and "10.244.1.2" in text for text in texts)
    assert "answer of default/web-1" not in answers(found, after_s=4.3)
    assert "answer of default/web-2" not in answers(found, after_s=7.3, before_s=8.2)


def test_a_probe_fails_three_times_before_a_pod_is_unready():
    found = run("failed-readiness")
    assert all(client["ok"] for client in found["clients"])
    unready = [line for line in found["lines"] if line["text"].endswith("web-1 is not ready")]
    assert [line["time_ns"] / 1e9 for line in unready] == [7.0]
    assert "answer of default/web-1" not in answers(found, after_s=7.1, before_s=10)


def test_a_dead_endpoint_fails_requests_in_iptables_mode():
    found = run("dead-endpoint")
    assert any(not client["ok"] for client in found["clients"])
    assert "answer of default/web-1" not in answers(found)


def test_the_userspace_proxy_dials_the_next_endpoint_after_250_ms():
    found = run("dead-endpoint", "--mode", "userspace")
    assert all(client["ok"] for client in found["clients"])
    late = [
        line["time_ns"]
        for line in found["lines"]
        if "answer of" in line["text"] and line["time_ns"] % 500_000_000
    ]
    assert late
    assert {time_ns % 500_000_000 // 1_000_000 for time_ns in late} == {250}


def test_a_rolling_update_loses_no_request():
    found = run("rolling-update")
    assert all(client["ok"] for client in found["clients"])
    ready = [
        line["text"] for line in found["lines"] if line["text"].startswith("endpoints default/shop")
    ]
    assert min(len(text.split(": ")[1].split()) for text in ready[4:]) >= 3


def test_rules_go_on_without_kube_proxy():
    found = run("proxy-down")
    assert all("answer of" in text for text in answers(found, before_s=7.5))
    assert any("no connection" in text for text in answers(found, after_s=8.5, before_s=13.5))
    assert all("answer of" in text for text in answers(found, after_s=13.6))


def test_fixed_addresses_go_blind():
    found = run("fixed-upstream")
    assert all("answer of" in text for text in answers(found))
    assert (
        answers(found, after_s=6, who="10.244.1.5:8080")
        == ["no connection within 0.9 s, gives up"] * 3
    )


def test_a_name_becomes_an_address_that_answers_no_ping():
    found = run("name-to-pod")
    assert [client["ok"] for client in found["clients"]] == [True, True, False]
    assert "web.default.svc.cluster.local is 10.96.0.20" in str(found["clients"][0]["saw"])


def test_the_same_seed_gives_the_same_run():
    assert run("pod-crash", "--seed", "3") == run("pod-crash", "--seed", "3")


@pytest.mark.parametrize(
    "text, message",
    [
        ("objects: [nothing.yaml]", ":1:11: "),
        ("objects: []\ntimeline: [{at: 1s}]", ":2:12: one thing happens at a moment"),
        ("objects: []\ntimeline: [{at: soon, crash: a}]", ":2:17: "),
        ("objects: []\nmode: nftables", ":2:7: invalid enum value 'nftables'"),
    ],
)
def test_faults_have_a_place(tmp_path, text: str, message: str):
    path = tmp_path / "x.scenario.yaml"
    path.write_text(text)
    result = CliRunner().invoke(command, [str(path)], standalone_mode=False)
    assert isinstance(result.exception, SnapshotError)
    assert message in str(result.exception)


def test_the_schema_of_a_scenario_is_published():
    result = CliRunner().invoke(schema, ["scenario"], standalone_mode=False)
    found = json.loads(result.stdout)
    moment = found["$defs"]["MomentShape"]["properties"]
    assert {"at", "traffic", "rules", "show", "apply"} <= moment.keys()
