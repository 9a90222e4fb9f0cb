"""What an extension is: one declaration from which reading, printing and evaluation come.

Kernel: include/linux/netfilter/x_tables.h (struct xt_match, xt_target), net/netfilter/x_tables.c
(xt_check_match, xt_check_target); iptables' struct xt_option_entry and libxtables/xtoptions.c.

Theory of operation: an extension lists its `Option`s in the order in which iptables-save prints
them. The reader collects what a rule says into `Settings`: `finish` checks what must, may not and
must also be there (xtables_options_fcheck), fills defaults, then asks `check`. `build` makes the
value that `evaluate` or `apply` gets for every packet; it is made for one rule alone, so it may
hold that rule's state. Options that are other spellings (`--set-mark` of `--set-xmark`) say so
with `into`, so that later code knows one spelling. `build` runs when the value is first needed and
may refuse nothing: that is for the kinds and `check`.

What stays a word in the kernel's own data stays one here: `tables`, `hooks`, `protocols` and
`families` are refused by the core, never by the extension.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast, overload

from msgspec import Struct

from netemu.errors import Refusal, RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, Verdict
from netemu.netfilter.xtables.kinds import FLAG, Kind
from netemu.netfilter.xtables.model import (
    AttachFunction,
    BoundMatch,
    BoundTarget,
    DescribeFunction,
    MatchFunction,
    Rule,
    TargetFunction,
)
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import EffectFunction, PacketsFunction
from netemu.skb import Skb

T = TypeVar("T")
Info = TypeVar("Info")
"""What `build` makes: the kernel's matchinfo or targinfo."""

BOTH_FAMILIES = (Family.IPV4, Family.IPV6)


class _Absent:
    """Marks that an option has no default or no silent value."""


ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Option:
    """One option of an extension (struct xt_option_entry)."""

    name: str
    """Without the leading dashes."""
    kind: Kind[Any] = FLAG
    aliases: tuple[str, ...] = field(default=(), kw_only=True)
    """Further names; printed as `name`."""
    invertible: bool = field(default=False, kw_only=True)
    """May stand behind a `!` (XTOPT_INVERT)."""
    mandatory: bool = field(default=False, kw_only=True)
    """Must be given (XTOPT_MAND)."""
    multiple: bool = field(default=False, kw_only=True)
    """May be given more than once (XTOPT_MULTI); read with `Settings.all`."""
    excludes: tuple[str, ...] = field(default=(), kw_only=True)
    requires: tuple[str, ...] = field(default=(), kw_only=True)
    into: str = field(default="", kw_only=True)
    """The option that this one is another spelling of; never printed itself."""
    convert: Callable[[Any], object] | None = field(default=None, kw_only=True)
    """Turns this spelling's value into the value of `into`."""
    default: object = field(default=ABSENT, kw_only=True)
    """Value when the option is not given; printed as if it were given."""
    silent: object = field(default=ABSENT, kw_only=True)
    """Value that is not printed, inverted or not; or a function of
    `Given` that says so."""
    help: str = field(default="", kw_only=True)
    """What it does, in one sentence."""
    says: str = field(default="", kw_only=True)
    """A rule that gives it, in words: `the source port {is} {value}`; {is} stands for `is` or
    `is not`, {first} and {second} for the halves of a value."""


class Given(NamedTuple):
    """One option as a rule gives it; `value` is already converted when the option has `into`."""

    option: Option
    value: object
    inverted: bool = False


class Settings:
    """What a rule says to one extension, once all its options are read."""

    __slots__ = (
        "extension",
        "family",
        "given",
        "nft",
        "order",
        "protocol",
        "protocol_inverted",
        "table",
    )

    def __init__(  # noqa: PLR0913 - what checkentry is told
        self,
        extension: str,
        given: dict[str, Given],
        order: tuple[Given, ...] = (),
        *,
        family: Family = Family.IPV4,
        protocol: int = 0,
        protocol_inverted: bool = False,
        table: str = "filter",
        nft: bool = False,
    ) -> None:
        """Built by the reader."""
        self.extension = extension
        self.given = given
        """By name, `into` already applied; of a `multiple` option the last."""
        self.order = order
        """Everything in the order of the rule, for options whose order counts."""
        self.family = family
        self.protocol = protocol
        """What the rule's -p says, 0 for any."""
        self.protocol_inverted = protocol_inverted
        self.table = table
        self.nft = nft
        """Whether iptables-nft reads the rule."""

    def __contains__(self, name: str) -> bool:
        """Return whether the option is given or has a default."""
        return name in self.given

    def inverted(self, name: str) -> bool:
        """Return whether the option stands behind a `!`."""
        found = self.given.get(name)
        return found is not None and found.inverted

    def need(self, name: str, kind: type[T]) -> T:
        """Return the value of an option that is there."""
        value = self.given[name].value
        assert isinstance(value, kind), (self.extension, name, value)
        return value

    @overload
    def get(self, name: str, kind: type[T]) -> T | None: ...
    @overload
    def get(self, name: str, kind: type[T], default: T) -> T: ...
    def get(self, name: str, kind: type[T], default: T | None = None) -> T | None:
        """Return the value of an option, or `default` when it is not there."""
        return self.need(name, kind) if name in self.given else default

    def uses(self, *names: str) -> bool:
        """Return whether the rule itself gives one of these options."""
        return any(given.option.name in names for given in self.order)

    def all(self, name: str) -> list[Given]:
        """Return every use of an option and its other spellings, in the order of the rule."""
        return [given for given in self.order if name in {given.option.name, given.option.into}]


