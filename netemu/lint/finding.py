"""What a lint rule says: a place, a sentence, and where there is one a packet that shows it.

Kernel: none.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class Level(IntEnum):
    """How bad a finding is."""

    STYLE = 0
    """The rules do what they should; they could say it better."""
    INFO = 1
    """Worth knowing, often meant."""
    WARNING = 2
    """Most likely not what was meant."""
    ERROR = 3
    """It does not load, or does not work."""

    @property
    def word(self) -> str:
        """As it is written: `warning`."""
        return self.name.lower()


class Span(Struct, frozen=True, kw_only=True):
    """A piece of a file; lines and columns count from 1, the end is exclusive."""

    line: int
    column: int = 1
    end_line: int
    end_column: int


class Related(Struct, frozen=True, kw_only=True):
    """Another place that a finding is about."""

    file: str
    span: Span
    message: str = ""
    """What it has to do with it."""


class Edit(Struct, frozen=True, kw_only=True):
    """What takes the place of a piece of the file."""

    span: Span
    text: str


class Fix(Struct, frozen=True, kw_only=True):
    """A change that settles a finding."""

    message: str
    """What it does: `delete line 38`."""
    edits: tuple[Edit, ...]
    safe: bool
    """The change keeps what the rules do; it is proved before it is written."""


class Step(Struct, frozen=True, kw_only=True):
    """One rule that a witness meets."""

    message: str
    line: int | None
    """None for a policy, or where no line is known."""


class Witness(Struct, frozen=True, kw_only=True):
    """A packet that shows a finding, confirmed by the engine where that walks such packets."""

    packet: str
    """As `netemu trace` takes it."""
    device: str = ""
    """Where it enters; empty for one that the node sends itself."""
    local: bool = False
    setup: tuple[str, ...] = ()
    """Packets that come before it."""
    command: str = ""
    """Shows the packet's way; empty where the engine does not walk it."""
    outcome: str = ""
    """What becomes of it: `DROP at line 37`."""
    replayed: bool = True
    """The engine was asked; False: the analysis alone says so (IPv6)."""
    steps: tuple[Step, ...] = ()


class Finding(Struct, frozen=True, kw_only=True):
    """One finding; a check leaves `code`, `level` and `file` to the engine."""

    message: str
    span: Span | None = None
    """None for a finding about no line."""
    table: str | None = None
    chain: str | None = None
    rule: int | None = None
    """The rule's number in its chain."""
    witness: Witness | None = None
    related: tuple[Related, ...] = ()
    fix: Fix | None = None
    code: str = ""
    level: Level = Level.WARNING
    file: str = ""
