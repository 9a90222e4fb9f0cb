"""Random matches, with all that iptables lets stand together."""

from __future__ import annotations

from collections.abc import Callable

from netemu.livekernel.generate.context import RuleContext
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.packet_matches import more_matches
from netemu.livekernel.generate.sets import set_match
from netemu.livekernel.generate.world import CLIENT_PORTS, SERVICE_PORTS
from netemu.wire.address import format_address, format_mac

WITH_PORTS = frozenset({"tcp", "udp"})


def generic_part(dice: Dice, context: RuleContext) -> list[str]:
    """Return -s, -d, -i, -o, -p, -f, each now and then."""
    words = [
        f"{_not(dice)}{option} {_address_or_network(dice, context)}"
        for option in dice.some(("-s", "-d"), 22)
    ]
    if dice.chance(18) and not context.hooks & {"OUTPUT", "POSTROUTING"}:
        words.append(f"{_not(dice)}-i {context.device(dice)}")
    if dice.chance(18) and not context.hooks & {"PREROUTING", "INPUT"}:
        words.append(f"{_not(dice)}-o {context.device(dice)}")
    if dice.chance(45):
        context.protocol = dice.weighted(
            [(6, "tcp"), (5, "udp"), (4, "icmp"), (1, "all"), (1, "47"), (1, "igmp")]
        )
        if context.protocol == "all":
            context.protocol = ""
        elif dice.chance(8):
            words.append(f"! -p {context.protocol}")
            context.protocol = ""
        else:
            words.append(f"-p {context.protocol}")
    if dice.chance(3):
        words.append(f"{_not(dice)}-f")
    return words


def random_match(dice: Dice, context: RuleContext) -> str:
    """Return one `-m NAME OPTIONS`."""
    choices: list[tuple[int, Callable[[Dice, RuleContext], str]]] = [
        (4, _conntrack),
        (2, _state),
        (2, _mark),
        (2, _connmark),
        (3, _addrtype),
        (2, _statistic),
        (2, _recent),
        (2, _limit),
        (1, _comment),
        (2, _physdev),
    ]
    if context.sets:
        choices.append((12, set_match))
    if context.protocol in WITH_PORTS:
        choices.append((3, _multiport))
    if context.protocol in WITH_PORTS and not context.has_ports:
        choices.append((8, _ports))
    if context.protocol == "tcp" and not context.has_ports:
        choices.append((4, _tcp_flags))
    if context.protocol == "icmp":
        choices.append((6, _icmp))
    if not context.hooks & {"OUTPUT", "POSTROUTING"}:
        choices.append((1, _mac))
    if dice.chance(15):
        choices = more_matches(context)
    return dice.weighted(choices)(dice, context)


def _not(dice: Dice) -> str:
    return "! " if dice.chance(15) else ""


def _address_or_network(dice: Dice, context: RuleContext) -> str:
    if dice.chance(50):
        return context.network(dice)
    return format_address(context.address(dice)) + dice.weighted([(5, "/32"), (2, ""), (1, "/30")])


def any_port(dice: Dice) -> int:
    """Draw a port that traffic is likely to have."""
    return dice.pick(SERVICE_PORTS) if dice.chance(75) else dice.pick(CLIENT_PORTS)


def _range(dice: Dice) -> str:
    low, high = sorted((any_port(dice), any_port(dice)))
    return dice.weighted([(6, str(low)), (2, f"{low}:{high}"), (1, f"{low}:"), (1, f":{high}")])


def _ports(dice: Dice, context: RuleContext) -> str:
    context.has_ports = True
    words = [f"-m {context.protocol}"]
    if dice.chance(85):
        words.append(f"{_not(dice)}--dport {_range(dice)}")
    if dice.chance(20):
        words.append(f"{_not(dice)}--sport {_range(dice)}")
    return " ".join(words)


