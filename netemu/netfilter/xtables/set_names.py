"""Kinds of values that name an IP set and what of the packet is looked up in it.

Kernel: include/uapi/linux/netfilter/ipset/ip_set.h; parse_dirs and get_set_byname of iptables'
libxt_set.

A name stands for a set of the namespace; whether there is one shows when rules are loaded.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import Kind, OptionCall, octets_of

MAX_NAME = 31
"""Octets of a set's name (IPSET_MAXNAMELEN less one)."""

MAX_DIRECTIONS = 6
"""IPSET_DIM_MAX."""

SRC = "src"
DST = "dst"


class SetReference(Struct, frozen=True):
    """A set and, for each of its dimensions, the side of the packet that it is about."""

    name: str
    directions: tuple[str, ...]
    """`src` or `dst`."""


class SetAndDirections(Kind[SetReference]):
    """`NAME src,dst`: two words, printed without quotes."""

    form = "SET src|dst[,...]"
    terminal = "TEXT"
    arity = 2

    def read(self, text: str, call: OptionCall) -> SetReference:
        """Read both words; the last one has no blank in it."""
        name, _, directions = text.rpartition(" ")
        if len(octets_of(name)) > MAX_NAME:
            raise RulesetError(f"setname `{name}' too long, max {MAX_NAME} characters")
        return SetReference(name, read_directions(directions))

    def show(self, value: SetReference) -> str:
        """Print both."""
        return f"{value.name} {','.join(value.directions)}"


def read_directions(text: str) -> tuple[str, ...]:
    """Read `src,dst`; of every word three letters are looked at.

    >>> read_directions("src,dstination")
    ('src', 'dst')
    """
    words = text.split(",")
    for word in words[:MAX_DIRECTIONS]:
        if word[:3] not in {SRC, DST}:
            raise RulesetError(
                "You must specify (the comma separated list of) 'src' or 'dst', "
                f"`{word}' is neither"
            )
    if len(words) > MAX_DIRECTIONS:
        raise RulesetError(f"Can't be more src/dst options than {MAX_DIRECTIONS}")
    return tuple(word[:3] for word in words)
