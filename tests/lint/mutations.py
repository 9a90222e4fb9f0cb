"""Defects of each family, planted at random in clean rule sets, to examine the linter by.

A mutation takes the lines of a rule set and a generator of chances; it returns the lines with one
defect and the numbers of the lines where a finding about it may stand, or None where the rule set
has no place for it. What it plants is a defect by how netfilter works, whatever the linter says.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Lines = list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A rule set with one defect."""

    lines: Lines
    where: frozenset[int]
    """Numbers of lines from 1; empty where the defect has no line of its own."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """One kind of defect."""

    name: str
    codes: tuple[str, ...]
    """Codes, or beginnings of codes, any of which names the defect."""
    plant: Callable[[Lines, random.Random], Planted | None]
    also: tuple[str, ...] = ()
    """Further findings that the defect rightly causes."""
    select: tuple[str, ...] = ()
    """Rules that are looked with besides those that are selected anyway."""
    heuristic: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A rule and where it stands."""

    index: int
    table: str
    chain: str
    text: str


def rules_of(lines: Lines, table: str = "", chain: str = "") -> list[Place]:
    """Return the rules, of one table or chain if asked for."""
    found, current = [], ""
    for index, line in enumerate(lines):
        if line.startswith("*"):
            current = line[1:].strip()
        elif line.startswith("-A "):
            name, _, text = line[3:].partition(" ")
            if table in {"", current} and chain in {"", name}:
                found.append(Place(index, current, name, text))
    return found


def chains_of(lines: Lines, table: str = "filter") -> list[str]:
    """Return the names of a table's chains."""
    names, current = [], ""
    for line in lines:
        if line.startswith("*"):
            current = line[1:].strip()
        elif line.startswith(":") and current == table:
            names.append(line[1:].split()[0])
    return names


def last_of(lines: Lines, table: str, chain: str) -> int:
    """Return the index behind a chain's last rule, or in front of COMMIT."""
    places = rules_of(lines, table, chain)
    if places:
        return places[-1].index + 1
    begin = lines.index(f"*{table}")
    return begin + lines[begin:].index("COMMIT")


def head_of(lines: Lines, rng: random.Random) -> tuple[str, int]:
    """Return INPUT or FORWARD and the index at which its rules begin."""
    chain = rng.choice(["INPUT", "FORWARD"])
    return chain, first_of(lines, chain)


def first_of(lines: Lines, chain: str) -> int:
    """Return the index at which the rules of a chain of filter begin."""
    places = rules_of(lines, "filter", chain)
    return places[0].index if places else last_of(lines, "filter", chain)


def inserted(lines: Lines, index: int, *new: str, about: tuple[int, ...] = ()) -> Planted:
    """Insert lines; the defect stands on the last of them, or on those named (from 0)."""
    put = [*lines[:index], *new, *lines[index:]]
    where = about or (index + len(new) - 1,)
    return Planted(lines=put, where=frozenset(place + 1 for place in where))


def replaced(lines: Lines, index: int, new: str) -> Planted:
    """Replace a line, which then has the defect."""
    return Planted(lines=[*lines[:index], new, *lines[index + 1 :]], where=frozenset({index + 1}))


# --- NE0: would not load ------------------------------------------------------------------------