def _multiport(dice: Dice, context: RuleContext) -> str:
    option = dice.pick(("--dports", "--sports", "--ports"))
    ports: list[str] = []
    for _ in range(dice.between(1, 4)):
        low, high = sorted((any_port(dice), any_port(dice)))
        ports.append(f"{low}:{high}" if dice.chance(25) and low < high else str(low))
    return f"-m multiport {_not(dice)}{option} {','.join(ports)}"


def _tcp_flags(dice: Dice, context: RuleContext) -> str:
    context.has_ports = True
    flags = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")
    if dice.chance(45):
        return f"-m tcp {_not(dice)}--syn"
    if dice.chance(15):
        return f"-m tcp {_not(dice)}--tcp-option {dice.pick((2, 3, 4, 8))}"
    looked_at = dice.some(flags, 45) or ["SYN"]
    wanted = dice.some(looked_at, 50)
    mask = "ALL" if dice.chance(10) else ",".join(looked_at)
    return f"-m tcp {_not(dice)}--tcp-flags {mask} {','.join(wanted) or 'NONE'}"


def _icmp(dice: Dice, context: RuleContext) -> str:
    kind = dice.weighted(
        [
            (4, "8"),
            (2, "0"),
            (1, "any"),
            (2, "3"),
            (1, "3/3"),
            (1, "3/1"),
            (1, "11"),
            (1, "echo-request"),
            (1, "port-unreachable"),
            (1, "time-exceeded"),
            (1, "5/1"),
        ]
    )
    inverted = _not(dice) if kind != "any" else ""
    return f"-m icmp {inverted}--icmp-type {kind}"


def _comment(dice: Dice, context: RuleContext) -> str:
    text = dice.pick(("plain", '"two words"', '"default/web:http cluster IP"', '"say \\"hi\\""'))
    return f"-m comment --comment {text}"


STATES = ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED")


def _states(dice: Dice, extra: tuple[str, ...] = ()) -> str:
    return ",".join(dice.some(STATES + extra, 35) or ["ESTABLISHED", "RELATED"])


def _state(dice: Dice, context: RuleContext) -> str:
    return f"-m state {_not(dice)}--state {_states(dice)}"


def _conntrack(dice: Dice, context: RuleContext) -> str:
    words = ["-m conntrack"]
    if dice.chance(65):
        words.append(f"{_not(dice)}--ctstate {_states(dice, ('SNAT', 'DNAT'))}")
    for option, percent in (
        ("--ctorigsrc", 8),
        ("--ctorigdst", 14),
        ("--ctreplsrc", 10),
        ("--ctrepldst", 8),
    ):
        if dice.chance(percent):
            words.append(f"{_not(dice)}{option} {_address_or_network(dice, context)}")
    if dice.chance(10) or (len(words) == 1 and dice.chance(40)):
        protocol = context.protocol or dice.pick(("tcp", "udp", "icmp"))
        words.append(f"{_not(dice)}--ctproto {protocol}")
        if protocol in WITH_PORTS:
            option = dice.pick(
                ("--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport")
            )
            words.append(f"{_not(dice)}{option} {_range_closed(dice)}")
    if dice.chance(8):
        statuses = dice.some(("EXPECTED", "SEEN_REPLY", "ASSURED", "CONFIRMED"), 40) or ["NONE"]
        words.append(f"{_not(dice)}--ctstatus {','.join(statuses)}")
    if dice.chance(5):
        words.append(f"{_not(dice)}--ctexpire {dice.pick(('0:1000', '100:500000', '1:60'))}")
    if dice.chance(10) or len(words) == 1:
        words.append(f"--ctdir {dice.pick(('ORIGINAL', 'REPLY'))}")
    return " ".join(words)


def _range_closed(dice: Dice) -> str:
    low, high = sorted((any_port(dice), any_port(dice)))
    return f"{low}:{high}" if low < high and dice.chance(30) else str(low)


