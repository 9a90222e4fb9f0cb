"""Rule sets compared: every claim is checked by packets through both engines."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import pytest

import netemu
from netemu.analysis.bdd import EMPTY
from netemu.analysis.packet import fields_of, point
from netemu.analysis.terms import product
from netemu.netfilter.xtables.space import Field
from netemu.questions.bisect import blame
from netemu.questions.diff import Difference, DiffResult, diff
from netemu.questions.fates import ask_engine
from netemu.questions.subject import Subject
from netemu.sim.probe import enter
from netemu.sim.spec import TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.wire.address import parse_address
from netemu.wire.packet_text import parse_packet

HOST = """\
*filter
:INPUT DROP [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:WEB - [0:0]
-A INPUT -i lo -j ACCEPT
-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A INPUT -p icmp -j ACCEPT
-A INPUT -s 198.51.100.0/24 -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m multiport --dports 80,443 -j WEB
-A INPUT -p udp -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable
-A WEB -s 203.0.113.0/25 -j DROP
-A WEB -j ACCEPT
-A FORWARD -d 10.1.0.0/16 -i eth0 -p tcp -m tcp --dport 22 -j DROP
-A FORWARD -d 10.1.0.0/16 -i eth0 -j ACCEPT
COMMIT
"""

SERVICES = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:MASQ - [0:0]
:SERVICES - [0:0]
:WEB - [0:0]
-A PREROUTING -j SERVICES
-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A POSTROUTING -j MASQUERADE
-A MASQ -j MARK --set-xmark 0x4000/0x4000
-A SERVICES -d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j WEB
-A SERVICES -d 10.96.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.1.0.6
-A WEB ! -s 10.1.0.0/16 -j MASQ
-A WEB -p tcp -m statistic --mode random --probability 0.50000000000 -j DNAT --to-destination 10.1.0.5:8080
-A WEB -p tcp -j DNAT --to-destination 10.1.0.7:8080
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
-A FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A FORWARD -d 10.1.0.0/16 -p udp -m udp --dport 53 -j ACCEPT
COMMIT
"""

TARGETS = ("192.0.2.1", "10.1.0.5", "10.1.200.7", "10.96.0.10", "10.96.0.11", "8.8.8.8")
SOURCES = ("192.0.2.9", "198.51.100.3", "203.0.113.50", "203.0.113.200")
PORTS = (22, 53, 80, 443, 8080, 9000)


def subject(text: str, name: str = "rules") -> Subject:
    return Subject(bare_node(TextFile(name=name, text=text), Changes()))


def compared(old: str, new: str) -> DiffResult:
    return diff(subject(old, "old"), subject(new, "new"))


def only(result: DiffResult) -> Difference:
    assert (len(result.differences), result.unknown) == (1, [])
    return result.differences[0]


@pytest.mark.parametrize("rules", [HOST, SERVICES], ids=["host", "services"])
def test_rules_are_equal_to_themselves(rules):
    assert compared(rules, rules).equal is True


def test_a_rule_that_lets_less_through():
    old = HOST.replace("-A FORWARD -d 10.1.0.0/16 -i eth0 -p tcp -m tcp --dport 22 -j DROP\n", "")
    found = only(compared(old, HOST))
    assert found.packets == "tcp any > 10.1.0.0/16:22 in eth0 forwarded"
    assert (found.old.text, found.new.text) == ("ACCEPT", "DROP")


def test_disjoint_rules_may_change_places():
    lines = HOST.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if "--dport 22 -j ACCEPT" in line)
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    assert compared(HOST, "".join(lines)).equal is True


def test_rules_that_overlap_may_not():
    lines = HOST.splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if line.startswith("-A WEB -s"))
    lines[at], lines[at + 1] = lines[at + 1], lines[at]
    found = only(compared(HOST, "".join(lines)))
    assert found.packets == "tcp 203.0.113.0/25 > any:80,443 to the node"
    assert (found.old.text, found.new.text) == ("DROP", "ACCEPT")


def test_the_same_said_otherwise_is_equal():
    new = HOST.replace(
        "-A INPUT -p tcp -m multiport --dports 80,443 -j WEB\n",
        "-A INPUT -p tcp -m tcp --dport 443 -j WEB\n-A INPUT -p tcp -m tcp --dport 80 -j WEB\n",
    )
    assert compared(HOST, new).equal is True


