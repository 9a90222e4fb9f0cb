"""Numbers and addresses as ipset reads them (string_to_number_ll, parse_ipaddr of lib/parse.c)."""

from __future__ import annotations

import re

from netemu.netfilter.hook import Family
from netemu.ruleset.ipset.draft import TextProblem
from netemu.wire.address import parse_address

_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\Z")
_MODULUS = 1 << 64


def read_number(text: str, low: int, high: int) -> int:
    """Return a number of strtoull(3): decimal, hexadecimal or octal.

    >>> read_number("0x10", 0, 255)
    16
    """
    found = _NUMBER.match(text)
    if found is None:
        raise TextProblem(f"Syntax error: '{text}' is invalid as number")
    digits = found[2]
    number = int(digits, 16 if digits[:2] in {"0x", "0X"} else 8 if digits[0] == "0" else 10)
    if found[1] == "-" and number < _MODULUS:
        number = -number % _MODULUS
    if not low <= number <= high:
        raise TextProblem(f"Syntax error: '{text}' is out of range {low}-{high}")
    return number


_PART = re.compile(r"0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*\Z")


def _inet_aton(text: str) -> bytes | None:
    """Return what inet_aton(3) makes of 1 to 4 numbers; None if nothing."""
    parts = text.split(".")
    numbers: list[int] = []
    for part in parts:
        if _PART.fullmatch(part) is None:
            return None
        base = 16 if part[:2] in {"0x", "0X"} else 8 if part[0] == "0" else 10
        numbers.append(int(part, base))
    *heads, last = numbers
    if len(parts) > 4 or any(head > 255 for head in heads) or last >> (8 * (5 - len(parts))):
        return None
    return bytes(heads) + last.to_bytes(5 - len(parts), "big")


def read_address(text: str, family: Family) -> bytes:
    """Return a packed address; names are not resolved.

    >>> read_address("10.1", Family.IPV4).hex()
    '0a000001'
    """
    address: bytes | None = None
    if family == Family.IPV4:
        address = _inet_aton(text)
    else:
        try:
            address = parse_address(text) if ":" in text and "%" not in text else None
        except ValueError:
            address = None
    if address is None:
        name = "IPv6" if family == Family.IPV6 else "IPv4"
        raise TextProblem(f"Syntax error: cannot parse {text}: resolving to {name} address failed")
    return address


def separated(text: str, separator: str) -> tuple[str, str] | None:
    """Cut at the first separator that neither begins nor ends the text (ipset_strchr)."""
    if separator not in text or text[0] == separator or text[-1] == separator:
        return None
    head, _, tail = text.partition(separator)
    return head, tail


def split_range(text: str) -> tuple[str, str] | None:
    """Cut a range at its `-`; a name in brackets may have one inside (find_range_separator)."""
    if not text.startswith("["):
        return separated(text, "-")
    end = text.find("]")
    if end < 0:
        raise TextProblem(f"Syntax error: cannot find closing escape character ']' in {text}")
    if end + 1 == len(text):
        return None
    if text[end + 1] != "-":
        raise TextProblem(f"Syntax error: range separator expected after '{text[: end + 1]}'")
    return text[: end + 1], text[end + 2 :]


def has_range(text: str) -> bool:
    """Return whether there is a `-` outside of brackets (escape_range_separator)."""
    if text.startswith("["):
        end = text.find("]")
        return end >= 0 and separated(text[end:], "-") is not None
    return separated(text, "-") is not None


def without_brackets(text: str) -> str:
    """Take the brackets away (strip_escape)."""
    if not text.startswith("["):
        return text
    if not text.endswith("]"):
        raise TextProblem(f"Syntax error: cannot find closing escape character ']' in {text}")
    return text[1:-1]
