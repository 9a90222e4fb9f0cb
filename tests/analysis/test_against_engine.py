"""The analysis and the engine say the same of random rules and random packets.

What a rule matches in the engine is in its set, what it does not match is not; and of every rule
that takes packets an example is matched. `python tests/analysis/test_against_engine.py N` runs N
rule sets.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from netemu.analysis import path
from netemu.analysis.bdd import EMPTY
from netemu.analysis.node import space_of
from netemu.analysis.reach import Reach
from netemu.analysis.reader import Reader
from netemu.lint.witness import Prover, TraceCall, _Watch
from netemu.netfilter.xtables.space import CtState, Field
from netemu.ruleset import parse_ruleset
from netemu.sim.node import build_node
from netemu.sim.probe import enter
from netemu.sim.spec import TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.wire.packet_text import parse_packet

NETS = (
    "10.1.0.0/17",
    "10.1.128.0/17",
    "10.1.2.0/24",
    "198.51.100.0/24",
    "198.51.100.7",
    "0.0.0.0/1",
)
HOSTS = ("10.1.2.3", "10.1.130.9", "198.51.100.7", "198.51.100.200", "203.0.113.5")
OWN = ("192.0.2.1", "10.1.0.1")
PORTS = (22, 80, 443, 8080)
CHAINS = ("one", "two")


def rule_set(draw: random.Random) -> str:
    """Return rules of mangle, nat and filter."""
    lines: list[str] = []
    for table, hooks in (
        ("mangle", ("PREROUTING", "FORWARD", "POSTROUTING")),
        ("nat", ("PREROUTING",)),
        ("filter", ("INPUT", "FORWARD")),
    ):
        lines += [f"*{table}", *(f":{hook} ACCEPT [0:0]" for hook in hooks)]
        lines += [f":{chain} - [0:0]" for chain in CHAINS]
        for place, chain in enumerate((*hooks, *CHAINS)):
            for _ in range(draw.randrange(1, 6)):
                below = CHAINS if place < len(hooks) else CHAINS[place - len(hooks) + 1 :]
                lines.append(f"-A {chain} {rule(draw, table, chain, below)}")
        lines.append("COMMIT")
    return "\n".join([*lines, ""])


def rule(draw: random.Random, table: str, chain: str, below: tuple[str, ...]) -> str:
    words = [part(draw, chain) for _ in range(draw.randrange(0, 3))]
    protocol = draw.choice(("tcp", "udp", "icmp", "", ""))
    if protocol:
        words.append(f"-p {protocol}")
    if protocol in {"tcp", "udp"}:
        words.append(ports(draw, protocol))
    kind = draw.randrange(10)
    if table == "nat" and chain == "PREROUTING" and kind < 3 and protocol in {"tcp", "udp"}:
        target = f"-d 10.1.0.0/16 -j DNAT --to-destination 10.1.2.{draw.randrange(3, 6)}:80"
        words = [word for word in words if not word.startswith(("-d", "! -d"))]
    elif kind < 4 and below:
        target = f"{draw.choice(('-j', '-j', '-g'))} {draw.choice(below)}"
    elif kind == 4 and table == "mangle":
        target = f"-j MARK --set-xmark {draw.randrange(4):#x}/{draw.randrange(4):#x}"
    elif kind == 5:
        target = "-j LOG"
    elif kind == 6:
        target = "-j RETURN"
    else:
        target = f"-j {draw.choice(('ACCEPT', 'DROP')) if table != 'nat' else 'ACCEPT'}"
    return " ".join([*_once(words), target])


def _once(words: list[str]) -> list[str]:
    """Keep one of each option that a rule takes once."""
    found = {
        word.removeprefix("! ").split()[0]: word for word in words if not word.startswith("-m")
    }
    return [*found.values(), *(word for word in words if word.startswith("-m"))]


def part(draw: random.Random, chain: str) -> str:
    no = "! " * (draw.random() < 0.3)
    choices = [
        f"{no}-s {draw.choice(NETS)}",
        f"{no}-d {draw.choice((*NETS, *OWN))}",
        f"-m mark {no}--mark {draw.randrange(3):#x}/0x3",
        f"-m conntrack {no}--ctstate {draw.choice(('NEW', 'INVALID', 'NEW,ESTABLISHED'))}",
        f"-m iprange {no}--src-range 198.51.100.1-198.51.100.{draw.randrange(5, 250)}",
        f"-m addrtype {no}--dst-type LOCAL",
        f"-m ttl --ttl-gt {draw.choice((1, 62, 63, 64))}",
        f"-m length --length {draw.choice(('0:40', '41:1500'))}",
    ]
    if chain != "POSTROUTING":
        choices.append(f"{no}-i {draw.choice(('eth0', 'eth1', 'eth+'))}")
    if chain in {"FORWARD", "POSTROUTING"}:
        choices.append(f"{no}-o {draw.choice(('eth0', 'eth1', 'eth+'))}")
    return draw.choice(choices)


def ports(draw: random.Random, protocol: str) -> str:
    no = "! " * (draw.random() < 0.3)
    return draw.choice(
        (
            f"-m {protocol} {no}--dport {draw.choice(PORTS)}",
            f"-m {protocol} {no}--dport 80:{draw.choice((443, 9000))}",
            f"-m multiport {no}--dports 22,80:90",
            f"-m {protocol} --sport 40000:",
        )
    )


def packet(draw: random.Random) -> tuple[str, str]:
    """Return a packet and where it enters."""
    device = draw.choice(("eth0", "eth1"))
    source = draw.choice([host for host in HOSTS if host not in OWN])
    destination = draw.choice((*HOSTS, *OWN))
    protocol = draw.choice(("tcp", "tcp", "udp", "icmp"))
    sport, dport = draw.choice((40000, 1024)), draw.choice(PORTS)
    more = draw.choice(("", " ttl=63", " mark=0x1", " payload=hello"))
    if protocol == "icmp":
        return f"icmp {source} > {destination} echo{more}", device
    flags = draw.choice((" S", " S", " R")) if protocol == "tcp" else ""
    return f"{protocol} {source}:{sport} > {destination}:{dport}{flags}{more}", device


def the_set(reach: Reach, text: str, device: str) -> int:
    """Return the set that holds this one packet."""
    read = Reader(reach.space, reach.space.start, "", 0)
    composed = parse_packet(text)
    data = composed.network
    number = int.from_bytes
    src, dst = number(data[12:16], "big"), number(data[16:20], "big")
    protocol = data[9]
    first, second = number(data[20:22], "big"), number(data[22:24], "big")
    values = {
        Field.SOURCE: src,
        Field.DESTINATION: dst,
        Field.PROTOCOL: protocol,
        Field.SOURCE_PORT: number(data[24:26], "big") if protocol == 1 else first,
        Field.DESTINATION_PORT: first if protocol == 1 else second,
        Field.TTL: data[8],
        Field.TOS: data[1],
        Field.LENGTH: len(data),
        Field.MARK: composed.mark,
        Field.FRAGMENT: 0,
        Field.CONNMARK: 0,
        Field.CT_REPLY: 0,
        Field.CT_DNAT: 0,
        Field.CT_SNAT: 0,
        Field.CT_STATE: CtState.INVALID if text.endswith(" R") or " R " in text else CtState.NEW,
        Field.DESTINATION_LOCAL: int(
            composed.dst in {bytes(map(int, own.split("."))) for own in OWN}
        ),
        Field.DESTINATION_BROADCAST: 0,
    }
    if protocol == 6:
        values[Field.TCP_FLAGS] = data[33]
    out = "eth1" if composed.dst[:2] == bytes((10, 1)) else "eth0"
    return read.both(
        *(read.masked(field, value) for field, value in values.items()),
        read.device(Field.IN_DEVICE, device),
        read.device(Field.OUT_DEVICE, out),
    )


def compare(seed: int) -> int:
    """Compare one rule set; return how many answers were compared."""
    draw = random.Random(seed)
    text = rule_set(draw)
    file = TextFile(name="x", text=text)
    spec = bare_node(file, Changes(addresses=["eth1=10.1.0.1/16"]))
    ruleset = parse_ruleset(text, "x")
    reach = Reach(ruleset, space_of([ruleset], spec.main))
    rules = [(rule, rule.taken) for rule in reach.rules()]
    compared = 0
    for _ in range(12):
        line, device = packet(draw)
        node = build_node(spec)
        node.assume_neighbours()
        entry = enter(node, parse_packet(line), device)
        watch = _Watch()
        node.set_sink(watch)
        entry.send(node)
        one = the_set(reach, line, device)
        for rule, taken in rules:
            place = (rule.table.name, rule.chain.name, rule.number)
            assert reach.space.diagram.meet(taken, one) == (place in watch.matched), (
                f"seed {seed}: {line} in {device}: {place} {rule.rule.text if rule.rule else ''}\n{text}"
            )
            compared += 1
    return compared


def ordinary(reach: Reach, packets: int) -> int:
    """Return those of a set that one packet can be, the first one that a node sees."""
    read = Reader(reach.space, reach.space.start, "", 0)
    return read.both(
        packets,
        reach.path.domain,
        read.masked(Field.CT_STATE, CtState.NEW),
        read.outside(read.masked(Field.IN_DEVICE, 0)),
        read.span(Field.LENGTH, 0, 1500),
        read.span(Field.TTL, 2, 255),
        read.either(*(read.masked(Field.PROTOCOL, one) for one in (1, 6, 17))),
        read.span(Field.SOURCE, 1 << 24, (127 << 24) - 1),
        read.span(Field.DESTINATION, 1 << 24, (127 << 24) - 1),
        read.masked(Field.DESTINATION_BROADCAST, 0),
        read.masked(Field.SOURCE_LOCAL, 0),
    )


def confirm(seed: int) -> int:
    """Send an example of every rule that takes any; return how many were sent."""
    text = rule_set(random.Random(seed))
    file = TextFile(name="x", text=text)
    prover = Prover(
        parse_ruleset(text, "x"),
        TraceCall(node="x"),
        lambda: bare_node(file, Changes()),
        bare=True,
    )
    sent = 0
    for rule in prover.reach.rules():
        if rule.takes_any:
            place = (rule.table.name, rule.chain.name, rule.number)
            taken = ordinary(prover.reach, rule.taken)
            if taken == EMPTY:
                continue
            shown = prover.shown(taken, lambda seen, place=place: place in seen.matched)
            assert shown is not None, (
                f"seed {seed}: {place} {rule.rule.text if rule.rule else ''}\n{text}"
            )
            sent += 1
    return sent


@pytest.mark.parametrize("seed", range(4))
def test_random_packets_are_in_the_sets_of_the_rules_that_they_match(seed):
    assert compare(seed) > 100


@pytest.mark.parametrize("seed", range(2))
def test_every_rule_matches_an_example_of_its_set(seed):
    assert confirm(seed) > 5


def test_behind_a_large_nat_table_sets_are_larger_never_smaller(monkeypatch):
    for seed in range(3):
        text = rule_set(random.Random(seed))
        ruleset = parse_ruleset(text, "x")
        space = space_of([ruleset])
        exact = [rule.taken for rule in Reach(ruleset, space).rules()]
        monkeypatch.setattr(path, "MOST_NAT_RULES", -1)
        roughly = [rule.taken for rule in Reach(ruleset, space).rules()]
        monkeypatch.undo()
        assert all(map(space.diagram.within, exact, roughly))


if __name__ == "__main__":
    first, last = 1000, 1000 + int(sys.argv[1])
    total = shown = 0
    for number in range(first, last):
        total += compare(number)
        shown += confirm(number)
    sys.stdout.write(f"{total} answers compared, {shown} examples matched\n")
