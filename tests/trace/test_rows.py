"""Events become rows; a rule's effects join its row."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from netemu import events
from netemu.trace.rows import L2, L2_OUT, LOCAL, ROUTE, rows_of, split_comment, squeeze

_SPEC = importlib.util.spec_from_file_location(
    "conftest_trace", Path(__file__).parent / "conftest.py"
)
assert _SPEC is not None and _SPEC.loader is not None
EXAMPLES = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(EXAMPLES)
told, visited = EXAMPLES.told, EXAMPLES.visited


def lines(items, **how):
    return [row.line() for row in rows_of(items, **how)]


def test_the_stages_come_in_the_packets_order(passage):
    own = [item for item in passage.told if item[0].packet_id == 1]
    stages = list(dict.fromkeys(row.stage for row in rows_of(own)))
    assert stages == [L2, "PREROUTING", ROUTE, "FORWARD", "POSTROUTING", L2_OUT]


def test_effects_stand_in_the_rule_that_caused_them(passage):
    found = {row.mark: row for row in rows_of(passage.told) if row.mark}
    assert found[":16"].effects == ["mark 0x0 -> 0x4000"]
    assert found[":24"].effects == ["draw 0.250 of 0.500: hit"]
    assert found[":27"].effects == ["10.96.0.10:80 -> 10.244.1.5:8080"]
    assert (found[":13"].text, found[":13"].comment) == ("-j SERVICES", "service portals")


def test_a_rewrite_that_a_rule_announced_is_not_told_twice(passage):
    assert not any("dnat" in line for line in lines(passage.told))


def test_a_rewrite_without_a_rule_has_a_row():
    rewritten = events.HeaderRewritten(what="un-snat", before="1.1.1.1:1", after="2.2.2.2:2")
    assert lines([told(rewritten, "PREROUTING")]) == ["packet  un-snat 1.1.1.1:1 -> 2.2.2.2:2"]


def test_rules_that_did_not_match_show_on_demand_with_what_failed(passage):
    shown = "nat/SERVICES  :19  -d 10.96.0.1/32 -j API  no -d 10.96.0.1/32, it is 10.96.0.10"
    assert shown not in lines(passage.told)
    assert shown in lines(passage.told, everything=True)


def test_a_draw_that_missed_is_always_shown():
    chance = events.ChanceDrawn(match="statistic", value=3 << 29, threshold=1 << 30, matched=False)
    rule = visited("WEB", 24, "-m statistic -j SEP", failed_on="-m statistic", value="random draw")
    (row,) = rows_of([told(chance, "PREROUTING"), told(rule, "PREROUTING")])
    assert (row.effects, row.tone) == (["draw 0.750 of 0.500: miss"], "miss")


def test_a_wait_that_ended_at_once_is_left_out(passage):
    shown = lines(passage.told)
    assert not any("waits for" in line or "INCOMPLETE" in line for line in shown)
    used = "neighbour 10.244.1.5 is 02:00:00:00:00:88 REACHABLE  assumed, nobody answers for it"
    assert f"cni0  {used}" in shown


def test_a_wait_that_lasts_is_told():
    queued = events.PacketQueued(where="neighbour 10.0.0.1 on eth0")
    assert lines([told(queued)]) == ["held  waits for neighbour 10.0.0.1 on eth0"]


def test_a_policy_is_told_where_it_decides():
    def policy(table, verdict):
        return told(
            events.VerdictIssued(
                table=table, chain="FORWARD", rule=1, line=None, verdict=verdict, policy=True
            ),
            "FORWARD",
        )

    items = [policy("mangle", "ACCEPT"), policy("filter", "ACCEPT"), policy("raw", "DROP")]
    assert lines(items) == ["filter/FORWARD  policy ACCEPT", "raw/FORWARD  policy DROP"]


def test_a_rule_that_ends_the_packet_is_marked():
    verdict = events.VerdictIssued(
        table="nat", chain="SEP", rule=1, line=11, verdict="DROP", policy=False
    )
    rows = rows_of([told(visited("SEP", 11, "-j DROP"), "INPUT"), told(verdict, "INPUT")])
    assert [row.tone for row in rows] == ["bad"]


def test_the_mark_of_no_rule_gets_a_row_of_its_own():
    changed = events.MarkChanged(what="ctmark", before=0, after=1)
    assert lines([told(changed, "OUTPUT")]) == ["packet  ctmark 0x0 -> 0x1"]


@pytest.mark.parametrize(
    "event,expected",
    [
        (
            events.FdbLearned(bridge="br0", mac="02::1", device="p1", moved_from="p2"),
            "br0  fdb learns 02::1 behind p1, before behind p2",
        ),
        (
            events.BridgeForwarded(bridge="br0", how="flood", devices=("p1", "p2")),
            "br0  unknown to the fdb, floods p1, p2",
        ),
        (
            events.BridgeForwarded(bridge="br0", how="broadcast", devices=()),
            "br0  broadcast to nobody",
        ),
        (
            events.BridgeForwarded(bridge="br0", how="local", devices=()),
            "br0  for the bridge itself, goes up",
        ),
        (events.PacketDelivered(what="icmp echo"), "taken by  icmp echo"),
        (events.PacketDropped(reason="NO_SOCKET", detail=""), "dropped  NO_SOCKET"),
        (events.PacketDropped(reason="IP_CSUM", detail="of 3"), "dropped  IP_CSUM (of 3)"),
        (events.KernelLogged(text="IN=eth0"), "kernel log  IN=eth0"),
        (
            events.ConntrackLookup(
                state="INVALID", direction="", connection="", note="bad checksum"
            ),
            "conntrack  INVALID  bad checksum",
        ),
        (
            events.ConntrackLookup(
                state="ESTABLISHED", direction="REPLY", connection="udp      17 30", note=""
            ),
            "conntrack  ESTABLISHED reply  udp 17 30",
        ),
        (
            events.ConnectionDestroyed(connection="udp 17", why="timeout"),
            "conntrack  entry removed (timeout) udp 17",
        ),
        (
            events.ExpectationCreated(expectation="299 proto=6 src=10.0.0.1"),
            "helper  expects 299 proto=6 src=10.0.0.1",
        ),
    ],
)
def test_other_events(event, expected):
    assert lines([told(event)]) == [expected]


def test_routes_that_lead_nowhere_are_bad():
    route = events.RouteChosen(
        direction="output",
        destination="10.0.0.1",
        table="main",
        prefix="10.0.0.0/8",
        kind="blackhole",
        device="lo",
        gateway="",
        source="192.0.2.1",
    )
    (row,) = rows_of([told(route)])
    assert (row.stage, row.tone) == (ROUTE, "bad")
    assert row.line() == "table main  10.0.0.1: blackhole 10.0.0.0/8 dev lo src 192.0.2.1"


def test_a_new_namespace_starts_at_its_link_layer(passage):
    received = events.FrameReceived(device="eth0", frame=EXAMPLES.FRAME, packet_type="HOST")
    made = events.PacketDelivered(what="tcp listener :80")
    rows = rows_of([*passage.told, told(received, node="pod"), told(made, node="pod")])
    assert [(row.stage, row.namespace) for row in rows[-2:]] == [(L2, "pod"), (LOCAL, "pod")]


def test_helpers():
    assert split_comment("-m comment --comment one -j ACCEPT") == ("-j ACCEPT", "one")
    assert split_comment("-j ACCEPT") == ("-j ACCEPT", "")
    assert squeeze("udp      17 29 src=1 use=2") == "udp 17 29 src=1"


def test_a_scheduler_shows_its_figures():
    found = lines(
        [
            told(events.IpvsServiceFound(service="TCP 10.96.0.1:80", bucket=87), "INPUT"),
            told(
                events.ServerChosen(
                    service="TCP 10.96.0.1:80",
                    scheduler="wlc",
                    servers=(("10.0.0.3:80", "overhead 0 / weight 3"),),
                    why="the least overhead / weight",
                    chosen="10.0.0.3:80",
                ),
                "INPUT",
            ),
        ]
    )
    assert "TCP 10.96.0.1:80  (bucket 87 of 256)" in found[0]
    assert "10.0.0.3:80  overhead 0 / weight 3" in found[1]
    assert "wlc takes 10.0.0.3:80: the least overhead / weight" in found[2]


def test_what_a_set_was_asked_stands_in_the_rule_that_asked():
    asked = events.SetLookedUp(
        set="NETS", type="hash:net", key="10.0.0.1", matched=True, why="10.0.0.0/8"
    )
    rule = visited("FORWARD", 9, "-m set --match-set NETS src -j ACCEPT")
    (row,) = rows_of([told(asked, "FORWARD"), told(rule, "FORWARD")])
    assert row.effects == ["10.0.0.1 in NETS (10.0.0.0/8)"]


def test_what_a_rule_did_to_a_set_is_its_effect():
    rule = visited("FORWARD", 9, "-j SET --add-set a src")
    done = events.SetChanged(set="a", change="add", key="10.0.0.1", why="")
    full = events.SetChanged(set="b", change="del", key="", why="full")
    (row,) = rows_of([told(event, "FORWARD") for event in (rule, done, full)])
    assert row.effects == ["add 10.0.0.1 to a", "del nothing from b, refused: full"]
