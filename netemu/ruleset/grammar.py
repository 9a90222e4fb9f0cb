"""`rule.lark` as a parser, for lines that are not as iptables-save writes them.

Kernel: none.
"""

from __future__ import annotations

import functools
from importlib import resources

from lark import Lark, Token
from lark.exceptions import UnexpectedInput

from netemu.errors import Refusal, RulesetError


@functools.cache
def _grammar() -> Lark:
    text = resources.files(__package__).joinpath("rule.lark").read_text(encoding="utf-8")
    return Lark(
        text,
        parser="lalr",
        lexer="contextual",
        start=["table_line", "chain_line", "rule_line"],
        maybe_placeholders=True,
    )


def parse(start: str, line: str) -> list[tuple[str, int]]:
    """Parse a line and return its tokens with their columns; an absent one is empty."""
    try:
        tree = _grammar().parse(line, start=start)
    except UnexpectedInput as error:
        raise RulesetError(_EXPECTED[start], Refusal.SYNTAX, column=max(error.column, 1)) from None
    return [
        (str(token), token.column or 1) if isinstance(token, Token) else ("", 0)
        for token in tree.children
    ]


_EXPECTED = {
    "table_line": "table name invalid; `*filter` would do",
    "chain_line": "chain or policy invalid; `:NAME - [0:0]` would do",
    "rule_line": "a byte that no rule may hold",
}
