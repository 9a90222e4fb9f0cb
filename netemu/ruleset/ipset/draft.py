"""What one command has said so far (struct ipset_data of ipset's lib/data.c)."""

from __future__ import annotations

from typing import TypeVar

from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.attributes import CreateAttributes, ElementAttributes
from netemu.netfilter.ipset.ip_set import SetType

T = TypeVar("T")


class TextProblem(Exception):
    """ipset refuses a text; the message is in its words."""


class Draft:
    """Options by name, as `CreateAttributes` and `ElementAttributes` call them."""

    __slots__ = ("family", "family_assumed", "type", "values")

    def __init__(self, kind: SetType, family: Family | None) -> None:
        """Start for a type; `family` is the default or that of the set."""
        self.type = kind
        self.family = family
        self.family_assumed = family is not None and len(kind.families) > 1
        """No option has named the family yet."""
        self.values: dict[str, object] = {}

    def set(self, option: str, value: object) -> None:
        """Note an option."""
        self.values[option] = value

    def get(self, option: str, kind: type[T]) -> T:
        """Return an option that is there."""
        value = self.values[option]
        assert isinstance(value, kind)
        return value

    def __contains__(self, option: str) -> bool:
        """Return whether an option was said."""
        return option in self.values

    @property
    def address_family(self) -> Family:
        """The family that addresses are read in: IPv4 where the set has none."""
        return self.family or Family.IPV4

    @property
    def address_bits(self) -> int:
        """How long a host's prefix is."""
        return 128 if self.address_family == Family.IPV6 else 32

    def as_create(self) -> CreateAttributes:
        """Return what was said of a set."""
        said = CreateAttributes()
        for option, value in self.values.items():
            setattr(said, option, value)
        return said

    def as_element(self) -> ElementAttributes:
        """Return what was said of an element."""
        said = ElementAttributes()
        for option, value in self.values.items():
            setattr(said, option, value)
        return said
