"""Every command's help is what its author meant to say."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from netemu.cli import cli


def commands(group: click.Group, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    bare = click.Context(group)
    for name in group.list_commands(bare):
        yield (*words, name)
        command = group.get_command(bare, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


@pytest.mark.parametrize("words", list(commands(cli)), ids=" ".join)
def test_help_shows_no_marks_of_its_source(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [*words, "--help"])
    assert (done.exit_code, "\\b" in done.output, "``" in done.output) == (0, False, False)
