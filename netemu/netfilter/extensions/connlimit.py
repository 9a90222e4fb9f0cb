"""So many connections of an address or network at once: match `connlimit`.

Kernel: net/netfilter/xt_connlimit.c (connlimit_mt), net/netfilter/nf_conncount.c.

Every rule counts for itself, and only what its packets show it. The packet's own connection counts.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.conntrack.connection import DEFAULT_ZONE, nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.xtables.addresses import octets_in, under_mask
from netemu.netfilter.xtables.conncount import ConnectionCount, Key
from netemu.netfilter.xtables.header import destination_address, source_address
from netemu.netfilter.xtables.hosts import PrefixLength
from netemu.netfilter.xtables.kinds import U32
from netemu.netfilter.xtables.kit import Match, Option, Settings
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb
from netemu.wire.address import format_address, mask_of


class Connlimit:
    """struct xt_connlimit_info."""

    __slots__ = ("above", "by_destination", "connections", "family", "limit", "mask")

    def __init__(self, settings: Settings) -> None:
        """Take the options apart; `attach_connlimit` makes the count."""
        self.above = _above(settings)
        self.limit = _limit(settings)
        self.family = settings.family
        self.mask = mask_of(_prefix(settings), octets_in(settings.family))
        self.by_destination = "connlimit-daddr" in settings
        self.connections: ConnectionCount | None = None

    def key(self, skb: Skb) -> Key:
        """Return what the packet's connection is counted under."""
        pick = destination_address if self.by_destination else source_address
        connection, _ = nf_ct_get(skb)
        zone = DEFAULT_ZONE if connection is None else connection.zone
        return under_mask(pick(skb, self.family), self.mask), zone.id


def connlimit_mt(info: Connlimit, skb: Skb, param: XtParam) -> bool:
    """Count the connections of the packet's key, its own among them."""
    assert info.connections is not None
    count = info.connections.count(info.key(skb), skb)
    if not count:
        param.hotdrop = True
        return False
    return (count > info.limit) == info.above


def describe_connlimit(info: Connlimit, skb: Skb, param: XtParam) -> str:
    """Say how many connections there are."""
    assert info.connections is not None
    key = info.key(skb)
    return f"{info.connections.size(key)} connections of {format_address(key[0])}"


def attach_connlimit(net: Net, info: Connlimit) -> None:
    """Begin to track connections and to count (connlimit_mt_check)."""
    nf_ct_netns_get(net)
    info.connections = ConnectionCount(net)


def _above(settings: Settings) -> bool:
    name = "connlimit-above" if "connlimit-above" in settings else "connlimit-upto"
    return (name == "connlimit-above") != settings.inverted(name)


def _limit(settings: Settings) -> int:
    name = "connlimit-above" if "connlimit-above" in settings else "connlimit-upto"
    return settings.need(name, int)


def _prefix(settings: Settings) -> int:
    return settings.get("connlimit-mask", int, octets_in(settings.family) * 8)


def _check_connlimit(settings: Settings) -> None:
    if not ("connlimit-above" in settings or "connlimit-upto" in settings):
        raise RulesetError('You must specify "--connlimit-above" or "--connlimit-upto"')


def _save_connlimit(settings: Settings) -> str:
    """Print an inverted limit as its opposite, mask and side always."""
    word = "above" if _above(settings) else "upto"
    side = "daddr" if "connlimit-daddr" in settings else "saddr"
    return (
        f"--connlimit-{word} {_limit(settings)} --connlimit-mask {_prefix(settings)} "
        f"--connlimit-{side}"
    )


MATCHES = (
    Match(
        name="connlimit",
        kernel="xt_connlimit.c",
        duty="Counts the connections of an address or network.",
        options=(
            Option(
                "connlimit-upto",
                U32(),
                invertible=True,
                excludes=("connlimit-above",),
                help="Matches while there are at most so many.",
                says="the connections of its address {is} at most {value}",
            ),
            Option(
                "connlimit-above",
                U32(),
                invertible=True,
                excludes=("connlimit-upto",),
                help="Matches when there are more.",
                says="the connections of its address {is} more than {value}",
            ),
            Option(
                "connlimit-mask", PrefixLength(), help="Addresses under this prefix share a count."
            ),
            Option(
                "connlimit-saddr",
                excludes=("connlimit-daddr",),
                help="Counts by source address; so it does when neither is said.",
            ),
            Option(
                "connlimit-daddr",
                excludes=("connlimit-saddr",),
                help="Counts by destination address.",
            ),
        ),
        check=_check_connlimit,
        save=_save_connlimit,
        build=Connlimit,
        evaluate=connlimit_mt,
        packets=own_answer,
        attach=attach_connlimit,
        describe=describe_connlimit,
    ),
)
