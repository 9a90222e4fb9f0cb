"""Collect the "Differs from Linux" paragraphs of all docstrings into README.md's table.

python3 tools/differences.py           write the table
python3 tools/differences.py --check   exit 1 if it is stale
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import try_netemu  # noqa: E402 - found beside this file

README = ROOT / "README.md"
DIFFERENCES = ("<!-- differences: made by tools/readme.py -->", "<!-- end of differences -->")
EXPLAIN = ("<!-- explain: made by tools/readme.py -->", "<!-- end of explain -->")
EXPLAIN_RULE = (
    "<!-- explain a rule: made by tools/readme.py -->",
    "<!-- end of explain a rule -->",
)
REPLAY = ("<!-- replay: made by tools/readme.py -->", "<!-- end of replay -->")
SCENE = ("<!-- scene: made by tools/readme.py -->", "<!-- end of scene -->")

_PARAGRAPH = re.compile(r"Differs from Linux( only)?:?\s*(.*)", re.DOTALL)


def paragraphs(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, paragraph) of one module; the name is empty for the module's own."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            continue
        for paragraph in re.split(r"\n\s*\n", ast.get_docstring(node) or ""):
            found = _PARAGRAPH.match(paragraph)
            if found is not None:
                name = "" if isinstance(node, ast.Module) else node.name
                yield name, _sentence(found)


def _sentence(found: re.Match[str]) -> str:
    text = " ".join(found[2].split()).replace("|", "\\|")
    if found[1]:
        text = f"only {text}"
    return text[:1].upper() + text[1:]


def table() -> str:
    """Return the table in Markdown."""
    rows = ["| where | how netemu differs from Linux |", "|---|---|"]
    for path in sorted((ROOT / "netemu").rglob("*.py")):
        name = str(path.relative_to(ROOT / "netemu"))
        for part, text in paragraphs(path):
            where = f"`{name}` `{part}`" if part else f"`{name}`"
            rows.append(f"| {where} | {text} |")
    return "\n".join(rows)


def shown(*arguments: str) -> str:
    """Return a netemu command line and what it prints, as a block of Markdown."""
    line = " ".join(f"'{word}'" if " " in word else word for word in arguments)
    done = subprocess.run(
        [sys.executable, "-m", "netemu", *arguments],
        check=True,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return f"```\n$ netemu {line}\n{done.stdout}{done.stderr}```"


def updated(readme: str) -> str:
    """Return README's text with fresh parts."""
    parts = (
        (DIFFERENCES, table()),
        (SCENE, shown(*try_netemu.DEFAULT)),
        (EXPLAIN, shown("explain", "statistic")),
        (EXPLAIN_RULE, shown("explain", "rulesets/clusterip/iptables-legacy-save_-c:39")),
        (REPLAY, shown("replay", "rulesets/clusterip", "--in", "captures/clusterip.pcapng")),
    )
    for (begin, end), text in parts:
        before, _, rest = readme.partition(begin)
        _, _, after = rest.partition(end)
        readme = f"{before}{begin}\n{text}\n{end}{after}"
    return readme


def main() -> int:
    """Write or check the parts."""
    readme = README.read_text(encoding="utf-8")
    fresh = updated(readme)
    if "--check" in sys.argv[1:]:
        if fresh != readme:
            print("README.md is stale; run tools/readme.py")
            return 1
        return 0
    README.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