def mark_text(dice: Dice) -> str:
    """Draw a mark, now and then with a mask."""
    value = dice.pick(("0x1", "0x2", "0x4000", "0", "0x10", "7", "0xffffffff"))
    return value + dice.weighted([(3, ""), (2, f"/{value}"), (1, "/0xff"), (1, "/0x4000")])


def _mark(dice: Dice, context: RuleContext) -> str:
    return f"-m mark {_not(dice)}--mark {mark_text(dice)}"


def _connmark(dice: Dice, context: RuleContext) -> str:
    return f"-m connmark {_not(dice)}--mark {mark_text(dice)}"


def _addrtype(dice: Dice, context: RuleContext) -> str:
    kinds = ("UNICAST", "LOCAL", "BROADCAST", "MULTICAST", "UNSPEC", "BLACKHOLE", "UNREACHABLE")
    words = ["-m addrtype"]
    which = dice.between(0, 2)
    for number, option in enumerate(("--src-type", "--dst-type")):
        if which in {number, 2}:
            chosen = dice.some(kinds, 15) or [dice.pick(kinds[:3])]
            words.append(f"{_not(dice)}{option} {','.join(chosen)}")
    if dice.chance(15):
        if not context.hooks & {"OUTPUT", "POSTROUTING"}:
            words.append("--limit-iface-in")
        elif not context.hooks & {"PREROUTING", "INPUT"}:
            words.append("--limit-iface-out")
    return " ".join(words)


def _statistic(dice: Dice, context: RuleContext) -> str:
    if dice.chance(30):
        probability = dice.pick(("0", "1", "0.0", "1.0"))
        return f"-m statistic --mode random {_not(dice)}--probability {probability}"
    every = dice.between(1, 5)
    return (
        f"-m statistic --mode nth {_not(dice)}--every {every} --packet {dice.between(0, every - 1)}"
    )


def _recent(dice: Dice, context: RuleContext) -> str:
    verb = dice.pick(("--set", "--rcheck", "--update", "--remove"))
    words = [f"-m recent {_not(dice)}{verb}"]
    if verb in {"--rcheck", "--update"}:
        if dice.chance(40):
            words.append(f"--seconds {dice.pick((60, 3600))}")
        if dice.chance(40):
            words.append(f"--hitcount {dice.between(1, 4)}")
        if dice.chance(8):
            words.append("--rttl")
        if "--seconds" in " ".join(words) and dice.chance(25):
            words.append("--reap")
    if dice.chance(70):
        words.append(f"--name {dice.pick(('A', 'B'))}")
    if dice.chance(15):
        words.append(f"--mask {dice.pick(('255.255.255.0', '255.255.0.0'))}")
    if dice.chance(50):
        words.append(dice.pick(("--rsource", "--rdest")))
    return " ".join(words)


def _limit(dice: Dice, context: RuleContext) -> str:
    rate = dice.pick(("1/hour", "3/minute", "2/day", "10/hour", "1/second", "4/second"))
    burst = f" --limit-burst {dice.between(1, 6)}" if dice.chance(70) else ""
    return f"-m limit --limit {rate}{burst}"


def _physdev(dice: Dice, context: RuleContext) -> str:
    words = ["-m physdev"]
    if dice.chance(40):
        words.append(f"{_not(dice)}--physdev-in {context.device(dice)}")
    if dice.chance(30) and not context.hooks & {"PREROUTING", "INPUT", "OUTPUT"}:
        words.append(f"{_not(dice)}--physdev-out {context.device(dice)}")
    if dice.chance(40) or len(words) == 1:
        words.append(f"{_not(dice)}--physdev-is-{dice.pick(('bridged', 'in', 'out'))}")
    return " ".join(words)


def _mac(dice: Dice, context: RuleContext) -> str:
    host = dice.pick(context.world.hosts)
    return f"-m mac {_not(dice)}--mac-source {format_mac(host.mac).upper()}"
