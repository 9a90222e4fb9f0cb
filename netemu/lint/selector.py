"""Selectors: a code such as `NE101`, the beginning of one, or ALL.

Kernel: none.
"""

from __future__ import annotations

from collections.abc import Iterable

ALL = "ALL"


def fits(code: str, selector: str) -> int:
    """Return how precisely a selector means a code, 0 if it does not.

    >>> fits("NE101", "NE1"), fits("NE101", "ALL"), fits("NE101", "NE2")
    (3, 1, 0)
    """
    if selector == ALL:
        return 1
    return len(selector) if selector.startswith("NE") and code.startswith(selector) else 0


def means_any(selector: str, codes: Iterable[str]) -> bool:
    """Return whether a selector means one of these codes."""
    return any(fits(code, selector) for code in codes)
