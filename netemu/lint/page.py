"""A lint rule's page, from its module's docstring: what `netemu explain NE011` prints.

Kernel: none.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import ModuleType

from netemu.lint.codes import BY_CODE, MODULES
from netemu.lint.rule import LintRule

SECTIONS = ("What it does", "Why it matters", "Example", "Use instead", "References")
"""What every page has, in this order."""


def find_rule(name: str) -> LintRule | None:
    """Return the rule of a code or name."""
    found = BY_CODE.get(name.upper())
    return found or next((rule for rule in BY_CODE.values() if rule.name == name), None)


def module_of(rule: LintRule) -> ModuleType:
    """Return the module that declares a rule."""
    return next(module for module in MODULES if module.RULE is rule)


def sections_of(rule: LintRule) -> Mapping[str, str]:
    """Return the page's sections; indented blocks keep their lines."""
    text = inspect.cleandoc(module_of(rule).__doc__ or "")
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.split("\n"):
        head, colon, rest = line.partition(":")
        if colon and head in SECTIONS:
            current = found.setdefault(head, [])
            line = rest.strip()
        current.append(line)
    return {name: "\n".join(lines).strip("\n") for name, lines in found.items()}


def example_of(rule: LintRule, section: str = "Example") -> str:
    """Return the rule file of a section, without its indentation; empty if it shows none."""
    lines = sections_of(rule).get(section, "").split("\n")
    block = [line for line in lines if line.startswith("    ") or not line]
    return "\n".join(line[4:] for line in block).strip("\n") + "\n" if any(block) else ""


def page_lines(rule: LintRule) -> Iterator[str]:
    """Yield the page."""
    yield f"{rule.code}  {rule.name}   {rule.level.word}"
    yield f"  {rule.summary}."
    if not rule.default:
        yield f"  Only when selected: --extend-select {rule.code}."
    for name, text in sections_of(rule).items():
        yield ""
        lines = [line for line in text.split("\n") if line]
        prose = " ".join(line for line in lines if not line.startswith("    "))
        yield f"  {name}: {prose}".rstrip()
        yield from (line for line in lines if line.startswith("    "))
    yield ""
    yield f"  Suppress: a line `# netemu: ignore={rule.code} REASON` above the rule."
