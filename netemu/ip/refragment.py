"""Cutting a packet into fragments.

Kernel: net/ipv4/ip_output.c (ip_do_fragment, ip_frag_next, ip_fraglist_prepare).

A packet that was put together from fragments remembers their sizes in `skb.frag_list`. It is cut at
the same places again if they still fit; otherwise at multiples of 8 octets below the MTU.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.ip.options import ip_options_fragment
from netemu.ip.rtable import IPSKB_FRAG_COMPLETE, IPSKB_FRAG_PMTU, ip_skb_dst_mtu
from netemu.link.device import skb_checksum_help
from netemu.net import Net, kfree_skb_reason
from netemu.skb import Checksum, Skb
from netemu.wire.ipv4 import IP_DF, IP_MF, IP_OFFSET, IPv4

Output = Callable[[Skb], None]


def ip_do_fragment(net: Net, skb: Skb, output: Output) -> None:
    """Cut `skb` to the MTU of its route and hand every piece to `output`."""
    skb_checksum_help(skb)
    mtu = ip_skb_dst_mtu(skb)
    if skb.frag_max_size and skb.frag_max_size < mtu:
        mtu = skb.frag_max_size
    header_len = IPv4(skb.data).header_len
    if mtu < header_len + 8:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", f"MTU {mtu} leaves no room")
        return
    room = mtu - header_len
    skb.ip_flags |= IPSKB_FRAG_COMPLETE
    sizes = skb.frag_list
    if sizes is not None and _geometry_fits(skb, sizes, room):
        _send_as_received(skb, sizes, output)
    else:
        _send_anew(skb, room, output)


def _geometry_fits(skb: Skb, sizes: list[int], room: int) -> bool:
    header = IPv4(skb.data)
    if header.frag_off & (IP_MF | IP_OFFSET):
        return False
    if sum(sizes) != len(skb.data) - header.header_len or len(sizes) < 2:
        return False
    return all(size <= room for size in sizes) and not any(size & 7 for size in sizes[:-1])


def _send_as_received(skb: Skb, sizes: list[int], output: Output) -> None:
    """Cut where the packet was cut before; DF, if any, is not repeated (ip_fraglist_init)."""
    header = bytearray(skb.data[: IPv4(skb.data).header_len])
    start = len(header)
    offset = 0
    for index, size in enumerate(sizes):
        last = index == len(sizes) - 1
        word = (offset >> 3) | (0 if last else IP_MF)
        payload = skb.data[start + offset : start + offset + size]
        piece = _piece(skb, header, payload, word)
        if index == 0:
            ip_options_fragment(header)
        offset += size
        output(piece)


def _send_anew(skb: Skb, room: int, output: Output) -> None:
    """Cut at the MTU (the slow path of ip_do_fragment)."""
    view = IPv4(skb.data)
    header = bytearray(skb.data[: view.header_len])
    word = view.frag_off
    # The reassembler sets DF on what it asks to have fragmented with DF (IPSKB_FRAG_PMTU).
    dont_fragment = IP_DF if skb.ip_flags & IPSKB_FRAG_PMTU else 0
    offset = (word & IP_OFFSET) << 3
    position, left = len(header), len(skb.data) - len(header)
    while left > 0:
        length = min(left, room)
        if length < left:
            length &= ~7
        payload = skb.data[position : position + length]
        left -= length
        more = IP_MF if left > 0 or word & IP_MF else 0
        piece = _piece(skb, header, payload, (offset >> 3) | dont_fragment | more)
        if offset == 0:
            ip_options_fragment(header)
        position += length
        offset += length
        output(piece)


def _piece(skb: Skb, header: bytearray, payload: bytearray, word: int) -> Skb:
    piece = skb.clone()
    piece.data = header + payload
    piece.ip_summed = Checksum.NONE
    piece.frag_list = None
    piece.frag_max_size = 0
    view = IPv4(piece.data)
    view.total_length = len(piece.data)
    view.frag_off = word
    view.update_check()
    return piece
