"""Scenarios with an ingress controller: requests go by host and path."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netemu.cli.kube_run import command

KUBE = Path(__file__).resolve().parents[2] / "rulesets" / "kube"


def told(path: Path, *options: str) -> list[tuple[str, str]]:
    """Return what each client was told, in order."""
    result = CliRunner().invoke(command, [str(path), "--json", *options], standalone_mode=False)
    assert result.exception is None, result.exception
    found = json.loads(result.stdout)
    return [
        (line["who"].partition(" #")[0], line["text"]) for line in found["lines"] if line["who"]
    ]


@pytest.mark.parametrize("mode", ["iptables", "userspace"])
def test_the_controller_sends_each_request_to_its_service(mode: str):
    """The exact path, the longest prefix, a rule added later; 502 when no pod is left."""
    found = told(KUBE / "ingress.scenario.yaml", "--mode", mode)
    *before, last = found
    by_url: dict[str, set[str]] = {}
    for who, text in before:
        answer, _, seen = text.partition(", which sees ")
        # the controller's pod, or where it asks through the userspace proxy, the proxy's node
        assert seen in ({"10.244.2.9"} if mode == "iptables" else {"192.168.0.12", "10.244.2.1"})
        by_url.setdefault(who.partition("-> ")[2], set()).add(answer)
    carts = {"answer of default/cart-1", "answer of default/cart-2"}
    assert by_url["http://shop.example/"] == {"answer of default/front-1"}
    assert by_url["http://shop.example/cart/health"] == {"answer of default/front-1"}
    assert by_url["http://shop.example/cart"] <= carts
    assert by_url["http://admin.example/"] <= carts
    assert last == ("203.0.113.9 -> http://shop.example/", "answer of the proxy: 502 Bad Gateway")


def scenario(tmp_path: Path, url: str, objects: str) -> Path:
    path = tmp_path / "x.scenario.yaml"
    traffic = f"- at: 1s\n  traffic: {{pod: node-a, to: '{url}'}}\n"
    path.write_text(f"objects: ['{objects}']\ntimeline:\n{traffic}")
    return path


def test_a_host_that_no_rule_has_is_not_found(tmp_path):
    objects = tmp_path / "objects.yaml"
    text = (KUBE / "ingress.yaml").read_text(encoding="utf-8")
    objects.write_text(text.replace("defaultBackend:", "formerBackend:"))
    ((_, said),) = told(scenario(tmp_path, "http://other.example/", str(objects)))
    assert said == "answer of the proxy: 404 Not Found"


def test_without_a_controller_nobody_can_be_asked(tmp_path):
    path = scenario(tmp_path, "http://shop.example/", str(KUBE / "cluster.yaml"))
    ((_, said),) = told(path)
    assert "no Service has the address of an Ingress" in said
