"""A ruleset as the kernel holds it: tables, chains, rules, matches and targets with counters.

Kernel: include/uapi/linux/netfilter_ipv4/ip_tables.h (struct ipt_ip, struct ipt_entry),
include/uapi/linux/netfilter/x_tables.h (struct xt_entry_match, xt_entry_target, xt_counters).

The ruleset floor fills these from iptables-save text, `table.py` runs them, and the printer reads
them back. Chains stay in the order of the file; a rule's number is its place in `Chain.rules`
counted from 1, and the policy's number is one more than the last rule's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import IntFlag
from typing import Any, ClassVar, NamedTuple, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.addresses import show_network
from netemu.netfilter.xtables.names import protocol_name
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


class Generic(Struct, kw_only=True):
    """The part of a rule that every rule has (struct ipt_ip); never changed once it is made.

    It is not frozen, for large rulesets have one per rule and a frozen one takes twice as long.
    """

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


NOTHING_ASKED = Generic()
"""Matches every packet."""


class _Later:
    """Marks what is made only when somebody asks."""


_LATER = _Later()


class Declared(Protocol):
    """What a bound extension asks of its declaration (kit.Match, kit.Target)."""

    def build(self, settings: Any, /) -> object:
        """Make what `evaluate` or `apply` gets."""

    def words(self, settings: Any, /) -> str:
        """Print the options."""


class _Bound:
    """What a match and a target of a rule have in common; the parts are made when asked for."""

    __slots__ = (
        "_give",
        "_given",
        "_settings",
        "_text",
        "attach",
        "declaration",
        "name",
        "native",
        "restricted",
    )
    flag: ClassVar[str]

    name: str
    attach: AttachFunction | None
    declaration: Declared | None
    """Its declaration in the kit, for printing and explaining."""
    native: bool
    """iptables-nft says it in nftables' own words, so the kernel never checks it as xt_*."""
    restricted: bool
    """The kernel tests table, hooks or protocol of its rule."""
    _give: Callable[[], object] | None
    """Returns `given`; settings and text then come from the declaration when they are asked for."""
    _given: object
    _settings: object
    _text: str | None

    @property
    def given(self) -> object:
        """What the rule says to it (kit.Settings)."""
        if self._given is None and self._give is not None:
            self._given = self._give()
        return self._given

    @property
    def settings(self) -> object:
        """Made for this rule alone, so it may hold state, as the kernel's matchinfo does."""
        if self._settings is _LATER:
            assert self.declaration is not None
            self._settings = self.declaration.build(self.given)
        return self._settings

    @property
    def text(self) -> str:
        """As iptables-save prints it: `-m mark --mark 0x1`."""
        if self._text is None:
            assert self.declaration is not None
            options = self.declaration.words(self.given)
            head = f"{self.flag} {self.name}"
            self._text = f"{head} {options}" if options else head
        return self._text


class BoundMatch(_Bound):
    """One `-m NAME ...` of a rule (struct xt_entry_match)."""

    __slots__ = ("describe", "evaluate")
    flag = "-m"

    def __init__(  # noqa: PLR0913 - struct xt_entry_match
        self,
        *,
        name: str,
        evaluate: MatchFunction,
        settings: object = None,
        text: str = "",
        attach: AttachFunction | None = None,
        describe: DescribeFunction | None = None,
        declaration: Declared | None = None,
        give: Callable[[], object] | None = None,
        restricted: bool = False,
    ) -> None:
        """With `give`, settings and text are made when they are asked for."""
        self.name = name
        self.attach = attach
        self.declaration = declaration
        self.native = False
        self.restricted = restricted
        self._give = give
        self._given = None
        if give is None:
            self._settings = settings
            self._text = text
        else:
            self._settings = _LATER
            self._text = None
        self.evaluate = evaluate
        self.describe = describe


