"""The kernel-log line of a packet, as LOG and TRACE write it.

Kernel: net/netfilter/nf_log_syslog.c (nf_log_ip_packet, dump_ipv4_packet).

Every item is followed by one blank, so a line ends with one. Levels and rate limits of the console
are no part of the text. LOG prints `--log-macdecode` and the other parts only when asked; TRACE
asks for everything but MACDECODE.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Protocol, runtime_checkable

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.hook import HookState
from netemu.skb import ETH_HLEN, Device, Skb
from netemu.wire.address import format_address, format_mac
from netemu.wire.icmp import NR_ICMP_TYPES, IcmpType
from netemu.wire.ipv4 import IP_CE, IP_DF, IP_MF, IP_OFFSET
from netemu.wire.ipv4 import Protocol as IpProtocol

IPTOS_TOS_MASK = 0x1E
IPTOS_PREC_MASK = 0xE0
"""include/uapi/linux/ip.h."""


class LogFlags(IntFlag):
    """NF_LOG_*: what a line shows beyond the usual."""

    TCPSEQ = 0x01
    TCPOPT = 0x02
    IPOPT = 0x04
    UID = 0x08
    MACDECODE = 0x20


DEFAULT_MASK = LogFlags.TCPSEQ | LogFlags.TCPOPT | LogFlags.IPOPT | LogFlags.UID
"""NF_LOG_DEFAULT_MASK: what TRACE and conntrack's own messages show."""


ACCURATE_ECN = 0x100
"""Not the kernel's: the fourth reserved bit of TCP is the flag AE, as in kernels after 6.1."""

OLD_KERNEL = "6.1"


@runtime_checkable
class SocketOwner(Protocol):
    """A local socket that belongs to a process; the kernel's own sockets have no owner."""

    uid: int
    gid: int


class Layer4(Struct, frozen=True, kw_only=True):
    """The rest of a packet behind an IP header, for the printers below."""

    data: bytes | bytearray | memoryview
    offset: int
    """Of the L4 header in `data`."""
    fragment: int
    """Fragment offset of the IP header in front."""
    protocol: int

    @property
    def length(self) -> int:
        """What is left of the packet, in unsigned 32-bit arithmetic as the kernel prints it."""
        return (len(self.data) - self.offset) & 0xFFFFFFFF

    def has(self, octets: int) -> bool:
        """Return whether a header of this size is there (skb_header_pointer)."""
        return len(self.data) - self.offset >= octets

    def be16(self, at: int) -> int:
        """Read 16 bits of the header."""
        start = self.offset + at
        return self.data[start] << 8 | self.data[start + 1]

    def be32(self, at: int) -> int:
        """Read 32 bits of the header."""
        return self.be16(at) << 16 | self.be16(at + 2)

    def incomplete(self) -> str:
        """Say how much of the header is there."""
        return f"INCOMPLETE [{self.length} bytes] "


def nf_log_ip_packet(
    net: Net,
    skb: Skb,
    in_device: Device | None,
    out_device: Device | None,
    logflags: int,
    prefix: str,
) -> None:
    """Write the line of an IPv4 packet to the kernel log."""
    text = packet_text(
        skb, in_device, out_device, logflags, prefix, accurate_ecn=net.kernel != OLD_KERNEL
    )
    net.printk(skb, text)


def bound_logger(net: Net) -> bool:
    """Return whether TRACE and conntrack reach the kernel log in this namespace.

    nf_log_syslog binds itself unless net.netfilter.nf_log.2 names something else; LOG does not ask.
    """
    return net.sysctl.values.get("net.netfilter.nf_log.2", "nf_log_ipv4") == "nf_log_ipv4"


def syslog_net_init(net: Net) -> None:
    """Take the messages of conntrack about single packets (log_invalid)."""

    def nf_log_packet(skb: Skb, state: HookState, prefix: str) -> None:
        if bound_logger(net):
            nf_log_ip_packet(net, skb, state.in_device, state.out_device, DEFAULT_MASK, prefix)

    net.nf_log_packet = nf_log_packet


def packet_text(
    skb: Skb,
    in_device: Device | None,
    out_device: Device | None,
    logflags: int,
    prefix: str,
    *,
    accurate_ecn: bool = True,
) -> str:
    """Return the line of an IPv4 packet; `accurate_ecn` names the TCP flag AE."""
    if accurate_ecn:
        logflags |= ACCURATE_ECN
    mac = dump_mac_header(skb, logflags) if in_device is not None else ""
    return (
        dump_packet_common(skb, in_device, out_device, prefix)
        + mac
        + dump_ipv4_packet(skb, logflags, 0)
    )


