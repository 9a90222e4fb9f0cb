"""IPv4 options: checked on receipt, filled in on the way, turned round in answers.

Kernel: net/ipv4/ip_options.c. RFC 791 section 3.1, RFC 1812 section 5.3.13.
"""

from __future__ import annotations

from msgspec import Struct

from netemu.ip.devinet import RT_SCOPE_UNIVERSE, inet_select_addr
from netemu.ip.fib import Fib, FibResult, fib_result_prefsrc, inet_addr_type
from netemu.ip.fib_table import Flowi4, RouteType
from netemu.ip.route import INET_DSCP_MASK, fib_compute_spec_dst, ip_route_input
from netemu.ip.rtable import Rtable, skb_rtable
from netemu.ip.upcall import report_error
from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net
from netemu.skb import Device, PacketType, Skb
from netemu.wire.address import format_address
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import MIN_HEADER_LEN, IPv4

IPOPT_END = 0
IPOPT_NOOP = 1
IPOPT_RR = 7
IPOPT_TIMESTAMP = 68
IPOPT_LSRR = 131
IPOPT_CIPSO = 134
IPOPT_SSRR = 137
IPOPT_RA = 148
"""Option types (include/uapi/linux/ip.h)."""

CIPSO_MIN_LEN = 8
"""A label has at least its domain and one tag's head (net/ipv4/cipso_ipv4.c)."""

IPOPT_COPY = 0x80
"""Bit of options that every fragment carries."""

TS_ONLY = 0
TS_AND_ADDRESS = 1
TS_PRESPECIFIED = 3
"""Flags of the timestamp option (IPOPT_TS_*)."""

MS_PER_DAY = 86_400_000


class IpOptions(Struct, kw_only=True):
    """Where the options of a packet stand (struct ip_options); offsets from the IP header."""

    optlen: int
    srr: int = 0
    rr: int = 0
    ts: int = 0
    cipso: int = 0
    router_alert: int = 0
    is_strictroute: bool = False
    srr_is_hit: bool = False
    is_changed: bool = False
    rr_needaddr: bool = False
    ts_needtime: bool = False
    ts_needaddr: bool = False
    nexthop: bytes = b""


class OptionError(Exception):
    """An option that cannot be read; `pointer` says which octet of the header is wrong."""

    def __init__(self, pointer: int) -> None:
        """Keep the pointer of the parameter problem."""
        super().__init__(pointer)
        self.pointer = pointer


def skb_options(skb: Skb) -> IpOptions | None:
    """Return the compiled options of a packet."""
    found = skb.options
    assert found is None or isinstance(found, IpOptions)
    return found


def inet_current_timestamp(net: Net) -> int:
    """Return milliseconds since midnight UT."""
    return net.clock.now_ns // 1_000_000 % MS_PER_DAY


def ip_options_compile(net: Net, skb: Skb) -> bool:
    """Check the options of a received packet and note where they stand.

    Our address and time are written into record route and timestamp at once. False means that the
    packet is bad; the parameter problem has been sent.
    """
    compiler = _Compiler(net, skb)
    # What was read before a fault is echoed in the parameter problem all the same.
    skb.options = compiler.options
    try:
        compiler.run()
    except OptionError as error:
        kind = IcmpType.PARAMETER_PROBLEM
        report_error(net, skb, kind, 0, error.pointer << 24)
        return False
    return True


