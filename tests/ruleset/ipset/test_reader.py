"""ipset text is carried out as ipset does; what it refuses is refused in its words, with the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.errors import SetTextError
from netemu.livekernel.sets import first_set_difference
from netemu.net import Net
from netemu.netfilter.ipset.core import IpSets
from netemu.ruleset.ipset import print_sets, read_sets

ORACLE = Path(__file__).parents[2] / "oracle"


def texts(name: str) -> list[tuple[str, str, list[str]]]:
    """Return text, what ipset said, and what it saved."""
    found: list[tuple[str, str, list[str]]] = []
    for block in (ORACLE / name).read_text(encoding="utf-8").split("\n== ")[1:]:
        text, _, answer = block.partition("\n>> ")
        said, *saved = answer.splitlines()
        found.append((text.partition("\n")[2] + "\n", "" if said == "-" else said, saved))
    return found


def answer(text: str) -> tuple[str, list[str]]:
    """Return what netemu says and saves."""
    sets = Net().generic(IpSets)
    said = ""
    try:
        read_sets(text, "sets", sets)
    except SetTextError as error:
        said = error.message
    return said, print_sets(sets).splitlines()


@pytest.mark.parametrize(
    "name", ["ipset_7_17.txt", "ipset_order_7_17.txt", "ipset_rare_types_6_1_176.txt"]
)
def test_texts_are_read_as_ipset_reads_them(name):
    """Same words where it refuses, same sets in the same order."""
    for text, said, saved in texts(name):
        own_said, own_saved = answer(text)
        assert (own_said, first_set_difference(saved, own_saved, text)) == (said, ""), text


def refusal(text: str) -> str:
    with pytest.raises(SetTextError) as caught:
        read_sets(text, "sets", Net().generic(IpSets))
    return str(caught.value)


def test_a_refusal_names_file_line_and_column_and_points_there():
    assert refusal("create a hash:ip\nadd a 10.0.0.1/33\n") == (
        "sets:2:7: Syntax error: '33' is out of range 0-32\n    add a 10.0.0.1/33\n          ^"
    )


def test_what_the_kernel_refuses_is_said_of_its_own_line():
    assert refusal("create a hash:ip\nadd a 10.0.0.1\nadd a 10.0.0.1\nadd a 10.0.0.2\n").startswith(
        "sets:3:7: Element cannot be added to the set: it's already added"
    )


def test_a_line_that_cannot_be_read_comes_before_what_the_kernel_refuses_above_it():
    """Lines about one set are sent together."""
    text = "create a hash:ip\nadd a 10.0.0.1\nadd a 10.0.0.1\nadd a 10.0.0.2 foo\n"
    assert refusal(text).startswith("sets:4:16: Unknown argument: `foo'")


def test_where_ipset_loses_its_words_the_reason_is_given():
    text = "create a hash:ip,port\nadd a 10.0.0.1,icmpv6:1/1\n"
    assert "Protocol ICMPv6 can be used with family inet6 only" in refusal(text)


@pytest.mark.parametrize("line", ["test a 10.0.0.1", "help", "create b hash:ip probes 4"])
def test_lines_after_which_ipset_stops_silently_are_refused(line):
    assert refusal(f"create a hash:ip\n{line}\nadd a 10.0.0.1\n").startswith("sets:2:")


def test_exist_holds_for_the_rest_of_the_file():
    assert answer("create a hash:ip\nadd a 10.0.0.1 -exist\nadd a 10.0.0.1\n")[0] == ""


def test_quit_leaves_out_what_was_not_sent():
    said, saved = answer("create a hash:ip\nadd a 10.0.0.1\nquit\nadd a 10.0.0.2\n")
    assert (said, len(saved)) == ("", 1)


def test_list_and_save_change_nothing():
    said, saved = answer("create a hash:ip\nadd a 10.0.0.1\nlist\nsave a\nadd a 10.0.0.2\n")
    assert (said, len(saved)) == ("", 3)


def test_the_output_of_ipset_list_is_read():
    sets = Net().generic(IpSets)
    text = (
        "Name: a\nType: hash:ip\nRevision: 6\n"
        "Header: family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x00000005\n"
        "Size in memory: 256\nReferences: 1\nNumber of entries: 1\nMembers:\n10.0.0.1\n"
        "\nName: b\nType: list:set\nRevision: 3\nHeader: size 8\nSize in memory: 128\n"
        "References: 0\nNumber of entries: 1\nMembers:\na\n"
    )
    read_sets(text, "ipset_list", sets)
    assert print_sets(sets).splitlines()[1:] == [
        "add a 10.0.0.1",
        "create b list:set size 8",
        "add b a",
    ]


def test_a_bad_member_of_a_listing_is_found_in_its_line():
    with pytest.raises(SetTextError, match=r"^ipset_list:5:"):
        read_sets(
            "Name: a\nType: hash:ip\nHeader: family inet\nNumber of entries: 1\nMembers:\n10.0.0\n".replace(
                "Number of entries: 1\nMembers:\n10.0.0", "Members:\nfoo"
            ),
            "ipset_list",
            Net().generic(IpSets),
        )