class BoundTarget(_Bound):
    """The `-j NAME ...` of a rule that names an extension (struct xt_entry_target)."""

    __slots__ = ("apply", "standard")
    flag = "-j"

    def __init__(  # noqa: PLR0913 - struct xt_entry_target
        self,
        *,
        name: str,
        apply: TargetFunction,
        settings: object = None,
        text: str = "",
        standard: Verdict | None = None,
        attach: AttachFunction | None = None,
        declaration: Declared | None = None,
        give: Callable[[], object] | None = None,
        restricted: bool = False,
    ) -> None:
        """With `give`, settings and text are made when they are asked for."""
        self.name = name
        self.attach = attach
        self.declaration = declaration
        self.native = False
        self.restricted = restricted
        self._give = give
        self._given = None
        if give is None:
            self._settings = settings
            self._text = text
        else:
            self._settings = _LATER
            self._text = None
        self.apply = apply
        self.standard = standard
        """Set for the built-in targets ACCEPT, DROP, QUEUE and RETURN, which need no `apply`."""


class Parts(NamedTuple):
    """What makes a rule besides its jump."""

    generic: Generic
    matches: tuple[BoundMatch, ...]
    target: BoundTarget | None


class Shape(Protocol):
    """What rules that differ only in values have in common; it makes their parts."""

    restricted: tuple[object, ...]
    """Extensions to which table, hooks or protocol matter."""
    attached: bool
    """Whether an extension wants to see the namespace that the rule is loaded into."""
    attached_alike: bool
    """Whether it is enough that one rule of the shape shows it."""
    may_end: bool
    """Whether such a rule may be an unconditional verdict."""

    def parts(self, line: str, /) -> Parts:
        """Make the parts of the rule of a line, whose values are known to be good."""


class Rule:
    """One rule with its counters (struct ipt_entry).

    With a `shape` the parts are made when they are asked for: few rules of a large ruleset are.
    """

    __slots__ = (
        "_generic",
        "_matches",
        "_source",
        "_target",
        "_text",
        "goto",
        "jump",
        "line",
        "octets",
        "packets",
        "shape",
    )

    def __init__(  # noqa: PLR0913 - struct ipt_entry
        self,
        generic: Generic = NOTHING_ASKED,
        matches: tuple[BoundMatch, ...] = (),
        target: BoundTarget | None = None,
        jump: str = "",
        goto: bool = False,  # noqa: FBT001, FBT002 - hot: made for every line of a file
        packets: int = 0,
        octets: int = 0,
        line: int | None = None,
        text: str | None = None,
        shape: Shape | None = None,
        source: str | None = None,
    ) -> None:
        """Keep what is given; `source` is the line of which the shape makes the parts."""
        self._generic = generic
        self._matches = matches
        self._target = target
        self._source = source
        self.shape = shape
        self.jump = jump
        """Name of the user chain that -j or -g names."""
        self.goto = goto
        """-g (IPT_F_GOTO)."""
        self.packets = packets
        self.octets = octets
        self.line = line
        """Line in the file, from 1."""
        self._text = text

    def _make(self, source: str) -> None:
        """Make the parts."""
        assert self.shape is not None
        self._generic, self._matches, self._target = self.shape.parts(source)
        self._source = None

    @property
    def generic(self) -> Generic:
        """What it asks of the IP header and the devices."""
        if self._source is not None:
            self._make(self._source)
        return self._generic

    @property
    def matches(self) -> tuple[BoundMatch, ...]:
        """In the order of the rule."""
        if self._source is not None:
            self._make(self._source)
        return self._matches

    @property
    def target(self) -> BoundTarget | None:
        """None for a rule without -j, or with a jump."""
        if self._source is not None:
            self._make(self._source)
        return self._target

    @property
    def text(self) -> str:
        """As iptables-save prints it, without counters and `-A CHAIN`."""
        if self._text is None:
            self._text = rule_text(self)
        return self._text

    @text.setter
    def text(self, text: str) -> None:
        self._text = text

    def rename_jump(self, name: str) -> None:
        """Let the rule jump to the same chain under its new name."""
        self.jump = name
        self._text = None