BAD_WORDS = (
    "-p tcp -m tcp --dprot 80 -j ACCEPT",
    "-m conntrak --ctstate NEW -j ACCEPT",
    "-j NOWHERE-TO-GO",
    "-s 10.0.0.300 -j DROP",
    "-s 10.0.0.0/33 -j DROP",
    "-p tcp -m tcp --dport 70000 -j ACCEPT",
    "-p tcp -m tcp --dport http:ssh:smtp -j ACCEPT",
    "--dport 80 -j ACCEPT",
    "-m conntrack --ctstate NEU -j ACCEPT",
    "-p tcp -j ACCEPT # the web",
    "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 -j ACCEPT",
    "-m limit --limit 5/fortnight -j ACCEPT",
    "-m mark --mark 0x1ffffffff -j ACCEPT",
    "-p tcp -m tcp --tcp-flags SYN,ACK -j DROP",
    "-j LOG --log-prefix 'a prefix that is a good deal too long'",
    "-j REJECT --reject-with icmp-no-such-type",
    "-j DNAT --to-destination 10.0.0.1",
    "-j MASQUERADE",
    "-p tcp -p udp -j ACCEPT",
    "-m icmp --icmp-type 8 -j ACCEPT",
    "-j",
    "-m comment --comment 'never closed -j ACCEPT",
    "-p tcp -m tcp --syn --dport -j ACCEPT",
    "-j ACCEPT -j DROP",
    "-i averylonginterfacename0 -j DROP",
    "-m statistic --mode random --probability 1.5 -j DROP",
    "-p udp -m udp --tcp-flags SYN SYN -j DROP",
    "-j REJECT --reject-with tcp-reset",
    "-m set --match-set -j DROP",
    "! -j ACCEPT",
)


def would_not_load(lines: Lines, rng: random.Random) -> Planted | None:
    table, chain = "filter", rng.choice(chains_of(lines))
    return inserted(lines, last_of(lines, table, chain), f"-A {chain} {rng.choice(BAD_WORDS)}")


def device_of_the_wrong_hook(lines: Lines, rng: random.Random) -> Planted | None:
    chain, flag = rng.choice([("INPUT", "-o eth0"), ("OUTPUT", "-i eth0")])
    return inserted(lines, last_of(lines, "filter", chain), f"-A {chain} {flag} -j ACCEPT")


def loop(lines: Lines, rng: random.Random) -> Planted | None:
    begin = lines.index("*filter") + 1
    return inserted(
        lines, begin, ":RING-A - [0:0]", ":RING-B - [0:0]", "-A RING-A -p tcp -j RING-B",
        "-A RING-B -p udp -j RING-A", f"-A {rng.choice(['INPUT', 'FORWARD'])} -j RING-A",
        about=(begin + 2, begin + 3, begin + 4, begin + 5),
    )  # fmt: skip


def undeclared_chain(lines: Lines, rng: random.Random) -> Planted | None:
    del rng
    return inserted(lines, last_of(lines, "filter", "INPUT"), "-A NOT-DECLARED -p tcp -j DROP")


# --- NE1: reach ---------------------------------------------------------------------------------


def ends(text: str) -> bool:
    """Whether a rule decides, and by nothing but the packet."""
    chance = ("limit", "statistic", "recent", "time", "hashlimit", "connlimit", "addrtype")
    return bool(re.search(r"-j (ACCEPT|DROP|REJECT)\b", text)) and not any(
        f"-m {name}" in text for name in chance
    )


OWNED = ("KUBE-", "DOCKER", "ufw-not-local", "ufw-logging-")
"""Chains that programs write: what is merely said twice there is none of the reader's business."""


def copy_below(lines: Lines, rng: random.Random) -> Planted | None:
    """A rule again, further down in its chain."""
    places = [
        place
        for place in rules_of(lines, "filter")
        if ends(place.text) and not place.chain.startswith(OWNED)
    ]
    if not places:
        return None
    place = rng.choice(places)
    last = last_of(lines, "filter", place.chain)
    return inserted(lines, rng.randint(place.index + 1, last), lines[place.index])


def opposite_below(lines: Lines, rng: random.Random) -> Planted | None:
    """The same packets, another verdict, further down."""
    places = [place for place in rules_of(lines, "filter") if ends(place.text)]
    if not places:
        return None
    place = rng.choice(places)
    verdict = "DROP" if "-j ACCEPT" in place.text else "ACCEPT"
    line = re.sub(r"-j \S+( --reject-with \S+)?", f"-j {verdict}", lines[place.index])
    last = last_of(lines, "filter", place.chain)
    return inserted(lines, rng.randint(place.index + 1, last), line)


