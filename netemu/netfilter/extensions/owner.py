"""Whose socket sent the packet: match `owner`.

Kernel: net/netfilter/xt_owner.c (owner_mt, owner_check).

Packets that no local socket sent match only when every test is inverted.

A SYN+ACK is its listener's; what else the kernel sends, such as a RST, has a socket but no file.

Differs from Linux: programs are not emulated, so every socket is root's (uid 0, gid 0, no further
groups).
"""

from __future__ import annotations

from collections.abc import Mapping

from netemu.errors import RulesetError
from netemu.ip.sockets import ProgramSocket
from netemu.ip.tcp_sock import TcpSock, TcpState
from netemu.netfilter.hook import Hook
from netemu.netfilter.xtables.kinds import U32_MAX, Kind, OptionCall, Span, c_integer, shape
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import same_for_all
from netemu.netfilter.xtables.users import GROUPS, USERS
from netemu.skb import Skb


class OwnerRange(Kind[Span]):
    """A name, a number, or `low-high` (owner_parse_range)."""

    form = "ID|NAME[-ID|NAME]"
    terminal = "TEXT"
    may_be_empty = True

    def __init__(self, names: Mapping[str, int]) -> None:
        """`names` are looked at first."""
        self.names = names

    def refusal(self, text: str, call: OptionCall) -> str:
        """Word it as xtables_param_act does."""
        return (
            f'owner: Bad value for "--{call.option}" option: "{text}"; a number, LOW-HIGH or a '
            "name of Debian's base system would do"
        )

    def read(self, text: str, call: OptionCall) -> Span:
        """Try the names, then numbers."""
        named = self.names.get(text)
        if named is not None:
            return Span(named, named)
        first, dash, last = text.replace(":", "-", 1).partition("-")
        low = self._number(first, text, call)
        high = self._number(last, text, call) if dash else low
        if low > high:
            raise RulesetError(f"owner: the kernel refuses the range `{text}' (min > max)")
        return Span(low, high)

    def _number(self, digits: str, text: str, call: OptionCall) -> int:
        if shape("NUMBER").fullmatch(digits) is None or c_integer(digits) >= U32_MAX:
            raise RulesetError(self.refusal(text, call))
        return c_integer(digits)

    def show(self, value: Span) -> str:
        """Print a single number alone."""
        return str(value.low) if value.low == value.high else f"{value.low}-{value.high}"


class Owner:
    """struct xt_owner_match_info."""

    __slots__ = (
        "gid",
        "invert_gid",
        "invert_socket",
        "invert_uid",
        "socket",
        "supplementary",
        "uid",
    )

    def __init__(self, settings: Settings) -> None:
        """Take the options apart."""
        self.uid = settings.get("uid-owner", Span)
        self.invert_uid = settings.inverted("uid-owner")
        self.gid = settings.get("gid-owner", Span)
        self.invert_gid = settings.inverted("gid-owner")
        self.socket = "socket-exists" in settings
        self.invert_socket = settings.inverted("socket-exists")
        self.supplementary = "suppl-groups" in settings


def owner_mt(info: Owner, skb: Skb, param: XtParam) -> bool:
    """Compare the credentials of the socket's file."""
    sk = _full_sk(skb)
    ids_inverted = (info.uid is None or info.invert_uid) and (info.gid is None or info.invert_gid)
    if sk is None:
        socket_inverted = not info.socket or info.invert_socket
        return ids_inverted and socket_inverted and not info.supplementary
    if info.socket and info.invert_socket:
        return False
    if not isinstance(sk, ProgramSocket):
        return ids_inverted
    if info.uid is not None and _within(sk.uid, info.uid) == info.invert_uid:
        return False
    return info.gid is None or _within(sk.gid, info.gid) != info.invert_gid


def _full_sk(skb: Skb) -> object | None:
    """Return the sending socket, None without a file's (sk_socket).

    A half-open connection speaks for its listener; an open one has none until it is accepted.
    """
    if isinstance(skb.sk, TcpSock):
        return ProgramSocket() if skb.sk.state == TcpState.SYN_RECV else None
    return skb.sk


def _within(number: int, span: Span) -> bool:
    return span.low <= number <= span.high


def describe_owner(info: Owner, skb: Skb, param: XtParam) -> str:
    """Say whose socket it is."""
    sk = _full_sk(skb)
    if isinstance(sk, ProgramSocket):
        return f"uid {sk.uid} gid {sk.gid}"
    return "no socket" if sk is None else "a socket of the kernel's own"


def _check_owner(settings: Settings) -> None:
    """Test that an option is there, and --suppl-groups behind --gid-owner."""
    if "suppl-groups" in settings:
        names = [given.option.name for given in settings.order]
        if "gid-owner" not in names[: names.index("suppl-groups")]:
            raise RulesetError(
                'owner: Bad value for "--suppl-groups" option: "you need to use --gid-owner first"'
            )
    if not settings.uses("uid-owner", "gid-owner", "socket-exists"):
        raise RulesetError(
            "owner: At least one of --uid-owner, --gid-owner or --socket-exists is required"
        )


MATCHES = (
    Match(
        name="owner",
        kernel="xt_owner.c",
        duty="Compares the owner of the local socket that sent the packet; here it is always root.",
        options=(
            Option(
                "socket-exists",
                invertible=True,
                help="A socket sent the packet.",
                says="a local socket {is} its sender",
            ),
            Option(
                "uid-owner",
                OwnerRange(USERS),
                invertible=True,
                help="User, or a range of them.",
                says="the user who sends it {is} {value}",
            ),
            Option(
                "gid-owner",
                OwnerRange(GROUPS),
                invertible=True,
                help="Group, or a range.",
                says="the group that sends it {is} {value}",
            ),
            Option("suppl-groups", help="The owner's further groups count for --gid-owner, too."),
        ),
        hooks=(Hook.OUTPUT, Hook.POSTROUTING),
        check=_check_owner,
        shares=always,
        build=Owner,
        evaluate=owner_mt,
        packets=same_for_all,
        describe=describe_owner,
    ),
)
