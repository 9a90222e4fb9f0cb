"""Rule files as commands take them: their octets, the address family, and which tool reads them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from netemu.errors import InputError
from netemu.netfilter.hook import Family
from netemu.snapshot.scan import family_of

Function = TypeVar("Function", bound=Callable[..., object])

STDIN = "-"


def family_options(function: Function) -> Function:
    """Add -4, -6 and --nft."""
    for decorate in reversed(_OPTIONS):
        function = decorate(function)
    return function


_OPTIONS: list[Callable[[Function], Function]] = [
    click.option("-4", "family", flag_value=4, type=int, help="FILE holds IPv4 rules."),
    click.option("-6", "family", flag_value=6, type=int, help="FILE holds IPv6 rules."),
    click.option("--nft", is_flag=True, help="Read it as iptables-nft-restore does."),
]


def read_rule_text(path: str) -> str:
    """Return a rule file's text; octets that are no UTF-8 come back when it is written."""
    if path == STDIN:
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "surrogateescape")
    except OSError as problem:
        raise InputError(
            f"cannot be read ({problem.strerror}); iptables-save text is needed", file=path
        ) from None


def shown_name(path: str) -> str:
    """Return what messages call the file."""
    return "<stdin>" if path == STDIN else path


def chosen_family(text: str, family: int | None) -> Family:
    """Return the family that -4 or -6 says, else what the text shows."""
    return Family.IPV6 if (family or family_of(text)) == 6 else Family.IPV4