def dump_packet_common(
    skb: Skb, in_device: Device | None, out_device: Device | None, prefix: str
) -> str:
    """Return prefix and devices (nf_log_dump_packet_common)."""
    text = (
        f"{prefix}IN={in_device.name if in_device else ''} "
        f"OUT={out_device.name if out_device else ''} "
    )
    bridge = skb.nf_bridge
    if bridge is not None:
        if bridge.physindev is not None and bridge.physindev is not in_device:
            text += f"PHYSIN={bridge.physindev.name} "
        if bridge.physoutdev is not None and bridge.physoutdev is not out_device:
            text += f"PHYSOUT={bridge.physoutdev.name} "
    return text


def dump_mac_header(skb: Skb, logflags: int) -> str:
    """Return the link header: MAC=, or MACSRC= MACDST= MACPROTO= on Ethernet with MACDECODE."""
    header = skb.mac_header
    device = skb.device
    if logflags & LogFlags.MACDECODE and device is not None and not device.loopback:
        if not header:  # a broadcast of the node's own that it hears, too
            return ""
        vlan = (
            f"VPROTO={skb.vlan_proto:04x} VID={skb.vlan_tci} " if skb.vlan_tci is not None else ""
        )
        return (
            f"MACSRC={format_mac(header[6:12])} MACDST={format_mac(header[0:6])} "
            f"{vlan}MACPROTO={header[12:14].hex()} "
        )
    length = ETH_HLEN if device is None else device.hard_header_len
    # A VLAN device's header is longer than what is left of it: the packet's first octets follow.
    octets = header if len(header) >= length or not header else header + bytes(skb.data[:4])
    return f"MAC={format_mac(octets[:length])} "


def dump_ipv4_packet(skb: Skb, logflags: int, start: int) -> str:
    """Return everything from SRC= on; `start` is 0, or where a quoted packet begins."""
    data = skb.data
    if len(data) - start < 20:
        return "TRUNCATED"
    header_len = (data[start] & 0x0F) * 4
    text = _ip_fields(data, start)
    if logflags & LogFlags.IPOPT and header_len > 20:
        if len(data) - start < header_len:
            return text + "TRUNCATED"
        text += f"OPT ({data[start + 20 : start + header_len].hex().upper()}) "
    rest = Layer4(
        data=data,
        offset=start + header_len,
        fragment=(data[start + 6] << 8 | data[start + 7]) & IP_OFFSET,
        protocol=data[start + 9],
    )
    more, complete = _dump_layer4(skb, rest, logflags, start)
    text += more
    if start or not complete:
        return text
    if logflags & LogFlags.UID:
        text += dump_sk_uid_gid(skb)
    if skb.mark:
        text += f"MARK=0x{skb.mark:x} "
    return text


def _ip_fields(data: bytearray, start: int) -> str:
    word = data[start + 6] << 8 | data[start + 7]
    offset = word & IP_OFFSET
    tos = data[start + 1]
    return (
        f"SRC={format_address(bytes(data[start + 12 : start + 16]))} "
        f"DST={format_address(bytes(data[start + 16 : start + 20]))} "
        f"LEN={data[start + 2] << 8 | data[start + 3]} TOS=0x{tos & IPTOS_TOS_MASK:02X} "
        f"PREC=0x{tos & IPTOS_PREC_MASK:02X} TTL={data[start + 8]} "
        f"ID={data[start + 4] << 8 | data[start + 5]} "
        f"{'CE ' if word & IP_CE else ''}{'DF ' if word & IP_DF else ''}"
        f"{'MF ' if word & IP_MF else ''}{f'FRAG:{offset} ' if offset else ''}"
    )


def _dump_layer4(skb: Skb, rest: Layer4, logflags: int, start: int) -> tuple[str, bool]:
    """Return the text from PROTO= on, and False if UID= and MARK= are not to follow."""
    match rest.protocol:
        case IpProtocol.TCP:
            return dump_tcp_header(rest, logflags)
        case IpProtocol.UDP | IpProtocol.UDPLITE:
            return dump_udp_header(rest)
        case IpProtocol.ICMP:
            return _dump_icmp(skb, rest, logflags, start), True
        case IpProtocol.AH:
            return _dump_ah(rest), True
        case IpProtocol.ESP:
            return _dump_esp(rest), True
        case _:
            return f"PROTO={rest.protocol} ", True


def dump_tcp_header(rest: Layer4, logflags: int) -> tuple[str, bool]:
    """Return the TCP part, and False when the header is cut (nf_log_dump_tcp_header)."""
    text = "PROTO=TCP "
    if rest.fragment:
        return text, True
    if not rest.has(20):
        return text + rest.incomplete(), False
    text += f"SPT={rest.be16(0)} DPT={rest.be16(2)} "
    if logflags & LogFlags.TCPSEQ:
        text += f"SEQ={rest.be32(4)} ACK={rest.be32(8)} "
    text += f"WINDOW={rest.be16(14)} {_tcp_flags(rest, logflags)}URGP={rest.be16(18)} "
    option_len = (rest.be16(12) >> 12) * 4 - 20
    if logflags & LogFlags.TCPOPT and option_len > 0:
        if not rest.has(20 + option_len):
            return text + "OPT (TRUNCATED)", False
        first = rest.offset + 20
        text += f"OPT ({bytes(rest.data[first : first + option_len]).hex().upper()}) "
    return text, True


