"""Questions about all packets: proofs of none, examples that the engine confirms."""

from __future__ import annotations

import random

import pytest

from netemu.analysis.question import parse_class, parse_question
from netemu.errors import QuestionError
from netemu.questions.ask import Known, Reply, ask
from netemu.questions.matrix import NODE, matrix
from netemu.questions.subject import Subject
from netemu.sim.probe import enter
from netemu.sim.spec import TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.wire.packet_text import parse_packet

RULES = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING ! -i cni0 -p tcp -m tcp --dport 8080 -m addrtype --dst-type LOCAL -j DNAT --to-destination 10.1.0.5:80
-A POSTROUTING -s 10.1.0.0/16 ! -o cni0 -j MASQUERADE
COMMIT
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -s 198.51.100.0/24 -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -d 10.1.0.5/32 -o cni0 -p tcp -m tcp --dport 80 -j ACCEPT
-A FORWARD -i cni0 ! -o cni0 -j ACCEPT
COMMIT
"""


@pytest.fixture(scope="module")
def subject() -> Subject:
    changes = Changes(addresses=("cni0=10.1.0.1/16",))
    return Subject(bare_node(TextFile(name="rules", text=RULES), changes))


def said(subject: Subject, text: str) -> Reply:
    return ask(subject, parse_question(text))


def test_a_published_port_is_found_with_its_endpoint(subject):
    reply = said(subject, "reach tcp any > any:8080 in eth0 dnat 10.1.0.5:80")
    assert reply.holds is True
    assert [found.packets for found in reply.found] == ["tcp any > 10.1.0.1,192.0.2.1:8080 in eth0"]
    assert reply.found[0].answer.text == "ACCEPT to 10.1.0.5:80"


def test_none_is_a_proof(subject):
    assert said(subject, "reach tcp any > 10.1.0.0/17:23 in eth0").holds is False
    assert said(subject, "never tcp 203.0.113.0/24 > 10.1.0.0/16:22 in eth0").holds is True
    assert said(subject, "never tcp !198.51.100.0/24 > 192.0.2.1:22").holds is True


def test_what_speaks_against_it_is_shown(subject):
    reply = said(subject, "never tcp any > 192.0.2.1:22")
    assert reply.holds is False
    assert reply.found[0].packets == "tcp 198.51.100.0/24 > 192.0.2.1:22 in any"
    assert said(subject, "always tcp 198.51.100.0/24 > 192.0.2.1:22").holds is True
    assert said(subject, "always tcp any > 192.0.2.1:22").holds is False


def test_answers_may_be_asked_about_by_their_state(subject):
    assert said(subject, "reach udp any > 192.0.2.1").holds is False
    assert said(subject, "reach tcp any > 192.0.2.1 ct ESTABLISHED").holds is True


def test_the_rule_that_decides_may_be_asked_for(subject):
    reply = said(subject, "reach any any > any accept by FORWARD:3")
    assert reply.holds is True
    assert all(
        found.answer.decided_by is not None and found.answer.decided_by.rule == 3
        for found in reply.found
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("can tcp any > any", "asks nothing"),
        ("reach tcp any any", "'>' should be"),
        ("reach tcp any > any:x", "is no number"),
        ("reach tcp 10.0.0.300 > any", "no address"),
        ("reach tcp any > any in", "ends where a device"),
        ("reach tcp any > any ct OLD", "no state"),
        ("reach tcp any > any maybe", "neither condition nor fate"),
        ("reach nix any > any", "no protocol"),
    ],
)
def test_a_bad_word_is_pointed_at(text, message):
    with pytest.raises(QuestionError, match=message):
        parse_question(text)


def test_a_device_that_the_node_lacks_is_refused(subject):
    with pytest.raises(QuestionError, match="no device 'eth9'"):
        said(subject, "reach tcp any > any in eth9")
    with pytest.raises(QuestionError) as caught:
        said(subject, "never tcp any > any:22 in eth9")
    assert caught.value.column == 27


def test_few_types_of_icmp_are_named(subject):
    """Only 8, 13, 15 and 17 open a connection: `type 8`, not `type !13,15,17`."""
    for found in said(subject, "reach icmp any > any type 8 accept").found:
        assert "type !" not in found.packets


def test_the_matrix(subject):
    known = Known(subject)
    cells = {(cell.source, cell.destination): cell.services for cell in matrix(known, 0)}
    outside, pods = "eth0 (anywhere)", "cni0 (10.1.0.0/16)"
    assert cells[outside, NODE] == ("tcp 22,8080", "icmp type 8")
    assert cells[outside, pods] == ("tcp 80",)
    assert cells[pods, outside] == ("any",)
    assert cells[pods, pods] == ("tcp 80",)
    assert cells[pods, NODE] == ("icmp type 8",)
    assert cells[NODE, pods] == ("any",)
    assert parse_class("tcp any > any")


def test_random_packets_agree_with_the_answers(subject):
    chance = random.Random(5)
    questions = {
        "10.1.0.5": "never {p} any > 10.1.0.5:{d} in eth0",
        "192.0.2.1": "never {p} 203.0.113.9 > 192.0.2.1:{d} in eth0",
    }
    for _ in range(12):
        destination, text = chance.choice(list(questions.items()))
        protocol, port = chance.choice(("tcp", "udp")), chance.choice((22, 80, 8080))
        reply = said(subject, text.format(p=protocol, d=port))
        node = subject.build()
        line = f"{protocol} 203.0.113.9:40000 > {destination}:{port}"
        fate = enter(node, parse_packet(line), "eth0").send(node)
        accepted = fate.verdict == "ACCEPT" or fate.reason == "NO_SOCKET"
        assert reply.holds is not accepted, line
