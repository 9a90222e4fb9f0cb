"""Looked up, walked and told: the gears of a table do the same to every packet."""

from __future__ import annotations

from random import Random

import pytest

from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, HookState
from netemu.netfilter.xtables.entry import XtTable
from netemu.netfilter.xtables.log import syslog_net_init
from netemu.netfilter.xtables.table import ipt_do_table
from netemu.netfilter.xtables.telling import ipt_do_table_telling
from netemu.ruleset import parse_ruleset, print_ruleset
from netemu.skb import ETH_P_IP, Fate, Skb
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4
from tests.netfilter.xtables.walks import ETH0, ETH1

ALWAYS, NEVER = 0, 1 << 30
"""What a look-up is said to cost."""

DEVICES = (ETH0, ETH1, None)
CHAINS = ("FORWARD", "A", "B", "C")
DEEPER = {"FORWARD": ("A", "B", "C"), "A": ("B", "C"), "B": ("C",), "C": ()}


def some_address(random: Random) -> str:
    return f"10.0.{random.choice((0, 1))}.{random.randrange(6)}"


def some_generic(random: Random) -> str:
    parts = []
    if random.random() < 0.5:
        parts.append(f"-d {some_address(random)}/{random.choice((32, 32, 32, 31, 24, 0))}")
    if random.random() < 0.3:
        parts.append(f"-s {some_address(random)}/{random.choice((32, 32, 24, 16))}")
    if random.random() < 0.2:
        parts.append(random.choice(("-i eth0", "-i eth1", "-i eth+", "-o eth1", "-o br0", "-o +")))
    if random.random() < 0.1:
        parts.append("-f")
    inverted = [f"! {part}" if random.random() < 0.15 else part for part in parts]
    return " ".join(inverted)


PASSIVE = ("-m comment --comment x", "-m mark --mark 1", "-m mark ! --mark 0x2/0x2")
ACTIVE = (
    "-m statistic --mode random --probability 0.5",
    "-m statistic --mode nth --every 3 --packet 1",
    "-m limit --limit 1/hour --limit-burst 3",
    "-m ttl --ttl-gt 10",
    "-m length --length 40:60",
)


def some_matches(random: Random) -> list[str]:
    transport = random.choice(("tcp", "udp", "icmp", ""))
    found = [random.choice(PASSIVE)] if random.random() < 0.4 else []
    if random.random() < 0.3:
        found.append(random.choice(ACTIVE))
    if transport in {"tcp", "udp"}:
        low, no = random.randrange(1, 6), random.choice(("", "", "", "! "))
        ports = [f"{no}--dport {random.choice((str(low), str(low), f'{low}:{low + 2}'))}"]
        if random.random() < 0.2:
            ports.append(f"--sport {random.randrange(1, 4)}")
        if transport == "tcp" and random.random() < 0.2:
            ports.append(random.choice(("--syn", "--tcp-option 2", "--tcp-flags ACK ACK")))
        found.insert(random.randrange(len(found) + 1), f"-m {transport} {' '.join(ports)}")
        if random.random() < 0.1:
            found.append("-m multiport --dports 1,2,5")
    random.shuffle(found)
    if not found and random.random() < 0.3:
        return [f"! -p {transport or 'tcp'}"]
    return [f"-p {transport}", *found] if transport else found


TARGETS = (
    "-j ACCEPT",
    "-j DROP",
    "-j RETURN",
    "-j MARK --set-xmark 0x1/0x1",
    "-j MARK --xor-mark 3",
    "-j TTL --ttl-dec 1",
    "-j DSCP --set-dscp 5",
    "-j TCPMSS --clamp-mss-to-pmtu",
    "",
)


def some_rule(random: Random, chain: str) -> str:
    target = random.choice((*TARGETS, *(f"-{random.choice('jjg')} {to}" for to in DEEPER[chain])))
    matches = some_matches(random)
    if "TCPMSS" in target:
        target = ""
    words = [f"-A {chain}", some_generic(random), *matches, target]
    return " ".join(word for word in words if word)


def some_rules(random: Random) -> str:
    lines = ["*mangle", *(f":{name} - [0:0]" for name in CHAINS[1:])]
    for name in CHAINS:
        lines += [some_rule(random, name) for _ in range(random.choice((2, 12, 40)))]
    return "\n".join([*lines, "COMMIT", ""])


def some_packet(random: Random) -> bytes:
    protocol = random.choice((6, 6, 17, 17, 1))
    ports = random.randrange(4).to_bytes(2, "big") + random.randrange(7).to_bytes(2, "big")
    tcp = ports + bytes(8) + bytes((random.choice((0x50, 0x60)), random.choice((2, 16)))) + bytes(6)
    payload = {6: tcp + b"\x02\x04\x05\xb4", 17: ports + bytes(4), 1: b"\x08" + bytes(7)}[protocol]
    if random.random() < 0.1:
        payload = payload[: random.randrange(len(payload))]
    return build_ipv4(
        src=parse_address(some_address(random)),
        dst=parse_address(some_address(random)),
        payload=payload,
        protocol=protocol,
        ttl=random.choice((5, 64)),
        fragment_offset=random.choice((0, 0, 0, 0, 0, 0, 1, 1, 8)),
    )


class Gear:
    """One table and one way to run it."""

    def __init__(self, text: str, *, lookup_cost: int, telling: bool = False) -> None:
        self.net = Net()
        syslog_net_init(self.net)
        self.ruleset = parse_ruleset(text)
        self.table = XtTable(self.ruleset.tables[0], lookup_cost=lookup_cost)
        self.run = ipt_do_table_telling if telling else ipt_do_table
        if telling:
            self.net.sink = lambda stamp, event: None

    def send(self, packet: bytes, in_device: object, out_device: object, *, trace: bool) -> object:
        """Return all that a packet shows once it is through."""
        skb = Skb(packet, protocol=ETH_P_IP, fate=Fate(packet_id=1))
        skb.nf_trace = trace
        state = HookState(
            family=Family.IPV4,
            hook=Hook.FORWARD,
            in_device=in_device,
            out_device=out_device,
            okfn=lambda _: None,
        )
        verdict = self.run(self.net, self.table, skb, state)
        fate = skb.fate
        return verdict, bytes(skb.data), skb.mark, fate.rules_visited, fate.decided_by

    def left(self) -> object:
        """Return what the packets left behind: counters, log, and the next draw."""
        draw = self.net.entropy.stream("statistic").u32()
        return print_ruleset(self.ruleset), self.net.log, draw


@pytest.mark.parametrize("seed", range(40))
def test_every_gear_does_the_same(seed):
    random = Random(seed)
    text = some_rules(random)
    walked = Gear(text, lookup_cost=NEVER)
    looked_up = Gear(text, lookup_cost=ALWAYS)
    told = Gear(text, lookup_cost=ALWAYS, telling=True)
    assert looked_up.table.hook_entry[Hook.FORWARD].index is not None
    assert walked.table.hook_entry[Hook.FORWARD].index is None
    for _ in range(50):
        sent = some_packet(random), random.choice(DEVICES), random.choice(DEVICES)
        trace = random.random() < 0.2
        expected = walked.send(*sent, trace=trace)
        assert looked_up.send(*sent, trace=trace) == expected
        assert told.send(*sent, trace=trace) == expected
    expected = walked.left()
    assert looked_up.left() == expected
    assert told.left() == expected