def narrower_below(lines: Lines, rng: random.Random) -> Planted | None:
    """Fewer of the packets that an earlier rule has already decided."""
    places = [
        place
        for place in rules_of(lines, "filter")
        if ends(place.text) and " -p " in f" {place.text}" and " -s " not in f" {place.text}"
    ]
    if not places:
        return None
    place = rng.choice(places)
    net = f"198.51.{rng.randint(100, 110)}.0/24"
    line = lines[place.index].replace(f"-A {place.chain} ", f"-A {place.chain} -s {net} ")
    verdict = "DROP" if "-j ACCEPT" in place.text else "ACCEPT"
    line = re.sub(r"-j \S+( --reject-with \S+)?", f"-j {verdict}", line)
    last = last_of(lines, "filter", place.chain)
    return inserted(lines, rng.randint(place.index + 1, last), line)


def behind_all(lines: Lines, rng: random.Random) -> Planted | None:
    """A rule behind one that takes everything."""
    chain = rng.choice(["INPUT", "FORWARD"])
    last = last_of(lines, "filter", chain)
    verdict = rng.choice(["DROP", "ACCEPT", "REJECT --reject-with icmp-port-unreachable"])
    port = rng.randint(7000, 9000)
    return inserted(
        lines, last, f"-A {chain} -j {verdict}", f"-A {chain} -p tcp -m tcp --dport {port} -j DROP"
    )


def union_of_networks(lines: Lines, rng: random.Random) -> Planted | None:
    """Two halves of a network, then something of both."""
    chain, first = head_of(lines, rng)
    net = rng.randint(60, 90)
    verdict = rng.choice(["ACCEPT", "DROP"])
    other = "DROP" if verdict == "ACCEPT" else "ACCEPT"
    return inserted(
        lines, first, f"-A {chain} -s 10.{net}.0.0/17 -p udp -j {verdict}",
        f"-A {chain} -s 10.{net}.128.0/17 -p udp -j {verdict}",
        f"-A {chain} -s 10.{net}.0.0/16 -p udp -m udp --dport {rng.randint(1, 65535)} -j {other}",
    )  # fmt: skip


def union_of_ports(lines: Lines, rng: random.Random) -> Planted | None:
    """Ranges of ports that overlap, then one across the seam."""
    chain, first = head_of(lines, rng)
    low = rng.randint(20000, 30000)
    return inserted(
        lines, first, f"-A {chain} -p tcp -m tcp --dport {low}:{low + 50} -j ACCEPT",
        f"-A {chain} -p tcp -m multiport --dports {low + 40}:{low + 90},{low + 91} -j ACCEPT",
        f"-A {chain} -p tcp -m tcp --dport {low + 10}:{low + 91} -j DROP",
    )  # fmt: skip


def union_of_states(lines: Lines, rng: random.Random) -> Planted | None:
    """All states one after the other, then any state."""
    chain, first = head_of(lines, rng)
    port = rng.randint(20000, 30000)
    head = f"-A {chain} -p tcp -m tcp --dport {port}"
    return inserted(
        lines, first, f"{head} -m conntrack --ctstate NEW,UNTRACKED -j ACCEPT",
        f"{head} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"{head} -m conntrack --ctstate INVALID -j DROP", f"{head} -j ACCEPT",
    )  # fmt: skip


