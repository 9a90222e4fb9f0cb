"""Tables and what may be done to their chains."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Family
from netemu.ruleset import tables


@pytest.mark.parametrize("name", ["filter", "nat", "mangle", "raw", "security"])
def test_tables_hold_the_chains_of_their_hooks(name):
    made = tables.new_table(name, Family.IPV4, 1)
    assert tuple(made.chains) == tuple(hook.name for hook in tables.VALID_HOOKS[name])


def test_broute_is_no_iptables_table():
    with pytest.raises(RulesetError, match="the tables are raw mangle nat filter security"):
        tables.new_table("broute", Family.IPV4, 1)


def test_deleting_all_chains_needs_all_of_them_empty():
    made = tables.new_table("filter", Family.IPV4, 1)
    tables.add_chain(made, "A", 2)
    tables.add_chain(made, "B", 3)
    tables.delete_chain(made, "", lambda name: tables.is_used(made, name))
    assert list(made.chains) == ["INPUT", "FORWARD", "OUTPUT"]


def test_renaming_keeps_the_place():
    made = tables.new_table("filter", Family.IPV4, 1)
    tables.add_chain(made, "A", 2)
    tables.add_chain(made, "B", 3)
    tables.rename_chain(made, "A", "C")
    assert list(made.chains)[3:] == ["C", "B"]
    for old, new, message in (
        ("INPUT", "X", "is a built-in chain"),
        ("C", "B", "File exists"),
        ("NOSUCH", "X", "No chain/target/match by that name"),
    ):
        with pytest.raises(RulesetError, match=message):
            tables.rename_chain(made, old, new)
