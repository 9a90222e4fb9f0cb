"""The house stands as ARCHITECTURE draws it: imports point down, the core is pure, words are kept."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "netemu"

FLOORS: list[tuple[int, str]] = [
    (0, "errors"),
    (0, "clock"),
    (0, "entropy"),
    (0, "hashing"),
    (0, "sysctl"),
    (0, "sim.spec"),  # plain values, usable from everywhere above
    (1, "wire"),
    (1, "snapshot.implied"),  # changes of such values, likewise
    (1, "snapshot.change"),
    (1, "snapshot.no_entries"),
    (2, "skb"),
    (2, "netfilter.hook"),
    (2, "events"),
    (2, "net"),
    (3, "link"),
    (4, "ip"),
    (5, "netfilter.conntrack"),
    (5, "netfilter.nat"),
    (5, "netfilter.helpers"),
    (6, "netfilter.ipset"),
    (6, "netfilter.ipvs"),
    (7, "netfilter.xtables"),
    (8, "netfilter.extensions"),
    (9, "ruleset"),
    (10, "analysis"),
    (10, "sim"),
    (10, "sim.wiring"),
    (10, "sim.devices"),
    (10, "sim.node"),
    (11, "kube"),
    (11, "sim.matching"),
    (11, "sim.replay"),
    (11, "sim.state"),
    (11, "sim.probe"),
    (11, "sim.fate_class"),
    (11, "sim.lab_spec"),
    (11, "sim.clients"),
    (11, "sim.lab"),
    (11, "lint"),
    (12, "trace"),
    (12, "interop"),
    (12, "snapshot"),
    (12, "questions"),
    (12, "livekernel"),
    (13, "api"),
    (13, "lab"),
    (13, ""),  # netemu/__init__.py, the public API
    (13, "testing"),
    (13, "pytest_plugin"),
    (13, "cli"),
    (13, "__main__"),
]
"""Every module belongs to the longest prefix; it imports from its own row and from rows above it
in this list."""

EMPTY_PACKAGES = {"netemu.netfilter"}
"""Packages that hold several floors: their __init__ imports nothing of netemu."""

CORE = range(12)

BANNED_IN_CORE = {
    "asyncio", "glob", "http", "io", "logging", "multiprocessing", "os", "pathlib", "random",
    "rich", "scapy", "secrets", "shutil", "signal", "socket", "subprocess", "sys", "tempfile",
    "threading", "time", "urllib", "click", "yaml",
}  # fmt: skip
ONLY_IN = {
    "lark": ("netemu.netfilter.xtables.kinds", "netemu.ruleset"),
    "bitarray": ("netemu.netfilter.ipset", "netemu.netfilter.nat", "netemu.analysis"),
    "scapy": ("netemu.interop.scapy",),
    "jinja2": ("netemu.trace",),
}
BANNED_CALLS = {"open", "print", "input", "eval", "exec", "compile", "__import__"}
TRACE_MAY_IMPORT = {"netemu.errors", "netemu.events", "netemu.wire", "netemu.trace"}

NEVER_WORDS = {"pkt", "nic", "cam", "session", "algorithm", "utils", "context", "flow"}
"""The glossary's "never" column, as far as it is one word of a class or function name."""
ENGINE_WORDS = {"context", "flow"}
"""They are wrong for an skb and a tuple only; above the engine there are neither."""
KERNEL_NAMES = re.compile(
    r"flowi|udp_flow_src_port|manip_pkt|fib_lookup|ip_route_|pkt_to_tuple|pkt_type|update_flow"
    r"|_flow_key|FlowKeys|skb_flow_dissect"
)
"""Names that the kernel gave; they stay."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def row_of(module: str) -> int | None:
    """Position of a module in FLOORS, by its longest prefix."""
    inner = module.removeprefix("netemu").removeprefix(".")
    best, best_length = None, -1
    for row, (_, prefix) in enumerate(FLOORS):
        fits = inner == prefix or (prefix and inner.startswith(prefix + "."))
        if fits and len(prefix) > best_length:
            best, best_length = row, len(prefix)
    return best


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted module) of every import, wherever it stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            base = node.module or ""
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield node.lineno, full if full in MODULES else base


def own_imports(module: str) -> set[str]:
    return {
        target
        for _, target in imports(TREES[module])
        if target == "netemu" or target.startswith("netemu.")
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_module_stands_on_a_floor(module: str) -> None:
    assert row_of(module) is not None or module in EMPTY_PACKAGES


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    if module in EMPTY_PACKAGES:
        assert own_imports(module) == set()
        return
    row = row_of(module)
    assert row is not None
    upward = {
        target
        for target in own_imports(module)
        if target not in EMPTY_PACKAGES and (row_of(target) is None or row_of(target) > row)  # type: ignore[operator]
    }
    if module == "netemu":
        return
    assert upward == set()


def test_no_import_cycles() -> None:
    """A module never imports itself by way of others, its own package included."""
    graph = {module: own_imports(module) - {module, "netemu"} for module in MODULES}
    graph["netemu"] = set()
    done: set[str] = set()
    way: list[str] = []

    def visit(module: str) -> None:
        assert module not in way, " -> ".join([*way[way.index(module) :], module])
        if module in done:
            return
        way.append(module)
        for target in sorted(graph.get(module, ())):
            visit(target)
        way.pop()
        done.add(module)

    for module in sorted(graph):
        visit(module)


@pytest.mark.parametrize("module", MODULES)
def test_pure_core(module: str) -> None:
    """Floors 0-11 open nothing, print nothing, know no time and no chance of their own."""
    row = row_of(module)
    for line, target in imports(TREES[module]):
        top = target.partition(".")[0]
        homes = ONLY_IN.get(top)
        if homes is not None:
            assert module.startswith(homes), f"{module}:{line} imports {top}"
        if row is not None and FLOORS[row][0] in CORE:
            assert top not in BANNED_IN_CORE, f"{module}:{line} imports {top}"
    if row is None or FLOORS[row][0] not in CORE:
        return
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in BANNED_CALLS, f"{module}:{node.lineno} calls {node.func.id}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("netemu.trace")])
def test_trace_knows_events_and_never_the_engine(module: str) -> None:
    for target in own_imports(module):
        assert any(target == home or target.startswith(home + ".") for home in TRACE_MAY_IMPORT)


@pytest.mark.parametrize("module", MODULES)
def test_glossary(module: str) -> None:
    """One word for one thing: the words of the "never" column name no class and no function."""
    row = row_of(module)
    never = (
        NEVER_WORDS if row is not None and FLOORS[row][0] in CORE else NEVER_WORDS - ENGINE_WORDS
    )
    assert not set(module.split(".")) & never
    for node in ast.walk(TREES[module]):
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            words = set(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).lower().split("_"))
            bad = words & never
            assert not bad or KERNEL_NAMES.search(node.name), f"{module}:{node.lineno} {node.name}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module: str) -> None:
    assert ast.get_docstring(TREES[module])


@pytest.mark.parametrize("module", MODULES)
def test_no_file_outgrows_a_sitting(module: str) -> None:
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= 600, f"{module} has {lines} lines"
