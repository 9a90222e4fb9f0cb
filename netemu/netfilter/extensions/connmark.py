"""The connection's mark: match `connmark` and target `CONNMARK`.

Kernel: net/netfilter/xt_connmark.c (connmark_mt, connmark_tg_shift).

The mark of a connection outlives its packets, so it carries a decision from the first packet to all
later ones, in both directions. A packet without connection never matches, and CONNMARK passes it
over. Shifts are of the value that moves, in 32 bits.
"""

from __future__ import annotations

from netemu.errors import RulesetError
from netemu.events import MarkChanged
from netemu.net import Net
from netemu.netfilter.conntrack.connection import nf_ct_get
from netemu.netfilter.hook import Verdict
from netemu.netfilter.xtables.kinds import U8, U32, U32_MAX, Masked, MaskedU32
from netemu.netfilter.xtables.kit import Match, Option, Settings, Target, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import CtState, Field, PacketSpace, Rewriting
from netemu.skb import Skb


class ConnmarkMatch:
    """struct xt_connmark_mtinfo1."""

    __slots__ = ("invert", "mark", "mask")

    def __init__(self, settings: Settings) -> None:
        """Take the one option apart."""
        masked = settings.need("mark", Masked)
        self.mark = masked.value
        self.mask = masked.mask
        self.invert = settings.inverted("mark")


def connmark_mt(info: ConnmarkMatch, skb: Skb, param: XtParam) -> bool:
    """Compare the connection's mark under the mask."""
    connection, _ = nf_ct_get(skb)
    if connection is None:
        return False
    return ((connection.mark & info.mask) == info.mark) != info.invert


def _connected(space: PacketSpace) -> int:
    return space.span(Field.CT_STATE, CtState.NEW, CtState.RELATED)


def connmark_packets(info: ConnmarkMatch, space: PacketSpace) -> int:
    """Return the packets of connections whose mark fits."""
    marked = space.masked(Field.CONNMARK, info.mark, info.mask)
    return space.both(_connected(space), space.when(info.invert, marked))


def describe_connmark(info: ConnmarkMatch, skb: Skb, param: XtParam) -> str:
    """Say the connection's mark."""
    connection, _ = nf_ct_get(skb)
    return "no connection" if connection is None else f"connmark 0x{connection.mark:x}"


class Connmark:
    """struct xt_connmark_tginfo2."""

    __slots__ = ("ctmark", "ctmask", "mode", "nfmask", "shift", "shift_right")

    def __init__(self, settings: Settings) -> None:
        """Resolve mode, masks and shift."""
        self.mode = _mode(settings)
        masked = settings.get("set-xmark", Masked, Masked(0, U32_MAX))
        self.ctmark = masked.value
        self.ctmask, self.nfmask = _masks(settings)
        self.shift, self.shift_right = _shift(settings)

    def moved(self, bit: int) -> int:
        """Return where the shift brings a bit."""
        return bit - self.shift if self.shift_right else bit + self.shift

    def shifted(self, mark: int) -> int:
        """Shift within 32 bits."""
        return mark >> self.shift if self.shift_right else mark << self.shift & U32_MAX


def connmark_tg(info: Connmark, skb: Skb, param: XtParam) -> Verdict | None:
    """Set the connection's mark, or copy it from or to the packet's."""
    connection, _ = nf_ct_get(skb)
    if connection is None:
        return None
    if info.mode == "restore-mark":
        before = skb.mark
        skb.mark = (before & ~info.nfmask & U32_MAX) ^ info.shifted(connection.mark & info.ctmask)
        _tell(param.net, skb, "mark", before, skb.mark)
        return None
    before = connection.mark
    kept = before & ~info.ctmask & U32_MAX
    if info.mode == "save-mark":
        connection.mark = kept ^ info.shifted(skb.mark & info.nfmask)
    else:
        connection.mark = info.shifted(kept ^ info.ctmark)
    _tell(param.net, skb, "ctmark", before, connection.mark)
    return None


def connmark_effect(info: Connmark, packet: Rewriting) -> None:
    """Move bits between the packet's mark and the connection's."""
    packet.only(_connected)
    if info.mode == "set-xmark":
        packet.flip(Field.CONNMARK, info.ctmark & ~info.ctmask)
        packet.assign(Field.CONNMARK, info.ctmark & info.ctmask, info.ctmask)
        if info.shift:
            _shift_bits(info, packet)
        return
    into, source, kept_not, taken = (
        (Field.MARK, Field.CONNMARK, info.nfmask, info.ctmask)
        if info.mode == "restore-mark"
        else (Field.CONNMARK, Field.MARK, info.ctmask, info.nfmask)
    )
    moved = {
        info.moved(bit): (source, bit)
        for bit in range(32)
        if taken >> bit & 1 and 0 <= info.moved(bit) < 32
    }
    if any(not kept_not >> bit & 1 for bit in moved):
        # A bit that is kept is exclusive-ored with one that is taken over.
        packet.forget(into)
        return
    packet.assign(into, 0, kept_not & ~sum(1 << bit for bit in moved))
    packet.copy(into, moved)


