"""Every target says what it changes, and what is asked behind it heeds that."""

from __future__ import annotations

import pytest

from netemu.analysis.node import space_of
from netemu.analysis.reach import Reach
from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.xtables.kit import AnyTarget
from netemu.ruleset import parse_ruleset


@pytest.mark.parametrize("target", EXTENSIONS.targets, ids=lambda target: target.name)
def test_a_target_declares_its_effect(target: AnyTarget) -> None:
    assert target.effect is not None, f"{target.name} neither changes packets nor says so"


def takes(text: str, table: str, chain: str, number: int) -> bool:
    rules = parse_ruleset(text, "rules")
    reach = Reach(rules, space_of([rules]))
    return reach.rule(table, chain, number).takes_any


def in_table(table: str, *rules: str) -> str:
    return "\n".join([f"*{table}", *rules, "COMMIT", ""])


FORWARDED = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD {} -j DROP\nCOMMIT\n"


@pytest.mark.parametrize(
    ("before", "asked", "taken"),
    [
        # xt_NETMAP.c: the bits under the mask become the network's, the others stay.
        ("-d 192.0.2.0/24 -j NETMAP --to 10.1.1.0/24", "-d 192.0.2.7", False),
        ("-d 192.0.2.0/24 -j NETMAP --to 10.1.1.0/24", "-d 10.1.1.7", True),
        (
            "-d 192.0.2.7 -j NETMAP --to 10.1.1.0/24",
            "-d 10.1.1.8 -m conntrack --ctstate DNAT",
            False,
        ),
        (
            "-d 192.0.2.7 -j NETMAP --to 10.1.1.0/24",
            "-d 10.1.1.7 -m conntrack --ctstate DNAT",
            True,
        ),
    ],
)
def test_netmap_translates(before: str, asked: str, taken: bool) -> None:
    nat = in_table("nat", f"-A PREROUTING {before}")
    asked += " -m conntrack --ctstate NEW"
    assert takes(nat + FORWARDED.format(asked), "filter", "FORWARD", 1) is taken


def test_netmap_ends_the_table() -> None:
    text = in_table("nat", "-A PREROUTING -j NETMAP --to 10.1.1.0/24", "-A PREROUTING -j ACCEPT")
    assert not takes(text, "nat", "PREROUTING", 2)


@pytest.mark.parametrize(
    "target",
    [
        "-j HMARK --hmark-tuple src --hmark-mod 9 --hmark-rnd 1",
        "-p tcp -j TPROXY --on-port 80 --tproxy-mark 0x7",
    ],
)
def test_a_mark_is_changed(target: str) -> None:
    before = "-A PREROUTING -j MARK --set-mark 0"
    marked = "-A FORWARD -m mark --mark 7 -j DROP"
    assert not takes(in_table("mangle", before, marked), "mangle", "FORWARD", 1)
    assert takes(
        in_table("mangle", before, f"-A PREROUTING {target}", marked), "mangle", "FORWARD", 1
    )


def test_an_option_that_was_stripped_is_asked_for_anew() -> None:
    has = "-p tcp -m tcp --tcp-option 8"
    rules = [f"-A FORWARD {has} -j ACCEPT", f"-A FORWARD {has} -j DROP"]
    assert not takes(in_table("mangle", *rules), "mangle", "FORWARD", 2)
    strip = "-A FORWARD -p tcp -j TCPOPTSTRIP --strip-options 8"
    assert takes(in_table("mangle", rules[0], strip, rules[1]), "mangle", "FORWARD", 3)


def test_synproxy_may_take_a_segment() -> None:
    text = in_table("filter", "-A FORWARD -p tcp -j SYNPROXY", "-A FORWARD -p tcp -j ACCEPT")
    rules = parse_ruleset(text, "rules")
    reach = Reach(rules, space_of([rules]))
    segments = reach.rule("filter", "FORWARD", 1).taken
    assert reach.rule("filter", "FORWARD", 2).taken != segments
