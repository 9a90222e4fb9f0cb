"""Kinds of values for the TOS octet and its DSCP bits.

Kernel: none; tos_values.c and dscp_helper.c of iptables' extensions. RFC 2474, 2597, 3246.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import Kind, Masked, OptionCall, Unsigned, c_integer, shape

SYMBOLS = {
    "Minimize-Delay": 0x10,
    "Maximize-Throughput": 0x08,
    "Maximize-Reliability": 0x04,
    "Minimize-Cost": 0x02,
    "Normal-Service": 0x00,
}
"""Names of RFC 1349; each stands for its value under the mask 0x3f."""

SYMBOL_MASK = 0x3F

CLASSES = {
    **{f"CS{number}": number << 3 for number in range(8)},
    "BE": 0,
    **{
        f"AF{number}{drop}": number << 3 | drop << 1
        for number in range(1, 5)
        for drop in range(1, 4)
    },
    "EF": 0x2E,
}
"""Classes of DiffServ."""


class HexOctet(Unsigned):
    """A number up to `high`, printed with two hexadecimal digits."""

    def __init__(self, high: int) -> None:
        """Accept 0 to `high`."""
        super().__init__(0, high)

    def show(self, value: int) -> str:
        """Print as `0x0a`."""
        return f"0x{value:02x}"


class DscpClass(Kind[int]):
    """The name of a class, in any case; what follows a name is not looked at (class_to_dscp)."""

    form = "CLASS"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Return the value of the first class whose name the text begins with."""
        upper = text.upper()
        for name, value in CLASSES.items():
            if upper.startswith(name):
                return value
        raise RulesetError(f"Invalid DSCP value `{text}'; it takes {', '.join(CLASSES)}")

    def show(self, value: int) -> str:
        """Print the value, as --dscp prints it."""
        return f"0x{value:02x}"


class TosValue(Kind[Masked]):
    """`value[/mask]` or a symbol (tos_parse_numeric, tos_parse_symbolic)."""

    form = "VALUE[/MASK]|NAME"
    terminal = "TEXT"
    may_be_empty = True

    def __init__(self, default_mask: int) -> None:
        """`default_mask` goes with a bare value."""
        self.default_mask = default_mask

    def read(self, text: str, call: OptionCall) -> Masked:
        """Read numbers if the text begins with one that fits, else a symbol."""
        value_text, slash, mask_text = text.partition("/")
        if shape("NUMBER").fullmatch(value_text) is not None and c_integer(value_text) <= 0xFF:
            if not slash:
                return Masked(c_integer(value_text), self.default_mask)
            if shape("NUMBER").fullmatch(mask_text) is not None and c_integer(mask_text) <= 0xFF:
                return Masked(c_integer(value_text), c_integer(mask_text))
            raise RulesetError(f'Illegal value: "{text}"; the mask may be 0-255')
        for name, value in SYMBOLS.items():
            if name.casefold() == text.casefold():
                return Masked(value, SYMBOL_MASK)
        raise RulesetError(
            f'Symbolic name "{text}" is unknown; it takes {", ".join(SYMBOLS)} or VALUE[/MASK]'
        )

    def show(self, value: Masked) -> str:
        """Print both, with two hexadecimal digits each."""
        return f"0x{value.value:02x}/0x{value.mask:02x}"