def test_shares_are_exact():
    new = SERVICES.replace("0.50000000000", "0.33333333349")
    found = only(compared(SERVICES, new))
    assert found.packets == "tcp !10.1.0.0/16 > 10.96.0.10:80"
    assert set(found.old.shares.values()) == {Fraction(1, 2)}
    assert set(found.new.shares.values()) == {
        Fraction(715827883, 1 << 31),
        1 - Fraction(715827883, 1 << 31),
    }


def test_endpoints_in_another_order_are_equal():
    new = SERVICES.replace("10.1.0.5:8080", "X").replace("10.1.0.7:8080", "10.1.0.5:8080")
    assert compared(SERVICES, new.replace("X", "10.1.0.7:8080")).equal is True


def test_a_refusal_of_another_kind_is_a_difference():
    new = HOST.replace("icmp-port-unreachable", "icmp-host-prohibited")
    found = only(compared(HOST, new))
    assert found.packets == "udp any > any:53 to the node"
    assert found.new.text == "REJECT icmp-host-prohibited"


def test_a_device_that_one_file_names_is_made_for_the_other():
    result = compared("*filter\n:INPUT DROP [0:0]\n-A INPUT -i lan0 -j ACCEPT\nCOMMIT\n",
                      "*filter\n:INPUT DROP [0:0]\n-A INPUT -i wan0 -j ACCEPT\nCOMMIT\n")  # fmt: skip
    assert {found.example.device for found in result.differences} == {"lan0", "wan0"}
    assert all("--addr" in found.example.options for found in result.differences)


