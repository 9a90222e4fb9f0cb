"""What the other end would answer to a frame: SYN+ACK, an echo reply, a datagram back."""

from __future__ import annotations

from netemu.wire.arp import ARP, build_arp
from netemu.wire.ethernet import ethernet_header
from netemu.wire.icmp import HEADER_LEN, IcmpType, build_icmp
from netemu.wire.ipv4 import IPv4, Protocol, build_ipv4
from netemu.wire.tcp import TCP, Flag, build_tcp
from netemu.wire.udp import UDP, build_udp

ANSWER_WINDOW = 65160
"""What Linux offers in a SYN+ACK over Ethernet (tcp_select_initial_window with 1448 octets)."""


def answer_to(frame: bytes) -> bytes | None:
    """Return the frame that an open port or a host answers with; None when it stays silent."""
    ethertype = int.from_bytes(frame[12:14], "big")
    if ethertype == 0x0806 and len(frame) >= 42:
        return _arp_reply(frame)
    if ethertype != 0x0800 or len(frame) < 34:
        return None
    ip = IPv4(bytearray(frame[14:]))
    if ip.header_len < 20 or ip.fragment_offset or ip.more_fragments:
        return None
    body = bytes(ip.data[ip.header_len : ip.total_length])
    made = _transport(ip, body)
    if made is None:
        return None
    packet = build_ipv4(
        src=ip.dst,
        dst=ip.src,
        protocol=ip.protocol,
        payload=made,
        dont_fragment=ip.dont_fragment,
        identification=1,
    )
    return ethernet_header(frame[6:12], frame[0:6], ethertype) + bytes(packet)


def _transport(ip: IPv4, body: bytes) -> bytes | None:
    if ip.protocol == Protocol.TCP and len(body) >= 20:
        return _tcp(ip, body)
    if ip.protocol == Protocol.UDP and len(body) >= 8:
        udp = UDP(bytearray(body))
        return bytes(
            build_udp(src=ip.dst, dst=ip.src, src_port=udp.dst_port, dst_port=udp.src_port)
        )
    if ip.protocol == Protocol.ICMP and len(body) >= HEADER_LEN and body[0] == IcmpType.ECHO:
        rest = int.from_bytes(body[4:8], "big")
        return bytes(
            build_icmp(icmp_type=IcmpType.ECHO_REPLY, rest=rest, payload=body[HEADER_LEN:])
        )
    return None


def _tcp(ip: IPv4, body: bytes) -> bytes | None:
    tcp = TCP(bytearray(body))
    if tcp.flags & Flag.RST:
        return None
    opening = bool(tcp.flags & Flag.SYN) and not tcp.flags & Flag.ACK
    taken = len(body) - tcp.data_offset + bool(tcp.flags & (Flag.SYN | Flag.FIN))
    return bytes(
        build_tcp(
            src=ip.dst,
            dst=ip.src,
            src_port=tcp.dst_port,
            dst_port=tcp.src_port,
            seq=1 if opening else tcp.ack,
            ack=tcp.seq + taken,
            flags=Flag.SYN | Flag.ACK if opening else Flag.ACK | tcp.flags & Flag.FIN,
            window=ANSWER_WINDOW,
        )
    )


def _arp_reply(frame: bytes) -> bytes | None:
    arp = ARP(bytearray(frame[14:]))
    if arp.operation != 1:
        return None
    mac = bytes.fromhex("0200") + arp.target_ip
    reply = build_arp(
        operation=2,
        sender_mac=mac,
        sender_ip=arp.target_ip,
        target_mac=arp.sender_mac,
        target_ip=arp.sender_ip,
    )
    return ethernet_header(arp.sender_mac, mac, 0x0806) + bytes(reply)
