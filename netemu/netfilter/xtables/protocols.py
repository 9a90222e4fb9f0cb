"""Kinds of values that name an IP protocol.

Kernel: none; xtables_parse_protocol and XTTYPE_PROTOCOL of libxtables.

Unlike -p, these options do not turn capitals into small letters: of /etc/protocols' names and
aliases only the very word counts. Of mptcp, which is 262, the octet 6 is kept.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import Kind, OptionCall, c_integer, shape
from netemu.netfilter.xtables.names import protocol_number


class ProtocolNumber(Kind[int]):
    """A protocol by name or number, printed as a number."""

    form = "PROTOCOL"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Try a number first."""
        number: int | None = None
        if shape("NUMBER").fullmatch(text) is not None:
            number = c_integer(text)
        if number is None or number > 0xFF:
            number = protocol_number(text)
        if number is None:
            raise RulesetError(
                f'unknown protocol "{text}" specified; 0-255 or a name of /etc/protocols would do'
            )
        return number & 0xFF

    def show(self, value: int) -> str:
        """Print the number."""
        return str(value)
