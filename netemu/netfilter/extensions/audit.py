"""A record for the audit daemon: target `AUDIT`.

Kernel: net/netfilter/xt_AUDIT.c (audit_tg, audit_ip4).

Differs from Linux: there is no audit daemon, so the record only shows in a trace.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.events import RecordSent
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Option, Target, nothing
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import changes_nothing
from netemu.skb import Skb
from netemu.wire.address import format_address
from netemu.wire.ipv4 import IPv4

TYPES = ("accept", "drop", "reject")


class AuditType(Kind[str]):
    """What the rules behind it do with the packet; the kernel takes no notice of it."""

    form = "TYPE"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> str:
        """Find the word in any case."""
        if text.casefold() not in TYPES:
            raise RulesetError(f'Bad action type value "{text}"; it takes {", ".join(TYPES)}')
        return text.casefold()

    def show(self, value: str) -> str:
        """Print in small letters."""
        return value


def audit_tg(info: None, skb: Skb, param: XtParam) -> Verdict | None:
    """Tell and go on."""
    if param.net.sink is not None:
        param.net.tell(skb, RecordSent(to="audit", text=_record(skb, param)))
    return None


def _record(skb: Skb, param: XtParam) -> str:
    """Return the body of an AUDIT_NETFILTER_PKT record."""
    data = skb.data
    if param.family == Family.IPV6:
        source, destination, protocol = bytes(data[8:24]), bytes(data[24:40]), data[6]
    else:
        header = IPv4(data)
        source, destination, protocol = header.src, header.dst, header.protocol
    ends = f"saddr={format_address(source)} daddr={format_address(destination)}"
    return f"mark=0x{skb.mark:x} {ends} proto={protocol}"


TARGETS = (
    Target(
        name="AUDIT",
        kernel="xt_AUDIT.c",
        duty="Sends a record about the packet to the audit daemon, then goes on.",
        options=(Option("type", AuditType(), mandatory=True, help="accept, drop or reject."),),
        build=nothing,
        apply=audit_tg,
        effect=changes_nothing,
    ),
)
