"""A program that judges the packet: match `bpf`.

Kernel: net/netfilter/xt_bpf.c (bpf_mt_v1).

The program is classic BPF; the packet matches when it returns anything but 0.
"""

from __future__ import annotations

import re
from typing import NoReturn

from netemu.errors import RulesetError
from netemu.netfilter.xtables.cbpf import (
    Instruction,
    Packet,
    Program,
    check_program,
    run_program,
)
from netemu.netfilter.xtables.kinds import MOST_DIGITS, Kind, OptionCall
from netemu.netfilter.xtables.kit import Match, Option, Settings, always
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.space import Field, PacketSpace
from netemu.skb import Skb

MAX_INSTRUCTIONS = 64
"""XT_BPF_MAX_NUM_INSTR."""

_NUMBER = r"[ \t\n\v\f\r]*([+-]?[0-9]+)"
_LENGTH = re.compile(_NUMBER + ",", re.ASCII)
_INSTRUCTION = re.compile(_NUMBER * 4, re.ASCII)
_BITS = (16, 8, 8, 32)
_ULONG_MAX = 0xFFFFFFFFFFFFFFFF


class Bytecode(Kind[Program]):
    """`LENGTH,CODE JT JF K,...`: the lines of `tcpdump -ddd` and commas (bpf_parse_string)."""

    form = "PROGRAM"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> Program:
        """Read with sscanf(3): numbers are cut to their fields, what follows four is ignored."""
        found = _LENGTH.match(text)
        if found is None:
            _refuse("error parsing program length; LENGTH,CODE JT JF K,... would do")
        length = _field(found[1], 16)
        if not length:
            _refuse("illegal zero length program")
        if length > MAX_INSTRUCTIONS:
            _refuse(f"number of instructions exceeds maximum, which is {MAX_INSTRUCTIONS}")
        parts = text.split(",")[1:]
        if not parts[-1]:
            parts.pop()
        program: list[Instruction] = []
        for part in parts:
            if len(program) == length:
                _refuse("real program length exceeds the encoded length parameter")
            numbers = _INSTRUCTION.match(part)
            if numbers is None:
                _refuse(f"error at instr {len(program)}; CODE JT JF K would do")
            program.append(
                Instruction(
                    *(
                        _field(digits, bits)
                        for digits, bits in zip(numbers.groups(), _BITS, strict=True)
                    )
                )
            )
        if len(program) < length:
            _refuse("parsed program length is less than the encoded length parameter")
        check_program(tuple(program))
        return tuple(program)

    def show(self, value: Program) -> str:
        """Print between quotes."""
        instructions = ",".join(" ".join(map(str, instruction)) for instruction in value)
        return f'"{len(value)},{instructions}"'


def _field(digits: str, bits: int) -> int:
    """Return what scanf leaves of a number in so many bits."""
    value = int(digits[:MOST_DIGITS])
    size = min(abs(value), _ULONG_MAX)
    return (size if value >= 0 else -size) & (1 << bits) - 1


def _refuse(what: str) -> NoReturn:
    raise RulesetError(f"bpf: {what}")


class Pinned(Kind[str]):
    """A program pinned in a bpf file system, of which netemu has none."""

    form = "PATH"
    terminal = "TEXT"
    may_be_empty = True

    def read(self, text: str, call: OptionCall) -> str:
        """Refuse: there is no such program."""
        _refuse(
            f"failed to get bpf object `{text}'; netemu has no bpf file system, --bytecode would do"
        )

    def show(self, value: str) -> str:
        """Print the path."""
        return value


def bpf_mt(info: Program, skb: Skb, param: XtParam) -> bool:
    """Run the program."""
    return run_program(info, Packet(param.net, skb, param.family)) != 0


def bpf_packets(info: Program, space: PacketSpace) -> int:
    """Return what a program says, the same for all rules until what it may look at is changed."""
    return space.fact(space.text, Field.TTL, Field.TOS, Field.MARK)


def _check_bpf(settings: Settings) -> None:
    if not settings.given:
        _refuse("one of --bytecode or --pinned is required")


MATCHES = (
    Match(
        name="bpf",
        kernel="xt_bpf.c",
        duty="Runs a classic BPF program on the packet; any result but 0 matches.",
        options=(
            Option("bytecode", Bytecode(), help="The program in decimal numbers."),
            Option(
                "object-pinned",
                Pinned(),
                help="Refused: netemu has no bpf file system to find a program in.",
            ),
        ),
        check=_check_bpf,
        shares=always,
        build=lambda settings: settings.need("bytecode", tuple),
        evaluate=bpf_mt,
        packets=bpf_packets,
    ),
)
