"""Words of one rule and who claims them."""

from __future__ import annotations

import pytest

from netemu.errors import RulesetError
from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Invert
from netemu.ruleset.rule import RuleReader, check_extension_name
from netemu.ruleset.words import read_rule_line


def read(line, family=Family.IPV4):
    return RuleReader(read_rule_line(line).words, EXTENSIONS, family).read()


def test_generic_options_in_any_order():
    draft = read("-j DROP -p TCP ! -s 1.2.3.4/8,5.6.7.8 -o eth0 -A FORWARD -f ! -i lo+ -d 9.9.9.9")
    assert (draft.command, draft.chain, draft.jump) == ("A", "FORWARD", "DROP")
    assert (draft.sources, draft.destinations) == ("1.2.3.4/8,5.6.7.8", "9.9.9.9")
    assert (draft.in_device, draft.out_device, draft.fragment) == ("lo+", "eth0", True)
    assert (draft.protocol, draft.protocol_name) == (6, "tcp")
    assert draft.invert == Invert.SRCIP | Invert.VIA_IN


def names(draft):
    return [(item.extension.name, list(item.given)) for item in draft.matches]


def test_an_unknown_option_loads_the_protocol():
    assert names(read("-A X -p tcp --dport 80")) == [("tcp", ["dport"])]
    assert names(read("-A X -p 6 --dport 80 -m comment --comment x --sport 1")) == [
        ("tcp", ["dport", "sport"]),
        ("comment", ["comment"]),
    ]


def test_a_second_instance_takes_the_options():
    assert names(read("-A X -p tcp --dport 80 -m tcp --sport 1")) == [
        ("tcp", ["dport"]),
        ("tcp", ["sport"]),
    ]


def test_another_spelling_fills_the_same_place():
    (said,) = read("-A X -p tcp --syn").matches
    assert list(said.given) == ["tcp-flags"]
    assert [given.option.name for given in said.order] == ["syn"]


def test_values_may_look_like_options():
    (said,) = read("-A X -m comment --comment -foo").matches
    assert said.given["comment"].value == "-foo"


def test_short_options_may_be_bundled_and_commands_glued():
    draft = read("-AINPUT -fj DROP -mtcp")
    assert (draft.chain, draft.fragment, draft.jump) == ("INPUT", True, "DROP")
    assert not draft.plain


@pytest.mark.parametrize(
    "line, command, chain, number, argument",
    [
        ("-I INPUT 3 -j DROP", "I", "INPUT", 3, ""),
        ("-I INPUT -j DROP", "I", "INPUT", None, ""),
        ("-D INPUT 2", "D", "INPUT", 2, ""),
        ("-R INPUT 1 -j DROP", "R", "INPUT", 1, ""),
        ("-P INPUT DROP", "P", "INPUT", None, "DROP"),
        ("-E OLD NEW", "E", "OLD", None, "NEW"),
        ("-F", "F", "", None, ""),
        ("-F INPUT", "F", "INPUT", None, ""),
        ("-Z INPUT 2", "Z", "INPUT", 2, ""),
        ("--new-chain FOO", "N", "FOO", None, ""),
    ],
)
def test_commands(line, command, chain, number, argument):
    draft = read(line)
    assert (draft.command, draft.chain, draft.number, draft.argument) == (
        command,
        chain,
        number,
        argument,
    )


def test_counters_with_an_option():
    assert read("-A X -c 3 4").counters == (3, 4)
    assert read("-A X --set-counters 3,4").counters == (3, 4)


@pytest.mark.parametrize(
    "line, family", [("-6 -A X -j NOSUCH", Family.IPV4), ("-A X -4", Family.IPV6)]
)
def test_lines_of_the_other_family(line, family):
    assert read(line, family).other_family


@pytest.mark.parametrize(
    "line, column, message",
    [
        ("-A X -m nosuch", 9, "Couldn't load match `nosuch':No such file or directory"),
        ("-A X -m " + "x" * 29, 9, "(28 chars max)"),
        ("-A X --foo 1", 6, 'unknown option "--foo"; it was looked for in iptables itself'),
        ("-A X -m mark --foo", 14, "iptables itself, `mark'"),
        ("-A X -j FOO --foo", 13, "`FOO' is no known target"),
        ("-A X -m mark --mark", 14, 'option "--mark" requires an argument'),
        ("-A X -m mark --mark z", 21, 'mark: bad mark value for option "--mark"'),
        ("-A X -m mark --mark 1 --mark 2", 23, 'option "--mark" can only be used once'),
        ("-A X -j MARK ! --or-mark 2", 16, 'option "--or-mark" cannot be inverted'),
        ("-A X -p tcp --syn=1", 13, 'unknown option "--syn=1"'),
        ("-A X -p tcp --tcp-flags SYN -j DROP", 13, "--tcp-flags requires two args."),
        ("-A X -p nosuch", 9, 'unknown protocol "nosuch" specified'),
        ("-A X ! -p 0", 11, "rule would never match protocol"),
        ("-A X -p tcp -p udp", 13, "multiple -p flags not allowed"),
        ("-A X -j A -g B", 11, "multiple -j flags not allowed"),
        ("-A X ! -j A", 8, "cannot have ! before -j"),
        ("-A X ! -m tcp", 8, "unexpected ! flag before --match"),
        ("-A X ! !", 8, "multiple consecutive ! not allowed"),
        ("-A X !", 6, "nothing appropriate following !"),
        ("-A X foo", 6, "Bad argument `foo'"),
        ("-A X -", 6, "Bad argument `-'"),
        ("-A X -- foo", 9, "unknown arguments found on commandline"),
        ("-A X -i " + "x" * 16, 9, "must be shorter than IFNAMSIZ (15)"),
        ('-A X -i ""', 9, "Empty interface is likely to be undesired"),
        ("-j DROP", 1, "no command specified"),
        ("-A X -I Y", 6, "Cannot use -I with -A"),
        ("! -A X", 3, "unexpected '!' flag before -A"),
        ("-A X -t nat", 6, "The -t option cannot be used in iptables-restore"),
        ("-A X -w", 6, "You cannot use `-w' from iptables-restore"),
        ("-A X -n", 6, "Illegal option `-n' with this command"),
        ("-A X -c 5", 9, "-c requires packet and byte counter"),
        ("-A X -c a b", 9, "-c counter not numeric"),
        ("-R X", 1, "-R requires a rule number"),
        ("-P X", 1, "-P requires a chain and a policy"),
        ("-I X 0", 4, "Invalid rule number `0'"),
        ("-A X -k", 6, 'unknown option "-k"'),
        ('-A X -j ""', 9, "Invalid target name (too short)"),
    ],
)
def test_what_iptables_refuses_and_where(line, column, message):
    with pytest.raises(RulesetError) as caught:
        read(line)
    assert message in caught.value.message
    assert caught.value.column == column


def test_ipv6_has_no_fragment_flag():
    with pytest.raises(RulesetError, match="-m frag"):
        read("-A X -f", Family.IPV6)


def test_names_have_at_most_28_octets():
    check_extension_name("target", "x" * 28)
    with pytest.raises(RulesetError, match="Invalid target name"):
        check_extension_name("target", "é" * 15)