class _Compiler:
    """One run of ip_options_compile over a packet's header."""

    def __init__(self, net: Net, skb: Skb) -> None:
        self.net = net
        self.skb = skb
        self.data = skb.data
        self.options = IpOptions(optlen=skb.transport_offset - MIN_HEADER_LEN)

    def run(self) -> None:
        """Walk over the options."""
        data = self.data
        position = MIN_HEADER_LEN
        end = position + self.options.optlen
        while position < end:
            kind = data[position]
            if kind == IPOPT_END:
                self._clear_rest(position + 1, end)
                break
            if kind == IPOPT_NOOP:
                position += 1
                continue
            if end - position < 2 or not 2 <= data[position + 1] <= end - position:
                raise OptionError(position)
            self._one(kind, position, data[position + 1])
            position += data[position + 1]

    def _clear_rest(self, start: int, end: int) -> None:
        for index in range(start, end):
            if self.data[index] != IPOPT_END:
                self.data[index] = IPOPT_END
                self.options.is_changed = True

    def _one(self, kind: int, at: int, length: int) -> None:
        if kind in {IPOPT_SSRR, IPOPT_LSRR}:
            self._source_route(kind, at, length)
        elif kind == IPOPT_RR:
            self._record_route(at, length)
        elif kind == IPOPT_TIMESTAMP:
            self._timestamp(at, length)
        elif kind == IPOPT_RA:
            if length < 4:
                raise OptionError(at + 1)
            if self.data[at + 2] == 0 and self.data[at + 3] == 0:
                self.options.router_alert = at
        elif kind == IPOPT_CIPSO:
            self._cipso(at, length)

    def _cipso(self, at: int, length: int) -> None:
        """Refuse a security label: no domain of interpretation is set up (cipso_v4_validate)."""
        if self.options.cipso:
            raise OptionError(at)
        self.options.cipso = at
        raise OptionError(at + 1 if length < CIPSO_MIN_LEN else at + 2)

    def _source_route(self, kind: int, at: int, length: int) -> None:
        if length < 3:
            raise OptionError(at + 1)
        if self.data[at + 2] < 4:
            raise OptionError(at + 2)
        if self.options.srr:
            raise OptionError(at)
        self.options.is_strictroute = kind == IPOPT_SSRR
        self.options.srr = at

    def _record_route(self, at: int, length: int) -> None:
        data, options = self.data, self.options
        if options.rr:
            raise OptionError(at)
        if length < 3:
            raise OptionError(at + 1)
        pointer = data[at + 2]
        if pointer < 4:
            raise OptionError(at + 2)
        if pointer <= length:
            if pointer + 3 > length:
                raise OptionError(at + 2)
            self._put_address(at + pointer - 1)
            data[at + 2] += 4
            options.rr_needaddr = True
        options.rr = at

    def _timestamp(self, at: int, length: int) -> None:
        data, options = self.data, self.options
        if options.ts:
            raise OptionError(at)
        if length < 4:
            raise OptionError(at + 1)
        pointer = data[at + 2]
        if pointer < 5:
            raise OptionError(at + 2)
        if pointer <= length:
            if pointer + 3 > length:
                raise OptionError(at + 2)
            self._stamp(at, length, pointer)
        elif data[at + 3] & 0x0F != TS_PRESPECIFIED:
            overflow = data[at + 3] >> 4
            if overflow == 15:
                raise OptionError(at + 3)
            data[at + 3] = (data[at + 3] & 0x0F) | ((overflow + 1) << 4)
            options.is_changed = True
        options.ts = at

    def _stamp(self, at: int, length: int, pointer: int) -> None:
        data, options = self.data, self.options
        flag = data[at + 3] & 0x0F
        slot = at + pointer - 1
        if flag == TS_ONLY:
            self._put_time(slot)
            options.ts_needtime = True
            data[at + 2] += 4
            return
        if flag not in {TS_AND_ADDRESS, TS_PRESPECIFIED}:
            return
        if pointer + 7 > length:
            raise OptionError(at + 2)
        if flag == TS_AND_ADDRESS:
            self._put_address(slot)
            options.ts_needaddr = True
        elif inet_addr_type(self.net, bytes(data[slot : slot + 4])) == RouteType.UNICAST:
            return
        self._put_time(slot + 4)
        options.ts_needtime = True
        data[at + 2] += 8

    def _put_address(self, slot: int) -> None:
        if skb_rtable(self.skb) is not None:
            self.data[slot : slot + 4] = fib_compute_spec_dst(self.net, self.skb)
            self.options.is_changed = True

    def _put_time(self, slot: int) -> None:
        time = inet_current_timestamp(self.net)
        self.data[slot : slot + 4] = time.to_bytes(4, "big")
        self.options.is_changed = True


def ip_rcv_options(net: Net, skb: Skb, device: Device) -> str:
    """Process the options of a received packet; a drop reason, or empty."""
    if not ip_options_compile(net, skb):
        return "IP_INHDR"
    options = skb_options(skb)
    assert options is not None
    if not options.srr:
        return ""
    sysctl = net.sysctl
    if not sysctl.conf_and(device.name, "accept_source_route"):
        if sysctl.conf_or(device.name, "log_martians") and net_ratelimit(net, skb):
            header = IPv4(skb.data)
            net.printk(
                skb,
                f"IPv4: source route option {format_address(header.src)} -> "
                f"{format_address(header.dst)}",
            )
        return "NOT_SPECIFIED"
    return "" if _ip_options_rcv_srr(net, skb, device, options) else "NOT_SPECIFIED"