CONTRADICTIONS = (
    "-p tcp -m tcp --dport 80 -m multiport --dports 443,8443 -j ACCEPT",
    "-p udp -m udp --dport 1000:2000 -m multiport --dports 3000:4000 -j DROP",
    "-s 10.1.0.0/16 -m iprange --src-range 192.168.0.1-192.168.0.9 -j DROP",
    "-m mark --mark 0x1/0x3 -m mark --mark 0x2/0x3 -j ACCEPT",
    "-p tcp -m tcp --tcp-flags SYN SYN -m tcp ! --tcp-flags SYN SYN -j DROP",
    "-p tcp -m tcp --sport 10:20 -m tcp --sport 30:40 -j ACCEPT",
    "-p tcp -m tcp --dport 53 -m conntrack --ctproto udp -j DROP",
    "-m conntrack --ctstate NEW -m conntrack --ctstate ESTABLISHED -j ACCEPT",
)


def contradiction(lines: Lines, rng: random.Random) -> Planted | None:
    """A rule that nothing can match."""
    chain, index = head_of(lines, rng)
    return inserted(lines, index, f"-A {chain} {rng.choice(CONTRADICTIONS)}")


def unused_chain(lines: Lines, rng: random.Random) -> Planted | None:
    """A chain that nobody jumps to."""
    begin = lines.index("*filter") + 1
    while lines[begin].startswith(":"):
        begin += 1
    name = f"LEFTOVER-{rng.randint(1, 99)}"
    return inserted(
        lines, begin, f":{name} - [0:0]", f"-A {name} -s 203.0.113.{rng.randint(1, 250)}/32 -j DROP",
        about=(begin, begin + 1),
    )  # fmt: skip


def caller_never_matches(lines: Lines, rng: random.Random) -> Planted | None:
    """A chain whose rule asks for what its only caller keeps out."""
    begin = lines.index("*filter") + 1
    while lines[begin].startswith(":"):
        begin += 1
    first = first_of(lines, "INPUT")
    planted = inserted(lines, first, "-A INPUT -p tcp -j TCP-ONLY")
    text = f"-A TCP-ONLY -p udp -m udp --dport {rng.randint(1, 60000)} -j DROP"
    lines = planted.lines
    return inserted(lines, begin, ":TCP-ONLY - [0:0]", text)


def shadowed_in_raw(lines: Lines, rng: random.Random) -> Planted | None:
    """What raw drops never comes to filter."""
    net = f"203.0.113.{rng.randint(10, 200)}/32"
    first = first_of(lines, "INPUT")
    planted = inserted(lines, first, f"-A INPUT -s {net} -p tcp -m tcp --dport 25 -j ACCEPT")
    raw = ["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]",
           f"-A PREROUTING -s {net} -j DROP", "COMMIT"]  # fmt: skip
    return Planted(lines=[*planted.lines, *raw], where=planted.where)


def exception(lines: Lines, rng: random.Random) -> Planted | None:
    """A rule, and in front of it one with another verdict for a part of its packets."""
    chain, first = head_of(lines, rng)
    net, port = f"198.51.{rng.randint(100, 110)}", rng.randint(20000, 30000)
    return inserted(
        lines, first, f"-A {chain} -s {net}.{rng.randint(1, 250)}/32 -p udp -j ACCEPT",
        f"-A {chain} -s {net}.0/24 -p udp -m udp --dport {port} -j DROP",
        f"-A {chain} -s {net}.0/24 -p udp -j DROP",
    )  # fmt: skip


def crossing(lines: Lines, rng: random.Random) -> Planted | None:
    """Two rules with different verdicts, each of which asks for something that both have."""
    chain, first = head_of(lines, rng)
    return inserted(
        lines, first, f"-A {chain} -s 198.51.{rng.randint(100, 110)}.0/24 -p udp -j ACCEPT",
        f"-A {chain} -p udp -m udp --dport {rng.randint(20000, 30000)} -j DROP",
    )  # fmt: skip


# --- NE2: NAT and conntrack ---------------------------------------------------------------------


