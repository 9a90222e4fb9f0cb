"""Classic BPF: programs of a few instructions that read a packet and return a number.

Kernel: net/core/filter.c (bpf_check_classic, check_load_and_stores, bpf_convert_filter),
include/uapi/linux/bpf_common.h, include/uapi/linux/filter.h.

Theory of operation: a program has an accumulator A, an index X and 16 words of memory M, all of 32
bits. Jumps only go forward, so that every program ends. A load outside of the packet ends it with
0, as does a division by an X of 0. Offsets count from the IP header; from -0x200000 on they count
from the link header, from -0x100000 on from the IP header too, and from -0x1000 on they name what
is no octet of the packet, such as its mark.

Differs from Linux: a packet has no receive queue, no hash and one processor, all 0.
"""

from __future__ import annotations

from typing import NamedTuple

from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.hook import Family
from netemu.skb import Skb
from netemu.wire.fields import get16
from netemu.wire.ipv4 import (
    IPPROTO_DCCP,
    IPPROTO_ICMP,
    IPPROTO_IGMP,
    IPPROTO_SCTP,
    IPPROTO_TCP,
    IPPROTO_UDP,
    IPPROTO_UDPLITE,
)

U32 = 0xFFFFFFFF
MEMORY_WORDS = 16
"""BPF_MEMWORDS."""

SKF_AD_OFF = -0x1000
SKF_NET_OFF = -0x100000
SKF_LL_OFF = -0x200000


class Instruction(NamedTuple):
    """struct sock_filter."""

    code: int
    jt: int
    jf: int
    k: int


Program = tuple[Instruction, ...]

LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
"""The lowest three bits of a code."""

IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
"""Where a load loads from."""

SIZES = {0x00: 4, 0x08: 2, 0x10: 1}
WORD = 0x00
BYTE = 0x10

ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR = range(0x00, 0xB0, 0x10)
JA, JEQ, JGT, JGE, JSET = range(0x00, 0x50, 0x10)
K, X, A = 0x00, 0x08, 0x10
"""What a second operand is; RET may name A."""

TAX, TXA = 0x00, 0x80

ALLOWED = frozenset(
    {ALU | operation | source for operation in range(ADD, NEG, 0x10) for source in (K, X)}
    | {ALU | operation | source for operation in (MOD, XOR) for source in (K, X)}
    | {ALU | NEG}
    | {LD | size | mode for size in SIZES for mode in (ABS, IND)}
    | {LD | IMM, LD | LEN, LD | MEM, LDX | IMM, LDX | LEN, LDX | MEM, LDX | BYTE | MSH}
    | {ST, STX, MISC | TAX, MISC | TXA, RET | K, RET | A, JMP | JA}
    | {JMP | operation | source for operation in (JEQ, JGT, JGE, JSET) for source in (K, X)}
)
"""What bpf_check_classic lets pass (chk_code_allowed)."""

(
    AD_PROTOCOL,
    AD_PKTTYPE,
    AD_IFINDEX,
    AD_NLATTR,
    AD_NLATTR_NEST,
    AD_MARK,
    AD_QUEUE,
    AD_HATYPE,
    AD_RXHASH,
    AD_CPU,
    AD_ALU_XOR_X,
    AD_VLAN_TAG,
    AD_VLAN_TAG_PRESENT,
    AD_PAY_OFFSET,
    AD_RANDOM,
    AD_VLAN_TPID,
) = range(0, 64, 4)
"""Offsets behind SKF_AD_OFF."""


# -- checking --------------------------------------------------------------------------------------


def check_program(program: Program) -> None:
    """Refuse what the kernel refuses (bpf_check_classic)."""
    for number, instruction in enumerate(program):
        what = _wrong(program, number, instruction)
        if what:
            raise RulesetError(f"bpf: the kernel refuses instruction {number}: {what}")
    if program[-1].code not in {RET | K, RET | A}:
        raise RulesetError("bpf: the kernel refuses a program that does not end with a return")
    _check_memory(program)


