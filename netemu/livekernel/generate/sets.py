"""Random IP sets about the addresses of a world, and rules that ask and change them."""

from __future__ import annotations

from contextlib import suppress

from netemu.errors import SetTextError
from netemu.livekernel.generate.context import RuleContext, SetSketch
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.world import (
    CLIENT_PORTS,
    FAR_NETS,
    SERVICE_PORTS,
    VIPS,
    World,
)
from netemu.net import Net
from netemu.netfilter.ipset.core import IpSets
from netemu.ruleset.ipset import read_sets
from netemu.wire.address import format_address, format_mac

TYPES = (
    "hash:ip",
    "hash:ip,port",
    "hash:ip,port,ip",
    "hash:ip,port,net",
    "hash:net",
    "hash:net,port",
    "hash:net,iface",
    "bitmap:ip",
    "bitmap:ip,mac",
    "bitmap:port",
)
"""Types that every kernel with ipset has; lists are added on top."""

RARE_TYPES = ("hash:net,net", "hash:net,port,net", "hash:mac", "hash:ip,mac", "hash:ip,mark")

BITMAP_PREFIX = 16


def random_sets(
    dice: Dice,
    world: World,
    *,
    types: tuple[str, ...] = TYPES,
    timeouts: tuple[int, ...] = (0, 60, 600),
    seeded: int = 85,
) -> tuple[str, list[SetSketch]]:
    """Return the text of `ipset restore`, and what it makes; names are this case's own.

    `seeded` percent of the hashes get an initval, and with it all that depends on it.
    """
    maker = _Maker(dice, world, types, timeouts, seeded)
    maker.make()
    return "".join(f"{line}\n" for line in _accepted(maker.lines)), maker.sets


def _accepted(lines: list[str]) -> list[str]:
    """Leave out what netemu refuses: trying it on the kernel takes a new node each time."""
    sets = Net().generic(IpSets)
    kept: list[str] = []
    for line in lines:
        with suppress(SetTextError):
            read_sets(line, "", sets)
            kept.append(line)
    return kept


class _Maker:
    """Draws the sets of one case."""

    def __init__(
        self,
        dice: Dice,
        world: World,
        types: tuple[str, ...],
        timeouts: tuple[int, ...],
        seeded: int,
    ) -> None:
        self.dice = dice
        self.world = world
        self.types = types
        self.timeouts = timeouts
        self.seeded = seeded
        self.lines: list[str] = []
        self.sets: list[SetSketch] = []
        self.case = f"{dice.u32():08x}"

    def make(self) -> None:
        dice = self.dice
        for number in range(dice.between(2, 5)):
            self._set(number)
        if dice.chance(45):
            self._list(len(self.sets))

    def _set(self, number: int) -> None:
        dice = self.dice
        sketch = self._sketch(f"s{number}", dice.pick(self.types))
        words = ["create", sketch.name, sketch.kind]
        if sketch.kind.startswith("hash"):
            words += self._hash_options(sketch.kind)
        elif sketch.kind == "bitmap:port":
            words.append(dice.pick(("range 0-65535", "range 50-9000")))
        else:
            address = dice.pick(self._addresses())
            words.append(f"range {format_address(address)}/{BITMAP_PREFIX}")
            if sketch.kind == "bitmap:ip" and dice.chance(30):
                words.append("netmask 28")
        self.lines.append(" ".join([*words, *self._extension_words(sketch)]))
        for _ in range(dice.between(0, 7)):
            self.lines.append(self._element(sketch))
        self.sets.append(sketch)

    def _sketch(self, name: str, kind: str) -> SetSketch:
        chosen = self.dice.some(("timeout", "counters", "comment", "skbinfo"), 35)
        return SetSketch(f"{name}-{self.case}", kind, tuple(chosen))

    def _extension_words(self, sketch: SetSketch) -> list[str]:
        return [
            f"timeout {self.dice.pick(self.timeouts)}" if word == "timeout" else word
            for word in sketch.extensions
        ]

    def _hash_options(self, kind: str) -> list[str]:
        dice = self.dice
        words = [f"initval 0x{dice.u32():08x}"] if dice.chance(self.seeded) else []
        if words:
            # Without an initval, who is evicted or finds no room is a matter of chance.
            if dice.chance(35):
                words.append(f"hashsize 64 bucketsize {dice.pick((2, 4))}")
            if dice.chance(25):
                words.append(f"maxelem {dice.pick((1, 2, 3, 5))}")
            if dice.chance(20):
                words.append("forceadd")
        if kind in {"hash:ip", "hash:ip,port", "hash:net,net"} and dice.chance(20):
            words.append(dice.pick(("netmask 24", "netmask 30", "bitmask 255.255.0.255")))
        if kind == "hash:ip,mark" and dice.chance(50):
            words.append("markmask 0xff")
        return words

    def _list(self, number: int) -> None:
        dice = self.dice
        sketch = self._sketch(f"l{number}", "list:set")
        words = ["create", sketch.name, "list:set", *self._extension_words(sketch)]
        self.lines.append(" ".join(words))
        for member in self.sets:
            if dice.chance(60):
                options = self._options(sketch)
                self.lines.append(" ".join(["add", sketch.name, member.name, *options]))
        self.sets.append(sketch)

    def _element(self, sketch: SetSketch) -> str:
        dice = self.dice
        parts = [self._part(part, sketch.kind) for part in sketch.kind.partition(":")[2].split(",")]
        if sketch.kind == "bitmap:ip,mac" and dice.chance(40):
            parts.pop()
        words = ["add", sketch.name, ",".join(parts), *self._options(sketch)]
        if "net" in sketch.kind and dice.chance(25):
            words.append("nomatch")
        if sketch.kind == "hash:net,iface" and dice.chance(25):
            words.append("wildcard")
        return " ".join([*words, "-exist"])

    def _options(self, sketch: SetSketch) -> list[str]:
        dice = self.dice
        words: list[str] = []
        if "timeout" in sketch.extensions and dice.chance(40):
            words.append(f"timeout {dice.pick(self.timeouts)}")
        if "counters" in sketch.extensions and dice.chance(40):
            words.append(f"packets {dice.between(0, 4)} bytes {dice.between(0, 300)}")
        if "comment" in sketch.extensions and dice.chance(50):
            words.append('comment "of a case"')
        if "skbinfo" in sketch.extensions and dice.chance(75):
            mark = dice.pick(("0x1", "0x2/0xff", "0x4000/0x4000"))
            words.append(f"skbmark {mark} skbprio 1:{dice.between(0, 9)} skbqueue 0")
        return words

    def _addresses(self) -> list[bytes]:
        world = self.world
        return [
            *(host.address for host in world.hosts),
            *world.own,
            *VIPS,
            *(world.pods or VIPS),
        ]

    def _part(self, part: str, kind: str) -> str:
        dice = self.dice
        address = format_address(dice.pick(self._addresses()))
        if part == "ip":
            return address
        if part == "net":
            return dice.pick(
                (
                    address,
                    f"{address}/{dice.pick((8, 16, 24, 25, 30))}",
                    f"{address}/{dice.pick((1, 12, 24, 31))}",
                    dice.pick(FAR_NETS),
                )
            )
        if part == "port":
            return self._port(kind)
        if part == "mac":
            return format_mac(dice.pick(self.world.hosts).mac)
        if part == "mark":
            return dice.pick(("0", "1", "0x2", "0x4000"))
        name = dice.pick([link.name for link in self.world.main.links])
        return dice.pick((name, name, name[:2], f"physdev:{name}"))

    def _port(self, kind: str) -> str:
        dice = self.dice
        port = dice.pick(SERVICE_PORTS if dice.chance(70) else CLIENT_PORTS)
        if kind == "bitmap:port":
            return str(dice.pick((53, 80, 443, 8080)))
        return dice.weighted(
            [
                (5, f"tcp:{port}"),
                (5, f"udp:{port}"),
                (2, "icmp:echo-request"),
                (1, "icmp:echo-reply"),
                (1, "icmp:3/3"),
                (1, "47:0"),
            ]
        )


