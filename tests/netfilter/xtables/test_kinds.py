"""Values as iptables 1.8.9 reads and prints them (asked with iptables-legacy)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import (
    FLAG,
    U8,
    U16,
    U32,
    U64,
    Choice,
    Masked,
    MaskedU32,
    OptionCall,
    Probability,
    Span,
    Text,
    Unsigned,
    UnsignedRange,
    c_integer,
    octets_of,
    quoted,
    shape,
    text_of,
)

CALL = OptionCall("statistic", "every")


def shown(kind, text):
    return kind.show(kind.parse(text, CALL))


@pytest.mark.parametrize(
    "text, value", [("5", 5), ("010", 8), ("0x1F", 31), (" 7", 7), ("+7", 7), ("0", 0), ("00", 0)]
)
def test_numbers_are_those_of_strtoul(text, value):
    assert value == c_integer(text)
    assert value == U32().parse(text, CALL)


@pytest.mark.parametrize("text", ["", "x", "-1", "08", "0x", "5 ", "1.5", "4294967296"])
def test_what_strtoul_leaves_over_is_refused(text):
    with pytest.raises(RulesetError) as caught:
        U32().parse(text, CALL)
    assert (
        caught.value.message
        == 'statistic: bad value for option "--every", or out of range (0-4294967295)'
    )


@pytest.mark.parametrize(
    "kind, low, high",
    [(U8(), 0, 255), (U16(3), 3, 65535), (U32(1, 9), 1, 9), (U64(), 0, 2**64 - 1)],
)
def test_limits_belong_to_the_range(kind, low, high):
    assert (low, high) == (kind.parse(str(low), CALL), kind.parse(str(high), CALL))
    for outside in (low - 1, high + 1):
        with pytest.raises(RulesetError):
            kind.parse(str(outside), CALL)


def test_numbers_print_in_decimal_or_hexadecimal():
    assert shown(U32(), "0x10") == "16"
    assert shown(Unsigned(0, 255, hexadecimal=True), "16") == "0x10"


@pytest.mark.parametrize(
    "text, span, printed",
    [
        ("5", Span(5, 5), "5"),
        ("5:9", Span(5, 9), "5:9"),
        ("5:", Span(5, 99), "5:99"),
        (":5", Span(0, 5), "0:5"),
        (":", Span(0, 99), "0:99"),
        ("", Span(0, 0), "0"),
    ],
)
def test_ranges_fill_absent_ends(text, span, printed):
    kind = UnsignedRange(99)
    assert span == kind.parse(text, CALL)
    assert printed == kind.show(span)


@pytest.mark.parametrize("text", ["100", "1:100", "1:2:3", "x", "1-2"])
def test_ranges_outside_are_refused(text):
    with pytest.raises(RulesetError):
        UnsignedRange(99).parse(text, CALL)


def test_marks_print_their_mask_when_it_is_not_full():
    assert shown(MaskedU32(), "16") == "0x10"
    assert shown(MaskedU32(), "5/0xffffffff") == "0x5"
    assert shown(MaskedU32(), "5/0xf0") == "0x5/0xf0"
    assert shown(MaskedU32(always_mask=True), "16") == "0x10/0xffffffff"
    assert Masked(5, 0xF0) == MaskedU32().parse("5/0xf0", CALL)


@pytest.mark.parametrize("text", ["", "/1", "1/", "1/2/3", "0x100000000", "1/0x100000000", "x"])
def test_marks_beyond_32_bits_are_refused(text):
    with pytest.raises(RulesetError):
        MaskedU32().parse(text, CALL)


def test_choices_know_synonyms_and_name_the_others():
    kind = Choice("random", "nth", synonyms={"chance": "random"})
    assert shown(kind, "chance") == "random"
    with pytest.raises(RulesetError, match="it takes random, nth"):
        kind.parse("Random", CALL)


@pytest.mark.parametrize(
    "text, printed",
    [
        ("a_b-C9", "a_b-C9"),
        ("", '""'),
        ("a b", '"a b"'),
        ("a.b", '"a.b"'),
        ("a#b", '"a#b"'),
        ("é", '"é"'),
        ("a\"b\\c'd", '"a\\"b\\\\c\\\'d"'),
    ],
)
def test_strings_are_quoted_as_iptables_save_quotes(text, printed):
    assert printed == quoted(text)


def test_strings_are_counted_in_octets():
    assert Text(cut=5).parse("ééé", CALL)[:2] == "é" * 2
    assert octets_of(Text(cut=5).parse("ééé", CALL)) == b"\xc3\xa9\xc3\xa9\xc3"
    assert Text(raw=True).show("a b") == "a b"
    with pytest.raises(RulesetError, match="maximum length of 3"):
        Text(most=3).parse("éé", CALL)
    with pytest.raises(RulesetError, match="minimum length of 1"):
        Text(least=1).parse("", CALL)


@given(st.binary(max_size=40))
def test_octets_survive_as_text(octets):
    assert octets == octets_of(text_of(octets))


@pytest.mark.parametrize(
    "text, stored, printed",
    [
        ("0.3333333333", 715827883, "0.33333333349"),
        ("0.33333", 715820724, "0.33332999982"),
        ("0.5", 1 << 30, "0.50000000000"),
        ("1", 1 << 31, "1.00000000000"),
        ("-0", 0, "0.00000000000"),
        ("1e-3", 2147484, "0.00100000016"),
        ("nan", 0, "0.00000000000"),
        ("0x.8", 1 << 30, "0.50000000000"),
    ],
)
def test_probabilities_are_31_bit_fractions(text, stored, printed):
    assert stored == Probability().parse(text, CALL)
    assert printed == Probability().show(stored)


@pytest.mark.parametrize("text", ["1.5", "-0.1", "", "x", "inf", "1/3"])
def test_probabilities_outside_0_to_1_are_refused(text):
    with pytest.raises(RulesetError, match=r"out of range \(0-1\)"):
        Probability().parse(text, CALL)


def test_a_flag_has_no_value():
    assert FLAG.arity == 0
    assert FLAG.parse("", CALL) is True
    assert FLAG.show(True) == ""


def test_every_terminal_of_the_grammar_compiles():
    assert shape("NUMBER").fullmatch("0x10")
    assert shape("MAC").fullmatch("00:11:22:33:44:55")
    with pytest.raises(KeyError):
        shape("NO_SUCH_TERMINAL")
