"""The match physdev."""

from __future__ import annotations

import pytest

from netemu.skb import NfBridge, Skb

OPTIONS = [
    "--physdev-is-in",
    "--physdev-is-out",
    "--physdev-is-bridged",
    "--physdev-in p1",
    "--physdev-in p+",
    "--physdev-in p2",
    "--physdev-out p2",
    "--physdev-out p+",
    "--physdev-out p1",
]


def holding(bench, skb: Skb) -> tuple[set[str], set[str]]:
    """The options that hold as they stand, and those that hold inverted."""
    plain = {option for option in OPTIONS if bench.match(f"-m physdev {option}")(skb)}
    inverted = {option for option in OPTIONS if bench.match(f"-m physdev ! {option}")(skb)}
    return plain, inverted


def test_packet_that_crossed_no_bridge_matches_inverted_options(bench, skb) -> None:
    assert holding(bench, skb()) == (set(), set(OPTIONS))
    mixed = "-m physdev ! --physdev-is-in --physdev-in p1"
    assert not bench.match(mixed)(skb())


def test_bridged_packet_has_both_ports(bench, skb, device) -> None:
    packet = skb()
    packet.nf_bridge = NfBridge(physindev=device("p1"), physoutdev=device("p2"))
    expected = set(OPTIONS) - {"--physdev-in p2", "--physdev-out p1"}
    assert holding(bench, packet) == (expected, {"--physdev-in p2", "--physdev-out p1"})


def test_unknown_output_port_never_matches_a_name(bench, skb, device) -> None:
    packet = skb()
    packet.nf_bridge = NfBridge(physindev=device("p1"))
    plain, inverted = holding(bench, packet)
    assert plain == {"--physdev-is-in", "--physdev-in p1", "--physdev-in p+"}
    assert inverted == {"--physdev-is-out", "--physdev-is-bridged", "--physdev-in p2"}


def test_unknown_input_port_is_passed_over(bench, skb, device) -> None:
    packet = skb()
    packet.nf_bridge = NfBridge(physoutdev=device("p2"))
    assert bench.match("-m physdev --physdev-in p1")(packet)
    assert bench.match("-m physdev ! --physdev-in p1")(packet)
    assert not bench.match("-m physdev --physdev-is-in")(packet)


@pytest.mark.parametrize(
    "options, expected",
    [
        ("--physdev-in p1 --physdev-out p2 --physdev-is-bridged", True),
        ("--physdev-in p1 ! --physdev-out p2", False),
        ("--physdev-in p1 ! --physdev-is-bridged", False),
    ],
)
def test_all_options_must_hold(bench, skb, device, options: str, expected: bool) -> None:
    packet = skb()
    packet.nf_bridge = NfBridge(physindev=device("p1"), physoutdev=device("p2"))
    assert bench.match(f"-m physdev {options}")(packet) is expected