def directions(dice: Dice, sketch: SetSketch) -> str:
    """Return `src,dst`, now and then too many or too few."""
    count = sketch.dimension
    if sketch.kind == "list:set":
        count = dice.between(1, 3)
    elif dice.chance(15):
        count = dice.between(1, 4)
    return ",".join(dice.pick(("src", "dst")) for _ in range(count))


def set_match(dice: Dice, context: RuleContext) -> str:
    """Return `-m set` with any of its options."""
    sketch = dice.pick(context.sets)
    bang = "! " if dice.chance(15) else ""
    words = [f"-m set {bang}--match-set {sketch.name} {directions(dice, sketch)}"]
    if dice.chance(12):
        words.append("--return-nomatch")
    unwanted = dice.some(("--update-counters", "--update-subcounters"), 15)
    words += [f"! {option}" for option in unwanted]
    for counter, numbers in (("packets", (0, 1, 2, 4)), ("bytes", (60, 84, 200, 400))):
        if dice.chance(15):
            operation = dice.pick(("eq", "lt", "gt"))
            bang = "! " if operation == "eq" and dice.chance(40) else ""
            words.append(f"{bang}--{counter}-{operation} {dice.pick(numbers)}")
    return " ".join(words)


def set_target(dice: Dice, context: RuleContext) -> str:
    """Return `-j SET` that adds, deletes or maps."""
    words = ["-j SET"]
    sketch = dice.pick(context.sets)
    verb = dice.weighted(
        [
            (6 if sketch.grows else 0, "add"),
            (3, "del"),
            (4 if context.table == "mangle" else 0, "map"),
        ]
    )
    words.append(f"--{verb}-set {sketch.name} {directions(dice, sketch)}")
    if verb == "add":
        if dice.chance(40):
            words.append("--exist")
        if dice.chance(30):
            words.append(f"--timeout {dice.pick((0, 30, 300))}")
        if dice.chance(15):
            other = dice.pick(context.sets)
            words.append(f"--del-set {other.name} {directions(dice, other)}")
    if verb == "map":
        words.append("--map-mark")
        if context.hooks <= {"FORWARD", "OUTPUT", "POSTROUTING"} and dice.chance(60):
            words.append("--map-prio --map-queue")
    return " ".join(words)
