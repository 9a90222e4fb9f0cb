"""One address shared by several machines: target `CLUSTERIP`.

Kernel: net/ipv4/netfilter/ipt_CLUSTERIP.c of Linux 6.1; later kernels have it no more.

Differs from Linux: a rule is read and printed as on Linux 6.1; no node runs it.
"""

from __future__ import annotations

from typing import NoReturn

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.addresses import Mac
from netemu.netfilter.xtables.kinds import U8, U32, Choice, OptionCall
from netemu.netfilter.xtables.kit import Option, Settings, Target, nothing, printed
from netemu.netfilter.xtables.model import Invert, Rule
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb

MAX_NODES = 16
_NEEDED = ("new", "hashmode", "clustermac", "total-nodes", "local-node")


class HashMode(Choice):
    """What a machine's share of the connections is chosen by."""

    def __init__(self) -> None:
        """List the modes."""
        super().__init__("sourceip", "sourceip-sourceport", "sourceip-sourceport-destport")

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as CLUSTERIP_parse does."""
        return f'Unknown hashmode "{text}"; it takes {", ".join(self.words)}'


class GroupMac(Mac):
    """A multicast MAC address, printed in capitals."""

    def read(self, text: str, call: OptionCall) -> bytes:
        """Refuse a unicast address."""
        address = super().read(text, call)
        if not address[0] & 1:
            raise RulesetError("MAC has to be a multicast ethernet address")
        return address

    def show(self, value: bytes) -> str:
        """Print in capitals."""
        return super().show(value).upper()


def clusterip_tg(info: None, skb: Skb, param: XtParam) -> Verdict | None:
    """No node runs such a rule: `attach_clusterip` refuses it."""
    return None


def attach_clusterip(net: Net, info: None) -> NoReturn:
    """Say that there is no such target."""
    raise RulesetError(
        "CLUSTERIP: kernels after 6.1 have no such target, and netemu does not emulate that of 6.1"
    )


def _check_clusterip(settings: Settings) -> None:
    """Test what CLUSTERIP_check and clusterip_tg_check test."""
    if settings.given and not all(name in settings for name in _NEEDED):
        raise RulesetError(
            f"CLUSTERIP target: Invalid parameter combination; --{' --'.join(_NEEDED)} go together"
        )
    if settings.given and settings.need("local-node", int) < 1:
        raise RulesetError("CLUSTERIP: the kernel takes local nodes from 1")


def _check_rule(settings: Settings, rule: Rule) -> None:
    """Ask for one address, and for a device of a new cluster."""
    generic = rule.generic
    if not any(generic.destination) or not all(octet == 0xFF for octet in generic.destination_mask):
        raise RulesetError("Please specify destination IP: -d with a single address")
    if generic.invert & Invert.DSTIP:
        raise RulesetError("Please specify destination IP without `!'")
    if "new" in settings and generic.in_device in {"", "+"}:
        raise RulesetError("Please specify an interface name: -i")


def _save_clusterip(settings: Settings) -> str:
    """Print nothing for a rule that joins a cluster made before."""
    if not settings.given:
        return ""
    seed = settings.get("hash-init", int, 0)
    return f"{printed(settings, *_NEEDED)} --hash-init {seed}"


TARGETS = (
    Target(
        name="CLUSTERIP",
        kernel="ipt_CLUSTERIP.c",
        duty="Takes this machine's share of the connections to an address of several machines.",
        families=(Family.IPV4,),
        options=(
            Option("new", help="Makes a cluster."),
            Option("hashmode", HashMode(), help="What a share is chosen by."),
            Option("clustermac", GroupMac(), help="MAC address of the cluster."),
            Option("total-nodes", U8(high=MAX_NODES), help="Machines of the cluster."),
            Option("local-node", U8(high=MAX_NODES), help="Number of this machine, from 1."),
            Option("hash-init", U32(), help="Start value of the hash."),
        ),
        check=_check_clusterip,
        check_rule=_check_rule,
        save=_save_clusterip,
        build=nothing,
        apply=clusterip_tg,
        effect=changes_nothing,
        may_end=Verdict.DROP,
        attach=attach_clusterip,
    ),
)
