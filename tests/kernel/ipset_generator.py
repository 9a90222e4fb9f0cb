"""Random ipset text: sets of every type, elements and options, valid and not."""

from __future__ import annotations

from netemu.livekernel.generate.dice import Dice

COMMON = ("hash:ip", "hash:ip,port", "hash:ip,port,ip", "hash:ip,port,net", "hash:net",
          "hash:net,port", "hash:net,iface", "bitmap:ip", "bitmap:ip,mac", "bitmap:port",
          "list:set")  # fmt: skip
"""Types that most kernels have."""

RARE = ("hash:net,net", "hash:net,port,net", "hash:mac", "hash:ip,mac", "hash:ip,mark")


class SetText:
    """Draws one text of `ipset restore`."""

    def __init__(self, dice: Dice, types: tuple[str, ...], *, wrong: int = 4) -> None:
        """`wrong` percent of the values are ones that may be refused."""
        self.dice = dice
        self.types = types
        self.wrong = wrong
        self.sets: list[tuple[str, str, str, frozenset[str]]] = []
        """Name, type, family, extensions."""

    def text(self) -> str:
        """Return the whole text."""
        dice = self.dice
        lines = []
        for number in range(dice.between(1, 4)):
            lines.append(self.create(number))
            lines += [self.element("add") for _ in range(dice.between(0, 7))]
        for _ in range(dice.between(0, 10)):
            lines.append(self.anything())
        return "".join(f"{line}\n" for line in lines)

    def anything(self) -> str:
        """Return any line."""
        dice = self.dice
        name = self.pick()[0]
        other = self.pick()[0]
        return dice.weighted(
            [
                (20, lambda: self.element("add")),
                (8, lambda: self.element("del")),
                (1, lambda: f"flush {name}"),
                (1, lambda: f"swap {name} {other}"),
                (1, lambda: f"rename {name} r{name}"),
                (1, lambda: f"destroy {name}"),
                (1, lambda: "# a comment"),
                (1, lambda: ""),
                (1, lambda: "COMMIT"),
            ]
        )()

    def pick(self) -> tuple[str, str, str, frozenset[str]]:
        """Return a set."""
        return self.dice.pick(self.sets)

    def create(self, number: int) -> str:
        """Return a line that makes a set."""
        dice = self.dice
        kind = dice.pick(self.types)
        name = f"s{number}"
        words = ["create", name, kind]
        family = "inet"
        if kind.startswith("hash") and kind != "hash:mac":
            family = dice.weighted([(4, "inet"), (1, "inet6")])
            if family == "inet6" or dice.chance(60):
                words.append(f"family {family}")
        options = []
        if kind.startswith("hash"):
            options.append(f"initval 0x{dice.u32():x}")
            options += [
                f"{option} {value}"
                for option, percent, value in (
                    ("hashsize", 40, dice.pick((1, 64, 100, 1024, 4096))),
                    ("maxelem", 25, dice.pick((0, 1, 3, 5, 1000))),
                    ("bucketsize", 20, dice.pick((0, 1, 2, 3, 4, 11, 13, 200))),
                )
                if dice.chance(percent)
            ]
            if dice.chance(20):
                options.append("forceadd")
        if kind in {"hash:ip", "hash:ip,port", "hash:net,net"} and dice.chance(30):
            mask = dice.pick((1, 8, 24, 31, 32)) if family == "inet" else dice.pick((1, 64, 127))
            bits = "255.255.0.255" if family == "inet" else "ffff::ff"
            options.append(dice.pick((f"netmask {mask}", f"bitmask {bits}")))
        if kind == "hash:ip,mark" and dice.chance(50):
            options.append(f"markmask {dice.pick(('0xff', '0xffff0000', '0'))}")
        if kind in {"bitmap:ip", "bitmap:ip,mac"}:
            options.append(
                dice.pick(
                    (
                        "range 10.0.0.0/24",
                        "range 10.0.0.0-10.0.1.255",
                        "range 10.0.0.3-10.0.0.9",
                        "from 10.0.0.0 to 10.0.0.255",
                        "network 10.0.0.0/24",
                    )
                )
            )
            if kind == "bitmap:ip" and dice.chance(25):
                options.append(f"netmask {dice.pick((28, 30, 31, 32))}")
        if kind == "bitmap:port":
            options.append(dice.pick(("range 0-1024", "range 100-80", "from 10 to 500")))
        if kind == "list:set" and dice.chance(40):
            options.append(f"size {dice.pick((1, 4, 20))}")
        extensions = {
            word
            for word, percent in (
                ("timeout", 25),
                ("counters", 30),
                ("comment", 30),
                ("skbinfo", 20),
            )
            if dice.chance(percent)
        }
        options += [f"timeout {dice.pick((0, 30, 600))}" if word == "timeout" else word
                    for word in sorted(extensions)]  # fmt: skip
        if dice.chance(self.wrong):
            options.append(
                dice.pick(
                    (
                        "foo",
                        "timeout",
                        "timeout x",
                        "maxelem -1",
                        "hashsize 0x",
                        "comment comment",
                        "probes 4 resize 50",
                    )
                )
            )
        dice.shuffle(options)
        self.sets.append((name, kind, family, frozenset(extensions)))
        return " ".join([*words, *options])

    def element(self, command: str) -> str:
        """Return a line about an element."""
        dice = self.dice
        name, kind, family, extensions = self.pick()
        parts = [self.part(part, family, kind) for part in kind.partition(":")[2].split(",")]
        if kind == "bitmap:ip,mac" and dice.chance(30):
            parts.pop()
        text = ",".join(parts)
        words = [command, name, text]
        if command == "add":
            words += self.options(kind, extensions)
        if dice.chance(self.wrong // 2 + 1) and self.wrong:
            words.append(dice.pick(("-exist", "-!", "comment", "nomatch", "foo 1", "timeout 7")))
        elif dice.chance(12):
            words.append("-exist")
        return " ".join(words)

    def options(self, kind: str, extensions: frozenset[str]) -> list[str]:
        """Return options of an add."""
        dice = self.dice
        words = []
        if "timeout" in extensions and dice.chance(40):
            words.append(f"timeout {dice.pick((0, 20, 1000, 2147483))}")
        if "counters" in extensions and dice.chance(50):
            words.append(dice.pick(("packets 3 bytes 100", "bytes 7", "packets 0x10")))
        if "comment" in extensions and dice.chance(60):
            words.append(f'comment "{dice.pick(("one", "two words", "a,b/c", "x" * 255))}"')
        if "skbinfo" in extensions and dice.chance(60):
            words.append(
                dice.pick(
                    (
                        "skbmark 0x1",
                        "skbmark 0x10/0xff",
                        "skbprio 1:a",
                        "skbqueue 5",
                        "skbmark 0x3/0x0 skbprio 0:0 skbqueue 0",
                        "skbmark 0x0/0xff skbprio ff:3",
                    )
                )
            )
        if "net" in kind and dice.chance(20):
            words.append("nomatch")
        if kind == "hash:net,iface" and dice.chance(15):
            words.append("wildcard")
        if kind == "list:set" and dice.chance(20):
            words.append(f"{dice.pick(('before', 'after'))} {self.pick()[0]}")
        dice.shuffle(words)
        return words

    def part(self, part: str, family: str, kind: str) -> str:
        """Return one part of an element."""
        dice = self.dice
        if dice.chance(self.wrong):
            return dice.pick(("", "foo", "1.2.3.4", "10.0.0.0/0", "::1", "tcp:80", "99999", "-"))
        if part in {"ip", "net"}:
            return self.address6(part) if family == "inet6" else self.address(part, kind)
        if part == "port":
            return self.port(family, kind)
        if part == "mac":
            return dice.pick(
                ("02:00:00:00:00:01", "2:0:0:0:0:1", "aa:BB:cc:00:00:02", "00:00:00:00:00:00")
            )
        if part == "mark":
            return dice.pick(("1", "0x10", "0xffff", "0"))
        if part == "iface":
            return dice.pick(("eth0", "eth1", "eth", "physdev:eth0", "e" * 15))
        return self.pick()[0]

    def address(self, part: str, kind: str) -> str:
        """Return an IPv4 address, network or range."""
        dice = self.dice
        base = f"10.0.{dice.between(0, 1)}.{dice.pick((0, 1, 2, 3, 4, 7, 8, 9, 128, 255))}"
        if part == "net" or dice.chance(15):
            if dice.chance(50):
                return f"{base}/{dice.pick((8, 16, 24, 25, 30, 31, 32) if part == 'net' else (28, 30, 31, 32))}"
            if dice.chance(30):
                low, high = dice.between(0, 40), dice.between(0, 60)
                return f"10.0.0.{low}-10.0.0.{high}"
        return base

    def address6(self, part: str) -> str:
        """Return an IPv6 address or network."""
        dice = self.dice
        base = dice.pick(("2001:db8::1", "2001:db8::2", "2001:DB8:0::3", "fe80::1", "::", "::1"))
        if part == "net" and dice.chance(60):
            return f"{base}/{dice.pick((1, 32, 64, 96, 128))}"
        return base if dice.chance(92) else f"{base}/128"

    def port(self, family: str, kind: str) -> str:
        """Return a port with or without its protocol."""
        dice = self.dice
        number = dice.pick((0, 53, 80, 81, 443, 65535))
        if kind == "bitmap:port":
            return dice.pick((f"{number}", "80-83", "tcp:80", "udp:90", "http", "90-85"))
        icmp = "icmp" if family == "inet" else "icmpv6"
        return dice.weighted(
            [
                (5, f"{number}"),
                (5, f"tcp:{number}"),
                (4, f"udp:{number}"),
                (2, "udp:domain"),
                (1, "sctp:5"),
                (1, "udplite:7"),
                (2, f"{icmp}:echo-request"),
                (1, f"{icmp}:ping"),
                (1, f"{icmp}:3/3"),
                (1, f"{icmp}:200/7"),
                (1, "gre:0"),
                (1, "47:0"),
                (2, f"tcp:{number}-{min(number + 3, 65535)}"),
                (1, "TCP:80"),
            ]
        )
