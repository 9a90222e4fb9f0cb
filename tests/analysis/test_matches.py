"""What matches say of packets: decided by the packet, told to all alike, or to each rule alone."""

from __future__ import annotations

import pytest

from netemu.analysis.node import space_of
from netemu.analysis.reach import Reach
from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.hook import Family
from netemu.ruleset import parse_ruleset
from netemu.sim.node import build_node
from netemu.sim.probe import enter
from netemu.sim.spec import TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.wire.packet_text import parse_packet
from tests.analysis.test_against_engine import the_set


def test_every_match_says_which_packets_it_takes() -> None:
    matches = EXTENSIONS.matches
    assert len(matches) > 60
    assert [one.name for one in matches if one.packets is None] == []


def taken(*rules: str, chain: str = "FORWARD", v6: bool = False) -> list[bool]:
    """Say of each rule whether any packet matches it."""
    text = "".join(f"-A {chain} {rule}\n" for rule in rules)
    family = Family.IPV6 if v6 else Family.IPV4
    parsed = parse_ruleset(f"*filter\n{text}COMMIT\n", "x", family=family)
    reach = Reach(parsed, space_of([parsed]))
    return [rule.takes_any for rule in reach.rules() if rule.chain.name == chain]


@pytest.mark.parametrize(
    "first",
    [
        "-m pkttype --pkt-type multicast",
        "-m physdev --physdev-in veth1",
        "-p sctp -m sctp --chunk-types any INIT",
        "-p ah -m ah --ahspi 5",
        '-m u32 --u32 "0>>22&0x3C@0&0xFF=5"',
        "-m addrtype --dst-type LOCAL --limit-iface-in",
        '-m bpf --bytecode "1,6 0 0 65535"',
    ],
)
def test_what_all_rules_are_told_alike_is_taken_once(first: str) -> None:
    chain = "INPUT" if "limit-iface" in first else "FORWARD"
    assert taken(f"{first} -j DROP", f"{first} -j ACCEPT", chain=chain) == [True, False]


@pytest.mark.parametrize(
    "first",
    [
        "-m quota --quota 100",
        "-m connlimit --connlimit-above 3",
        "-m hashlimit --hashlimit-upto 5/sec --hashlimit-name x",
        "-m statistic --mode nth --every 2 --packet 0",
        "-m recent --name x --rcheck",
        "-m physdev --physdev-is-bridged",
        "-m connbytes --connbytes 5 --connbytes-dir both --connbytes-mode packets",
        "-m rateest --rateest x --rateest-lt --rateest-bps 1kbit",
    ],
)
def test_what_each_rule_is_told_for_itself_is_taken_by_both(first: str) -> None:
    assert taken(f"{first} -j DROP", f"{first} -j ACCEPT") == [True, True]


@pytest.mark.parametrize(
    "rules, expected",
    [
        (["-m recent --name x --set -j DROP", "-j ACCEPT"], [True, False]),
        (["-m recent --name x ! --set -j DROP", "-j ACCEPT"], [False, True]),
        (
            [f"-m pkttype --pkt-type {kind} -j DROP" for kind in
             ("unicast", "broadcast", "multicast", "otherhost")] + ["-j ACCEPT"],
            [True, True, True, True, False],
        ),
        (["-m pkttype ! --pkt-type unicast -j DROP", "-m pkttype --pkt-type broadcast -j DROP"],
         [True, False]),
        (["-m physdev --physdev-in a+ -j DROP", "-m physdev --physdev-in b -j ACCEPT"], [True, True]),
        (["-m addrtype --dst-type LOCAL -j DROP",
          "-m addrtype --dst-type LOCAL --limit-iface-in -j ACCEPT"], [True, False]),
        (["-p tcp -m ecn --ecn-tcp-ece -j DROP", "-p tcp -m ecn --ecn-tcp-ece --ecn-tcp-cwr "
          "-m conntrack --ctstate NEW -j DROP"], [True, False]),
        (["-m ecn --ecn-ip-ect 1 -j DROP", "-m tos --tos 0x01/0x03 -j ACCEPT"], [True, False]),
        (["-p sctp -m sctp --dport 36412 -j DROP", "-p sctp -m sctp --dport 36400:36500 -j DROP",
          "-p sctp -m sctp --dport 36412 -j ACCEPT"], [True, True, False]),
        (["-p dccp -m dccp ! --dport 1:9 -j DROP", "-p dccp -m dccp --dport 12 -j ACCEPT"],
         [True, False]),
        (['-m u32 --u32 "8&0xFF0000=0x60000" -j DROP', "-p tcp -j ACCEPT"], [True, False]),
    ],
)  # fmt: skip
def test_what_the_packet_tells_is_decided(rules: list[str], expected: list[bool]) -> None:
    chain = "INPUT" if "limit-iface" in " ".join(rules) else "FORWARD"
    assert taken(*rules, chain=chain) == expected


def test_icmpv6_types_are_decided() -> None:
    ping = "-p ipv6-icmp -m icmp6 --icmpv6-type"
    assert taken(f"{ping} 128 -j DROP", f"{ping} 128/0 -j ACCEPT", f"{ping} 129 -j ACCEPT", v6=True) == [
        True, False, True,
    ]  # fmt: skip


PACKETS = (
    "tcp 198.51.100.7:40000 > 10.1.2.3:80 S",
    "tcp 198.51.100.9:1024 > 10.1.2.3:443 S ttl=63 tos=1",
    "udp 10.9.0.1:53 > 10.1.2.3:53 payload=hello tos=2",
    "icmp 203.0.113.5 > 10.1.2.3 echo ttl=3 tos=16",
)


@pytest.mark.parametrize(
    "match",
    [
        "8>>24=63",
        "8>>24=2:63",
        "6&0xFF=6,17",
        "12&0xFFFF0000=0xC6330000:0xC633FFFF",
        "16>>16&0xFF=1:100&&0&0xFFFF=29:40",
        "14&0xFFFF=0xA01,0xC633",
        "0&0xFFFF=0:39",
        "0>>16&0xFF=1",
        "0>>18&0x3=0",
        "12<<8>>8=0:0x3364FF",
        "9&0xFF000000>>24=17",
        "5&0xFF=0:255",
    ],
)
@pytest.mark.parametrize("no", ["", "! "])
def test_numbers_in_the_header_are_decided_as_the_engine_does(match: str, no: str) -> None:
    text = f'*filter\n-A FORWARD -m u32 {no}--u32 "{match}" -j LOG\nCOMMIT\n'
    spec = bare_node(TextFile(name="x", text=text), Changes(addresses=["eth1=10.1.0.1/16"]))
    parsed = parse_ruleset(text, "x")
    reach = Reach(parsed, space_of([parsed], spec.main))
    found = reach.rule("filter", "FORWARD", 1).taken
    for line in PACKETS:
        node = build_node(spec)
        node.assume_neighbours()
        seen: list[bool] = []
        node.set_sink(lambda _, event, seen=seen: seen.append(getattr(event, "matched", None)))
        enter(node, parse_packet(line), "eth0").send(node)
        assert reach.space.diagram.meet(found, the_set(reach, line, "eth0")) == (True in seen)
