"""The settings of `netemu lint` as a project keeps them: netemu.toml or pyproject.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from netemu.errors import InputError, UsageError
from netemu.lint.settings import LintSettings, level_of

FILES = ("netemu.toml", "pyproject.toml")
"""In each directory the first that has the table."""

_LISTS = ("select", "extend-select", "ignore")
_SWITCHES = ("require-reason", "owned-chains")


def find_config(start: Path) -> tuple[str, Mapping[str, object]]:
    """Return the nearest table upwards, and the name of its file; an empty one if there is none."""
    for directory in (start, *start.parents):
        for name in FILES:
            path = directory / name
            if path.is_file():
                table = read_config(str(path))
                if table is not None:
                    return str(path), table
    return "", {}


def read_config(path: str) -> Mapping[str, object] | None:
    """Return the table of a file, None if it has none.

    It is [lint], in pyproject.toml [tool.netemu.lint]. Raises InputError for a file that cannot be
    read.
    """
    try:
        with open(path, "rb") as stream:
            document: object = tomllib.load(stream)
    except OSError as problem:
        raise InputError(f"cannot be read ({problem.strerror})", file=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise InputError(f"is no TOML: {problem}", file=path) from None
    keys = ("tool", "netemu", "lint") if Path(path).name == "pyproject.toml" else ("lint",)
    for key in keys:
        if not isinstance(document, dict) or key not in document:
            return None
        document = document[key]
    if not isinstance(document, dict):
        raise InputError(f"{'.'.join(keys)} must be a table", file=path)
    return document


def settings_of(
    table: Mapping[str, object],
    file: str,
    *,
    select: tuple[str, ...],
    extend_select: tuple[str, ...],
    ignore: tuple[str, ...],
    fail_on: str | None,
    owned_chains: bool,
) -> LintSettings:
    """Join a table with the command line, which wins; its --ignore adds to the table's."""
    known = {*_LISTS, *_SWITCHES, "per-file-ignores", "fail-on"}
    wrong = [key for key in table if key not in known]
    if wrong:
        raise InputError(
            f"lint has no setting {', '.join(wrong)}; it has {', '.join(sorted(known))}", file=file
        )
    lists = {key: _words(table.get(key, []), key, file) for key in _LISTS}
    switches = {key: _switch(table.get(key, False), key, file) for key in _SWITCHES}
    patterns = table.get("per-file-ignores", {})
    if not isinstance(patterns, dict):
        raise InputError("per-file-ignores must be a table of patterns and lists", file=file)
    level = fail_on or table.get("fail-on", "warning")
    try:
        return LintSettings(
            select=select or lists["select"],
            extend_select=(*lists["extend-select"], *extend_select),
            ignore=(*lists["ignore"], *ignore),
            per_file_ignores={
                str(pattern): _words(codes, "per-file-ignores", file)
                for pattern, codes in patterns.items()
            },
            fail_on=level_of(str(level)),
            require_reason=switches["require-reason"],
            owned_chains=owned_chains or switches["owned-chains"],
        )
    except UsageError as problem:
        if file and not (select or extend_select or ignore):
            raise InputError(str(problem), file=file) from None
        raise


def _words(value: object, key: str, file: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        raise InputError(f'{key} must be a list of strings: ["NE101", "NE6"]', file=file)
    return tuple(cast(list[str], value))


def _switch(value: object, key: str, file: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(f"{key} must be true or false", file=file)
    return value
