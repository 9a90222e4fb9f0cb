"""Long options as getopt_long finds them (asked of iptables 1.8.9)."""

from __future__ import annotations

import pytest

from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.xtables.kit import Extension
from netemu.ruleset.getopt import IP6_LONG, ExtensionOption, find_option


def loaded(*names: str) -> list[Extension]:
    found = [EXTENSIONS.find_match(name) or EXTENSIONS.find_target(name) for name in names]
    return [extension for extension in found if extension is not None]


@pytest.mark.parametrize(
    "name, letter",
    [
        ("source", "s"),
        ("src", "s"),
        ("jum", "j"),
        ("proto", "p"),
        ("fragment", "f"),
        ("dest", "d"),
        ("new", "N"),
        ("match", "m"),
        ("set-counters", "c"),
    ],
)
def test_own_options_may_be_cut_short(name, letter):
    assert find_option(name, []) == letter


@pytest.mark.parametrize("name", ["in", "s", "d", "nosuch", "list-rules-x", "dport"])
def test_ambiguous_or_unknown(name):
    assert find_option(name, []) is None


@pytest.mark.parametrize(
    "name, option",
    [("dport", "dport"), ("dpor", "dport"), ("destination-port", "dport"), ("sy", "syn")],
)
def test_options_of_a_loaded_match(name, option):
    found = find_option(name, loaded("tcp"))
    assert isinstance(found, ExtensionOption)
    assert (found.extension.name, found.option.name) == ("tcp", option)


def test_an_exact_name_beats_every_beginning():
    """--source is iptables' own though it begins --source-port."""
    assert find_option("source", loaded("tcp")) == "s"


def test_the_extension_loaded_last_wins():
    for names in (("tcp", "udp"), ("udp", "tcp")):
        found = find_option("sport", loaded(*names))
        assert isinstance(found, ExtensionOption)
        assert found.extension.name == names[0]


def test_beginnings_of_two_extensions_are_ambiguous():
    assert find_option("spor", loaded("tcp", "udp")) is None


def test_ip6tables_has_no_fragments():
    """So that `--fr` is --from of string there, and no beginning of --fragments."""
    assert find_option("fr", loaded("string")) is None
    found = find_option("fr", loaded("string"), IP6_LONG)
    assert isinstance(found, ExtensionOption)
    assert found.option.name == "from"