def _ip_options_rcv_srr(net: Net, skb: Skb, device: Device, options: IpOptions) -> bool:
    """Follow a source route that names us (ip_options_rcv_srr)."""
    route = skb_rtable(skb)
    if route is None:
        return True
    if skb.pkt_type != PacketType.HOST:
        return False
    if route.kind == RouteType.UNICAST:
        if options.is_strictroute:
            report_error(net, skb, IcmpType.PARAMETER_PROBLEM, 0, 16 << 24)
        return not options.is_strictroute
    if route.kind != RouteType.LOCAL:
        return False
    data, header, at = skb.data, IPv4(skb.data), options.srr
    pointer, length = data[at + 2], data[at + 1]
    nexthop = b""
    while pointer <= length:
        if pointer + 3 > length:
            report_error(net, skb, IcmpType.PARAMETER_PROBLEM, 0, (at + 2) << 24)
            return False
        nexthop = bytes(data[at + pointer - 1 : at + pointer + 3])
        reason = ip_route_input(net, skb, nexthop, header.src, header.tos, device)
        onward = skb_rtable(skb)
        if reason or onward is None or onward.kind not in {RouteType.UNICAST, RouteType.LOCAL}:
            skb.dst = route
            return False
        if onward.kind != RouteType.LOCAL:
            break
        header.dst = nexthop
        options.is_changed = True
        pointer += 4
    if pointer <= length:
        options.srr_is_hit = True
        options.nexthop = nexthop
        options.is_changed = True
    return True


def ip_rt_get_source(net: Net, skb: Skb, route: Rtable) -> bytes:
    """Return the address of ours that a packet on `route` shows to the next hop."""
    header = IPv4(skb.data)
    if not route.is_input:
        return header.src
    flow = Flowi4(
        daddr=header.dst,
        saddr=header.src,
        tos=header.tos & INET_DSCP_MASK,
        oif=route.device.ifindex,
        iif=skb.device.ifindex if skb.device is not None else 0,
        mark=skb.mark,
    )
    found = net.generic(Fib).lookup(flow)
    if isinstance(found, FibResult):
        return fib_result_prefsrc(net, found)
    return inet_select_addr(net, route.device, route.nexthop(header.dst), RT_SCOPE_UNIVERSE)


def ip_forward_options(net: Net, skb: Skb, options: IpOptions) -> None:
    """Write the outgoing address into the options of a forwarded packet."""
    route = skb_rtable(skb)
    assert route is not None
    data = skb.data
    if options.rr_needaddr:
        slot = options.rr + data[options.rr + 2] - 5
        data[slot : slot + 4] = ip_rt_get_source(net, skb, route)
        options.is_changed = True
    if options.srr_is_hit:
        _advance_source_route(net, skb, options, route)
        if options.ts_needaddr:
            slot = options.ts + data[options.ts + 2] - 9
            data[slot : slot + 4] = ip_rt_get_source(net, skb, route)
            options.is_changed = True
    if options.is_changed:
        options.is_changed = False
        IPv4(data).update_check()


def _advance_source_route(net: Net, skb: Skb, options: IpOptions, route: Rtable) -> None:
    data, at = skb.data, options.srr
    pointer, length = data[at + 2], data[at + 1]
    while pointer + 3 <= length:
        slot = at + pointer - 1
        if data[slot : slot + 4] == options.nexthop:
            options.is_changed = True
            IPv4(data).dst = options.nexthop
            data[slot : slot + 4] = ip_rt_get_source(net, skb, route)
            data[at + 2] = pointer + 4
            return
        pointer += 4


def ip_options_fragment(data: bytearray) -> None:
    """Blank the options that only a first fragment carries, in place."""
    position, end = MIN_HEADER_LEN, (data[0] & 0x0F) * 4
    while position < end:
        kind = data[position]
        if kind == IPOPT_END:
            return
        if kind == IPOPT_NOOP:
            position += 1
            continue
        length = data[position + 1] if position + 1 < end else 0
        if length < 2 or length > end - position:
            return
        if not kind & IPOPT_COPY:
            data[position : position + length] = bytes([IPOPT_NOOP]) * length
        position += length
