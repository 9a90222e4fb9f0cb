"""Damaged files either read or are refused with their place; nothing else is raised."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from netemu.errors import SnapshotError
from netemu.snapshot.check import check_tree
from netemu.snapshot.items import ITEM
from netemu.snapshot.read import read_node
from netemu.snapshot.source import open_tree

KEYS = ("link", "addr", "route", "rule", "neigh", "fdb", "netns", "bridge_link", "sysctl")
VALUES = [None, True, -1, 2**40, 1.5, "", "x", "10.0.0.1/99", "::", [], {}, ["x"], {"a": 1}]


def attempt(folder: Path) -> None:
    said = ""
    try:
        read_node(str(folder))
    except SnapshotError as error:
        said = str(error)
    assert not said or (said.startswith(f"{folder}/") and "; " in said)
    report = check_tree(open_tree(str(folder)))
    assert report.exit_code in {0, 1, 3}


def mutated(value: object, chance: random.Random) -> object:
    """Return JSON with one value somewhere in it replaced."""
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        return [mutated(each, chance) if i == place else each for i, each in enumerate(value)]
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        return {k: mutated(v, chance) if k == key else v for k, v in value.items()}
    return chance.choice(VALUES)


@pytest.mark.parametrize("key", KEYS)
def test_damaged_json(scene: str, tmp_path: Path, key: str) -> None:
    chance = random.Random(key)
    folder = tmp_path / "node"
    shutil.copytree(scene, folder)
    path = folder / ITEM[key].name
    original = path.read_text()
    for _ in range(12):
        if original.startswith("["):
            path.write_text(json.dumps(mutated(json.loads(original), chance)))
            attempt(folder)
        cut = chance.randrange(len(original))
        path.write_text(original[:cut] + chance.choice(["", "}", '"', "\x00", "é", "9"]))
        attempt(folder)


def test_damaged_text(scene_text: str, tmp_path: Path) -> None:
    chance = random.Random(7)
    folder = tmp_path / "sos"
    shutil.copytree(scene_text, folder)
    for path in sorted((folder / "sos_commands" / "networking").iterdir()):
        original = path.read_text()
        words = original.split(" ")
        for _ in range(12):
            place = chance.randrange(len(words))
            changed = [
                *words[:place],
                chance.choice(["", "x", "-1", "\n", "a b"]),
                *words[place + 1 :],
            ]
            path.write_text(" ".join(changed))
            attempt(folder)
        path.write_text(original)
