"""The packet's mark: match `mark` and target `MARK`.

Kernel: net/netfilter/xt_mark.c (mark_mt, mark_tg; revision 1 of the match, 2 of the target).
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.events import MarkChanged
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import U32, U32_MAX, Masked, MaskedU32
from netemu.netfilter.xtables.kit import Match, Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace, Rewriting
from netemu.skb import Skb


class MarkMatch:
    """struct xt_mark_mtinfo1."""

    __slots__ = ("invert", "mark", "mask")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        masked = settings.need("mark", Masked)
        self.mark = masked.value
        self.mask = masked.mask
        self.invert = settings.inverted("mark")


def mark_mt(info: MarkMatch, skb: Skb, param: XtParam) -> bool:
    """Compare the mark under the mask."""
    return ((skb.mark & info.mask) == info.mark) != info.invert


def describe_mark(info: MarkMatch, skb: Skb, param: XtParam) -> str:
    """Say the packet's mark."""
    return f"mark 0x{skb.mark:x}"


def mark_packets(info: MarkMatch, space: PacketSpace) -> int:
    """Return the packets whose mark fits."""
    return space.when(info.invert, space.masked(Field.MARK, info.mark, info.mask))


def mark_effect(info: Masked, packet: Rewriting) -> None:
    """Set the bits under the mask, turn over those of the value outside it."""
    packet.flip(Field.MARK, info.value & ~info.mask)
    packet.assign(Field.MARK, info.value & info.mask, info.mask)


def mark_tg(info: Masked, skb: Skb, param: XtParam) -> Verdict | None:
    """Clear the masked bits, then exclusive-or the value in."""
    before = skb.mark
    skb.mark = (before & ~info.mask) ^ info.value
    if param.net.sink is not None and skb.mark != before:
        param.net.tell(skb, MarkChanged(what="mark", before=before, after=skb.mark))
    return None


def _check_mark_tg(settings: Settings) -> None:
    if "set-xmark" not in settings:
        raise RulesetError(
            "MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required"
        )


_SPELLINGS = ("set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark")


def _others(name: str) -> tuple[str, ...]:
    return tuple(other for other in _SPELLINGS if other != name)


def _set(given: Masked) -> Masked:
    return Masked(given.value, given.value | given.mask)


def _and(bits: int) -> Masked:
    return Masked(0, ~bits & U32_MAX)


def _or(bits: int) -> Masked:
    return Masked(bits, bits)


def _xor(bits: int) -> Masked:
    return Masked(bits, 0)


MATCHES = (
    Match(
        name="mark",
        kernel="xt_mark.c",
        duty="Compares the mark that the packet carries inside this node.",
        options=(
            Option(
                "mark",
                MaskedU32(),
                invertible=True,
                mandatory=True,
                help="The mark under the mask must be this value.",
                says="the packet mark {is} {value}",
            ),
        ),
        shares=always,
        build=MarkMatch,
        evaluate=mark_mt,
        packets=mark_packets,
        passive=True,
        describe=describe_mark,
    ),
)

TARGETS = (
    Target(
        name="MARK",
        kernel="xt_mark.c",
        duty="Sets or changes the mark that the packet carries inside this node.",
        options=(
            Option(
                "set-xmark",
                MaskedU32(always_mask=True),
                excludes=_others("set-xmark"),
                help="Clears the bits of the mask, then exclusive-ors the value in.",
                says="mark = (mark & ~{second}) ^ {first}",
            ),
            Option(
                "set-mark",
                MaskedU32(),
                into="set-xmark",
                convert=_set,
                excludes=_others("set-mark"),
                help="Sets the value and clears the other bits of the mask.",
            ),
            Option(
                "and-mark",
                U32(),
                into="set-xmark",
                convert=_and,
                excludes=_others("and-mark"),
                help="Keeps only these bits.",
            ),
            Option(
                "or-mark",
                U32(),
                into="set-xmark",
                convert=_or,
                excludes=_others("or-mark"),
                help="Sets these bits.",
            ),
            Option(
                "xor-mark",
                U32(),
                into="set-xmark",
                convert=_xor,
                excludes=_others("xor-mark"),
                help="Flips these bits.",
            ),
        ),
        check=_check_mark_tg,
        shares=always,
        build=lambda settings: settings.need("set-xmark", Masked),
        apply=mark_tg,
        effect=mark_effect,
    ),
)
