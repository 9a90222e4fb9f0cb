"""IP sets: what `ipset` makes, and what rules with `-m set` and `-j SET` ask.

Kernel: net/netfilter/ipset/.

A set type is a `SetType`, declared in a file of its own and listed in `SET_TYPES`: which options
and elements ipset(8) reads and prints, and what makes the set's content. Three contents stand
behind them: `hash.py` for `hash:*`, `bitmap.py` for `bitmap:*`, and `list_set.py`. Commands come in
as `CreateAttributes` and `ElementAttributes`, the netlink attributes of ipset; their text is read
and printed in `ruleset/ipset/`.
"""

from __future__ import annotations

from netemu.netfilter.ipset import (
    bitmap_ip,
    bitmap_ipmac,
    bitmap_port,
    hash_ip,
    hash_ipmac,
    hash_ipmark,
    hash_ipport,
    hash_ipportip,
    hash_ipportnet,
    hash_mac,
    hash_net,
    hash_netiface,
    hash_netnet,
    hash_netport,
    hash_netportnet,
    list_set,
)
from netemu.netfilter.ipset.ip_set import SetType

MODULES = (
    bitmap_ip,
    bitmap_ipmac,
    bitmap_port,
    hash_ip,
    hash_ipmac,
    hash_ipmark,
    hash_ipport,
    hash_ipportip,
    hash_ipportnet,
    hash_mac,
    hash_net,
    hash_netiface,
    hash_netnet,
    hash_netport,
    hash_netportnet,
    list_set,
)
"""The files of set types, in alphabetical order."""

SET_TYPES: tuple[SetType, ...] = tuple(module.TYPE for module in MODULES)


def find_set_type(name: str) -> SetType | None:
    """Return the type of a name or an old name, such as `iphash`."""
    return next((kind for kind in SET_TYPES if name == kind.name or name in kind.aliases), None)
