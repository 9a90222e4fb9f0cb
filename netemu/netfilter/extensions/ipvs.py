"""What IPVS knows of the packet's connection: match `ipvs`.

Kernel: net/netfilter/xt_ipvs.c (ipvs_mt, ipvs_mt_check).
"""

from __future__ import annotations

from msgspec import Struct

from netemu.errors import RulesetError
from netemu.netfilter.conntrack.connection import ctinfo_direction, nf_ct_get
from netemu.netfilter.ipvs.connection import IpvsConnection
from netemu.netfilter.ipvs.header import fill_iph_skb
from netemu.netfilter.ipvs.protocols import BY_NUMBER, conn_out_get
from netemu.netfilter.ipvs.service import (
    IP_VS_CONN_F_DROUTE,
    IP_VS_CONN_F_MASQ,
    IP_VS_CONN_F_TUNNEL,
)
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.xtables.addresses import Network
from netemu.netfilter.xtables.hosts import LooseHostMask
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import resolve_port
from netemu.netfilter.xtables.protocols import ProtocolNumber
from netemu.netfilter.xtables.space import own_answer
from netemu.skb import Skb

DIRECTIONS = ("ORIGINAL", "REPLY")
METHODS = {
    "GATE": IP_VS_CONN_F_DROUTE,
    "IPIP": IP_VS_CONN_F_TUNNEL,
    "MASQ": IP_VS_CONN_F_MASQ,
}


class UpperWord(Kind[str]):
    """One of a few words, read in any case and printed in capitals."""

    terminal = "TEXT"
    may_be_empty = True

    def __init__(self, *words: str) -> None:
        """List the words."""
        self.words = words
        self.form = "|".join(words)

    def read(self, text: str, call: OptionCall) -> str:
        """Look the word up."""
        if text.upper() not in self.words:
            raise RulesetError(
                f'{call.extension}: Bad value for "--{call.option}" option: "{text}"; '
                f"it takes {', '.join(self.words)}"
            )
        return text.upper()

    def show(self, value: str) -> str:
        """Print the word."""
        return value


class Port(Kind[int]):
    """A port by name or number (XTTYPE_PORT)."""

    form = "PORT"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Resolve it."""
        return resolve_port(text)

    def show(self, value: int) -> str:
        """Print the number."""
        return str(value)


class IpvsInfo(Struct, frozen=True, kw_only=True):
    """What a rule asks (struct xt_ipvs_mtinfo): each part with whether it is inverted."""

    ipvs: bool | None = None
    """The packet passed IPVS, or did not; None where the other parts ask."""
    protocol: tuple[int, bool] | None = None
    address: tuple[Network, bool] | None = None
    port: tuple[int, bool] | None = None
    reply: bool | None = None
    method: tuple[int, bool] | None = None
    control_port: tuple[int, bool] | None = None


def ipvs_mt(info: IpvsInfo, skb: Skb, param: XtParam) -> bool:
    """Look at the packet's IPVS connection.

    It is found by the packet as it is now, with its ends exchanged: so a request is found behind
    IPVS, where it has the real server's address already.
    """
    if info.ipvs is not None:
        return skb.ipvs_property == info.ipvs
    if not skb.ipvs_property:
        return False
    header = fill_iph_skb(skb, inverse=True)
    if not _fits(info.protocol, header.protocol):
        return False
    protocol = BY_NUMBER.get(header.protocol)
    if protocol is None:
        return False
    table = param.net.generic(Ipvs).connections
    connection = conn_out_get(table, protocol, skb, header)
    return connection is not None and _connection_fits(info, skb, connection)


def _connection_fits(info: IpvsInfo, skb: Skb, connection: IpvsConnection) -> bool:
    if not _fits(info.port, connection.vport) or not _fits(info.method, connection.forward):
        return False
    if info.control_port is not None:
        wanted, inverted = info.control_port
        control = connection.control
        if (control is not None and control.vport == wanted) == inverted:
            return False
    if info.reply is not None:
        entry, ctinfo = nf_ct_get(skb)
        if entry is None or bool(ctinfo_direction(ctinfo)) != info.reply:
            return False
    if info.address is not None:
        network, inverted = info.address
        return _covers(network, connection.vaddr) != inverted
    return True


def _covers(network: Network, address: bytes) -> bool:
    """Kernel: ipvs_mt_addrcmp."""
    return all(
        (a ^ b) & m == 0 for a, b, m in zip(address, network.address, network.mask, strict=True)
    )


def _fits(wanted: tuple[int, bool] | None, value: int) -> bool:
    return wanted is None or (value == wanted[0]) != wanted[1]


def _build(settings: Settings) -> IpvsInfo:
    """Take the rule's words; --ipvs asks only where it stands alone."""

    def number(name: str) -> tuple[int, bool] | None:
        value = settings.get(name, int)
        return None if value is None else (value, settings.inverted(name))

    direction = settings.get("vdir", str)
    method = settings.get("vmethod", str)
    address = settings.get("vaddr", Network)
    alone = "ipvs" in settings and len(settings.given) == 1
    return IpvsInfo(
        ipvs=not settings.inverted("ipvs") if alone else None,
        protocol=number("vproto"),
        address=None if address is None else (address, settings.inverted("vaddr")),
        port=number("vport"),
        reply=None if direction is None else direction == "REPLY",
        method=None if method is None else (METHODS[method], settings.inverted("vmethod")),
        control_port=number("vportctl"),
    )


def _check_ipvs(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError("IPVS: At least one option is required")
    if settings.inverted("ipvs") and len(settings.given) > 1:
        raise RulesetError("! --ipvs cannot be together with other options")


def _save_ipvs(settings: Settings) -> str:
    """Print --ipvs only where it stands alone; the others imply it."""
    words = []
    for option in _OPTIONS:
        if option.name not in settings or (option.name == "ipvs" and len(settings.given) > 1):
            continue
        given = settings.given[option.name]
        bang = "! " if given.inverted else ""
        words.append(f"{bang}--{option.name} {option.kind.show(given.value)}".rstrip())
    return " ".join(words)


_OPTIONS = (
    Option("ipvs", invertible=True, help="The packet belongs to an IPVS connection."),
    Option("vproto", ProtocolNumber(), invertible=True, help="Protocol of the virtual service."),
    Option("vaddr", LooseHostMask(), invertible=True, help="Address of the virtual service."),
    Option("vport", Port(), invertible=True, help="Port of the virtual service."),
    Option("vdir", UpperWord(*DIRECTIONS), help="Direction of the packet."),
    Option("vmethod", UpperWord(*METHODS), invertible=True, help="How IPVS forwards."),
    Option("vportctl", Port(), invertible=True, help="Port of the controlling connection."),
)

MATCHES = (
    Match(
        name="ipvs",
        kernel="xt_ipvs.c",
        duty="Asks IPVS about the packet's balanced connection.",
        options=_OPTIONS,
        check=_check_ipvs,
        save=_save_ipvs,
        shares=always,
        build=_build,
        evaluate=ipvs_mt,
        packets=own_answer,
    ),
)
