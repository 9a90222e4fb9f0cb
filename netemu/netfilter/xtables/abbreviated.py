"""Kinds of values whose words may be cut short, in any case (`--ctstate new,EST`).

Kernel: none; conntrack_ps_state, addrtype's parse_type and REJECT's table in iptables compare only
as many letters as the user wrote, so the first word of the table that begins so is meant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netemu.errors import RulesetError
from netemu.netfilter.xtables.kinds import Kind, OptionCall


def find_abbreviated(text: str, words: Sequence[str]) -> str | None:
    """Return the first of `words` that begins with `text`, whatever the case.

    >>> find_abbreviated("est", ("NEW", "ESTABLISHED")), find_abbreviated("foo", ("NEW",))
    ('ESTABLISHED', None)
    """
    start = text.casefold()
    return next((word for word in words if word.casefold().startswith(start)), None)


class AbbreviatedList(Kind[int]):
    """Words joined by commas, each standing for bits."""

    form = "NAME[,NAME...]"
    terminal = "TEXT"
    may_be_empty = True

    def __init__(
        self, names: Mapping[str, int], *, shown: Sequence[str] = (), bad: str, none: str = ""
    ) -> None:
        """`names` in the order of reading; `shown` (default: the same) in that of printing.

        `bad` is the message about an unknown word, with one `%s`; `none` is printed for no bits.
        """
        self.names = names
        self.words = tuple(names)
        self.shown = shown or self.words
        self.bad = bad
        self.none = none

    def read(self, text: str, call: OptionCall) -> int:
        """Or the bits together; an empty word is refused with all that follows it."""
        bits = 0
        rest = text
        while True:
            word, comma, following = rest.partition(",")
            found = find_abbreviated(word, self.words) if word else None
            if found is None:
                wrong = word if word or not following else rest
                raise RulesetError(
                    f"{self.bad.replace('%e', call.extension).replace('%s', wrong)}"
                    f"; it takes {', '.join(self.shown)}"
                )
            bits |= self.names[found]
            if not comma:
                return bits
            rest = following

    def show(self, value: int) -> str:
        """Print the words whose bits are set."""
        words = [word for word in self.shown if value & self.names[word]]
        return ",".join(words) if words else self.none
