"""Shared options: times and colours."""

from __future__ import annotations

import click
import pytest

from netemu.cli.common import parse_time, wants_colour


@pytest.mark.parametrize(
    "text,expected",
    [
        ("0", 0),
        ("1700000000", 1_700_000_000_000_000_000),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("2023-11-14T22:13:20", 1_700_000_000_000_000_000),
        ("2023-11-14T23:13:20+01:00", 1_700_000_000_000_000_000),
    ],
)
def test_times(text, expected):
    assert parse_time(text) == expected


@pytest.mark.parametrize("text", ["noon", "-5", "1.2.3", ""])
def test_what_is_no_time(text):
    with pytest.raises(click.BadParameter):
        parse_time(text)


def test_an_option_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    assert (wants_colour("always"), wants_colour("auto"), wants_colour("never")) == (
        True,
        False,
        False,
    )
