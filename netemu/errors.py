"""Every exception that netemu raises at a user, as one tree.

    NetemuError
    ├── UsageError            exit 2: the command line or the call itself is wrong
    ├── InputError            exit 3: a file, a text or a packet that cannot be used
    │   ├── CaptureError      pcap and pcapng
    │   ├── RulesetError      iptables-save text
    │   ├── SetTextError      ipset text
    │   ├── SnapshotError     a node directory or archive
    │   ├── PacketTextError   a one-line packet or a Scapy expression
    │   ├── QuestionError     a question to `netemu ask`
    │   └── KernelError       the live kernel or its tools cannot do what verify asks for
    └── InternalError         exit 4: a broken promise of netemu itself

Bad input raises; a bad packet never does: it ends with a drop reason.
"""

from __future__ import annotations

from enum import StrEnum


class NetemuError(Exception):
    """Root of the tree; `exit_code` is what a command ends with."""

    exit_code = 4


class UsageError(NetemuError):
    """The command line or the call itself is wrong."""

    exit_code = 2


class InputError(NetemuError):
    """Input that cannot be used: `FILE:LINE:COL: what was wrong; what would be right`.

    `line` and `column` count from 1; 0 leaves them out. `context` is the line at fault, printed
    below the message with a caret under `column`.
    """

    exit_code = 3

    def __init__(
        self, message: str, *, file: str = "", line: int = 0, column: int = 0, context: str = ""
    ) -> None:
        """Keep the parts; `str()` joins them."""
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.context = context

    def __str__(self) -> str:
        """`FILE:LINE:COL: message`, then the line with a caret when it is known."""
        place = ":".join(
            [self.file or "<input>"] * bool(self.file or self.line)
            + [str(number) for number in (self.line, self.column) if number]
        )
        head = f"{place}: {self.message}" if place else self.message
        if not self.context or not self.column:
            return head
        return f"{head}\n    {self.context}\n    {' ' * (self.column - 1)}^"


class CaptureError(InputError):
    """A pcap or pcapng file that cannot be read."""


class Refusal(StrEnum):
    """Why a line of iptables-save text would not load."""

    SYNTAX = "syntax"
    """Its words make no line at all."""
    COMMENT = "comment"
    """A `#` stands elsewhere than at the beginning of a line."""
    INVERSION = "inversion"
    """A `!` stands behind its option."""
    EXTENSION = "extension"
    """-m names no known match."""
    OPTION = "option"
    """Nobody knows the option."""
    VALUE = "value"
    """An option's value is none."""
    COMBINATION = "combination"
    """Parts of the rule do not go together, or one lacks."""
    TABLE = "table"
    """There is no such table, or no table at all."""
    CHAIN = "chain"
    """A command names a chain that is not declared."""
    JUMP = "jump"
    """-j or -g names neither a chain nor a target."""
    DUPLICATE = "duplicate"
    """The chain is already there."""
    NAME = "name"
    """No chain may have that name."""
    POLICY = "policy"
    """A policy that cannot be set."""
    PLACE = "place"
    """A match or target that is not for this table or hook."""
    LOOP = "loop"
    """Chains lead back to themselves, or too deep."""
    COMMIT = "commit"
    """A table does not end with COMMIT."""
    COMMAND = "command"
    """A command that cannot be carried out here."""


class RulesetError(InputError):
    """A line of iptables-save text that real iptables or the kernel refuses; `refusal` is why."""

    def __init__(
        self,
        message: str,
        refusal: Refusal = Refusal.VALUE,
        *,
        file: str = "",
        line: int = 0,
        column: int = 0,
        context: str = "",
    ) -> None:
        """Keep the parts; what is not said otherwise is about a value."""
        super().__init__(message, file=file, line=line, column=column, context=context)
        self.refusal = refusal


class SetTextError(InputError):
    """A line of ipset text that real ipset or the kernel refuses."""


class SnapshotError(InputError):
    """A node snapshot that lacks what is needed or contradicts itself."""


class PacketTextError(InputError):
    """A one-line packet or a Scapy expression that cannot be read."""


class QuestionError(InputError):
    """A question that cannot be read, or that does not fit the node."""


class KernelError(InputError):
    """The live kernel or its tools cannot do what was asked."""


class InternalError(NetemuError):
    """A broken promise of netemu itself."""
