"""Kinds of values that a file of iproute2 may give a name (`--realm cosmos`).

Kernel: none; xtables_parse_val_mask, xtables_print_val_mask of libxtables and the lists in
/etc/iproute2. The names are those that Debian's iproute2 brings along, so that a file reads the
same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import U32_MAX, Kind, Masked, OptionCall, c_integer, shape


class NamedMask(Kind[Masked]):
    """`value`, `value/mask` or a name; a name takes no mask."""

    form = "NUMBER[/MASK]|NAME"
    terminal = "TEXT"
    may_be_empty = True

    def __init__(self, names: Mapping[str, int]) -> None:
        """List the names."""
        self.names = names

    def read(self, text: str, call: OptionCall) -> Masked:
        """Read a number if it begins as one, else look the name up."""
        first, slash, mask_text = text.partition("/")
        value = _number(first)
        if value is None:
            found = self.names.get(text)
            if found is None:
                raise RulesetError(
                    f"{call.extension}: could not map name {text} to an integer value for option "
                    f'"--{call.option}"; known names are {", ".join(self.names)}'
                )
            return Masked(found, U32_MAX)
        mask = _number(mask_text) if slash else U32_MAX
        if mask is None:
            raise RulesetError(
                f'{call.extension}: bad integer value for option "--{call.option}", '
                f"or out of range (0-{U32_MAX})"
            )
        return Masked(value, mask)

    def show(self, value: Masked) -> str:
        """Print the name where there is one, else in hexadecimal."""
        if value.mask != U32_MAX:
            return f"0x{value.value:x}/0x{value.mask:x}"
        named = [name for name, number in self.names.items() if number == value.value]
        return named[0] if named else f"0x{value.value:x}"


def _number(text: str) -> int | None:
    if shape("NUMBER").fullmatch(text) is None:
        return None
    value = c_integer(text)
    return value if value <= U32_MAX else None
