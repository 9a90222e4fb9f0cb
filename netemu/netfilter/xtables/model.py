"""A ruleset as the kernel holds it: tables, chains, rules, matches and targets with counters.

Kernel: include/uapi/linux/netfilter_ipv4/ip_tables.h (struct ipt_ip, struct ipt_entry),
include/uapi/linux/netfilter/x_tables.h (struct xt_entry_match, xt_entry_target, xt_counters).

The ruleset floor fills these from iptables-save text, `table.py` runs them, and the printer reads
them back. Chains stay in the order of the file; a rule's number is its place in `Chain.rules`
counted from 1, and the policy's number is one more than the last rule's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntFlag

from netemu.net import Net
from netemu.netfilter.hook import Family, Verdict
from netemu.netfilter.xtables.param import XtParam
from netemu.skb import Skb

RETURN = Verdict.REPEAT
"""XT_RETURN is -NF_REPEAT - 1: inside a table REPEAT means return to the calling chain."""

MatchFunction = Callable[[object, Skb, XtParam], bool]
"""(settings, skb, param) -> whether the match holds, inversions included."""

TargetFunction = Callable[[object, Skb, XtParam], Verdict | None]
"""(settings, skb, param) -> verdict; None goes on with the next rule (XT_CONTINUE)."""

AttachFunction = Callable[[Net, object], None]
"""(net, settings): what checkentry does once a rule is loaded into a namespace."""

DescribeFunction = Callable[[object, Skb, XtParam], str]
"""(settings, skb, param) -> what the packet had there, for a trace."""


class Invert(IntFlag):
    """IPT_INV_*: parts of the generic match under a `!`."""

    VIA_IN = 0x01
    VIA_OUT = 0x02
    SRCIP = 0x08
    DSTIP = 0x10
    FRAG = 0x20
    PROTO = 0x40


NOT_INVERTED = Invert(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Generic:
    """The part of a rule that every rule has (struct ipt_ip)."""

    source: bytes = b""
    """Already masked; empty when there is no -s (and for /0)."""
    source_mask: bytes = b""
    destination: bytes = b""
    destination_mask: bytes = b""
    in_device: str = ""
    """As written: `eth+` is a prefix, a bare `+` any device; empty when there is no -i."""
    out_device: str = ""
    protocol: int = 0
    """0 is any."""
    fragment: bool = False
    """-f (IPT_F_FRAG)."""
    invert: Invert = NOT_INVERTED

    @property
    def unconditional(self) -> bool:
        """Whether struct ipt_ip would be all zero."""
        return (
            not any(self.source)
            and not any(self.source_mask)
            and not any(self.destination)
            and not any(self.destination_mask)
            and not self.in_device
            and not self.out_device
            and not self.protocol
            and not self.fragment
            and not self.invert
        )


@dataclass(slots=True, kw_only=True, eq=False)
class BoundMatch:
    """One `-m NAME ...` of a rule (struct xt_entry_match)."""

    name: str
    evaluate: MatchFunction
    settings: object = None
    """Made for this rule alone, so it may hold state, as the kernel's matchinfo does."""
    text: str = ""
    """As iptables-save prints it: `-m mark --mark 0x1`."""
    attach: AttachFunction | None = None
    describe: DescribeFunction | None = None
    declaration: object = None
    """Its declaration in the kit, for printing and explaining."""
    given: object = None
    """What the rule says to it (kit.Settings)."""


@dataclass(slots=True, kw_only=True, eq=False)
class BoundTarget:
    """The `-j NAME ...` of a rule that names an extension (struct xt_entry_target)."""

    name: str
    apply: TargetFunction
    settings: object = None
    text: str = ""
    """As iptables-save prints it: `-j MARK --set-xmark 0x1/0xffffffff`."""
    standard: Verdict | None = None
    """Set for the built-in targets ACCEPT, DROP, QUEUE and RETURN, which need no `apply`."""
    attach: AttachFunction | None = None
    declaration: object = None
    given: object = None
    """What the rule says to it (kit.Settings)."""


@dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """One rule with its counters (struct ipt_entry)."""

    generic: Generic = field(default_factory=Generic)
    matches: tuple[BoundMatch, ...] = ()
    target: BoundTarget | None = None
    """None for a rule without -j, or with a jump."""
    jump: str = ""
    """Name of the user chain that -j or -g names."""
    goto: bool = False
    """-g (IPT_F_GOTO)."""
    packets: int = 0
    octets: int = 0
    line: int | None = None
    """Line in the file, from 1."""
    text: str = ""
    """As iptables-save prints it, without counters and `-A CHAIN`."""


@dataclass(slots=True, kw_only=True, eq=False)
class Chain:
    """A built-in or user chain."""

    name: str
    policy: Verdict | None = None
    """ACCEPT or DROP of a built-in chain; None for a user chain."""
    rules: list[Rule] = field(default_factory=list)
    packets: int = 0
    """Counters of the policy; always 0 for a user chain."""
    octets: int = 0
    line: int | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Table:
    """One table: every built-in chain is present, in hook order, before the user chains."""

    name: str
    family: Family = Family.IPV4
    chains: dict[str, Chain] = field(default_factory=dict)
    line: int | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class Ruleset:
    """The tables of one file, in its order."""

    family: Family = Family.IPV4
    tables: list[Table] = field(default_factory=list)
    file: str = ""
