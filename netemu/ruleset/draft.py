"""A rule command while its words are read: what was given so far.

Kernel: none; struct iptables_command_state of iptables (xshared.h).
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field

from netemu.errors import Refusal, RulesetError
from netemu.netfilter.xtables.kinds import OptionCall
from netemu.netfilter.xtables.kit import Extension, Given, Option
from netemu.netfilter.xtables.model import Invert


def canonical_option(extension: Extension, option: Option) -> Option:
    """Return the option that this one is another spelling of, or itself."""
    found = extension.find(option.into) if option.into else option
    assert found is not None, (extension.name, option.into)
    return found


class Use(NamedTuple):
    """Where an option's value stood, for rules of the same shape."""

    option: Option
    canonical: Option
    call: OptionCall
    position: int
    """Index of the value's first word, or of the next word when it has no value."""
    inverted: bool


class Loaded:
    """A match or target that a rule names, with the options that it got."""

    __slots__ = ("column", "completed", "extension", "given", "order", "uses")

    def __init__(self, extension: Extension, column: int) -> None:
        """Start without options."""
        self.extension = extension
        self.column = column
        self.completed = False
        """Another instance of the same match came later and takes the options."""
        self.given: dict[str, Given] = {}
        self.order: list[Given] = []
        self.uses: list[Use] = []

    def add(self, option: Option, value: object, inverted: bool) -> None:  # noqa: FBT001 - hot
        """Keep one option (the tests of xtables_option_parse come first: `admit`)."""
        if option.into and option.convert is not None:
            value = option.convert(value)
        self.order.append(Given(option, value, inverted))
        canonical = canonical_option(self.extension, option)
        self.given[canonical.name] = Given(canonical, value, inverted)

    def admit(self, option: Option, *, inverted: bool) -> None:
        """Refuse a second use and a `!` where there may be none."""
        name = self.extension.name
        if not option.multiple and any(given.option is option for given in self.order):
            raise RulesetError(
                f'{name}: option "--{option.name}" can only be used once', Refusal.COMBINATION
            )
        if inverted and not option.invertible:
            raise RulesetError(
                f'{name}: option "--{option.name}" cannot be inverted', Refusal.COMBINATION
            )


class Draft(Struct):
    """Everything that one rule line says."""

    command: str = ""
    """Letter of the command: A I D R C N P F X Z E L S."""
    chain: str = ""
    chain_column: int = 0
    number: int | None = None
    """Rule number of -I, -D, -R, -Z."""
    argument: str = ""
    """Policy of -P, new name of -E."""
    options: dict[str, int] = field(default_factory=dict)
    """Letters of generic options and their columns."""
    invert: Invert = field(default_factory=lambda: Invert(0))
    sources: str | None = None
    destinations: str | None = None
    in_device: str = ""
    out_device: str = ""
    protocol: int = 0
    protocol_name: str = ""
    """As written, in small letters; empty without -p."""
    protocol_loaded: bool = False
    """The protocol's own match was loaded for an option that nobody knew."""
    fragment: bool = False
    jump: str = ""
    jump_column: int = 0
    goto: bool = False
    matches: list[Loaded] = field(default_factory=list)
    target: Loaded | None = None
    counters: tuple[int, int] | None = None
    places: dict[str, int] = field(default_factory=dict)
    """Letters of generic options and commands, and the index of the value of each."""
    plain: bool = True
    """No abbreviated, bundled or glued generic option: the line may stand for its shape."""
    own_counters: bool = False
    """Counters came with -c."""
    other_family: bool = False
    """-4 or -6 says that the line is meant for the other program."""