CheckFunction: TypeAlias = Callable[[Settings], None]
"""Raises RulesetError when the whole of the options cannot be (x6_fcheck and checkentry)."""

CheckHooksFunction: TypeAlias = Callable[[Settings, frozenset[Hook]], None]
"""Raises RulesetError when these options may not be reached from these hooks (checkentry)."""

CheckRuleFunction: TypeAlias = Callable[[Settings, Rule], None]
"""Raises RulesetError when the rest of the rule does not fit (checkentry's `entryinfo`)."""

SharesFunction: TypeAlias = Callable[[Settings], bool]
"""Whether rules that say the same may share what `build` made, since nothing in it changes."""


def never(settings: Settings) -> bool:
    """Every rule has a value of its own: the safe answer."""
    return False


def always(settings: Settings) -> bool:
    """What `build` makes never changes."""
    return True


class Native(NamedTuple):
    """What iptables-nft says in nftables' own expressions instead of the kernel's xt_ module.

    The kernel then tests neither table, hooks nor protocol of the extension, and iptables-nft-save
    prints what it makes of the expressions.
    """

    read_back: Callable[[Settings, Settings | None], Settings | None]
    """Returns what is read back of a rule's settings; None to leave them to the xt_ module. If
    instances merge, the second argument is what was read back of an earlier one in the rule.
    A match of which no option is left is gone."""
    merges: bool = False
    """Several of one rule are read back as one, at the place of the first."""


SaveFunction: TypeAlias = Callable[[Settings], str]
"""Prints all options, for an extension that the declared order and policies do not cover."""


class Extension(Struct, frozen=True, kw_only=True):
    """What matches and targets have in common."""

    name: str
    kernel: str
    """Source file in the kernel."""
    options: tuple[Option, ...] = ()
    """In print order."""
    duty: str = ""
    """What it does, in one sentence."""
    tables: tuple[str, ...] = ()
    """Tables that it may stand in; empty for any."""
    hooks: tuple[Hook, ...] = ()
    """Hooks that it may be reached from; empty for any."""
    protocols: tuple[int, ...] = ()
    """The rule's -p must be one of these, not inverted; empty for any."""
    families: tuple[Family, ...] = BOTH_FAMILIES
    check: CheckFunction | None = None
    check_hooks: CheckHooksFunction | None = None
    check_rule: CheckRuleFunction | None = None
    attach_alike: bool = False
    """`attach` does the same whatever the options say, and once is enough."""
    shares: SharesFunction = never
    save: SaveFunction | None = None
    nft: Native | None = None

    @property
    def restricted(self) -> bool:
        """Whether table, hooks, protocol or other parts of a rule matter to it."""
        return bool(
            self.tables or self.hooks or self.protocols or self.check_hooks or self.check_rule
        )

    def find(self, name: str) -> Option | None:
        """Return the option of this name or alias."""
        for option in self.options:
            if name == option.name or name in option.aliases:
                return option
        return None

    def finish(self, settings: Settings) -> None:
        """Check the options against each other, fill defaults, then check values."""
        _fcheck(self, settings)
        self.settle(settings)

    def settle(self, settings: Settings) -> None:
        """Do what `finish` does but what the mere presence of options decides."""
        for option in self.options:
            if option.default is not ABSENT and option.name not in settings.given:
                settings.given[option.name] = Given(option, option.default)
        if self.check is not None:
            self.check(settings)

    def words(self, settings: Settings) -> str:
        """Return the options as iptables-save prints them, without leading blank."""
        if self.save is not None:
            return self.save(settings)
        parts: list[str] = []
        for option in self.options:
            if option.into:
                continue
            if option.multiple:
                for given in settings.all(option.name):
                    parts += _printed(given)
            elif option.name in settings.given:
                parts += _printed(settings.given[option.name])
        return " ".join(parts)