def _shift_bits(info: Connmark, packet: Rewriting) -> None:
    """Shift the connection's mark."""
    packet.copy(
        Field.CONNMARK,
        {info.moved(bit): (Field.CONNMARK, bit) for bit in range(32) if 0 <= info.moved(bit) < 32},
    )
    gone = U32_MAX & ~(U32_MAX >> info.shift) if info.shift_right else (1 << info.shift) - 1
    packet.assign(Field.CONNMARK, 0, gone)


def _tell(net: Net, skb: Skb, what: str, before: int, after: int) -> None:
    if net.sink is not None and before != after:
        net.tell(skb, MarkChanged(what=what, before=before, after=after))


def _mode(settings: Settings) -> str:
    return next(name for name in ("set-xmark", "save-mark", "restore-mark") if name in settings)


def _masks(settings: Settings) -> tuple[int, int]:
    """Return ctmask and nfmask: the last option that says a mask counts, --set-xmark among them."""
    ctmask = nfmask = U32_MAX
    for option, value, _ in settings.order:
        if isinstance(value, Masked):
            ctmask = value.mask
        elif isinstance(value, int) and option.name in {"mask", "ctmask"}:
            ctmask = value
        if isinstance(value, int) and option.name in {"mask", "nfmask"}:
            nfmask = value
    return ctmask, nfmask


def _shift(settings: Settings) -> tuple[int, bool]:
    """Return length and whether it goes right; of both options the right one wins."""
    right = settings.get("right-shift-mark", int)
    return (settings.get("left-shift-mark", int, 0), False) if right is None else (right, True)


def _check_connmark(settings: Settings) -> None:
    if not any(name in settings for name in ("set-xmark", "save-mark", "restore-mark")):
        raise RulesetError("CONNMARK target: No operation specified")
    if _shift(settings)[0] > 31:
        raise RulesetError("CONNMARK: the kernel refuses a shift of 32; 0-31 would do")


def _save_connmark(settings: Settings) -> str:
    mode = _mode(settings)
    ctmask, nfmask = _masks(settings)
    if mode == "set-xmark":
        text = f"--set-xmark 0x{settings.need('set-xmark', Masked).value:x}/0x{ctmask:x}"
    else:
        text = f"--{mode} --nfmask 0x{nfmask:x} --ctmask 0x{ctmask:x}"
    length, right = _shift(settings)
    if length:
        text += f" --{'right' if right else 'left'}-shift-mark {length}"
    return text


def attach_connmark(net: Net, info: ConnmarkMatch | Connmark) -> None:
    """Begin to track connections (connmark_mt_check, connmark_tg_check)."""
    from netemu.netfilter.conntrack.core import (  # noqa: PLC0415 - the engine, once a node
        nf_ct_netns_get,
    )

    nf_ct_netns_get(net)


_OPERATIONS = (
    "set-xmark",
    "set-mark",
    "and-mark",
    "or-mark",
    "xor-mark",
    "save-mark",
    "restore-mark",
)


def _others(name: str) -> tuple[str, ...]:
    return tuple(other for other in _OPERATIONS if other != name)


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
        name="connmark",
        kernel="xt_connmark.c",
        duty="Compares the mark of the packet's connection.",
        options=(
            Option(
                "mark",
                MaskedU32(),
                invertible=True,
                mandatory=True,
                help="The mark under the mask must be this value.",
                says="the mark of its connection {is} {value}",
            ),
        ),
        shares=always,
        build=ConnmarkMatch,
        evaluate=connmark_mt,
        packets=connmark_packets,
        attach=attach_connmark,
        describe=describe_connmark,
    ),
)

TARGETS = (
    Target(
        name="CONNMARK",
        kernel="xt_connmark.c",
        duty="Sets the mark of the packet's connection, or copies it from or to the packet's mark.",
        options=(
            Option(
                "set-xmark",
                MaskedU32(always_mask=True),
                excludes=_others("set-xmark"),
                help="Clears the bits of the mask, then exclusive-ors the value in.",
                says="connection mark = (mark & ~{second}) ^ {first}",
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
            Option("save-mark", excludes=_others("save-mark"), help="Packet to connection."),
            Option("restore-mark", excludes=_others("restore-mark"), help="The other way."),
            Option("nfmask", U32(), excludes=("mask",), help="Bits of the packet's mark."),
            Option("ctmask", U32(), excludes=("mask",), help="Bits of the connection's mark."),
            Option("mask", U32(), excludes=("nfmask", "ctmask"), help="Both masks."),
            Option(
                "left-shift-mark", U8(high=32), help="Shifts the mark by so many bits on its way."
            ),
            Option(
                "right-shift-mark", U8(high=32), help="Shifts the mark by so many bits on its way."
            ),
        ),
        check=_check_connmark,
        save=_save_connmark,
        shares=always,
        build=Connmark,
        apply=connmark_tg,
        effect=connmark_effect,
        attach=attach_connmark,
    ),
)
