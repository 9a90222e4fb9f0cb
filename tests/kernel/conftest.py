"""What a run says at its end about cases asked from the real tools."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases there were, and how many differ, by extension."""
    cases: Counter[str] = Counter()
    differ: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            counted = dict(getattr(report, "user_properties", ()))
            if "cases" in counted and getattr(report, "when", "") == "call":
                name = report.nodeid.partition("[")[2].rstrip("]")
                cases[name] += counted["cases"]
                differ[name] += counted["differ"]
    if not cases:
        return
    terminalreporter.write_sep("-", "cases asked from the real iptables tools")
    named = [f"{name} {count} of {cases[name]}" for name, count in differ.items() if count]
    terminalreporter.write_line(
        f"{cases.total()} cases of {len(cases)} (backend, family, extension), "
        f"{differ.total()} differ{': ' + ', '.join(named) if named else ''}"
    )