def dnat_into_a_wall(lines: Lines, rng: random.Random) -> Planted | None:
    """A DNAT that no rule of FORWARD lets through."""
    if "*nat" not in lines or ":FORWARD DROP [0:0]" not in lines:
        return None
    chain = "DOCKER" if "DOCKER" in chains_of(lines, "nat") else "PREROUTING"
    port = rng.randint(9000, 9900)
    head = "" if chain == "DOCKER" else "-d 192.0.2.1/32 "
    device = "! -i docker0" if chain == "DOCKER" else "-i eth0"
    target = "172.17.0.77" if chain == "DOCKER" else "10.20.0.77"
    text = f"{head}{device} -p tcp -m tcp --dport {port} -j DNAT --to-destination {target}:{port}"
    return inserted(lines, last_of(lines, "nat", chain), f"-A {chain} {text}")


def masquerade_everywhere(lines: Lines, rng: random.Random) -> Planted | None:
    """MASQUERADE that asks for no output device."""
    del rng
    for place in rules_of(lines, "nat", "POSTROUTING"):
        if "MASQUERADE" in place.text and " -o " in place.text and "!" not in place.text:
            return replaced(lines, place.index, "-A POSTROUTING -j MASQUERADE")
    return None


def snat_to_a_stranger(lines: Lines, rng: random.Random) -> Planted | None:
    """SNAT to an address that is not the node's."""
    for place in rules_of(lines, "nat", "POSTROUTING"):
        if "MASQUERADE" in place.text and " -o eth0" in place.text:
            line = lines[place.index].replace(
                "MASQUERADE", f"SNAT --to-source 198.51.100.{rng.randint(2, 250)}"
            )
            return replaced(lines, place.index, line)
    return None


def untracked_and_translated(lines: Lines, rng: random.Random) -> Planted | None:
    """NAT for packets that raw leaves untracked."""
    del rng
    for place in rules_of(lines, "nat"):
        port = re.search(r"-p tcp -m tcp --dport (\d+).* -j DNAT", place.text)
        if port:
            raw = ["*raw", ":PREROUTING ACCEPT [0:0]", ":OUTPUT ACCEPT [0:0]",
                   f"-A PREROUTING -p tcp -m tcp --dport {port[1]} -j CT --notrack", "COMMIT"]  # fmt: skip
            where = {place.index + 1, len(lines) + 4}
            return Planted(lines=[*lines, *raw], where=frozenset(where))
    return None


def without_established(lines: Lines, rng: random.Random) -> Planted | None:
    """No answer comes back under a DROP policy."""
    for place in rng.sample(rules_of(lines, "filter"), len(rules_of(lines, "filter"))):
        policy_chain = "FORWARD" if place.chain == "FORWARD" else "INPUT"
        if "RELATED,ESTABLISHED -j ACCEPT" in place.text and (
            f":{policy_chain} DROP [0:0]" in lines
        ):
            return Planted(lines=lines[: place.index] + lines[place.index + 1 :], where=frozenset())
    return None


def invalid_accepted(lines: Lines, rng: random.Random) -> Planted | None:
    """Packets of no connection are let in."""
    del rng
    dropped = set()
    for place in rules_of(lines, "filter"):
        if "INVALID -j DROP" in place.text:
            dropped.add(place.chain)
        if "RELATED,ESTABLISHED -j ACCEPT" in place.text and place.chain not in dropped:
            line = lines[place.index].replace("RELATED,ESTABLISHED", "INVALID,RELATED,ESTABLISHED")
            return replaced(lines, place.index, line)
    return None


def before_translation(lines: Lines, rng: random.Random) -> Planted | None:
    """A filter rule that names the port as it was before DNAT."""
    del rng
    for place in rules_of(lines, "nat"):
        dnat = re.search(r"--dport (\d+) -j DNAT --to-destination [\d.]+:(\d+)", place.text)
        if dnat and dnat[1] != dnat[2]:
            chain = "DOCKER-USER" if "DOCKER-USER" in chains_of(lines) else "FORWARD"
            first = first_of(lines, chain)
            return inserted(
                lines, first,
                f"-A {chain} -s 198.51.100.0/24 -p tcp -m tcp --dport {dnat[1]} -j DROP",
            )  # fmt: skip
    return None


