"""The walk through a table: counters, jumps, RETURN, policies, hotdrop, TRACE, both gears."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables import table as table_module
from netemu.netfilter.xtables.model import (
    BoundMatch,
    Chain,
    Invert,
    Rule,
    Table,
)
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.table import TABLES, register_table
from netemu.skb import Skb
from netemu.wire.address import mask_of, parse_address
from tests.netfilter.xtables.walks import (
    ETH1,
    Run,
    extension,
    filter_table,
    match,
    network,
    packet,
    rule,
)


@pytest.fixture(params=[False, True], ids=["plain", "telling"])
def run(request: pytest.FixtureRequest) -> Callable[[Table], Run]:
    return lambda table, **more: Run(table, telling=request.param, **more)


def test_policy_counts_packets_and_octets_and_decides(run) -> None:
    walk = run(filter_table(policy=Verdict.DROP))
    skb = packet()
    assert walk(skb) == Verdict.DROP
    chain = walk.table.chains["FORWARD"]
    assert (chain.packets, chain.octets) == (1, 40)
    assert (skb.fate.decided_by.rule, skb.fate.decided_by.line) == (1, 9)
    assert skb.fate.rules_visited == 0


def test_first_matching_verdict_ends_the_table(run) -> None:
    walk = run(filter_table(rule("ACCEPT"), rule("DROP")))
    skb = packet()
    assert walk(skb) == Verdict.ACCEPT
    assert walk.counts() == [1, 0, 0]
    assert (skb.fate.decided_by.chain, skb.fate.decided_by.rule) == ("FORWARD", 1)


def test_rule_without_target_counts_and_goes_on(run) -> None:
    walk = run(filter_table(rule(), rule("DROP")))
    assert walk(packet()) == Verdict.DROP
    assert walk.counts() == [1, 1, 0]


def test_return_in_a_builtin_chain_goes_to_the_policy(run) -> None:
    walk = run(filter_table(rule("RETURN"), rule("DROP")))
    assert walk(packet()) == Verdict.ACCEPT
    assert walk.counts() == [1, 0, 1]


def test_jump_comes_back_behind_the_jump_and_user_chains_have_no_counters(run) -> None:
    walk = run(filter_table(rule("A"), rule("DROP"), A=[rule()]))
    assert walk(packet()) == Verdict.DROP
    assert walk.counts() == [1, 1, 0]
    assert walk.counts("A") == [1, 0]


def test_goto_leads_back_behind_the_last_jump(run) -> None:
    """FORWARD -j A, A -g B: the end of B returns to FORWARD, not to A."""
    table = filter_table(
        rule("A"), rule("ACCEPT"), A=[rule("B", goto=True), rule("DROP")], B=[rule()]
    )
    walk = run(table)
    assert walk(packet()) == Verdict.ACCEPT
    assert walk.counts("A") == [1, 0, 0]
    assert walk.counts() == [1, 1, 0]


def test_goto_from_a_builtin_chain_ends_at_the_policy(run) -> None:
    walk = run(filter_table(rule("A", goto=True), rule("DROP"), A=[rule("RETURN"), rule("DROP")]))
    assert walk(packet()) == Verdict.ACCEPT
    assert walk.counts() == [1, 0, 1]


def test_rule_counts_before_its_target_changes_the_length(run) -> None:
    def grow(settings: object, skb: Skb, param: XtParam) -> None:
        skb.data += bytes(10)

    walk = run(filter_table(extension(grow), rule("ACCEPT")))
    assert walk(packet()) == Verdict.ACCEPT
    assert [rule.octets for rule in walk.table.chains["FORWARD"].rules] == [40, 50]


def test_addresses_are_read_anew_after_a_target(run) -> None:
    def rewrite(settings: object, skb: Skb, param: XtParam) -> None:
        skb.data[16:20] = parse_address("10.9.9.9")

    drop = rule("DROP", destination=parse_address("10.9.9.9"), destination_mask=mask_of(32))
    assert run(filter_table(extension(rewrite), drop))(packet()) == Verdict.DROP


def test_matches_run_in_order_and_stop_at_the_first_that_fails(run) -> None:
    seen: list[str] = []

    def note(name: str, answer: bool) -> BoundMatch:
        return match(lambda *_: (seen.append(name), answer)[1])

    walk = run(
        filter_table(rule("DROP", matches=(note("a", True), note("b", False), note("c", True))))
    )
    assert walk(packet()) == Verdict.ACCEPT
    assert seen == ["a", "b"]


@pytest.mark.parametrize("answer", [True, False])
def test_hotdrop_drops_whatever_the_match_answers(run, answer: bool) -> None:
    def malformed(settings: object, skb: Skb, param: XtParam) -> bool:
        param.hotdrop = True
        return answer

    skb = packet()
    walk = run(filter_table(rule("ACCEPT", matches=(match(malformed),))))
    assert walk(skb) == Verdict.DROP
    assert skb.fate.decided_by.rule == 1
    assert walk.counts() == [int(answer), 0]


def test_verdict_of_a_target_ends_the_table(run) -> None:
    walk = run(filter_table(extension(lambda *_: Verdict.STOLEN), rule("DROP")))
    assert walk(packet()) == Verdict.STOLEN
    assert walk.counts() == [1, 0, 0]


def test_queue_notes_its_number(run) -> None:
    skb = packet()
    assert run(filter_table(rule("QUEUE")))(skb) == Verdict.QUEUE
    assert skb.fate.verdict == "QUEUE"


def test_rules_visited_counts_rules_tried_but_no_policy(run) -> None:
    table = filter_table(rule("DROP", protocol=6), rule("A"), rule("RETURN"), A=[rule(), rule()])
    skb = packet()
    run(table)(skb)
    assert skb.fate.rules_visited == 5


GENERIC = [
    ({}, True),
    (network("10.0.0.0/8"), True),
    (network("10.0.0.0/8") | {"invert": Invert.SRCIP}, False),
    (network("11.0.0.0/8"), False),
    ({"invert": Invert.SRCIP, "source": bytes(4), "source_mask": bytes(4)}, False),
    ({"destination": bytes([0, 0, 0, 2]), "destination_mask": bytes([0, 0, 0, 255])}, True),
    (
        {
            "destination": bytes([10, 0, 0, 2]),
            "destination_mask": mask_of(32),
            "invert": Invert.DSTIP,
        },
        False,
    ),
    ({"protocol": 17}, True),
    ({"protocol": 6}, False),
    ({"protocol": 6, "invert": Invert.PROTO}, True),
    ({"in_device": "eth0"}, True),
    ({"in_device": "eth"}, False),
    ({"in_device": "eth+"}, True),
    ({"in_device": "eth0+"}, True),
    ({"in_device": "+"}, True),
    ({"in_device": "+", "invert": Invert.VIA_IN}, False),
    ({"in_device": "eth1", "invert": Invert.VIA_IN}, True),
    ({"out_device": "eth1"}, True),
    ({"out_device": "eth0"}, False),
    ({"out_device": "eth+", "invert": Invert.VIA_OUT}, False),
    ({"fragment": True}, False),
    ({"fragment": True, "invert": Invert.FRAG}, True),
]


@pytest.mark.parametrize("generic, expected", GENERIC)
def test_generic_match(run, generic: dict, expected: bool) -> None:
    verdict = run(filter_table(rule("DROP", **generic)))(packet())
    assert (verdict == Verdict.DROP) is expected


def test_missing_device_compares_as_an_empty_name(run) -> None:
    """-i eth0 fails and ! -i eth0 holds where there is no input device."""
    named = run(filter_table(rule("DROP", in_device="eth0")))
    assert named(packet(), in_device=None) == Verdict.ACCEPT
    inverted = run(filter_table(rule("DROP", in_device="eth0", invert=Invert.VIA_IN)))
    assert inverted(packet(), in_device=None) == Verdict.DROP
    prefix = run(filter_table(rule("DROP", out_device="+")))
    assert prefix(packet(), out_device=None) == Verdict.DROP


def test_fragment_option_looks_at_the_offset_only(run) -> None:
    first, later = packet(more_fragments=True), packet(fragment_offset=2)
    walk = run(filter_table(rule("DROP", fragment=True)))
    assert (walk(first), walk(later)) == (Verdict.ACCEPT, Verdict.DROP)


def random_table(draw: random.Random) -> Table:
    """Chains may only jump to later ones, so there are no loops."""
    names = ["FORWARD", "A", "B", "C"]
    chains: dict[str, list[Rule]] = {}
    for position, name in enumerate(names):
        later = names[position + 1 :]
        chains[name] = [
            rule(
                target,
                goto=target in later and draw.random() < 0.4,
                protocol=draw.choice([0, 0, 6, 17]),
                in_device=draw.choice(["", "eth0", "eth1", "eth+"]),
                invert=draw.choice([Invert(0), Invert.PROTO]),
                matches=tuple(match(draw.random() < 0.7) for _ in range(draw.randrange(2))),
            )
            for target in draw.choices(["", "", "RETURN", "ACCEPT", "DROP", *later * 3], k=5)
        ]
    return filter_table(
        *chains.pop("FORWARD"), policy=draw.choice([Verdict.ACCEPT, Verdict.DROP]), **chains
    )


@pytest.mark.parametrize("seed", range(60))
def test_both_gears_decide_count_and_log_the_same(seed: int) -> None:
    walks = [Run(random_table(random.Random(seed)), telling=telling) for telling in (False, True)]
    for source, protocol in (("10.0.0.1", 6), ("10.0.0.1", 17), ("10.0.0.1", 1)):
        skbs = [packet(source, protocol=protocol) for _ in walks]
        for skb in skbs:
            skb.nf_trace = True
        assert walks[0](skbs[0]) == walks[1](skbs[1])
        assert fate_of(skbs[0]) == fate_of(skbs[1])
    assert walks[0].net.log == walks[1].net.log
    for name in walks[0].table.chains:
        assert walks[0].counts(name) == walks[1].counts(name)


def fate_of(skb: Skb) -> tuple[object, ...]:
    return skb.fate.decided_by, skb.fate.rules_visited, skb.fate.verdict


def test_checks_at_loading_name_the_line() -> None:
    def refuse(net: Net, settings: object) -> None:
        raise RulesetError("cannot be run")

    bad = rule("ACCEPT", matches=(match(True, attach=refuse),))
    bad.line = 7
    with pytest.raises(RulesetError) as caught:
        register_table(Net(), filter_table(bad))
    assert caught.value.line == 7


def mangle_table(*rules: Rule) -> Table:
    table = Table(name="mangle")
    for hook in Hook:
        table.chains[hook.name] = Chain(name=hook.name, policy=Verdict.ACCEPT)
    table.chains["OUTPUT"].rules = list(rules)
    return table


@pytest.mark.parametrize(
    "change, routed",
    [
        (lambda skb: None, 0),
        (lambda skb: setattr(skb, "mark", 5), 1),
        (lambda skb: skb.data.__setitem__(1, 8), 1),
        (lambda skb: skb.data.__setitem__(15, 8), 1),
        (lambda skb: skb.data.__setitem__(19, 8), 1),
        (lambda skb: skb.data.__setitem__(8, 8), 0),
    ],
    ids=["nothing", "mark", "tos", "source", "destination", "ttl"],
)
def test_mangle_output_routes_again_after_a_change(
    run, monkeypatch: pytest.MonkeyPatch, change: Callable[[Skb], None], routed: int
) -> None:
    calls: list[Skb] = []
    monkeypatch.setattr(table_module, "ip_route_me_harder", lambda net, skb: calls.append(skb))
    walk = run(mangle_table(extension(lambda settings, skb, param: change(skb))), hook=Hook.OUTPUT)
    assert walk(packet(), None, ETH1) == Verdict.ACCEPT
    assert len(calls) == routed


def test_mangle_output_drops_what_has_no_route_any_more(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "ip_route_me_harder", lambda net, skb: "ENETUNREACH")
    walk = run(
        mangle_table(extension(lambda settings, skb, param: setattr(skb, "mark", 1))),
        hook=Hook.OUTPUT,
    )
    assert walk(packet(), None, ETH1) == Verdict.DROP


def test_tables_hang_at_the_kernels_priorities() -> None:
    net = Net()
    for name, kind in TABLES.items():
        table = Table(name=name)
        for hook in kind.hooks:
            table.chains[hook.name] = Chain(name=hook.name, policy=Verdict.ACCEPT)
        register_table(net, table)
    found = {
        hook.name: [priority for priority, _ in net.hooks.functions(Family.IPV4, hook)]
        for hook in Hook
    }
    assert found == {
        "PREROUTING": [-300, -150, -100],
        "INPUT": [-150, 0, 50, 100],
        "FORWARD": [-150, 0, 50],
        "OUTPUT": [-300, -150, -100, 0, 50],
        "POSTROUTING": [-150, 100],
    }