_TCP_FLAG_NAMES = (
    (0x100, "AE "),
    (0x80, "CWR "),
    (0x40, "ECE "),
    (0x20, "URG "),
    (0x10, "ACK "),
    (0x08, "PSH "),
    (0x04, "RST "),
    (0x02, "SYN "),
    (0x01, "FIN "),
)
"""In the order in which they are printed."""


def _tcp_flags(rest: Layer4, logflags: int) -> str:
    word = rest.be16(12)
    if not logflags & ACCURATE_ECN:
        names = "".join(name for bit, name in _TCP_FLAG_NAMES[1:] if word & bit)
        return f"RES=0x{(word & 0x0F00) >> 6:02x} {names}"
    names = "".join(name for bit, name in _TCP_FLAG_NAMES if word & bit)
    return f"RES=0x{(word & 0x0E00) >> 6:02x} {names}"


def dump_udp_header(rest: Layer4) -> tuple[str, bool]:
    """Return the UDP part, and False when the header is cut (nf_log_dump_udp_header)."""
    text = "PROTO=UDP " if rest.protocol == IpProtocol.UDP else "PROTO=UDPLITE "
    if rest.fragment:
        return text, True
    if not rest.has(8):
        return text + rest.incomplete(), False
    return text + f"SPT={rest.be16(0)} DPT={rest.be16(2)} LEN={rest.be16(4)} ", True


_REQUIRED_LEN: dict[int, int] = {
    IcmpType.ECHO_REPLY: 4,
    IcmpType.DEST_UNREACH: 28,
    IcmpType.SOURCE_QUENCH: 28,
    IcmpType.REDIRECT: 28,
    IcmpType.ECHO: 4,
    IcmpType.TIME_EXCEEDED: 28,
    IcmpType.PARAMETER_PROBLEM: 28,
    IcmpType.TIMESTAMP: 20,
    IcmpType.TIMESTAMP_REPLY: 20,
    IcmpType.ADDRESS: 12,
    IcmpType.ADDRESS_REPLY: 12,
}
"""Octets without which the rest of an ICMP message is not printed."""


def _dump_icmp(skb: Skb, rest: Layer4, logflags: int, start: int) -> str:
    text = "PROTO=ICMP "
    if rest.fragment:
        return text
    if not rest.has(8):
        return text + rest.incomplete()
    kind, code = rest.data[rest.offset], rest.data[rest.offset + 1]
    text += f"TYPE={kind} CODE={code} "
    if kind <= NR_ICMP_TYPES and rest.length < _REQUIRED_LEN.get(kind, 0):
        return text + rest.incomplete()
    match kind:
        case IcmpType.ECHO | IcmpType.ECHO_REPLY:
            text += f"ID={rest.be16(4)} SEQ={rest.be16(6)} "
        case IcmpType.PARAMETER_PROBLEM:
            text += f"PARAMETER={rest.data[rest.offset + 4]} "
        case IcmpType.REDIRECT:
            gateway = bytes(rest.data[rest.offset + 4 : rest.offset + 8])
            text += f"GATEWAY={format_address(gateway)} " + _quoted(skb, rest, logflags, start)
        case IcmpType.SOURCE_QUENCH | IcmpType.TIME_EXCEEDED:
            text += _quoted(skb, rest, logflags, start)
        case IcmpType.DEST_UNREACH:
            text += _quoted(skb, rest, logflags, start)
            if code == 4:  # ICMP_FRAG_NEEDED
                text += f"MTU={rest.be16(6)} "
    return text


def _quoted(skb: Skb, rest: Layer4, logflags: int, start: int) -> str:
    """Return the packet that an ICMP error quotes; a quotation in a quotation is left out."""
    if start:
        return ""
    return f"[{dump_ipv4_packet(skb, logflags, rest.offset + 8)}] "


def _dump_ah(rest: Layer4) -> str:
    if rest.fragment:
        return ""
    if not rest.has(12):
        return "PROTO=AH " + rest.incomplete()
    return f"PROTO=AH SPI=0x{rest.be32(4):x} "


def _dump_esp(rest: Layer4) -> str:
    text = "PROTO=ESP "
    if rest.fragment:
        return text
    if not rest.has(8):
        return text + rest.incomplete()
    return text + f"SPI=0x{rest.be32(0):x} "


def dump_sk_uid_gid(skb: Skb) -> str:
    """Return the owner of the local socket (nf_log_dump_sk_uid_gid)."""
    if isinstance(skb.sk, SocketOwner):
        return f"UID={skb.sk.uid} GID={skb.sk.gid} "
    return ""
