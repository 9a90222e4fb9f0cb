"""IPv4 addresses of a range, each with a MAC address: type `bitmap:ip,mac`.

Kernel: net/netfilter/ipset/ip_set_bitmap_ipmac.c.

An element without a MAC takes that of the first packet that asks for it; its timeout begins then.
"""

from __future__ import annotations

from functools import partial

from netemu.netfilter.hook import Family
from netemu.netfilter.ipset.attributes import ElementAttributes
from netemu.netfilter.ipset.bitmap import BitmapContent, BitmapKind, Range
from netemu.netfilter.ipset.bitmap_ip import RANGE, address_range, head_of
from netemu.netfilter.ipset.errcode import Errno, SetError
from netemu.netfilter.ipset.ip_set import AdtOptions, Part, SetType
from netemu.netfilter.ipset.keywords import ADD
from netemu.netfilter.ipset.packet import Packet
from netemu.netfilter.ipset.prefix import to_number, to_packed


def _values(span: Range, said: ElementAttributes, test: bool) -> range:  # noqa: FBT001
    if said.ip is None:
        raise SetError(Errno.PROTOCOL)
    value = to_number(said.ip)
    if not span.has(value):
        raise SetError(Errno.BITMAP_RANGE)
    return range(value, value + 1)


def _value_of(packet: Packet, options: AdtOptions) -> int:
    return to_number(packet.address(src=options.src(1)))


KIND = BitmapKind(
    span=address_range,
    values=_values,
    value_of=_value_of,
    attributes=lambda value: ElementAttributes(ip=to_packed(value)),
    head=head_of,
    with_mac=True,
    head_octets=80,
    struct_octets=8,
    align=8,
)

TYPE = SetType(
    name="bitmap:ip,mac",
    aliases=("macipmap",),
    revision=3,
    kernel="ip_set_bitmap_ipmac.c",
    duty="Holds IPv4 addresses of a range, each with its MAC address.",
    families=(Family.IPV4,),
    parts=(Part("ip", "single_ip", "ip"), Part("ether", "ether", "ether")),
    optional_last=True,
    create=("ip-range", *RANGE),
    create_need=("ip", "ip_to"),
    add=ADD,
    need=("ip",),
    may=("ether",),
    test_may=("ether",),
    features=frozenset({"ip", "mac"}),
    make=partial(BitmapContent, KIND),
)
