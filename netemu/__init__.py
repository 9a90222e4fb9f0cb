"""netemu: what a Linux kernel does with a frame, step by step.

The public API is this one screen. Names are loaded on first use (PEP 562), so that
`import netemu` costs next to nothing and a command pays only for what it needs.

Values are `msgspec.Struct`: a frozen dataclass compiles six methods whenever its module is imported
(0.4 ms a class, a third of a cold start) and sets each field through `object.__setattr__`; a Struct
is made in C, thirty times as fast, and so is each value. The price: no options of single fields,
and classes that need such remain dataclasses.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from netemu.api import Fate, Frame, Node, Ruleset, diff, lint, replay
    from netemu.errors import InputError, InternalError, NetemuError, UsageError
    from netemu.lab import Lab

__version__ = "0.1.0"

_HOME = {
    "Fate": "netemu.api",
    "Frame": "netemu.api",
    "InputError": "netemu.errors",
    "InternalError": "netemu.errors",
    "Lab": "netemu.lab",
    "NetemuError": "netemu.errors",
    "Node": "netemu.api",
    "Ruleset": "netemu.api",
    "UsageError": "netemu.errors",
    "diff": "netemu.api",
    "lint": "netemu.api",
    "replay": "netemu.api",
}
"""Public name -> module that defines it."""

__all__ = [
    "Fate",
    "Frame",
    "InputError",
    "InternalError",
    "Lab",
    "NetemuError",
    "Node",
    "Ruleset",
    "UsageError",
    "__version__",
    "diff",
    "lint",
    "replay",
]


def __getattr__(name: str) -> object:
    """Load a public name on first use."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'netemu' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(__all__)


class _Package(ModuleType):
    """Lets the function `netemu.lint` go before the package of the same name."""

    @property
    def lint(self) -> Callable[..., object]:
        """Look for faults in a rule file or node."""
        function: Callable[..., object] = importlib.import_module("netemu.api").lint
        return function

    @lint.setter
    def lint(self, package: object) -> None:
        """Take the package once it is imported; it is found in sys.modules."""


sys.modules[__name__].__class__ = _Package
