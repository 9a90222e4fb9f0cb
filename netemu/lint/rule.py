"""What a lint rule is: one declaration, whose module's docstring is its page.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from typing import TypeAlias

from msgspec import Struct

from netemu.lint.finding import Finding, Level
from netemu.lint.subject import Subject

Check: TypeAlias = Callable[[Subject], Iterable[Finding]]


class Needs(Enum):
    """What a rule needs to say anything that is true."""

    TEXT = auto()
    """The file, whatever would not load."""
    RULESET = auto()
    """A file that loads."""
    NODE = auto()
    """A node snapshot; such a rule looks at a node once, whatever rule files it has."""
    OBJECTS = auto()
    """A node's rules and the Kubernetes objects that they come from."""
    PARTNER = auto()
    """The rule files of both families of one node; such a rule looks at either."""
    SUPPRESSIONS = auto()
    """What the comments in the file suppressed: such a rule runs after all others."""


class LintRule(Struct, frozen=True, kw_only=True):
    """One rule; its code is never given to another."""

    code: str
    """`NE101`."""
    name: str
    """What one would allow, in kebab case: `shadowed-rule`."""
    level: Level
    summary: str
    """What it finds, in one line."""
    check: Check
    needs: Needs = Needs.RULESET
    default: bool = True
    """Selected unless somebody says otherwise; the others must be named with their whole code."""
    asked_by: str = ""
    """The setting of `LintSettings` that selects it, too."""
    stylistic: bool = False
    """Silent inside chains that a program owns: nobody who reads the file can change them."""
