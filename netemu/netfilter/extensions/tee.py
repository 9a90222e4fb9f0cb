"""A copy of the packet to another machine: target `TEE`.

Kernel: net/netfilter/xt_TEE.c (tee_tg4, tee_tg_check), net/ipv4/netfilter/nf_dup_ipv4.c.

The copy is untracked, must not be cut, and at PREROUTING and INPUT loses one from its TTL. It
passes OUTPUT and POSTROUTING, where TEE leaves copies alone. The original goes on.

Differs from Linux: the copy's link header, which only LOG shows, is all zero. The kernel leaves
there what the memory held.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from netemu.errors import RulesetError
from netemu.ip.fib_table import Errno, Flowi4
from netemu.ip.output import ip_local_out
from netemu.ip.route import ip_route_output_key
from netemu.ip.rtable import Rtable
from netemu.net import Net, skb_made
from netemu.netfilter.conntrack.connection import nf_ct_set_untracked
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.xtables.hosts import LooseHost
from netemu.netfilter.xtables.kinds import Text
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb
from netemu.wire.fields import get16, set16
from netemu.wire.ipv4 import FRAGMENT, IPv4

DEVICE_LEN = 15
DONT_FRAGMENT = 0x4000


class Duplicating:
    """Whether a copy is under way in a namespace (current->in_nf_duplicate)."""

    __slots__ = ("active",)

    def __init__(self, net: Net) -> None:
        """No copy yet."""
        self.active = False


class Tee(Struct, frozen=True):
    """struct xt_tee_tginfo."""

    gateway: bytes
    oif: str


def build_tee(settings: Settings) -> Tee:
    """Take the options apart."""
    return Tee(settings.need("gateway", bytes), settings.get("oif", str, ""))


def tee_tg4(info: Tee, skb: Skb, param: XtParam) -> Verdict | None:
    """Send a copy (nf_dup_ipv4)."""
    net = param.net
    state = net.generic(Duplicating)
    if state.active:
        return None
    copy = skb.clone()
    copy.fate = net.new_fate(parent=skb.fate)
    copy.mac_header = bytes(len(copy.mac_header))
    nf_ct_set_untracked(copy)
    header = IPv4(copy.data)
    set16(copy.data, FRAGMENT, get16(copy.data, FRAGMENT) | DONT_FRAGMENT)
    if param.hook in {Hook.PREROUTING, Hook.INPUT}:
        header.ttl = header.ttl - 1 & 0xFF
    route = _route(net, info, header.tos)
    if route is None:
        return None
    copy.dst = route
    copy.device = route.device
    skb_made(net, copy, "tee copy")
    state.active = True
    try:
        ip_local_out(net, copy)
    finally:
        state.active = False
    return None


def _route(net: Net, info: Tee, tos: int) -> Rtable | None:
    """Return the route to the gateway, which is the next hop (nf_dup_ipv4_route)."""
    device = net.devices.get(info.oif)
    flow = Flowi4(daddr=info.gateway, tos=tos, oif=device.ifindex if device is not None else 0)
    route = ip_route_output_key(net, flow)
    if isinstance(route, Errno):
        return None
    return replace(route, gateway=route.gateway or info.gateway)


def _check_tee(settings: Settings) -> None:
    if not any(settings.need("gateway", bytes)):
        raise RulesetError("TEE: the kernel refuses the unspecified address as a gateway")


TARGETS = (
    Target(
        name="TEE",
        kernel="xt_TEE.c",
        duty="Sends a copy of the packet to another machine, then goes on with the next rule.",
        options=(
            Option(
                "gateway",
                LooseHost(),
                mandatory=True,
                help="The machine, on a local network.",
                says="by way of {value}",
            ),
            Option(
                "oif",
                Text(cut=DEVICE_LEN, raw=True),
                silent="",
                help="Device that the copy goes out by.",
            ),
        ),
        check=_check_tee,
        shares=always,
        build=build_tee,
        apply=tee_tg4,
        effect=changes_nothing,
        told=True,
    ),
)
