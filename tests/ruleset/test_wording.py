"""Every declaration can be told in words."""

from __future__ import annotations

import string

import pytest

from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.xtables.kit import Given
from netemu.ruleset import parse_ruleset
from netemu.ruleset.wording import extension_lines, rule_lines, say_option

EVERYTHING = [*EXTENSIONS.matches, *EXTENSIONS.targets]


@pytest.mark.parametrize("extension", EVERYTHING, ids=lambda one: f"{one.name}-{one.kernel}")
def test_every_option_says_what_it_does(extension):
    assert extension.duty.endswith(".")
    for option in extension.options:
        assert option.help.endswith("."), option.name
        assert bool(option.kind.form) == bool(option.kind.arity), option.name
        fields = {field for _, field, _, _ in string.Formatter().parse(option.says) if field}
        assert fields <= {"is", "value", "first", "second"}, option.name
    page = "\n".join(extension_lines(extension))
    assert all(f"--{option.name}" in page for option in extension.options)


def said(words: str) -> list[str]:
    ruleset = parse_ruleset(f"*filter\n-A INPUT {words}\nCOMMIT\n")
    table = ruleset.tables[0]
    chain = table.chains["INPUT"]
    return list(rule_lines(table, chain, chain.rules[0]))


def test_what_a_rule_does_not_write_is_not_said():
    """hashlimit's burst of 5 is printed unasked, but nobody asked for it."""
    text = "\n".join(said("-m hashlimit --hashlimit-upto 5/s --hashlimit-name h"))
    assert "burst" not in text.partition("all of this")[2]


def test_an_option_without_words_of_its_own_is_told_by_its_help():
    lines = said("-m hashlimit --hashlimit-above 5/s --hashlimit-name h")
    assert any("--hashlimit-above 5/sec (matches what is over this rate)" in line for line in lines)


def test_a_negation_without_a_verb():
    statistic = EXTENSIONS.find_match("statistic")
    assert statistic is not None
    option = statistic.find("probability")
    assert option is not None
    text = say_option(Given(option, 1 << 30, inverted=True))
    assert text == "it is not so that chance says so, with probability 0.50000000000"


def test_another_spelling_is_told_as_it_is_printed():
    assert "    - tcp: of the flags FIN,SYN,RST,ACK just SYN is not set" in said("-p tcp ! --syn")


def test_a_standard_target_ends_the_table():
    assert "  => is dropped" in said("-p tcp -j DROP")