def printed(settings: Settings, *names: str) -> str:
    """Print the named options under their own policies: a brick for `save` functions."""
    parts: list[str] = []
    for name in names:
        if name in settings.given:
            parts += _printed(settings.given[name])
    return " ".join(parts)


def _printed(given: Given) -> Iterable[str]:
    option = given.option
    silent = option.silent
    if silent is not ABSENT and (silent(given) if callable(silent) else given.value == silent):
        return ()
    words = [f"! --{option.name}" if given.inverted else f"--{option.name}"]
    if option.kind.arity:
        words.append(option.kind.show(given.value))
    return words


def _fcheck(extension: Extension, settings: Settings) -> None:
    """Test XTOPT_MAND, `excl` and `also` (xtables_options_fcheck)."""
    name = extension.name
    used = {given.option.name for given in settings.order}
    for option in extension.options:
        if option.name not in used:
            if option.mandatory:
                raise RulesetError(
                    f'{name}: option "--{option.name}" must be specified', Refusal.COMBINATION
                )
            continue
        for other in option.excludes:
            if other in used:
                raise RulesetError(
                    f'{name}: option "--{option.name}" cannot be used together with "--{other}"',
                    Refusal.COMBINATION,
                )
        for other in option.requires:
            if other not in used:
                raise RulesetError(
                    f'{name}: option "--{option.name}" also requires "--{other}"',
                    Refusal.COMBINATION,
                )


class Match(Extension, Generic[Info], frozen=True, kw_only=True):
    """A match: `-m NAME` (struct xt_match)."""

    build: Callable[[Settings], Info]
    """Makes what `evaluate` gets; called once for every rule."""
    evaluate: Callable[[Info, Skb, XtParam], bool]
    attach: Callable[[Net, Info], None] | None = None
    """Called when a rule is loaded into a namespace (what checkentry does beyond checking)."""
    describe: Callable[[Info, Skb, XtParam], str] | None = None
    """Says what the packet had there, for a trace."""
    passive: bool = False
    """Evaluating it leaves nothing behind and never drops: nobody notices when it is left out."""
    only_port: Callable[[Info], int | None] | None = None
    """Returns the one destination port that it takes, None if there are more; for an index. It may
    stand with -p tcp and -p udp only."""
    packets: PacketsFunction | None = None
    """Returns the set of packets that it takes, for the analysis; without it that is unknown."""

    def bind(self, settings: Settings) -> BoundMatch:
        """Make the match of one rule."""
        return self.binder()(give=lambda: settings)

    def binder(self) -> Callable[..., BoundMatch]:
        """Return what makes a BoundMatch; its `give` returns the settings once asked for."""
        return functools.partial(
            BoundMatch,
            name=self.name,
            evaluate=cast("MatchFunction", self.evaluate),
            attach=cast("AttachFunction | None", self.attach),
            describe=cast("DescribeFunction | None", self.describe),
            declaration=self,
            restricted=self.restricted,
        )


class Target(Extension, Generic[Info], frozen=True, kw_only=True):
    """A target: `-j NAME` (struct xt_target)."""

    build: Callable[[Settings], Info]
    """Makes what `apply` gets; called once for every rule."""
    apply: Callable[[Info, Skb, XtParam], Verdict | None]
    """Returns None to go on with the next rule (XT_CONTINUE)."""
    standard: Verdict | None = None
    """Set for the built-in targets ACCEPT, DROP, QUEUE and RETURN, which need no `apply`."""
    attach: Callable[[Net, Info], None] | None = None
    effect: EffectFunction | None = None
    """Tells the analysis what it changes of the packet (`changes_nothing` where that is so)."""
    ends: Verdict | None = None
    """The verdict that it gives, where it is always the same; None: it goes on."""
    told: bool = False
    """What it does is part of a packet's fate: a line in a log, a copy, a header's field."""
    may_end: Verdict | None = None
    """A verdict that it gives to some packets, for reasons which the analysis does not know."""

    def bind(self, settings: Settings) -> BoundTarget:
        """Make the target of one rule."""
        return self.binder()(give=lambda: settings)

    def binder(self) -> Callable[..., BoundTarget]:
        """Return what makes a BoundTarget; its `give` returns the settings once asked for."""
        return functools.partial(
            BoundTarget,
            name=self.name,
            apply=cast("TargetFunction", self.apply),
            attach=cast("AttachFunction | None", self.attach),
            standard=self.standard,
            declaration=self,
            restricted=self.restricted,
        )


AnyMatch: TypeAlias = Match[Any]
AnyTarget: TypeAlias = Target[Any]


def nothing(settings: Settings) -> None:
    """`build` of an extension without options."""
