"""Which Service an ingress controller sends a request to, by the Ingress reference's examples."""

from __future__ import annotations

import pytest

from netemu.kube.ingress import choose, controller_service
from netemu.sim.spec import TextFile
from netemu.snapshot.objects import read_cluster

RULE = "{{path: {path}, pathType: {kind}, backend: {{service: {{name: {name}, port: {{number: 80}}}}}}}}"


def cluster(*rules: str, more: str = ""):
    text = "kind: Ingress\nmetadata: {name: shop}\nspec:\n" + more
    if rules:
        text += "  rules:\n" + "".join(f"  - {rule}\n" for rule in rules)
    return read_cluster([TextFile(name="ingress.yaml", text=text)])


def rule(host: str, *paths: tuple[str, str, str]) -> str:
    items = ", ".join(RULE.format(path=path, kind=kind, name=name) for path, kind, name in paths)
    return f"{{host: '{host}', http: {{paths: [{items}]}}}}"


@pytest.mark.parametrize(
    "kind, path, request_path, fits",
    [
        ("Prefix", "/", "/any", True),
        ("Exact", "/foo", "/foo", True),
        ("Exact", "/foo", "/bar", False),
        ("Exact", "/foo", "/foo/", False),
        ("Exact", "/foo/", "/foo", False),
        ("Prefix", "/foo", "/foo/", True),
        ("Prefix", "/foo/", "/foo", True),
        ("Prefix", "/aaa/bb", "/aaa/bbb", False),
        ("Prefix", "/aaa/bbb", "/aaa/bbb/ccc", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbbxyz", False),
        ("ImplementationSpecific", "/foo", "/foo/bar", True),
    ],
)
def test_paths(kind: str, path: str, request_path: str, fits: bool):
    found = choose(cluster(rule("a.example", (path, kind, "x"))), "a.example", request_path)
    assert (found is not None) == fits


@pytest.mark.parametrize(
    "path, service", [("/cart", "exact"), ("/cart/1", "long"), ("/shop", "root")]
)
def test_exact_goes_before_the_longest_prefix(path: str, service: str):
    given = rule(
        "a.example",
        ("/", "Prefix", "root"),
        ("/cart", "Prefix", "long"),
        ("/cart", "Exact", "exact"),
    )
    found = choose(cluster(given), "a.example", path)
    assert found is not None
    assert found.service == f"default/{service}"


@pytest.mark.parametrize(
    "host, service",
    [("A.example", "own"), ("b.example", "wild"), ("x.b.example", "any"), ("other", "any")],
)
def test_hosts(host: str, service: str):
    """The very host, then a wildcard of one label, then a rule without host."""
    given = cluster(
        rule("", ("/", "Prefix", "any")),
        rule("*.example", ("/", "Prefix", "wild")),
        rule("a.example", ("/", "Prefix", "own")),
    )
    found = choose(given, host, "/")
    assert found is not None
    assert found.service == f"default/{service}"


def test_what_no_rule_takes_gets_the_default_backend_or_nothing():
    given = rule("a.example", ("/", "Prefix", "x"))
    assert choose(cluster(given), "b.example", "/") is None
    backend = "  defaultBackend: {service: {name: rest, port: {name: http}}}\n"
    found = choose(cluster(given, more=backend), "b.example", "/")
    assert found is not None
    assert (found.service, found.port, found.path) == ("default/rest", "http", "")


def test_the_controller_is_behind_the_address_of_the_ingress():
    text = (
        "kind: Ingress\nmetadata: {name: shop}\n"
        "status: {loadBalancer: {ingress: [{ip: 198.51.100.9}]}}\n---\n"
        "kind: Service\nmetadata: {name: lb}\nspec: {clusterIP: 10.96.0.9, ports: [{port: 80}]}\n"
        "status: {loadBalancer: {ingress: [{ip: 198.51.100.9}]}}\n"
    )
    given = read_cluster([TextFile(name="ingress.yaml", text=text)])
    choice = cluster().objects["Ingress", "shop"]
    assert controller_service(given, choice) is None
    found = controller_service(given, given.objects["Ingress", "shop"])
    assert found is not None
    assert (found[0].metadata.name, found[1]) == ("lb", "198.51.100.9")
