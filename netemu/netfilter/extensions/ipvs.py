"""What IPVS knows of the packet's connection: match `ipvs`.

Kernel: net/netfilter/xt_ipvs.c (ipvs_mt, ipvs_mt_check).

Differs from Linux: netemu has no IPVS yet, so that a rule with this match is read and printed, but
a node refuses to run it.
"""

from __future__ import annotations

from typing import NoReturn

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.xtables.hosts import LooseHostMask
from netemu.netfilter.xtables.kinds import Kind, OptionCall
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.ports import resolve_port
from netemu.netfilter.xtables.protocols import ProtocolNumber
from netemu.skb import Skb

DIRECTIONS = ("ORIGINAL", "REPLY")
METHODS = ("GATE", "IPIP", "MASQ")


class UpperWord(Kind[str]):
    """One of a few words, read in any case and printed in capitals."""

    terminal = "TEXT"
    may_be_empty = True

    def __init__(self, *words: str) -> None:
        """List the words."""
        self.words = words
        self.form = "|".join(words)

    def read(self, text: str, call: OptionCall) -> str:
        """Look the word up."""
        if text.upper() not in self.words:
            raise RulesetError(
                f'{call.extension}: Bad value for "--{call.option}" option: "{text}"; '
                f"it takes {', '.join(self.words)}"
            )
        return text.upper()

    def show(self, value: str) -> str:
        """Print the word."""
        return value


class Port(Kind[int]):
    """A port by name or number (XTTYPE_PORT)."""

    form = "PORT"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> int:
        """Resolve it."""
        return resolve_port(text)

    def show(self, value: int) -> str:
        """Print the number."""
        return str(value)


def ipvs_mt(info: None, skb: Skb, param: XtParam) -> bool:
    """Be always false: `attach_ipvs` lets no such rule come here."""
    return False


def attach_ipvs(net: Net, info: None) -> NoReturn:
    """Refuse to run the rule."""
    raise RulesetError(
        "ipvs: the rule asks for IPVS connections, and netemu has no IPVS yet; "
        "the rule can be read and printed, but not run"
    )


def _check_ipvs(settings: Settings) -> None:
    if not settings.given:
        raise RulesetError("IPVS: At least one option is required")
    if settings.inverted("ipvs") and len(settings.given) > 1:
        raise RulesetError("! --ipvs cannot be together with other options")


def _save_ipvs(settings: Settings) -> str:
    """Print --ipvs only where it stands alone; the others imply it."""
    words = []
    for option in _OPTIONS:
        if option.name not in settings or (option.name == "ipvs" and len(settings.given) > 1):
            continue
        given = settings.given[option.name]
        bang = "! " if given.inverted else ""
        words.append(f"{bang}--{option.name} {option.kind.show(given.value)}".rstrip())
    return " ".join(words)


_OPTIONS = (
    Option("ipvs", invertible=True, help="The packet belongs to an IPVS connection."),
    Option("vproto", ProtocolNumber(), invertible=True, help="Protocol of the virtual service."),
    Option("vaddr", LooseHostMask(), invertible=True, help="Address of the virtual service."),
    Option("vport", Port(), invertible=True, help="Port of the virtual service."),
    Option("vdir", UpperWord(*DIRECTIONS), help="Direction of the packet."),
    Option("vmethod", UpperWord(*METHODS), invertible=True, help="How IPVS forwards."),
    Option("vportctl", Port(), invertible=True, help="Port of the controlling connection."),
)

MATCHES = (
    Match(
        name="ipvs",
        kernel="xt_ipvs.c",
        duty="Asks IPVS about the packet; netemu has no IPVS yet and refuses to run the rule.",
        options=_OPTIONS,
        check=_check_ipvs,
        save=_save_ipvs,
        shares=always,
        build=lambda settings: None,
        evaluate=ipvs_mt,
        attach=attach_ipvs,
    ),
)
