"""Refresh README.md: what commands print, and the table of differences from Linux.

    python3 tools/readme.py           write what is stale
    python3 tools/readme.py --check   exit 1 if anything is

A comment `<!-- $ netemu ARGUMENTS -->` is followed by what that command prints, up to
`<!-- end -->`. The table is made of the "Differs from Linux" paragraphs of all docstrings.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DIFFERENCES = ("<!-- differences: made by tools/readme.py -->", "<!-- end of differences -->")
LABS = ("<!-- labs: made by tools/readme.py -->", "<!-- end of labs -->")

_COMMAND = re.compile(r"(<!-- \$ netemu (.*?) -->\n).*?(<!-- end -->)", re.DOTALL)

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


def shown(line: str) -> str:
    """Return a netemu command line and what it prints, as a block of Markdown."""
    done = subprocess.run(
        [sys.executable, "-m", "netemu", *shlex.split(line)],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    return f"```\n$ netemu {line}\n{done.stdout}{done.stderr}```"


def labs() -> str:
    """Return a table of the ready labs and what their clients saw, in Markdown."""
    rows = ["| `netemu run rulesets/...` | shows | what its clients saw last |", "|---|---|---|"]
    for path in sorted((ROOT / "rulesets").glob("*.lab.yaml")):
        done = subprocess.run(
            [sys.executable, "-m", "netemu", "run", str(path), "--json"],
            check=True,
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        about = re.search(r'^about: "?(.*?)"?$', path.read_text(encoding="utf-8"), re.MULTILINE)
        clients = json.loads(done.stdout)["clients"]
        seen = "; ".join(f"{client['name']}: {client['saw'][-1]['text']}" for client in clients)
        rows.append(f"| `{path.name}` | {about[1] if about else ''} | {seen} |")
    return "\n".join(rows)


def updated(readme: str) -> str:
    """Return README's text with fresh parts."""
    fresh = readme
    for (begin, end), text in ((DIFFERENCES, table()), (LABS, labs())):
        before, _, rest = fresh.partition(begin)
        _, _, after = rest.partition(end)
        fresh = f"{before}{begin}\n{text}\n{end}{after}"
    return _COMMAND.sub(lambda found: f"{found[1]}{shown(found[2])}\n{found[3]}", fresh)


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
