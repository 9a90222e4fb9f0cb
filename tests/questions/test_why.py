"""Why a packet fared as it did: each change that is said turns its fate in the engine."""

from __future__ import annotations

import pytest

from netemu.errors import UsageError
from netemu.questions.fates import ask_engine
from netemu.questions.subject import Subject
from netemu.questions.why import Why, why
from netemu.sim.spec import TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes

RULES = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 198.51.100.0/24 -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,443 -j ACCEPT
-A INPUT -p udp -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable
-A FORWARD -d 10.1.0.0/16 -o cni0 -p tcp -m tcp --dport 8080 -j ACCEPT
COMMIT
"""


@pytest.fixture(scope="module")
def subject() -> Subject:
    changes = Changes(addresses=("cni0=10.1.0.1/16",))
    return Subject(bare_node(TextFile(name="rules", text=RULES), changes))


def said(found: Why) -> list[tuple[tuple[str, str], ...]]:
    return [change.fields for change in found.packets]


def test_one_field_is_enough(subject):
    found = why(subject, "tcp 192.0.2.9:40000 > 192.0.2.1:22 S", "eth0")
    assert (found.answer.text, found.decided) == ("DROP", "filter/INPUT:2  policy DROP")
    assert said(found) == [
        (("destination port", "80,443"),),
        (("source", "198.51.100.0/24"),),
    ]
    assert found.nearest is not None
    assert (found.nearest.place, found.nearest.lacks) == ("filter/INPUT:7", ("source",))


def test_two_fields_where_one_is_not_enough(subject):
    found = why(subject, "udp 192.0.2.9:40000 > 10.1.0.7:53", "eth0")
    assert (("destination port", "8080"), ("protocol", "tcp")) in said(found)
    assert all(len(fields) == 2 for fields in said(found))


def test_an_accepted_packet_the_other_way(subject):
    found = why(subject, "tcp 192.0.2.9:40000 > 10.1.0.7:8080 S", "eth0")
    assert found.answer.text == "ACCEPT"
    assert (("destination port", "!8080"),) in said(found)
    assert found.rules[0].text.startswith("delete line 10:  -A FORWARD -d 10.1.0.0/16")


def test_the_rule_that_would_let_it_through(subject):
    found = why(subject, "tcp 192.0.2.9:40000 > 10.1.0.7:22 S", "eth0")
    assert [rule.text for rule in found.rules] == [
        "iptables -t filter -A FORWARD -s 192.0.2.9/32 -d 10.1.0.7/32 -p tcp --dport 22 -j ACCEPT"
    ]


@pytest.mark.parametrize(
    "packet",
    [
        "tcp 192.0.2.9:40000 > 192.0.2.1:22 S",
        "udp 192.0.2.9:40000 > 192.0.2.1:53",
        "icmp 192.0.2.9 > 192.0.2.1 echo",
        "tcp 198.51.100.9:40000 > 192.0.2.1:22 S",
        "udp 192.0.2.9:40000 > 10.1.0.7:53",
    ],
)
def test_every_change_turns_the_fate(subject, packet):
    found = why(subject, packet, "eth0")
    assert found.packets
    for change in found.packets:
        answer = ask_engine(subject, change.example)
        assert answer == change.answer
        assert answer.verdict != found.answer.verdict
    assert all(rule.answer.verdict != found.answer.verdict for rule in found.rules)


def test_no_ip_packet(subject):
    with pytest.raises(UsageError, match="IP packets"):
        why(subject, "arp who-has 192.0.2.1 tell 192.0.2.9", "eth0")
