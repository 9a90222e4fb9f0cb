"""Errors point at the file, line and column at fault."""

from __future__ import annotations

import pytest

from netemu.errors import SnapshotError
from netemu.snapshot.document import Document, find_path
from netemu.snapshot.read_addr import read_addresses
from netemu.snapshot.read_link import read_links
from netemu.snapshot.read_neigh import read_fdb, read_neighbours
from netemu.snapshot.read_route import Routes
from netemu.snapshot.records import LinkRecord


def document(text: str, command: str = "ip -j link") -> Document:
    return Document(name="node/file", text=text, command=command)


@pytest.mark.parametrize(
    "path, expected",
    [("$", 0), ("$[0]", 1), ("$[1].b", 21), ("$[1].b[1]", 25), ("$[1].b[...]", 21), ("$[0].x", 1)],
)
def test_find_path(path: str, expected: int) -> None:
    text = '[{"a": "x"}, {"b":   [1, 2]}]'
    assert expected == find_path(text, path)


@pytest.mark.parametrize(
    "text, place",
    [
        ('[{"ifname":"lo","ifindex":"one"}]', "node/file:1:27: expected `int`, got `str`"),
        ('[\n {"ifname": 5}\n]', "node/file:2:13: expected `str`, got `int` at `$[0].ifname`"),
        ('{"ifname":"lo"}', "node/file:1:1: expected `array`, got `object`"),
        ('[{"ifname":"lo",}]', "node/file:1:17: JSON is malformed"),
        ('[{"ifname":"lo"', "node/file:1:16: Input data was truncated"),
        ('[{"ifname":"é"}, nul]', "node/file:1:"),
    ],
)
def test_wrong_json_is_placed(text: str, place: str) -> None:
    with pytest.raises(SnapshotError) as caught:
        document(text).decode(list[LinkRecord])
    assert str(caught.value).startswith(place)
    assert "; the untouched output of `ip -j link` is needed" in str(caught.value)
    assert caught.value.exit_code == 3


def test_a_caret_stands_below_short_lines() -> None:
    with pytest.raises(SnapshotError) as caught:
        document('[{"ifindex":"x"}]').decode(list[LinkRecord])
    assert str(caught.value).endswith('    [{"ifindex":"x"}]\n                ^')


BAD_VALUES = [
    (read_addresses, '[{"ifname":"e","addr_info":[{"family":"inet","local":"10.0.0"}]}]', 54),
    (
        read_addresses,
        '[{"ifname":"e","addr_info":[{"family":"inet","local":"10.0.0.1","prefixlen":99}]}]',
        54,
    ),
    (Routes().read_routes, '[{"dst":"10.0.0.0/8"},{"dst":"10.0.0.0/40"}]', 30),
    (Routes().read_routes, '[{"dst":"default","gateway":"x"}]', 29),
    (Routes().read_rules, '[{"priority":5,"src":"10.0.0.0.0"}]', 22),
    (Routes().read_rules, '[{"priority":5,"fwmark":"zz"}]', 25),
    (read_neighbours, '[{"dst":"10.0.0.1","state":["GOOD"]}]', 29),
    (read_fdb, '[{"mac":"02:xx","ifname":"p","master":"b"}]', 9),
]


@pytest.mark.parametrize("read, text, column", BAD_VALUES)
def test_a_wrong_value_is_placed(read: object, text: str, column: int) -> None:
    with pytest.raises(SnapshotError) as caught:
        read(document(text))  # type: ignore[operator]
    assert (1, column) == (caught.value.line, caught.value.column)


def test_an_empty_file_is_an_empty_list() -> None:
    """`ip -j neigh` prints nothing at all where there is no neighbour."""
    assert read_neighbours(document("")) == []
    assert read_links(document("\n")) == []


def test_empty_objects_are_passed_over() -> None:
    """Older iproute2 prints {} for what its filter leaves out."""
    assert [link.name for link in read_links(document('[{},{"ifname":"lo"},{}]'))] == ["lo"]
