"""What a declaration makes of options: checks, defaults, printing, binding."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.kinds import U32, Choice
from netemu.netfilter.xtables.kit import (
    ABSENT,
    Given,
    Match,
    Option,
    Settings,
    Target,
    always,
    never,
    nothing,
    printed,
)

EXAMPLE = Match(
    name="example",
    kernel="xt_example.c",
    options=(
        Option("mode", Choice("a", "b"), mandatory=True),
        Option("every", U32(), aliases=("each",), invertible=True, excludes=("once",)),
        Option("packet", U32(), requires=("every",), default=0),
        Option("once"),
        Option("quiet", U32(), silent=7),
        Option("many", U32(), multiple=True),
        Option("plenty", U32(), into="every", convert=lambda value: value * 10),
    ),
    build=lambda settings: settings.need("packet", int),
    evaluate=lambda info, skb, param: bool(info),
)


def settings(*given: tuple[str, object], inverted: tuple[str, ...] = ()) -> Settings:
    order = []
    by_name = {}
    for name, value in given:
        option = EXAMPLE.find(name)
        assert option is not None
        order.append(Given(option, value, name in inverted))
        canonical = EXAMPLE.find(option.into) if option.into else option
        assert canonical is not None
        by_name[canonical.name] = Given(canonical, value, name in inverted)
    return Settings("example", by_name, tuple(order))


def finished(*given: tuple[str, object], inverted: tuple[str, ...] = ()) -> Settings:
    made = settings(*given, inverted=inverted)
    EXAMPLE.finish(made)
    return made


def test_options_print_in_declared_order_with_defaults():
    said = finished(("every", 3), ("mode", "a"), inverted=("every",))
    assert EXAMPLE.words(said) == "--mode a ! --every 3 --packet 0"


def test_another_spelling_prints_as_the_first():
    assert (
        EXAMPLE.words(finished(("mode", "a"), ("plenty", 30))) == "--mode a --every 30 --packet 0"
    )


def test_a_silent_value_is_not_printed():
    assert EXAMPLE.words(finished(("mode", "a"), ("quiet", 7))) == "--mode a --packet 0"
    assert EXAMPLE.words(finished(("mode", "a"), ("quiet", 8))) == "--mode a --packet 0 --quiet 8"


def test_a_silent_function_sees_the_inversion():
    option = Option("quiet", U32(), silent=lambda given: not given.inverted)
    said = {"quiet": Given(option, 1, inverted=True)}
    assert printed(Settings("x", said), "quiet") == "! --quiet 1"
    assert printed(Settings("x", {"quiet": Given(option, 1)}), "quiet", "absent") == ""


def test_a_multiple_option_prints_each_use():
    said = finished(("many", 1), ("mode", "b"), ("many", 2))
    assert EXAMPLE.words(said) == "--mode b --packet 0 --many 1 --many 2"
    assert [given.value for given in said.all("many")] == [1, 2]


@pytest.mark.parametrize(
    "given, message",
    [
        ([("every", 3)], 'example: option "--mode" must be specified'),
        (
            [("mode", "a"), ("every", 3), ("once", True)],
            'example: option "--every" cannot be used together with "--once"',
        ),
        ([("mode", "a"), ("packet", 3)], 'example: option "--packet" also requires "--every"'),
    ],
)
def test_options_are_checked_against_each_other(given, message):
    with pytest.raises(RulesetError) as caught:
        finished(*given)
    assert message == caught.value.message


def test_settings_are_read_by_name():
    said = finished(("mode", "a"), ("every", 3), inverted=("every",))
    assert (said.need("every", int), said.inverted("every")) == (3, True)
    assert (said.get("mode", str), said.get("absent", str, "z")) == ("a", "z")
    assert said.get("absent", int) is None
    assert not said.inverted("absent")
    assert ("packet" in said, said.uses("packet"), said.uses("every", "packet")) == (
        True,
        False,
        True,
    )


def test_binding_makes_value_and_text():
    bound = EXAMPLE.bind(finished(("mode", "a")))
    assert (
        bound.name,
        bound.text,
        bound.settings,
    ) == ("example", "-m example --mode a --packet 0", 0)
    assert bound.declaration is EXAMPLE
    target = Target(name="DO", kernel="x.c", build=nothing, apply=lambda info, skb, param: None)
    assert (target.bind(Settings("DO", {})).text, target.standard) == ("-j DO", None)


def test_a_declaration_knows_whether_its_place_matters():
    assert not EXAMPLE.restricted
    assert Match(
        name="x", kernel="x.c", build=nothing, evaluate=lambda i, s, p: True, hooks=(Hook.INPUT,)
    ).restricted


def test_names_and_aliases_are_found():
    every = EXAMPLE.find("every")
    assert every is EXAMPLE.find("each")
    assert EXAMPLE.find("eac") is None
    assert every is not None
    assert every.default is ABSENT


def test_sharing_is_never_the_default():
    assert EXAMPLE.shares is never
    assert (never(settings()), always(settings())) == (False, True)