def dnat_of_everything(lines: Lines, rng: random.Random) -> Planted | None:
    """DNAT without -i or -d: it catches the traffic of those behind, too."""
    for place in rules_of(lines, "nat", "PREROUTING"):
        if "-j DNAT" in place.text:
            line = re.sub(r"-d \S+ -i \S+ ", "", lines[place.index])
            return replaced(lines, place.index, line)
    del rng
    return None


def hairpin(lines: Lines, rng: random.Random) -> Planted | None:
    """DNAT to a neighbour of those who may ask, whose answer does not come back here."""
    if "-A POSTROUTING -s 10.20.0.0/24 -o eth0 -j MASQUERADE" not in lines:
        return None
    host, port = f"10.20.0.{rng.randint(100, 200)}", rng.randint(9000, 9900)
    address = rng.choice(["192.0.2.1/32", "203.0.113.80/32"])
    text = f"-d {address} -p tcp -m tcp --dport {port} -j DNAT --to-destination {host}"
    nat = inserted(lines, last_of(lines, "nat", "PREROUTING"), f"-A PREROUTING {text}")
    accept = f"-A FORWARD -d {host}/32 -o lan0 -p tcp -m tcp --dport {port} -j ACCEPT"
    put = inserted(nat.lines, last_of(nat.lines, "filter", "FORWARD"), accept)
    return Planted(lines=put.lines, where=frozenset(place + 1 for place in nat.where))


def port_of_any_protocol(lines: Lines, rng: random.Random) -> Planted | None:
    """A port of a connection, whatever its protocol."""
    chain = rng.choice(["INPUT", "FORWARD"])
    option = rng.choice(["ctorigdstport", "ctorigsrcport"])
    text = f"-m conntrack --ctstate NEW --{option} {rng.randint(20000, 60000)} -j DROP"
    return inserted(lines, first_of(lines, chain), f"-A {chain} {text}")


# --- NE7: exposure ------------------------------------------------------------------------------


def spoofable(lines: Lines, rng: random.Random) -> Planted | None:
    """An inner network is trusted wherever its packets come from."""
    if ":INPUT DROP [0:0]" not in lines:
        return None
    inner = "10.20.0.0/24" if any("10.20.0.0/24" in line for line in lines) else rng.choice(
        ["10.0.0.0/8", "192.168.0.0/16", "172.16.4.0/24"]
    )  # fmt: skip
    rest = rng.choice(["", "-p udp -m udp --dport 161 ", "-p icmp "])
    return inserted(lines, first_of(lines, "INPUT"), f"-A INPUT -s {inner} {rest}-j ACCEPT")


# --- NE3: kube-proxy ----------------------------------------------------------------------------


def probability(lines: Lines, rng: random.Random) -> Planted | None:
    """A share that is not 1/n."""
    places = [place for place in rules_of(lines, "nat") if "--probability" in place.text]
    if not places:
        return None
    place = rng.choice(places)
    share = f"{rng.choice((0.1, 0.2, 0.7, 0.9)):.11f}"
    line = re.sub(r"--probability \S+", f"--probability {share}", lines[place.index])
    chain = {other.index + 1 for other in rules_of(lines, "nat", place.chain)}
    return Planted(lines=replaced(lines, place.index, line).lines, where=frozenset(chain))


def no_hairpin_mark(lines: Lines, rng: random.Random) -> Planted | None:
    """An endpoint that cannot reach itself through its Service."""
    places = [
        place
        for place in rules_of(lines, "nat")
        if place.chain.startswith("KUBE-SEP-") and "KUBE-MARK-MASQ" in place.text
    ]
    if not places:
        return None
    place = rng.choice(places)
    here = {other.index for other in rules_of(lines, "nat", place.chain)} - {place.index}
    declared = next(i for i, line in enumerate(lines) if line.startswith(f":{place.chain} "))
    return Planted(
        lines=lines[: place.index] + lines[place.index + 1 :],
        where=frozenset(here | {declared + 1}),
    )


