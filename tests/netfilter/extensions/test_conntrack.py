"""The matches conntrack and state."""

from __future__ import annotations

import pytest

from netemu.netfilter.conntrack.connection import (
    IPS_ASSURED,
    IPS_CONFIRMED,
    IPS_DST_NAT,
    IPS_SEEN_REPLY,
    IPS_SRC_NAT,
    CtInfo,
    nf_ct_set_untracked,
)
from netemu.netfilter.conntrack.core import ConntrackHooks

STATES = ["INVALID", "NEW", "ESTABLISHED", "RELATED", "UNTRACKED"]


@pytest.mark.parametrize(
    "ctinfo, state",
    [
        (CtInfo.NEW, "NEW"),
        (CtInfo.ESTABLISHED, "ESTABLISHED"),
        (CtInfo.ESTABLISHED_REPLY, "ESTABLISHED"),
        (CtInfo.RELATED, "RELATED"),
        (CtInfo.RELATED_REPLY, "RELATED"),
    ],
)
@pytest.mark.parametrize("match", ["conntrack --ctstate", "state --state"])
def test_state_of_a_tracked_packet(
    bench, tracked, connection, match: str, ctinfo: CtInfo, state: str
) -> None:
    skb = tracked(connection(), ctinfo)
    assert [name for name in STATES if bench.match(f"-m {match} {name}")(skb)] == [state]
    assert not bench.match(f"-m {match.replace('--', '! --')} {state}")(skb)


def test_packet_without_connection_is_invalid(bench, skb) -> None:
    assert [name for name in STATES if bench.match(f"-m state --state {name}")(skb())] == [
        "INVALID"
    ]


def test_untracked_packet(bench, skb) -> None:
    packet = skb()
    nf_ct_set_untracked(packet)
    found = [name for name in STATES if bench.match(f"-m conntrack --ctstate {name}")(packet)]
    assert found == ["UNTRACKED"]


@pytest.mark.parametrize("status, name", [(IPS_SRC_NAT, "SNAT"), (IPS_DST_NAT, "DNAT")])
def test_nat_states_look_at_the_connection(
    bench, tracked, connection, status: int, name: str
) -> None:
    translated = tracked(connection(status=status))
    assert bench.match(f"-m conntrack --ctstate {name}")(translated)
    assert bench.match("-m conntrack --ctstate NEW")(translated)
    assert not bench.match(f"-m conntrack --ctstate {name}")(tracked(connection()))


def test_without_connection_only_the_state_counts(bench, skb) -> None:
    """`--ctstate INVALID --ctproto tcp` matches any invalid packet, `--ctproto tcp` none."""
    assert bench.match("-m conntrack --ctstate INVALID --ctproto tcp")(skb())
    assert not bench.match("-m conntrack --ctproto udp")(skb())
    assert not bench.match("-m conntrack ! --ctproto tcp")(skb())


ORIGINAL_AND_REPLY = [
    ("--ctorigsrc 10.0.0.1", True),
    ("--ctorigsrc 10.0.0.0/24", True),
    ("--ctorigsrc 10.0.0.99/24", True),
    ("! --ctorigsrc 10.0.0.1", False),
    ("--ctorigdst 10.96.0.1", True),
    ("--ctreplsrc 10.244.0.5", True),
    ("--ctreplsrc 10.96.0.1", False),
    ("--ctrepldst 10.0.0.1", True),
    ("--ctorigsrc 0.0.0.0/0", True),
    ("--ctproto tcp", True),
    ("--ctproto 17", False),
    ("--ctorigsrcport 1000", True),
    ("--ctorigdstport 80", True),
    ("--ctorigdstport 81:", False),
    ("--ctreplsrcport 8000:9000", True),
    ("! --ctreplsrcport 8080", False),
    ("--ctrepldstport :999", False),
    ("--ctorigdstport 90:80", False),
    ("--ctstatus ASSURED", True),
    ("--ctstatus EXPECTED,ASSURED", True),
    ("--ctstatus EXPECTED", False),
    ("! --ctstatus EXPECTED", True),
    ("--ctstatus NONE", False),
    ("! --ctstatus NONE", True),
    ("--ctdir ORIGINAL", True),
    ("--ctdir REPLY", False),
    ("--ctorigsrc 10.0.0.1 --ctproto udp", False),
]


@pytest.mark.parametrize("options, expected", ORIGINAL_AND_REPLY)
def test_parts_of_the_connection(bench, tracked, connection, options: str, expected: bool) -> None:
    status = IPS_CONFIRMED | IPS_SEEN_REPLY | IPS_ASSURED
    skb = tracked(connection(status=status), CtInfo.ESTABLISHED)
    assert bench.match(f"-m conntrack {options}")(skb) is expected


def test_reply_direction(bench, tracked, connection) -> None:
    skb = tracked(connection(), CtInfo.ESTABLISHED_REPLY)
    assert bench.match("-m conntrack --ctdir REPLY")(skb)


def test_icmp_id_and_type_stand_for_the_ports(bench, tracked, connection) -> None:
    skb = tracked(connection("icmp 10.0.0.1:77 10.0.0.2:2048"))
    assert bench.match("-m conntrack --ctorigsrcport 77 --ctorigdstport 2048")(skb)


@pytest.mark.parametrize("options, expected", [("99:101", True), ("100", True), ("101:", False)])
def test_expiry_in_whole_seconds(bench, tracked, connection, options: str, expected: bool) -> None:
    jiffies = 100 * bench.net.clock.hz + 249
    skb = tracked(connection(status=IPS_CONFIRMED, timeout=jiffies), CtInfo.ESTABLISHED)
    assert bench.match(f"-m conntrack --ctexpire {options}")(skb) is expected


def test_unconfirmed_connection_expires_in_0_seconds(bench, tracked, connection) -> None:
    """Its timeout is a length, which nf_ct_expires takes for a moment (Linux 6.18)."""
    skb = tracked(connection(timeout=120 * 250))
    assert bench.match("-m conntrack --ctexpire 0")(skb)


@pytest.mark.parametrize("uptime_s, expected", [(340, "80"), (419, "1"), (421, "0")])
def test_jiffies_have_not_wrapped_in_the_first_minutes_after_boot(
    bench, tracked, connection, uptime_s: int, expected: str
) -> None:
    """300 s until jiffies wrap, 120 s of timeout: the sum counts down (Linux 6.18, just booted)."""
    bench.net.clock.uptime_ns = uptime_s * 1_000_000_000
    skb = tracked(connection(timeout=120 * 250))
    assert bench.match(f"-m conntrack --ctexpire {expected}")(skb)


def test_rule_begins_tracking(bench) -> None:
    assert bench.net.generic(ConntrackHooks).users == 0
    bench.match("-m state --state NEW")
    assert bench.net.generic(ConntrackHooks).users == 1
