"""Every packet of a class goes the way of the packet that the class was made of."""

from __future__ import annotations

import random

import pytest

from netemu.analysis.terms import spans
from netemu.analysis.wording import axis_of
from netemu.events import RuleVisited
from netemu.netfilter.xtables.space import Field
from netemu.sim.fate_class import FateClass, fate_class
from netemu.sim.node import Node, build_node
from netemu.sim.probe import enter
from netemu.sim.spec import TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.trace.model import Recorder
from netemu.wire.address import format_address
from netemu.wire.packet_text import parse_packet

HOST = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:WEB - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type 8 -m limit --limit 1/min --limit-burst 3 -j ACCEPT
-A INPUT -s 198.51.100.0/24 -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,443,8000:8100 -j WEB
-A INPUT -p udp -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable
-A WEB -m iprange --src-range 203.0.113.7-203.0.113.99 -j DROP
-A WEB ! -s 198.51.100.0/24 -m mark ! --mark 0x1/0x1 -j ACCEPT
-A FORWARD -d 10.1.0.0/16 -p tcp -m tcp --sport 1024:65535 -j ACCEPT
-A FORWARD -p udp -m ttl --ttl-gt 10 -j ACCEPT
COMMIT
"""

SERVICES = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:SERVICES - [0:0]
:MASQ - [0:0]
:WEB - [0:0]
-A PREROUTING -j SERVICES
-A OUTPUT -j SERVICES
-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A POSTROUTING -j MASQUERADE
-A MASQ -j MARK --set-xmark 0x4000/0x4000
-A SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j WEB
-A SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 443 -j WEB
-A SERVICES -d 10.96.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.1.0.6
-A SERVICES -m addrtype --dst-type LOCAL -p tcp -m tcp --dport 30080 -j WEB
-A WEB ! -s 10.1.0.0/16 -j MASQ
-A WEB -p tcp -j DNAT --to-destination 10.1.0.5:8080
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A FORWARD -p tcp -m tcp --dport 8080 -j ACCEPT
-A FORWARD -o eth1 -p udp -m udp --dport 53 -j ACCEPT
COMMIT
"""

TARGETS = (
    "192.0.2.1",
    "10.1.0.5",
    "10.1.200.7",
    "10.96.0.10",
    "10.96.0.11",
    "10.96.0.200",
    "8.8.8.8",
)
SOURCES = ("192.0.2.9", "198.51.100.3", "203.0.113.50", "203.0.113.200")
PORTS = (22, 53, 80, 443, 8050, 9000, 30080)


def node_of(rules: str) -> Node:
    changes = Changes(addresses=("eth1=10.1.0.1/16",), routes=(), sysctls=())
    node = build_node(bare_node(TextFile(name="rules", text=rules), changes))
    node.assume_neighbours()
    return node


def way(rules: str, text: str) -> tuple[list[tuple[str, str, int, bool]], str, FateClass | None]:
    """Send a packet through a fresh node; return the rules it met, its verdict and its class."""
    node = node_of(rules)
    entry = enter(node, parse_packet(text), "eth0")
    recorder = Recorder()
    node.set_sink(recorder)
    fate = entry.send(node)
    told = recorder.take()
    met = [
        (event.table, event.chain, event.rule, event.matched)
        for stamp, event in told
        if isinstance(event, RuleVisited) and stamp.packet_id == fate.packet_id
    ]
    return met, fate.verdict, fate_class(node, entry, fate.packet_id, told)


def packet(chance: random.Random) -> str:
    source, destination = chance.choice(SOURCES), chance.choice(TARGETS)
    protocol = chance.choice(("tcp", "udp", "icmp"))
    if protocol == "icmp":
        return f"icmp {source} > {destination} echo"
    return f"{protocol} {source}:{chance.randint(1, 65535)} > {destination}:{chance.choice(PORTS)}"


def member(made: FateClass, chance: random.Random) -> str | None:
    """Return some packet of a class, None if it has none that can be written."""
    drawn = {}
    for field in (Field.SOURCE, Field.DESTINATION, Field.SOURCE_PORT, Field.DESTINATION_PORT):
        axis = axis_of(made.space, field)
        low, high = chance.choice(spans(made.space.diagram, made.term.get(axis, 0), axis))
        drawn[field] = chance.choice((low, high, chance.randint(low, high)))
    axis = axis_of(made.space, Field.PROTOCOL)
    protocols = [
        name
        for name, number in (("tcp", 6), ("udp", 17), ("icmp", 1))
        if made.space.diagram.meet(made.term.get(axis, 0), axis.value(made.space.diagram, number))
    ]
    if not protocols:
        return None
    protocol = chance.choice(protocols)
    source, destination = (
        format_address(drawn[field].to_bytes(4, "big"))
        for field in (Field.SOURCE, Field.DESTINATION)
    )
    if any(improper(address) for address in (source, destination)):
        return None
    if protocol == "icmp":
        axis = axis_of(made.space, Field.DESTINATION_PORT)
        echo = axis.value(made.space.diagram, 0x800)
        if not made.space.diagram.meet(made.term.get(axis, 0), echo):
            return None
        return f"icmp {source} > {destination} echo"
    ports = drawn[Field.SOURCE_PORT], drawn[Field.DESTINATION_PORT]
    return f"{protocol} {source}:{ports[0]} > {destination}:{ports[1]}"


def improper(address: str) -> bool:
    first = int(address.split(".", maxsplit=1)[0])
    own = {"10.1.0.1", "10.1.255.255", "192.0.2.255"}
    return first in {0, 127} or first >= 224 or address in own


@pytest.mark.parametrize("rules", [HOST, SERVICES], ids=["host", "services"])
@pytest.mark.parametrize("seed", range(8))
def test_packets_of_a_class_meet_the_same_rules(rules, seed):
    chance = random.Random(seed)
    text = packet(chance)
    met, verdict, made = way(rules, text)
    assert made is not None
    sent = 0
    for _ in range(30):
        other = member(made, chance)
        if other is None or (improper_local(other) and not improper_local(text)):
            continue
        sent += 1
        assert way(rules, other)[:2] == (met, verdict), (text, made.text, other)
    assert sent, made.text


def improper_local(text: str) -> bool:
    return "192.0.2.1:" in text.split(">")[1] or text.split()[3] == "192.0.2.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "tcp 192.0.2.9:40000 > 10.96.0.10:80",
            "tcp !10.1.0.0/16 > 10.96.0.10:80 in eth0 ct NEW",
        ),
        ("tcp 192.0.2.9:40000 > 10.1.0.5:8080", "tcp any > 10.1.0.0/16:8080 in eth0 ct NEW"),
    ],
)
def test_a_class_reads_well(text, expected):
    made = way(SERVICES, text)[2]
    assert made is not None
    assert made.text.removesuffix(" mark 0x0/0x4000") == expected
