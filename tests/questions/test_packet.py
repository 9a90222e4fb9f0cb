"""One new packet reasoned about: what the tables let become of it, in either family."""

from __future__ import annotations

from fractions import Fraction

import pytest

from netemu.errors import UsageError
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.space import CtState, Field
from netemu.questions.packet import endings
from netemu.ruleset import parse_ruleset
from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec
from netemu.wire.address import format_address, parse_address
from netemu.wire.ipv4 import Protocol

OWN, OTHER = "2001:db8::1", "2001:db8::9"
RULES = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 81 -j REJECT --reject-with icmp6-port-unreachable
-A FORWARD -d 2001:db8:f::2/128 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CHOICE - [0:0]
-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 80 -j CHOICE
-A OUTPUT -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 80 -j CHOICE
-A POSTROUTING -d 2001:db8:f::1/128 -j MASQUERADE
{choice}
COMMIT
"""
CHOICE = """-A CHOICE -p tcp -m statistic --mode random --probability 0.25 -j DNAT --to [2001:db8:f::1]:8080
-A CHOICE -p tcp -j DNAT --to [2001:db8:f::2]:8080"""


def found(source: str, target: str, port: int, device: str = "eth0", choice: str = CHOICE):
    """Return (verdict, how, ADDRESS:PORT, masqueraded) and its share, for each end."""
    addresses = {"lo": "::1", "eth0": OWN}
    node = NamespaceSpec(
        links=[LinkSpec(name=name, ifindex=at) for at, name in enumerate(addresses, 1)],
        addresses=[
            AddressSpec(device=name, address=parse_address(ip), prefix_len=128)
            for name, ip in addresses.items()
        ],
    )
    rules = parse_ruleset(RULES.format(choice=choice), "rules", family=Family.IPV6)
    packet = {
        Field.SOURCE: int.from_bytes(parse_address(source), "big"),
        Field.DESTINATION: int.from_bytes(parse_address(target), "big"),
        Field.PROTOCOL: Protocol.TCP,
        Field.SOURCE_PORT: 40000,
        Field.DESTINATION_PORT: port,
        Field.CT_STATE: CtState.NEW,
        Field.TTL: 64,
    }
    shown = {}
    for ending, share in endings(rules, node, device, packet).items():
        number, to_port = ending.destination
        place = f"{format_address(number.to_bytes(16, 'big'))}:{to_port}"
        shown[ending.verdict, ending.how, place, ending.source_changed] = share
    return shown


def test_draws_are_shared_out():
    assert found("2001:db8:e::5", OWN, 80) == {
        ("ACCEPT", "forward", "2001:db8:f::1:8080", True): Fraction(1, 4),
        ("DROP", "", f"{OWN}:80", False): Fraction(3, 4),
    }


def test_an_address_of_somebody_else_is_not_local():
    """xt_addrtype asks ipv6_chk_addr: only the node's own addresses are LOCAL."""
    assert found("2001:db8:e::5", OTHER, 80) == {
        ("ACCEPT", "forward", f"{OTHER}:80", False): Fraction(1)
    }


def test_what_a_node_sends_to_itself_comes_in_again():
    """It is let out by OUTPUT, and refused by INPUT: one end, not two."""
    refused = ("REJECT", "icmp6-port-unreachable", f"{OWN}:81", False)
    assert found(OWN, OWN, 81, device="") == {refused: Fraction(1)}
    assert found("::1", "::1", 82, device="") == {("ACCEPT", "loop", "::1:82", False): Fraction(1)}


def test_a_node_meets_its_own_translation():
    assert ("ACCEPT", "local", "2001:db8:f::1:8080", True) in found(OWN, OWN, 80, device="")


def test_lists_of_what_came_before_are_empty():
    recent = "-A CHOICE -m recent --rcheck --name a --rsource -j RETURN\n"
    mark = "-A CHOICE -p tcp -m recent --set --name a --rsource -j DNAT --to [2001:db8:f::1]:8080"
    (only,) = found("2001:db8:e::5", OWN, 80, choice=recent + mark)
    assert only[2] == "2001:db8:f::1:8080"


def test_what_no_rule_tells_is_asked_back():
    limit = "-A CHOICE -m limit --limit 1/sec -j RETURN\n"
    with pytest.raises(UsageError, match="depends on `-m limit"):
        found("2001:db8:e::5", OWN, 80, choice=limit + CHOICE)