def _wrong(program: Program, number: int, instruction: Instruction) -> str:
    """Say what is wrong with one instruction, or nothing."""
    code, jt, jf, k = instruction
    left = len(program) - number - 1
    if code not in ALLOWED:
        return f"there is no code {code}"
    if code in {ALU | DIV | K, ALU | MOD | K} and not k:
        return "a division by 0"
    if code in {ALU | LSH | K, ALU | RSH | K} and k >= 32:
        return f"a shift by {k}"
    if code in {LD | MEM, LDX | MEM, ST, STX} and k >= MEMORY_WORDS:
        return f"memory has words 0 to {MEMORY_WORDS - 1}, not {k}"
    if code == JMP | JA:
        return "" if k < left else "a jump behind the end"
    if code & 7 == JMP and max(jt, jf) >= left:
        return "a jump behind the end"
    if code & 0xE7 == LD | ABS and _signed(k) >= SKF_AD_OFF and _signed(k) < 0:
        if _signed(k) - SKF_AD_OFF not in range(AD_PROTOCOL, AD_VLAN_TPID + 1, 4):
            return f"nothing is known at offset {_signed(k)}"
    return ""


def _check_memory(program: Program) -> None:
    """Refuse loads of words that were not stored on every way (check_load_and_stores)."""
    everything = (1 << MEMORY_WORDS) - 1
    stored_at = [everything] * len(program)
    stored = 0
    for number, (code, jt, jf, k) in enumerate(program):
        stored &= stored_at[number]
        if code in {ST, STX}:
            stored |= 1 << k
        elif code in {LD | MEM, LDX | MEM}:
            if not stored >> k & 1:
                raise RulesetError(
                    f"bpf: the kernel refuses instruction {number}: "
                    f"word {k} of the memory may not have been stored"
                )
        elif code & 7 == JMP:
            for distance in (k,) if code == JMP | JA else (jt, jf):
                stored_at[number + 1 + distance] &= stored
            stored = everything


def _signed(value: int) -> int:
    return value - (1 << 32) if value >> 31 else value


# -- running ---------------------------------------------------------------------------------------


class _OutsideError(Exception):
    """A load outside of the packet, or a division by 0: the program returns 0."""


class Packet:
    """What a program can read."""

    __slots__ = ("family", "net", "skb")

    def __init__(self, net: Net, skb: Skb, family: Family) -> None:
        """Keep the packet and what it is in."""
        self.net = net
        self.skb = skb
        self.family = family

    def load(self, offset: int, size: int) -> int:
        """Load octets; a negative offset counts from a header."""
        data: bytes | bytearray = self.skb.data
        if offset < 0:
            if offset >= SKF_NET_OFF:
                offset -= SKF_NET_OFF
            elif offset >= SKF_LL_OFF and self.skb.mac_header:
                offset -= SKF_LL_OFF
                data = self.skb.mac_header + data
            else:
                raise _OutsideError
        if offset + size > len(data):
            raise _OutsideError
        return int.from_bytes(data[offset : offset + size], "big")

    def ancillary(self, what: int, a: int, x: int) -> int:
        """Load what is no octet of the packet."""
        skb = self.skb
        if what in {AD_IFINDEX, AD_HATYPE}:
            device = skb.device
            if device is None:
                raise _OutsideError
            if what == AD_IFINDEX:
                return device.ifindex
            return ARPHRD_LOOPBACK if device.loopback else ARPHRD_ETHER
        if what == AD_NLATTR:
            return _netlink_attribute(bytes(skb.data), a, x)
        if what == AD_NLATTR_NEST:
            return _nested_attribute(bytes(skb.data), a, x)
        if what == AD_ALU_XOR_X:
            return a ^ x
        if what == AD_RANDOM:
            return self.net.entropy.stream("bpf").u32()
        if what == AD_PAY_OFFSET:
            return payload_offset(skb, self.family)
        tagged = skb.vlan_tci is not None
        return {
            AD_PROTOCOL: skb.protocol,
            AD_PKTTYPE: skb.pkt_type,
            AD_MARK: skb.mark,
            AD_VLAN_TAG: skb.vlan_tci or 0,
            AD_VLAN_TAG_PRESENT: int(tagged),
            AD_VLAN_TPID: skb.vlan_proto if tagged else 0,
        }.get(what, 0)


ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772


def run_program(program: Program, packet: Packet) -> int:
    """Run from the first instruction to a return."""
    try:
        return _run(program, packet)
    except _OutsideError:
        return 0