def rule_text(rule: Rule, *, bare_plus: bool = False) -> str:
    """Return a rule as iptables-save prints it, without `-A CHAIN`.

    `bare_plus`: iptables-nft-save prints `! -i +`, which iptables-legacy-save leaves out.
    """
    parts = generic_words(rule.generic, silent="" if bare_plus else "+")
    parts += [match.text for match in rule.matches]
    if rule.target is not None:
        parts.append(rule.target.text)
    elif rule.jump:
        parts.append(f"-g {rule.jump}" if rule.goto else f"-j {rule.jump}")
    return " ".join(parts)


def generic_words(generic: Generic, *, silent: str = "+") -> list[str]:
    """Print -s, -d, -i, -o, -p and -f, in that order (save_rule4); not a device `silent`."""
    invert = int(generic.invert)
    parts: list[str] = []
    if generic.source_mask:
        flag = "! -s" if invert & _SRCIP else "-s"
        parts.append(f"{flag} {show_network(generic.source, generic.source_mask)}")
    if generic.destination_mask:
        flag = "! -d" if invert & _DSTIP else "-d"
        parts.append(f"{flag} {show_network(generic.destination, generic.destination_mask)}")
    if generic.in_device not in {"", silent}:
        parts.append(("! -i " if invert & _VIA_IN else "-i ") + generic.in_device)
    if generic.out_device not in {"", silent}:
        parts.append(("! -o " if invert & _VIA_OUT else "-o ") + generic.out_device)
    if generic.protocol:
        name = protocol_name(generic.protocol)
        parts.append(("! -p " if invert & _PROTO else "-p ") + name)
    if generic.fragment:
        parts.append("! -f" if invert & _FRAG else "-f")
    return parts


_VIA_IN, _VIA_OUT = int(Invert.VIA_IN), int(Invert.VIA_OUT)
_SRCIP, _DSTIP = int(Invert.SRCIP), int(Invert.DSTIP)
_FRAG, _PROTO = int(Invert.FRAG), int(Invert.PROTO)
"""As plain integers, since an IntFlag is slow to and."""


class Chain(Struct, kw_only=True, eq=False):
    """A built-in or user chain."""

    name: str
    policy: Verdict | None = None
    """ACCEPT or DROP of a built-in chain; None for a user chain."""
    rules: list[Rule] = field(default_factory=list)
    packets: int = 0
    """Counters of the policy; always 0 for a user chain."""
    octets: int = 0
    line: int | None = None
    """Of the line that declares it; a built-in chain without one has its table's."""


class Table(Struct, kw_only=True, eq=False):
    """One table: every built-in chain is present, in hook order, before the user chains."""

    name: str
    family: Family = Family.IPV4
    chains: dict[str, Chain] = field(default_factory=dict)
    line: int | None = None
    touched: bool = True
    """Whether a line between `*NAME` and COMMIT made iptables-nft create its chains; what is not
    created is not saved."""
    jumps: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Chain -> the chains that its rules lead to, as found when the table was tested."""
    reached: dict[str, frozenset[Hook]] = field(default_factory=dict)
    """Chain -> the hooks that reach it, as found then."""

    def onto(self, names: Collection[str]) -> Table:
        """Return a copy to be changed, which shares its user chains but those of `names` with this.

        Policies count from 0 again, as libiptc hands them to the kernel.
        """
        chosen = {name for name, chain in self.chains.items() if chain.policy is not None}
        copies = {
            name: replace(chain, rules=list(chain.rules), packets=0, octets=0)
            for name, chain in ((name, self.chains.get(name)) for name in chosen.union(names))
            if chain is not None
        }
        return replace(self, chains={**self.chains, **copies})

    def changed_since(self, before: Table | None) -> list[Chain]:
        """Return the chains that are not those of an earlier table."""
        if before is None:
            return list(self.chains.values())
        old = before.chains
        return [chain for name, chain in self.chains.items() if old.get(name) is not chain]


class Ruleset(Struct, kw_only=True, eq=False):
    """The tables of one file, in its order."""

    family: Family = Family.IPV4
    tables: list[Table] = field(default_factory=list)
    file: str = ""