def orphan_endpoint(lines: Lines, rng: random.Random) -> Planted | None:
    """A KUBE-SEP chain that no Service jumps to any more."""
    places = [
        place
        for place in rules_of(lines, "nat")
        if re.search(r"-j KUBE-SEP-", place.text) and "--probability" not in place.text
        and "--rcheck" not in place.text
    ]  # fmt: skip
    if not places:
        return None
    place = rng.choice(places)
    target = place.text.split("-j ")[1].split()[0]
    gone = [line for line in lines if not line.startswith(f"-A {place.chain} ")
            or f"-j {target}" not in line]  # fmt: skip
    where = {
        number
        for number, line in enumerate(gone, 1)
        if line.startswith(
            (f":{target} ", f"-A {target} ", f":{place.chain} ", f"-A {place.chain} ")
        )
    }
    return Planted(lines=gone, where=frozenset(where))


def hash_and_comment_disagree(lines: Lines, rng: random.Random) -> Planted | None:
    """The comments of an endpoint's chain name another Service."""
    chains = sorted({p.chain for p in rules_of(lines, "nat") if p.chain.startswith("KUBE-SEP-")})
    if not chains:
        return None
    chain = rng.choice(chains)
    where, new = set(), []
    for number, line in enumerate(lines, 1):
        if line.startswith(f"-A {chain} "):
            where.add(number)
            new.append(re.sub(r'--comment "?[^" ]+"?', '--comment "other/thing:http"', line))
        else:
            new.append(line)
    return Planted(lines=new, where=frozenset(where))


def node_ports_not_last(lines: Lines, rng: random.Random) -> Planted | None:
    """KUBE-NODEPORTS before the Services."""
    del rng
    for place in rules_of(lines, "nat", "KUBE-SERVICES"):
        if "-j KUBE-NODEPORTS" in place.text:
            first = rules_of(lines, "nat", "KUBE-SERVICES")[0].index
            new = [*lines[: place.index], *lines[place.index + 1 :]]
            return inserted(new, first, lines[place.index])
    return None


def mark_clash(lines: Lines, rng: random.Random) -> Planted | None:
    """A user's mark with the bit by which kube-proxy masquerades."""
    if "KUBE-MARK-MASQ" not in chains_of(lines, "nat"):
        return None
    begin = lines.index("*mangle")
    commit = begin + lines[begin:].index("COMMIT")
    port = rng.randint(1, 60000)
    line = f"-A PREROUTING -i eth1 -p udp -m udp --dport {port} -j MARK --set-xmark 0x4001/0xffff"
    return inserted(lines, commit, line)


def thief(lines: Lines, rng: random.Random) -> Planted | None:
    """A user's rule in front of KUBE-SERVICES that takes a Service's packets."""
    service = [p for p in rules_of(lines, "nat", "KUBE-SERVICES") if " -d 10.96" in f" {p.text}"]
    first = rules_of(lines, "nat", "PREROUTING")
    if not service or not first:
        return None
    place = rng.choice(service)
    wanted = re.search(r"-d (\S+) -p (\w+) .*--dport (\d+)", place.text)
    assert wanted
    return inserted(
        lines, first[0].index,
        f"-A PREROUTING -d {wanted[1]} -p {wanted[2]} -m {wanted[2]} --dport {wanted[3]}"
        " -j DNAT --to-destination 192.0.2.99",
    )  # fmt: skip


def forward_closed(lines: Lines, rng: random.Random) -> Planted | None:
    """FORWARD drops what no rule lets through, and no rule names the pods."""
    del rng
    if "KUBE-FORWARD" not in chains_of(lines) or ":FORWARD ACCEPT [0:0]" not in lines:
        return None
    index = lines.index(":FORWARD ACCEPT [0:0]")
    return Planted(
        lines=[*lines[:index], ":FORWARD DROP [0:0]", *lines[index + 1 :]], where=frozenset()
    )


