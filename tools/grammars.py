"""Writes what Lark compiles the terminals of the two grammars to, so that no run has to.

    .venv/bin/python tools/grammars.py            write the files
    .venv/bin/python tools/grammars.py --check    exit 1 if one is stale

Importing Lark and compiling `rule.lark` and `values.lark` takes 60 ms, a fifth of a cold start, and
always brings the same regular expressions.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lark import Lark

PACKAGE = Path(__file__).resolve().parents[1] / "netemu"

GRAMMARS = {
    PACKAGE / "ruleset/rule.lark": ("rule_line", "table_line", "chain_line"),
    PACKAGE / "netfilter/xtables/values.lark": ("start",),
}
"""Grammar -> its start rules."""


def target_of(grammar: Path) -> Path:
    """Return the module that a grammar is compiled to."""
    return grammar.with_name(f"{grammar.stem}_terminals.py")


def compiled(grammar: Path) -> str:
    """Return the text of that module."""
    text = grammar.read_text(encoding="utf-8")
    lark = Lark(text, parser=None, lexer="basic", start=list(GRAMMARS[grammar]))
    rows = [
        f"    {json.dumps(terminal.name)}: {json.dumps(terminal.pattern.to_regexp())},"
        for terminal in sorted(lark.terminals, key=lambda terminal: terminal.name)
    ]
    return "\n".join(
        [
            f'"""The terminals of `{grammar.name}` as Lark compiles them, by tools/grammars.py.',
            "",
            "Kernel: none.",
            '"""',
            "",
            "# fmt: off",
            "TERMINALS = {",
            *rows,
            "}",
            '"""Terminal -> regular expression."""',
            "",
        ]
    )


def main() -> int:
    """Write or compare."""
    stale = 0
    for grammar in GRAMMARS:
        target, text = target_of(grammar), compiled(grammar)
        if "--check" not in sys.argv[1:]:
            target.write_text(text, encoding="utf-8")
        elif not target.exists() or target.read_text(encoding="utf-8") != text:
            print(f"{target.name} is stale; run tools/grammars.py")
            stale = 1
    return stale


if __name__ == "__main__":
    sys.exit(main())
