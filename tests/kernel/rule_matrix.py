"""Every option of an extension in its turn: values, negations, doubles, pairs, places, protocols.

Where rule_generator.py draws, this file enumerates: around a rule that loads it changes one thing
at a time.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from netemu.netfilter.extensions import EXTENSIONS
from netemu.netfilter.hook import Family
from netemu.netfilter.xtables.kit import Extension, Option
from tests.kernel.rule_generator import option_sets, places, protocol_words, quote, samples

PLACES = {
    "filter": ["INPUT", "FORWARD", "OUTPUT", "FOO"],
    "nat": ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING", "FOO"],
    "mangle": ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "FOO"],
    "raw": ["PREROUTING", "OUTPUT", "FOO"],
    "security": ["INPUT", "FORWARD", "OUTPUT"],
}

PROTOCOLS = [
    *("", "-p tcp", "! -p tcp", "-p udp", "-p icmp", "-p icmpv6", "-p sctp", "-p dccp", "-p all"),
    *("-p udplite", "-p esp", "-p ah", "-p 108", "-p mh", "-p 43", "-p 0x6", "-p 250", "-p TCP"),
]

SPELLINGS = [
    *("+5", "-0", "00", "1e3", "0b1", "5.0", "4294967295", "4294967296", "18446744073709551615"),
    *("18446744073709551616", "0X1f", "1_0", "1,2", "a" * 300, "1:", ":1", "1-2", "1/1", "*"),
]

OF_THE_MACHINE = {("cgroup", "path"), ("rateest", "rateest1"), ("rateest", "rateest2")}
"""Options whose values name what only the machine knows."""

BASES = {
    "HMARK": "--hmark-tuple src,dst --hmark-mod 10 --hmark-rnd 0xcafe",
    "TCPMSS": "--set-mss 1400",
    "ULOG": "",
    "set": "--match-set foo src",
    "SET": "--add-set foo src",
    "rateest": "--rateest1 x --rateest-lt --rateest-bps2 1mbit",
}
"""Options of a rule that loads, for what chance rarely finds."""

NEEDED = {"TCPMSS": "--tcp-flags SYN,RST SYN"}
"""What a rule of the extension needs besides its protocol."""

PRELUDES = {
    "rateest": "-A {first} -j RATEEST --rateest-name x --rateest-interval 1s --rateest-ewmalog 2s\n"
}
"""Rules that have to stand before those of an extension."""

Accepts = Callable[[str], bool]


@dataclass(frozen=True)
class Sample:
    """One rule; `words` are its options with their values, in order."""

    flag: str
    extension: Extension
    table: str
    chain: str
    protocol: str
    words: tuple[tuple[str, str], ...]

    def options(self) -> str:
        return " ".join(f"{name} {value}".rstrip() for name, value in self.words)

    def text(self, body: str | None = None) -> str:
        if body is None:
            body = f"{self.protocol} {self.flag} {self.extension.name} {self.options()}"
        prelude = PRELUDES.get(self.extension.name, "").format(first=PLACES[self.table][0])
        return f"*{self.table}\n:FOO - [0:0]\n{prelude}-A {self.chain} {body}\nCOMMIT\n"

    def instead(self, option: Option, value: str, bang: str = "") -> Sample:
        """Return the rule with an option in the place of it and of what excludes it."""
        names = {option.name, *option.excludes}
        out = {f"--{name}" for name in names} | {f"! --{name}" for name in names}
        kept = tuple(word for word in self.words if word[0] not in out)
        return replace(self, words=(*kept, (f"{bang}--{option.name}", value)))


def extensions_of(family: Family) -> list[tuple[str, Extension]]:
    matches = [("-m", match) for match in EXTENSIONS.matches if family in match.families]
    targets = [
        ("-j", target)
        for target in EXTENSIONS.targets
        if family in target.families and target.standard is None
    ]
    return [*matches, *targets]


def _words(options: str) -> tuple[tuple[str, str], ...]:
    """Split options into pairs of a name and its value."""
    parts = re.split(r"(?:^| )(?=--)", options)
    return tuple(
        (name, value) for name, _, value in (part.partition(" ") for part in parts if part)
    )


def loading_sample(
    flag: str, extension: Extension, accepts: Accepts, rng: random.Random
) -> Sample | None:
    """Draw until a rule loads."""
    for _ in range(600):
        table, chain = places(extension, rng)
        given = BASES.get(extension.name)
        words = tuple(
            (f"--{option.name}", quote(rng.choice(samples(extension.name, option))))
            if option.kind.arity
            else (f"--{option.name}", "")
            for option in option_sets(extension, rng)
        )
        if given is not None:
            words = _words(given)
        protocol = f"{protocol_words(extension, rng)}{NEEDED.get(extension.name, '')}".strip()
        found = Sample(flag, extension, table, chain, protocol, words)
        if accepts(found.text()):
            return found
    return None


def matrix(flag: str, extension: Extension, accepts: Accepts, seed: int) -> Iterator[str]:
    """Yield the texts of one extension; `accepts` says whether netemu takes a text."""
    rng = random.Random(f"{seed} {extension.name} {extension.kernel}")
    base = loading_sample(flag, extension, accepts, rng)
    if base is None:
        return
    good: dict[str, str] = {}
    for option in extension.options:
        if (extension.name, option.name) in OF_THE_MACHINE:
            continue
        values = samples(extension.name, option) if option.kind.arity else [""]
        values = [*values, *(SPELLINGS if option.kind.arity else [])]
        for value in map(quote, values) if option.kind.arity else values:
            changed = base.instead(option, value)
            if option.name not in good and accepts(changed.text()):
                good[option.name] = value
            yield changed.text()
            yield base.instead(option, value, "! ").text()
        yield from _misused(base, option, good.get(option.name, values[0]))
    yield from _pairs(base, good)
    yield from _placed(base)


def _misused(base: Sample, option: Option, value: str) -> Iterator[str]:
    once = base.instead(option, value)
    name = f"--{option.name}"
    head = f"{once.protocol} {once.flag} {once.extension.name}"
    yield once.text(f"{head} {once.options()} {name} {value}")
    yield once.text(f"{head} {once.options()} ! {name} {value}")
    yield once.text(f"{head} {once.options()} !")
    yield once.text(f"{head} ! ! {once.options()}")
    yield once.text(f"{head} {once.options()} {value}")
    yield once.text(f"{head} {once.options().replace(f'{name} {value}', f'{name} ! {value}')}")
    yield once.text(f"{head} {once.options().replace(f'{name} {value}', f'{name}={value}')}")
    yield once.text(f"{head} {' '.join(f'{n} {v}' for n, v in once.words[:-1])} {name}")
    yield once.text(f"{head} {' '.join(f'{n} {v}' for n, v in once.words[:-1])}")
    for length in {3, len(name) // 2, len(name) - 2, len(name) - 1}:
        yield once.text(f"{head} {once.options().replace(name, name[:length])}")
    for alias in option.aliases:
        yield once.text(f"{head} {once.options().replace(name, f'--{alias}')}")


def _pairs(base: Sample, good: dict[str, str]) -> Iterator[str]:
    options = base.extension.options
    head = f"{base.protocol} {base.flag} {base.extension.name}"
    for one in options:
        for other in options:
            if one is other or one.name not in good or other.name not in good:
                continue
            pair = f"--{one.name} {good[one.name]} --{other.name} {good[other.name]}"
            yield base.text(f"{head} {pair}")
            kept = {f"--{one.name}", f"--{other.name}"}
            rest = " ".join(f"{n} {v}" for n, v in base.words if n not in kept)
            yield base.text(f"{head} {rest} {pair}")


def _placed(base: Sample) -> Iterator[str]:
    for table, chains in PLACES.items():
        for chain in chains:
            if table != "security":
                yield replace(base, table=table, chain=chain).text()
    for protocol in PROTOCOLS:
        yield replace(base, protocol=protocol).text()
    said = f"{base.flag} {base.extension.name} {base.options()}"
    yield base.text(f"{said} {base.protocol}")
    yield base.text(f"{base.protocol} {said} {said}")
    yield base.text(f"{base.protocol} {base.options()} {base.flag} {base.extension.name}")
    yield base.text(f"{base.protocol} {base.options()}")
    other = "-j" if base.flag == "-m" else "-m"
    yield base.text(f"{base.protocol} {other} {base.extension.name} {base.options()}")
    yield base.text(f"{base.protocol} ! {said}")
    yield base.text(f"{base.protocol} -g {base.extension.name} {base.options()}")
