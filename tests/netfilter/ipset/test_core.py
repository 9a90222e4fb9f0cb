"""Sets of a namespace: places, names, what an equal set is."""

from __future__ import annotations

import pytest

from netemu.errors import SetTextError
from netemu.netfilter.ipset import MODULES, SET_TYPES, find_set_type
from netemu.ruleset.ipset import print_sets
from tests.netfilter.ipset.asking import Sets


def names(sets: Sets) -> list[str]:
    return [one.name for one in sets.sets.all()]


def test_a_new_set_takes_the_first_free_place_and_lists_come_last():
    sets = Sets(
        "create l list:set\ncreate a hash:ip\ncreate b hash:ip\ndestroy a\ncreate c hash:ip\n"
    )
    assert names(sets) == ["c", "b", "l"]


def test_swap_exchanges_content_and_needs_the_same_kind_of_elements():
    sets = Sets("create a hash:ip\ncreate b bitmap:ip range 10.0.0.0/24\ncreate c hash:net\n")
    sets.read("add a 10.0.0.1\nswap a b\n")
    assert (names(sets), sets.elements("b")) == (["a", "b", "c"], ["10.0.0.1"])
    with pytest.raises(SetTextError, match="their type does not match"):
        sets.read("swap a c\n")


def test_exist_takes_a_set_that_was_created_alike_whatever_its_size():
    sets = Sets("create a hash:ip timeout 5\n")
    sets.read("create a hash:ip timeout 5 hashsize 4096 -exist\n")
    with pytest.raises(SetTextError, match="already exists"):
        sets.read("create a hash:ip timeout 6 -exist\n")


def test_all_sets_are_destroyed_only_if_nothing_refers_to_any():
    sets = Sets("create a hash:ip\ncreate l list:set\nadd l a\n")
    with pytest.raises(SetTextError, match="in use"):
        sets.read("destroy\n")
    sets.read("flush l\ndestroy\n")
    assert not sets.sets


def test_the_initval_that_is_not_given_is_drawn_from_the_seed():
    text = "create a hash:ip\n"
    assert print_sets(Sets(text).sets) == print_sets(Sets(text).sets)


def test_every_file_of_the_folder_is_listed_once():
    assert len({kind.name for kind in SET_TYPES}) == len(MODULES) == 16
    for kind in SET_TYPES:
        assert find_set_type(kind.name) is kind
        assert all(find_set_type(alias) is kind for alias in kind.aliases)