ROUTER = """\
*mangle
:FORWARD ACCEPT [0:0]
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --set-mss 1400
-A FORWARD -i lan0 -j TTL --ttl-set 64
COMMIT
*filter
:INPUT DROP [0:0]
-A INPUT -p tcp -m tcp --dport 22 -m limit --limit 3/min -j LOG --log-prefix "ssh "
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""


@pytest.mark.parametrize(
    ("before", "after", "packet"),
    [
        ("--set-mss 1400", "--set-mss 1300", "tcp "),
        ("--ttl-set 64", "--ttl-set 65", ""),
        ('"ssh "', '"SSH "', "tcp "),
        ("-i lan0 -j TTL", "-i wan0 -j TTL", ""),
        ("LOG --log-prefix", "NFLOG --nflog-prefix", "tcp "),
    ],
)
def test_what_a_packet_meets_on_its_way_is_part_of_its_fate(before, after, packet):
    result = compared(ROUTER, ROUTER.replace(before, after))
    assert result.equal is False
    for found in result.differences:
        assert found.example.text.startswith(packet)
        (old,), (new,) = found.old.shares, found.new.shares
        assert old.verdict == new.verdict == "ACCEPT"
        assert old.effects != new.effects


def test_a_log_line_in_another_place_is_the_same_for_the_same_packets():
    moved = (
        HOST.replace("-A WEB -j ACCEPT", "-A WEB -j LOG\n-A WEB -j ACCEPT"),
        HOST.replace("-A WEB -s", "-A WEB ! -s 203.0.113.0/25 -j LOG\n-A WEB -s"),
    )
    assert compared(*moved).equal is True


def test_what_is_not_modelled_in_both_is_no_difference():
    string = '-A INPUT -m string --string "x" --algo bm -j DROP\n'
    old, new = HOST.replace("-A INPUT -p icmp", string + "-A INPUT -p icmp"), HOST
    assert compared(old, old).equal is True
    found = compared(old, new)
    assert found.equal is None
    assert "string" in found.unknown[0]


def test_a_limit_that_is_new_is_a_difference_where_it_does_not_hold():
    new = HOST.replace("-A INPUT -p icmp -j", "-A INPUT -p icmp -m limit --limit 1/min -j")
    result = compared(HOST, new)
    assert result.equal is not True


def test_the_changed_line_is_named():
    new = HOST.replace(
        "-A WEB -j ACCEPT", "-A WEB -p tcp -m tcp --dport 443 -j DROP\n-A WEB -j ACCEPT"
    ).replace("--dport 53", "--dport 5353")
    old_side, new_side = subject(HOST, "old"), subject(new, "new")
    result = diff(old_side, new_side)
    blame(result, old_side, new_side)
    lines = {found.packets: found.lines for found in result.differences}
    assert lines["tcp !203.0.113.0/25 > any:443 to the node"] == (
        "+13  -A WEB -p tcp -m tcp --dport 443 -j DROP",
    )
    assert lines["udp any > any:53 to the node"] == (
        "-11  -A INPUT -p udp -m udp --dport 53 -j REJECT --reject-with icmp-port-unreachable",
    )


def mutated(rules: str, chance: random.Random) -> str:
    """Return rules with one line deleted, doubled elsewhere, moved, or with another value."""
    lines = rules.splitlines(keepends=True)
    places = [n for n, line in enumerate(lines) if line.startswith("-A")]
    at = chance.choice(places)
    how = chance.choice(("delete", "move", "value", "policy"))
    if how == "delete":
        del lines[at]
    elif how == "move":
        near = [n for n in places if lines[n].split()[1] == lines[at].split()[1]]
        lines.insert(chance.choice(near), lines.pop(at))
    elif how == "value":
        swaps = {"80": "443", "22": "2222", "/16": "/17", "tcp": "udp", "DROP": "ACCEPT"}
        was, becomes = chance.choice(list(swaps.items()))
        lines[at] = lines[at].replace(was, becomes)
    else:
        lines = [line.replace("FORWARD DROP", "FORWARD ACCEPT") for line in lines]
    return "".join(lines)


def packet(chance: random.Random, port: int) -> str:
    source, destination = chance.choice(SOURCES), chance.choice(TARGETS)
    protocol = chance.choice(("tcp", "tcp", "udp", "icmp"))
    if protocol == "icmp":
        return f"icmp {source} > {destination} echo id={port}"
    return f"{protocol} {source}:{port} > {destination}:{chance.choice(PORTS)}"


@pytest.mark.parametrize("rules", [HOST, SERVICES], ids=["host", "services"])
@pytest.mark.parametrize("seed", range(5))
def test_random_packets_agree_with_the_comparison(rules, seed):
    chance = random.Random(seed)
    changed = mutated(rules, chance)
    try:
        new = subject(changed, "new")
    except Exception:  # noqa: BLE001 - a mutation that does not load says nothing
        pytest.skip("the mutation does not load")
    old = subject(rules, "old")
    result = diff(old, new)
    for found in result.differences:
        before, after = ask_engine(old, found.example), ask_engine(new, found.example)
        assert (before, after) == (found.old, found.new)
        assert before.shares != after.shares
    nodes = [side.build() for side in (old, new)]
    for port in range(1024, 1174):
        text = packet(chance, port)
        fates = []
        for node in nodes:
            before_frames = enter(node, parse_packet(text), "eth0").send(node)
            seen = [frame.device for frame in before_frames.frames]
            fates.append((before_frames.verdict, before_frames.reason, seen))
        if fates[0] != fates[1]:
            assert any(holds(found, text) for found in result.differences), (changed, text, fates)


def holds(found: Difference, text: str) -> bool:
    """Return whether a packet that enters at eth0 is of a class."""
    space = found.space
    values = fields_of(parse_packet(text).network)
    values[Field.IN_DEVICE] = space.index["eth0"]
    own = {int.from_bytes(parse_address("192.0.2.1"), "big")}
    values[Field.DESTINATION_LOCAL] = int(values[Field.DESTINATION] in own)
    start = point(space, values)
    free = [axis for axis in start if axis.name == Field.OUT_DEVICE.name]
    for axis in free:
        del start[axis]
    both = space.diagram.both
    return both(product(space.diagram, start), product(space.diagram, found.term)) != EMPTY


def test_the_library_compares_files(tmp_path):
    old, new = tmp_path / "old.rules", tmp_path / "new.rules"
    old.write_text(HOST)
    new.write_text(HOST.replace("--dport 22", "--dport 2222"))
    assert netemu.diff(old, old).equal is True
    assert netemu.diff(old, str(new)).equal is False


def test_a_rule_file_is_put_onto_the_node_of_the_other_side():
    node = Path(__file__).parents[2] / "rulesets" / "docker"
    assert netemu.diff(node, node / "iptables-legacy-save_-c").equal is True
    assert netemu.diff(node.parent / "docker-blocked.rules", node).equal is False
