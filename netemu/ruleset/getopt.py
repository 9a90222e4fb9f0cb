"""Which option a word means: iptables' own options, then those of the extensions loaded so far.

Kernel: none; getopt_long(3) as iptables uses it (original_opts of iptables.c, xtables_merge_options
of libxtables).

An exact name wins: iptables' own first, then those of the extension loaded last. Without one, the
beginning of a name is enough if all names that begin so mean the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netemu.netfilter.xtables.kit import Extension, Option

BASE_LONG = {
    "append": "A",
    "delete": "D",
    "check": "C",
    "insert": "I",
    "replace": "R",
    "list": "L",
    "list-rules": "S",
    "flush": "F",
    "zero": "Z",
    "new-chain": "N",
    "delete-chain": "X",
    "rename-chain": "E",
    "policy": "P",
    "source": "s",
    "destination": "d",
    "src": "s",
    "dst": "d",
    "protocol": "p",
    "in-interface": "i",
    "jump": "j",
    "table": "t",
    "match": "m",
    "numeric": "n",
    "out-interface": "o",
    "verbose": "v",
    "wait": "w",
    "wait-interval": "W",
    "exact": "x",
    "fragments": "f",
    "version": "V",
    "help": "h",
    "line-numbers": "0",
    "modprobe": "M",
    "set-counters": "c",
    "goto": "g",
    "ipv4": "4",
    "ipv6": "6",
}
"""Long names and the letter that each stands for."""

NEEDS_VALUE = frozenset("ACDEIMNPRcdgijmopst")
"""Letters that take the next word."""

MAY_HAVE_VALUE = frozenset("FLSWXZhw")
"""Letters that take only what is glued to them; the command looks at the next word itself."""

NO_VALUE = frozenset("046Vfnvx")


class ExtensionOption(NamedTuple):
    """An option of an extension."""

    extension: Extension
    option: Option


IP6_LONG = {name: letter for name, letter in BASE_LONG.items() if name != "fragments"}
"""Those of ip6tables-legacy."""


def find_option(
    name: str, extensions: Iterable[Extension], base: Mapping[str, str] = BASE_LONG
) -> str | ExtensionOption | None:
    """Find a long option: a letter of iptables' own (`base`), an extension's, or None.

    `extensions` come with the one loaded last first.
    """
    letter = base.get(name)
    if letter is not None:
        return letter
    loaded = tuple(extensions)
    for extension in loaded:
        option = extension.find(name)
        if option is not None:
            return ExtensionOption(extension, option)
    return _find_prefix(name, loaded, base)


def _find_prefix(
    name: str, extensions: tuple[Extension, ...], base: Mapping[str, str]
) -> str | ExtensionOption | None:
    found: list[str | ExtensionOption] = []
    for long_name, letter in base.items():
        if long_name.startswith(name) and letter not in found:
            found.append(letter)
    for extension in extensions:
        for option in extension.options:
            if any(known.startswith(name) for known in (option.name, *option.aliases)):
                candidate = ExtensionOption(extension, option)
                if not any(_same(candidate, other) for other in found):
                    found.append(candidate)
    return found[0] if len(found) == 1 else None


def _same(one: ExtensionOption, other: str | ExtensionOption) -> bool:
    return (
        not isinstance(other, str)
        and one.extension is other.extension
        and one.option is other.option
    )