def _run(program: Program, packet: Packet) -> int:
    a = x = 0
    memory = [0] * MEMORY_WORDS
    at = 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        kind = code & 7
        if kind == RET:
            return a if code & 0x18 == A else k
        if kind == JMP:
            if code == JMP | JA:
                at += k
            else:
                at += jt if _holds(code & 0xF0, a, x if code & X else k) else jf
        elif kind == ALU:
            a = _calculate(code & 0xF0, a, x if code & X else k)
        elif kind == LD:
            a = _load(code, k, a, x, memory, packet)
        elif kind == LDX:
            if code & 0xE0 == MSH:
                x = (packet.load(_signed(k), 1) & 0x0F) * 4
            else:
                x = _load(code, k, a, x, memory, packet)
        elif kind == ST:
            memory[k] = a
        elif kind == STX:
            memory[k] = x
        elif code == MISC | TAX:
            x = a
        else:
            a = x


def _load(code: int, k: int, a: int, x: int, memory: list[int], packet: Packet) -> int:
    """Return what LD and LDX load."""
    mode = code & 0xE0
    if mode == IMM:
        return k
    if mode == MEM:
        return memory[k]
    if mode == LEN:
        return len(packet.skb.data)
    offset = _signed(k) if mode == ABS else _signed(x + k & U32)
    if mode == ABS and SKF_AD_OFF <= offset < 0:
        return packet.ancillary(offset - SKF_AD_OFF, a, x) & U32
    return packet.load(offset, SIZES[code & 0x18])


def _holds(operation: int, a: int, operand: int) -> bool:
    if operation == JEQ:
        return a == operand
    if operation == JGT:
        return a > operand
    return a >= operand if operation == JGE else bool(a & operand)


def _calculate(operation: int, a: int, operand: int) -> int:
    """Return the new accumulator; shifts look at five bits of their operand."""
    if operation in {DIV, MOD}:
        if not operand:
            raise _OutsideError
        return a // operand if operation == DIV else a % operand
    if operation == ADD:
        return a + operand & U32
    if operation == SUB:
        return a - operand & U32
    if operation == MUL:
        return a * operand & U32
    if operation == OR:
        return a | operand
    if operation == AND:
        return a & operand
    if operation == LSH:
        return a << (operand & 31) & U32
    if operation == RSH:
        return a >> (operand & 31)
    return -a & U32 if operation == NEG else a ^ operand


_HEADER_LENS = {
    IPPROTO_UDP: 8,
    IPPROTO_UDPLITE: 8,
    IPPROTO_ICMP: 8,
    IPPROTO_IGMP: 8,
    IPPROTO_SCTP: 12,
    IPPROTO_DCCP: 12,
    58: 8,
}


def payload_offset(skb: Skb, family: Family) -> int:
    """Return where what the L4 header carries begins (skb_get_poff).

    Differs from Linux: of IPv6 no extension headers are looked at.
    """
    data = skb.data
    if family == Family.IPV6:
        start, protocol, first = 40, data[6], True
    else:
        start, protocol = skb.transport_offset, data[9]
        first = not get16(data, 6) & 0x1FFF
    if not first:
        return start
    if protocol != IPPROTO_TCP:
        return start + _HEADER_LENS.get(protocol, 0)
    return start + (data[start + 12] >> 4) * 4 if len(data) > start + 12 else start


def _netlink_attribute(data: bytes, a: int, x: int) -> int:
    """Return the offset of attribute X from offset A on (bpf_skb_get_nlattr)."""
    if len(data) < 4 or a > len(data) - 4:
        return 0
    return _find_attribute(data, a, len(data), x)


def _nested_attribute(data: bytes, a: int, x: int) -> int:
    """Return the offset of attribute X inside of the one at A (bpf_skb_get_nlattr_nest)."""
    if len(data) < 4 or a > len(data) - 4:
        return 0
    length = int.from_bytes(data[a : a + 2], "little")
    if length > len(data) - a:
        return 0
    return _find_attribute(data, a + 4, a + length, x)


def _find_attribute(data: bytes, at: int, end: int, wanted: int) -> int:
    """Walk attributes of the machine's own byte order, little-endian (nla_find)."""
    while end - at >= 4:
        length = int.from_bytes(data[at : at + 2], "little")
        kind = int.from_bytes(data[at + 2 : at + 4], "little") & 0x3FFF
        if not 4 <= length <= end - at:
            return 0
        if kind == wanted:
            return at
        at += length + 3 & ~3
    return 0
