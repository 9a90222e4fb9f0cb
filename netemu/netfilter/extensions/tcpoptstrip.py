"""TCP options made to nothing: target `TCPOPTSTRIP`.

Kernel: net/netfilter/xt_TCPOPTSTRIP.c (tcpoptstrip_mangle_packet).

Every octet of a listed option becomes a no-operation (1), so that the header keeps its length. A
packet with a broken TCP header is dropped.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import Kind, OptionCall, c_integer, shape
from netemu.netfilter.xtables.kit import Option, Settings, Target, always
from netemu.netfilter.xtables.mangle import proto_csum_replace, tell_rewritten
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, Rewriting
from netemu.netfilter.xtables.tcp_options import optlen, whole_header_len
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_TCP
from netemu.wire.tcp import CHECK, MIN_HEADER_LEN, TCPOPT_NOP

NAMES = {
    "wscale": 3,
    "mss": 2,
    "sack-permitted": 4,
    "sack": 5,
    "timestamp": 8,
    "md5": 19,
}


class OptionKinds(Kind[frozenset[int]]):
    """Kinds of TCP options by name or number, joined by commas (parse_list)."""

    form = "KIND[,KIND...]"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> frozenset[int]:
        """Read the list; no kind may come twice."""
        kinds: set[int] = set()
        for part in text.split(","):
            kind = NAMES.get(part)
            if kind is None:
                kind = self._number(part)
            if kind in kinds:
                raise RulesetError(f'Option "{part}" already specified')
            kinds.add(kind)
        return frozenset(kinds)

    def _number(self, text: str) -> int:
        if shape("NUMBER").fullmatch(text) is None or c_integer(text) > 0xFF:
            raise RulesetError(f'Bad TCP option value "{text}"; 2-255 or {", ".join(NAMES)}')
        number = c_integer(text)
        if number <= TCPOPT_NOP:
            raise RulesetError("Option value may not be 0 or 1")
        return number

    def show(self, value: frozenset[int]) -> str:
        """Print the numbers in order."""
        return ",".join(str(kind) for kind in sorted(value))


def tcpoptstrip_tg(kinds: frozenset[int], skb: Skb, param: XtParam) -> Verdict | None:
    """Overwrite the listed options."""
    if param.fragoff:
        return None
    data = skb.data
    start = param.thoff
    header_len = whole_header_len(data, start)
    if header_len is None:
        return Verdict.DROP
    stripped: list[int] = []
    at = start + MIN_HEADER_LEN
    end = start + header_len
    skb.ensure_writable(end)
    while at < end - 1:
        length = optlen(data, at)
        if at + length > end:
            break
        if data[at] in kinds:
            stripped.append(data[at])
            _overwrite(skb, start, at, length)
        at += length
    if stripped:
        tell_rewritten(skb, param, "tcp options", ",".join(map(str, stripped)), "none")
    return None


def _overwrite(skb: Skb, start: int, at: int, length: int) -> None:
    """Write no-operations; the checksum follows octet by octet, as in the kernel."""
    for place in range(at, at + length):
        pad = bytes((place - start) & 1)
        rest = bytes(1 - len(pad))
        old = pad + skb.data[place : place + 1] + rest
        new = pad + bytes((TCPOPT_NOP,)) + rest
        proto_csum_replace(skb, start + CHECK, old, new)
    skb.data[at : at + length] = bytes((TCPOPT_NOP,)) * length


def build_kinds(settings: Settings) -> frozenset[int]:
    """Return the kinds; without any the target does nothing."""
    found = settings.get("strip-options", frozenset)
    return frozenset() if found is None else found


def tcpoptstrip_effect(info: object, packet: Rewriting) -> None:
    """Change the options; what was asked of them before is asked anew."""
    packet.forget(Field.LENGTH)


TARGETS = (
    Target(
        name="TCPOPTSTRIP",
        kernel="xt_TCPOPTSTRIP.c",
        duty="Overwrites TCP options with no-operations.",
        tables=("mangle",),
        protocols=(IPPROTO_TCP,),
        options=(Option("strip-options", OptionKinds(), help="The kinds to overwrite."),),
        shares=always,
        build=build_kinds,
        apply=tcpoptstrip_tg,
        effect=tcpoptstrip_effect,
        told=True,
    ),
)
