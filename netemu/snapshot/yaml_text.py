"""YAML text as plain values, with the place of every one of them.

Reads a document with PyYAML's safe types only; duplicate keys are refused. `place` answers with
line and column of what a path names, so that a message can point there.
"""

from __future__ import annotations

from typing import Any, cast

import yaml

from netemu.errors import SnapshotError

Path = tuple[str | int, ...]


class YamlText:
    """One document: its plain value, and where each part stands."""

    def __init__(self, name: str, text: str) -> None:
        """Read `text`; `name` is the file's. Raises SnapshotError."""
        self.name = name
        self.lines = text.splitlines()
        self._marks: dict[Path, yaml.Mark] = {}
        self._keys: dict[Path, yaml.Mark] = {}
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as problem:
            mark = problem.problem_mark or yaml.Mark(name, 0, 0, 0, None, 0)
            what = problem.problem or "not YAML"
            raise self._error(f"{what}; YAML is needed", mark) from None
        except yaml.YAMLError as problem:
            raise SnapshotError(f"{problem}; YAML is needed", file=name) from None
        self.value: object = None if root is None else self._plain(root, ())

    def _plain(self, node: yaml.Node, path: Path) -> object:
        self._marks[path] = node.start_mark
        if isinstance(node, yaml.MappingNode):
            found: dict[str, object] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                if key in found:
                    raise self._error(
                        f"{key!r} stands here twice; once is right", key_node.start_mark
                    )
                self._keys[(*path, key)] = key_node.start_mark
                found[key] = self._plain(value_node, (*path, key))
            return found
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(item, (*path, index)) for index, item in enumerate(node.value)]
        loader = yaml.SafeLoader("")
        value: Any = loader.construct_object(node)
        return cast("object", value)

    def error(self, message: str, path: Path, *, at_key: bool = False) -> SnapshotError:
        """Return the error for what stands at a path, or at the last part of it that there is."""
        marks = self._keys if at_key else self._marks
        while path and path not in marks:
            path, marks = path[:-1], self._marks
        return self._error(message, marks.get(path))

    def line_of(self, path: Path) -> int:
        """Return the line from 1 on which a value begins."""
        return self._marks[path].line + 1

    def is_block(self, path: Path) -> bool:
        """Return whether a value is a text block, which begins on the line below its `|`."""
        mark = self._marks[path]
        line = self.lines[mark.line] if mark.line < len(self.lines) else ""
        return line[mark.column : mark.column + 1] in {"|", ">"}

    def _error(self, message: str, mark: yaml.Mark | None) -> SnapshotError:
        if mark is None:
            return SnapshotError(message, file=self.name)
        line = self.lines[mark.line] if mark.line < len(self.lines) else ""
        return SnapshotError(
            message, file=self.name, line=mark.line + 1, column=mark.column + 1, context=line
        )
