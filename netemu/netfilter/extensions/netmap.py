"""One network mapped onto another, host by host: target `NETMAP`.

Kernel: net/netfilter/xt_NETMAP.c (netmap_tg4, netmap_tg6).

The bits under the mask become those of the given network, the host bits stay: of the destination
at PREROUTING and OUTPUT, of the source at INPUT and POSTROUTING.
"""

from __future__ import annotations

from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.conntrack.core import nf_ct_netns_get
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.nat.core import nf_nat_setup_info
from netemu.netfilter.nat.range import MAP_IPS, Manip, NatRange, hook_to_manip
from netemu.netfilter.xtables.addresses import Network, octets_in, prefix_length, under_mask
from netemu.netfilter.xtables.hosts import LooseHostMask
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Option, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.skb import Skb
from netemu.wire.address import format_address


class MappedNetwork(Kind[Network]):
    """An address with an optional mask, printed without host bits and with its prefix length."""

    form = "NETWORK[/MASK]"
    terminal = "TEXT"

    def read(self, text: str, call: OptionCall) -> Network:
        """Read as XTTYPE_HOSTMASK; a mask with gaps counts as a full one."""
        found = LooseHostMask().read(text, call)
        return Network(under_mask(found.address, found.mask), found.mask)

    def show(self, value: Network) -> str:
        """Print both, always."""
        return f"{format_address(value.address)}/{prefix_length(value.mask)}"


def netmap_tg(network: Network, skb: Skb, param: XtParam) -> Verdict | None:
    """Bind the side that the hook changes to the mapped address."""
    connection, _ = nf_ct_get(skb)
    assert connection is not None
    manip = hook_to_manip(param.hook)
    size = octets_in(param.family)
    first = 8 if param.family == Family.IPV6 else 12
    at = first + (size if manip == Manip.DST else 0)
    inverse = bytes(~octet & 0xFF for octet in network.mask)
    host = under_mask(bytes(skb.data[at : at + size]), inverse)
    address = bytes(new | kept for new, kept in zip(network.address, host, strict=True))
    range_ = NatRange(flags=MAP_IPS, min_address=address, max_address=address)
    return nf_nat_setup_info(param.net, connection, range_, manip, skb)


def netmap_effect(network: Network, packet: Rewriting) -> None:
    """Bind the network's bits of the side that the hook changes."""
    value, mask = (int.from_bytes(one, "big") for one in (network.address, network.mask))
    for manip, address, status in (
        (Manip.DST, Field.DESTINATION, Field.CT_DNAT),
        (Manip.SRC, Field.SOURCE, Field.CT_SNAT),
    ):
        if all(hook_to_manip(hook) == manip for hook in packet.hooks):
            packet.assign(status, 1)
            packet.assign(address, value, mask)
        elif any(hook_to_manip(hook) == manip for hook in packet.hooks):
            packet.forget(status)
            packet.forget(address)


def attach_netmap(net: Net, network: Network) -> None:
    """Begin to track connections (netmap_tg4_check)."""
    nf_ct_netns_get(net)


TARGETS = (
    Target(
        name="NETMAP",
        kernel="xt_NETMAP.c",
        duty="Maps the addresses of one network onto those of another, one to one.",
        tables=("nat",),
        hooks=(Hook.PREROUTING, Hook.INPUT, Hook.OUTPUT, Hook.POSTROUTING),
        options=(Option("to", MappedNetwork(), mandatory=True, help="The network to map onto."),),
        shares=always,
        build=lambda settings: settings.need("to", Network),
        apply=netmap_tg,
        effect=netmap_effect,
        ends=Verdict.ACCEPT,
        attach=attach_netmap,
    ),
)
