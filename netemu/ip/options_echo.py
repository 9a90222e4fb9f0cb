"""The options of an answer, made from those of the packet that is answered.

Kernel: net/ipv4/ip_options.c (__ip_options_echo, ip_options_build).
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from netemu.ip.fib import inet_addr_type
from netemu.ip.fib_table import RouteType
from netemu.ip.options import (
    IPOPT_END,
    TS_PRESPECIFIED,
    IpOptions,
    inet_current_timestamp,
    skb_options,
)
from netemu.net import Net
from netemu.skb import Skb
from netemu.wire.ipv4 import MIN_HEADER_LEN


class EchoedOptions(Struct, kw_only=True):
    """Options of an answer, not yet filled in."""

    octets: bytearray
    places: IpOptions
    first_hop: bytes = b""
    """First hop of the reversed source route; empty without one (faddr)."""


def ip_options_echo(net: Net, skb: Skb) -> EchoedOptions | None:
    """Return the options for an answer to `skb`; None when they cannot be turned round."""
    source = skb_options(skb)
    made = EchoedOptions(octets=bytearray(), places=IpOptions(optlen=0))
    if source is None or not source.optlen:
        return made
    if source.rr and not _echo_record_route(skb, source, made):
        return None
    if source.ts and not _echo_timestamp(net, skb, source, made):
        return None
    if source.srr:
        _echo_source_route(skb, source, made)
    if source.cipso:
        made.octets += skb.data[source.cipso : source.cipso + skb.data[source.cipso + 1]]
    while len(made.octets) & 3:
        made.octets.append(IPOPT_END)
    made.places.optlen = len(made.octets)
    return made


def _echo_record_route(skb: Skb, source: IpOptions, made: EchoedOptions) -> bool:
    data, at = skb.data, source.rr
    length, pointer = data[at + 1], data[at + 2]
    option = bytearray(data[at : at + length])
    if source.rr_needaddr and pointer <= length:
        if pointer + 3 > length:
            return False
        option[2] = pointer + 4
        made.places.rr_needaddr = True
    made.places.rr = MIN_HEADER_LEN + len(made.octets)
    made.octets += option
    return True


def _echo_timestamp(net: Net, skb: Skb, source: IpOptions, made: EchoedOptions) -> bool:
    data, at = skb.data, source.ts
    length, pointer = data[at + 1], data[at + 2]
    option = bytearray(data[at : at + length])
    if pointer <= length:
        if source.ts_needaddr:
            if pointer + 3 > length:
                return False
            made.places.ts_needaddr = True
            pointer += 4
        if source.ts_needtime:
            if pointer + 3 > length:
                return False
            if option[3] & 0x0F != TS_PRESPECIFIED:
                made.places.ts_needtime = True
                pointer += 4
            elif pointer + 7 <= length:
                named = bytes(option[pointer - 1 : pointer + 3])
                if inet_addr_type(net, named) != RouteType.UNICAST:
                    made.places.ts_needtime = True
                    pointer += 8
        option[2] = pointer
    made.places.ts = MIN_HEADER_LEN + len(made.octets)
    made.octets += option
    return True


def _echo_source_route(skb: Skb, source: IpOptions, made: EchoedOptions) -> None:
    """Reverse the hops that were visited; the last one becomes the first hop."""
    data, at = skb.data, source.srr
    length = data[at + 1]
    pointer = min(data[at + 2], length + 1) - 4
    hops = []
    while pointer > 3:
        hops.append(bytes(data[at + pointer - 1 : at + pointer + 3]))
        pointer -= 4
    # RFC 1812 requires to fix illegal source routes: the source itself is no hop.
    illegal = data[12:16] == data[at + pointer + 3 : at + pointer + 7]
    slots = len(hops) - (1 if illegal else 0)
    if slots < 1:
        return
    made.first_hop = hops[0]
    made.places.srr = MIN_HEADER_LEN + len(made.octets)
    made.places.is_strictroute = source.is_strictroute
    made.octets += bytes((data[at], 3 + 4 * slots, 4)) + b"".join(hops[1:slots]) + bytes(4)


def ip_options_build(net: Net, skb: Skb, made: EchoedOptions, daddr: bytes) -> None:
    """Fill in the options of our own packet, which has them in its header already.

    The packet remembers where they stand: an error about it echoes them in turn.
    """
    packet, places = skb.data, made.places
    skb.options = replace(places)
    source = packet[12:16]
    if places.srr:
        slot = places.srr + packet[places.srr + 1] - 4
        packet[slot : slot + 4] = daddr
    if places.rr_needaddr:
        slot = places.rr + packet[places.rr + 2] - 5
        packet[slot : slot + 4] = source
    if places.ts_needaddr:
        slot = places.ts + packet[places.ts + 2] - 9
        packet[slot : slot + 4] = source
    if places.ts_needtime:
        slot = places.ts + packet[places.ts + 2] - 5
        packet[slot : slot + 4] = inet_current_timestamp(net).to_bytes(4, "big")
