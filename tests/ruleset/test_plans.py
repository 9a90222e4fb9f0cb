"""What the rules of one shape are known to have in common."""

from __future__ import annotations

import pytest

from netemu.net import Net
from netemu.netfilter.conntrack.core import ConntrackHooks
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.model import Rule
from netemu.netfilter.xtables.table import check_entries
from netemu.ruleset import parse_ruleset


def tables_of(line: str, *, table: str = "filter", backend: str = "legacy", times: int = 6):
    lines = "\n".join(line.format(n=n) for n in range(1, times + 1))
    text = f"*{table}\n:A - [0:0]\n{lines}\nCOMMIT\n"
    return parse_ruleset(text, family=Family.IPV4, backend=backend).tables[0]


def last_rule(line: str, **where) -> Rule:
    return tables_of(line, **where).chains["A"].rules[-1]


@pytest.mark.parametrize(
    "line, where",
    [
        ("-A A -s 10.0.0.{n} -j ACCEPT", {}),
        ("-A A -p tcp -m tcp --dport {n} -j DROP", {}),
        ("-A A -p tcp -m tcp --dport {n} -j DROP", {"backend": "nft"}),
        ("-A A -p tcp -j DNAT --to-destination 10.0.0.{n}:80", {"table": "nat"}),
        ("-A A -s 10.0.0.{n} -m conntrack --ctstate NEW -j ACCEPT", {}),
        ("-A A -s 10.0.0.{n} -m statistic --mode random --probability 0.5 -j ACCEPT", {}),
    ],
)
def test_rules_made_later(line, where):
    assert last_rule(line, **where).shape is not None


@pytest.mark.parametrize(
    "line",
    [
        "-A A -s 10.0.0.{n} -m limit --limit 1/s -j ACCEPT",
        "-A A -s 10.0.0.{n} -m statistic --mode nth --every 2 --packet 0 -j ACCEPT",
        "-A A -s 10.0.{n} -j ACCEPT",
        "-A A ! -s 0.0.0.0/0 -m ttl --ttl-gt {n} -j ACCEPT",
    ],
)
def test_rules_made_at_once(line):
    """Those that hold a state of their own, and values that are not plain."""
    assert last_rule(line).shape is None


def test_what_a_shape_tells_of_its_rules():
    dnat = last_rule("-A A -p tcp -j DNAT --to-destination 10.0.0.{n}", table="nat").shape
    drop = last_rule("-A A -s 10.0.0.{n} -j DROP").shape
    draw = last_rule("-A A -s 10.0.0.{n} -m statistic --mode random --probability 0.5").shape
    assert (dnat.attached, dnat.attached_alike, len(dnat.restricted)) == (True, True, 1)
    assert (drop.attached, drop.may_end, drop.restricted) == (False, True, ())
    assert (draw.attached, draw.attached_alike, draw.may_end) == (True, False, False)


def test_the_namespace_is_shown_once_to_rules_that_do_not_look():
    net = Net()
    table = tables_of("-A A -p tcp -j DNAT --to-destination 10.0.0.{n}", table="nat")
    later = [rule for rule in table.chains["A"].rules if rule.shape is not None]
    check_entries(net, table.chains.values())
    assert len(later) > 1
    assert net.generic(ConntrackHooks).users == 6 - len(later) + 1