def stolen_sep(lines: Lines, rng: random.Random) -> Planted | None:
    """An endpoint's chain is gone: its Service jumps nowhere."""
    chains = sorted({p.chain for p in rules_of(lines, "nat") if p.chain.startswith("KUBE-SEP-")})
    if not chains:
        return None
    chain = rng.choice(chains)
    new = [line for line in lines if not line.startswith((f":{chain} ", f"-A {chain} "))]
    where = {number for number, line in enumerate(new, 1) if line.endswith(f"-j {chain}")}
    return Planted(lines=new, where=frozenset(where))


MUTATIONS = (
    Mutation("would not load", ("NE0",), would_not_load),
    Mutation("device of the wrong hook", ("NE0",), device_of_the_wrong_hook),
    Mutation("loop", ("NE0", "NE104"), loop),
    Mutation("undeclared chain", ("NE0",), undeclared_chain),
    Mutation("copy below", ("NE1",), copy_below, also=("NE8",)),
    Mutation("opposite below", ("NE1",), opposite_below),
    Mutation("narrower below", ("NE1",), narrower_below),
    Mutation("behind all", ("NE1",), behind_all, also=("NE1", "NE708")),
    Mutation("union of networks", ("NE1",), union_of_networks, also=("NE703",)),
    Mutation("union of ports", ("NE1",), union_of_ports),
    Mutation("union of states", ("NE1",), union_of_states),
    Mutation("contradiction", ("NE1",), contradiction, also=("NE8",)),
    Mutation("unused chain", ("NE1",), unused_chain),
    Mutation("caller never matches", ("NE1",), caller_never_matches),
    Mutation("shadowed in raw", ("NE1",), shadowed_in_raw),
    Mutation("exception", ("NE108",), exception, also=("NE1",), select=("NE108",)),
    Mutation("crossing", ("NE109",), crossing, also=("NE1",), select=("NE109",)),
    Mutation("DNAT into a wall", ("NE2",), dnat_into_a_wall, also=("NE2",)),
    Mutation("MASQUERADE everywhere", ("NE2",), masquerade_everywhere),
    Mutation("SNAT to a stranger", ("NE2",), snat_to_a_stranger),
    Mutation("untracked and translated", ("NE2",), untracked_and_translated, also=("NE1", "NE2")),
    Mutation("without established", ("NE2",), without_established, also=("NE1",)),
    Mutation("INVALID accepted", ("NE2",), invalid_accepted, also=("NE1",)),
    Mutation("before translation", ("NE2",), before_translation),
    Mutation("DNAT of everything", ("NE2",), dnat_of_everything),
    Mutation("hairpin", ("NE210",), hairpin),
    Mutation("port of any protocol", ("NE204",), port_of_any_protocol),
    Mutation("spoofable", ("NE703",), spoofable, also=("NE1",)),
    Mutation("probability", ("NE3",), probability),
    Mutation("no hairpin mark", ("NE3",), no_hairpin_mark),
    Mutation("orphan endpoint", ("NE3",), orphan_endpoint, also=("NE1", "NE3")),
    Mutation("hash and comment disagree", ("NE3",), hash_and_comment_disagree),
    Mutation("node ports not last", ("NE3",), node_ports_not_last),
    Mutation("mark clash", ("NE3",), mark_clash),
    Mutation("thief", ("NE3",), thief, also=("NE1", "NE2")),
    Mutation("FORWARD closed", ("NE3",), forward_closed, also=("NE2",)),
    Mutation("missing endpoint chain", ("NE0", "NE3"), stolen_sep),
)


def names() -> Iterator[str]:
    """Return the names of all mutations."""
    return (mutation.name for mutation in MUTATIONS)
