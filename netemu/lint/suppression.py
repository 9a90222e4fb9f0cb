"""A comment in a rule file that says which findings of a line are meant to be there.

Kernel: none.
"""

from __future__ import annotations

from msgspec import Struct, field

from netemu.lint.finding import Span


class Suppression(Struct, kw_only=True):
    """One comment that suppresses findings of one line."""

    span: Span
    """Where it stands."""
    word: str
    """`ignore`, or whatever stands there instead."""
    codes: tuple[str, ...]
    reason: str
    target: int
    """The line whose findings are meant; 0 if there is none."""
    used: set[str] = field(default_factory=set)
    """Codes of which it suppressed a finding."""
