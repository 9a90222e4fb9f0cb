"""Random matches about a packet's headers, its socket, and what passed before it."""

from __future__ import annotations

from collections.abc import Callable

from netemu.livekernel.generate.context import RuleContext
from netemu.livekernel.generate.dice import Dice
from netemu.wire.address import format_address

Maker = Callable[[Dice, RuleContext], str]

U32_TESTS = (
    "6 & 0xFF = 1",
    "6 & 0xFF = 6 && 0 >> 22 & 0x3C @ 12 >> 16 & 0x12 = 0x2,0x12",
    "0 & 0xFFFF = 40:80",
    "4 & 0x3FFF = 0x1:0x3FFF",
    "12 & 0xFF = 0:10",
    "8 >> 24 = 63,64",
)


def more_matches(context: RuleContext) -> list[tuple[int, Maker]]:
    """Return what may stand in a rule of `context`, with weights."""
    choices: list[tuple[int, Maker]] = [
        (1, _tos),
        (1, _dscp),
        (1, _ttl),
        (1, _length),
        (1, _iprange),
        (1, _pkttype),
        (1, _ecn),
        (1, _u32),
        (1, _quota),
        (1, _hashlimit),
    ]
    if context.table != "raw":
        choices.append((1, _connlimit))
    if context.hooks <= {"OUTPUT", "POSTROUTING"}:
        choices.append((1, _owner))
    if context.hooks <= {"PREROUTING"} and context.table in {"raw", "mangle"}:
        choices.append((2, _rpfilter))
    if context.hooks <= {"PREROUTING", "INPUT"} and context.protocol in {"tcp", "udp"}:
        choices.append((1, _socket))
    return choices


def _not(dice: Dice) -> str:
    return "! " if dice.chance(15) else ""


def _tos(dice: Dice, context: RuleContext) -> str:
    return f"-m tos {_not(dice)}--tos {dice.pick(('0x10', '0x0/0x3f', '0xb8/0xfc', '0x8'))}"


def _dscp(dice: Dice, context: RuleContext) -> str:
    return f"-m dscp {_not(dice)}--dscp {dice.pick(('0x0', '0x2e', '0x04'))}"


def _ttl(dice: Dice, context: RuleContext) -> str:
    return f"-m ttl --ttl-{dice.pick(('eq', 'lt', 'gt'))} {dice.pick((1, 63, 64, 127))}"


def _length(dice: Dice, context: RuleContext) -> str:
    return f"-m length {_not(dice)}--length {dice.pick(('40', '0:60', '61:', '28:44', '576:'))}"


def _iprange(dice: Dice, context: RuleContext) -> str:
    low = context.address(dice)
    high = low[:3] + bytes((min(255, low[3] + dice.between(0, 20)),))
    which = dice.pick(("src", "dst"))
    return f"-m iprange {_not(dice)}--{which}-range {format_address(low)}-{format_address(high)}"


def _pkttype(dice: Dice, context: RuleContext) -> str:
    return f"-m pkttype {_not(dice)}--pkt-type {dice.pick(('unicast', 'broadcast', 'multicast'))}"


def _ecn(dice: Dice, context: RuleContext) -> str:
    if context.protocol == "tcp" and dice.chance(60):
        return f"-m ecn {_not(dice)}--ecn-tcp-{dice.pick(('cwr', 'ece'))}"
    return f"-m ecn {_not(dice)}--ecn-ip-ect {dice.between(0, 3)}"


def _u32(dice: Dice, context: RuleContext) -> str:
    return f'-m u32 {_not(dice)}--u32 "{dice.pick(U32_TESTS)}"'


def _quota(dice: Dice, context: RuleContext) -> str:
    return f"-m quota {_not(dice)}--quota {dice.pick((0, 100, 1000))}"


def _hashlimit(dice: Dice, context: RuleContext) -> str:
    mode = dice.pick(("srcip", "dstip", "srcip,dstport", "srcip,dstip"))
    name = f"{context.table[0]}{dice.between(0, 999)}"
    side = dice.pick(("upto", "above"))
    return (
        f"-m hashlimit --hashlimit-{side} 1/hour --hashlimit-burst {dice.between(1, 3)}"
        f" --hashlimit-mode {mode} --hashlimit-name {name}"
    )


def _connlimit(dice: Dice, context: RuleContext) -> str:
    """What it counts hangs on which packets come within one jiffy: the script keeps them apart."""
    words = [f"-m connlimit --connlimit-{dice.pick(('above', 'upto'))} {dice.between(0, 3)}"]
    if dice.chance(40):
        words.append(f"--connlimit-mask {dice.pick((0, 24, 31))}")
    return " ".join(words + ["--connlimit-daddr"] * dice.chance(30))


def _owner(dice: Dice, context: RuleContext) -> str:
    return (
        f"-m owner {_not(dice)}{dice.pick(('--uid-owner 0', '--gid-owner 5', '--socket-exists'))}"
    )


def _rpfilter(dice: Dice, context: RuleContext) -> str:
    flags = dice.some(("--loose", "--validmark", "--accept-local", "--invert"), 30)
    return " ".join(["-m rpfilter", *flags])


def _socket(dice: Dice, context: RuleContext) -> str:
    return " ".join(["-m socket", *dice.some(("--transparent", "--nowildcard"), 30)])
