"""ARP: answering requests, learning from what is heard, asking for next hops.

Kernel: net/ipv4/arp.c; RFC 826.

Linux answers for any address of its own on any device (the weak host model) unless arp_ignore or
arp_filter say otherwise, and learns the asker on the way. It does not learn from requests meant
for others, nor from answers that it did not ask for, unless it knows the sender already or
arp_accept is on.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from netemu.clock import NSEC_PER_SEC
from netemu.ip.devinet import (
    RT_SCOPE_HOST,
    RT_SCOPE_LINK,
    Addresses,
    inet_addr_onlink,
    inet_select_addr,
)
from netemu.ip.fib import inet_addr_type
from netemu.ip.fib_table import Errno, Flowi4, RouteType
from netemu.ip.neighbour import Neighbour, NeighbourProtocol, NeighbourTable, Nud
from netemu.ip.route import ip_route_input, ip_route_output_key, skb_rtable
from netemu.ip.rtable import Rtable
from netemu.link.device import dev_queue_xmit
from netemu.net import Net, consume_skb, kfree_skb_reason, nf_hook, skb_made
from netemu.netfilter.hook import Family, Hook
from netemu.sim.spec import ProxySpec
from netemu.skb import BROADCAST_MAC, ETH_P_ARP, ETH_P_IP, ZERO_MAC, Device, Fate, PacketType, Skb
from netemu.wire.address import (
    IPV4_ANY,
    format_address,
    ipv4_is_loopback,
    ipv4_is_multicast,
)
from netemu.wire.arp import (
    ARP,
    ARPHRD_ETHER,
    ARPHRD_IEEE802,
    ARPOP_REPLY,
    ARPOP_REQUEST,
    LENGTH,
    build_arp,
)
from netemu.wire.ethernet import ethernet_header
from netemu.wire.ipv4 import IPv4

USER_HZ = 100
"""Unit of the sysctls locktime and proxy_delay."""

_IN, _OUT = Hook.INPUT, Hook.OUTPUT
"""NF_ARP_IN and NF_ARP_OUT, which the kernel numbers 0 and 1."""


class _Message(Struct, frozen=True, kw_only=True):
    """What an ARP message says; the names are RFC 826's."""

    operation: int
    sha: bytes
    sip: bytes
    tha: bytes
    tip: bytes

    @property
    def is_request(self) -> bool:
        return self.operation == ARPOP_REQUEST


class ProxyQueue:
    """Whom else we answer for, and the requests that wait for a random delay before we do."""

    __slots__ = ("entries", "length")

    def __init__(self, _net: Net) -> None:
        """Start empty."""
        self.length = 0
        self.entries: set[tuple[bytes, str]] = set()
        """Addresses of `ip neigh add proxy`, each with its device, empty for any."""

    def load(self, specs: Iterable[ProxySpec]) -> None:
        """Add the entries of `ip neigh show proxy`."""
        self.entries |= {(spec.address, spec.device) for spec in specs}

    def lookup(self, address: bytes, device: Device) -> bool:
        """Return whether we are told to answer for `address` on `device` (pneigh_lookup)."""
        return (address, device.name) in self.entries or (address, "") in self.entries


def arp_init(net: Net) -> None:
    """Let the namespace receive ARP and resolve IPv4 next hops with it."""
    net.packet_handlers[ETH_P_ARP] = lambda skb: arp_rcv(net, skb)
    net.generic(NeighbourTable).protocols[4] = NeighbourProtocol(
        constructor=lambda entry: arp_constructor(net, entry),
        solicit=lambda entry, skb: arp_solicit(net, entry, skb),
    )


def arp_constructor(net: Net, entry: Neighbour) -> None:
    """Give a new entry its MAC at once where none needs to be asked for."""
    kind = inet_addr_type(net, entry.address)
    device = entry.device
    if kind == RouteType.MULTICAST:
        entry.mac = arp_mc_map(entry.address)
    elif device.noarp or device.loopback:
        entry.mac = device.mac
    elif kind == RouteType.BROADCAST:
        entry.mac = BROADCAST_MAC
    else:
        return
    entry.state = Nud.NOARP


def arp_mc_map(group: bytes) -> bytes:
    """Return the group MAC of an IPv4 multicast address (ip_eth_mc_map, RFC 1112).

    >>> arp_mc_map(bytes([239, 129, 2, 3])).hex(":")
    '01:00:5e:01:02:03'
    """
    return b"\x01\x00\x5e" + bytes((group[1] & 0x7F,)) + group[2:]


def arp_solicit(net: Net, entry: Neighbour, skb: Skb | None) -> None:
    """Ask for an entry's address: by unicast to the MAC known so far, else by broadcast."""
    device = entry.device
    target = entry.address
    source = _announced_source(net, device, target, skb)
    source = source or inet_select_addr(net, device, target, RT_SCOPE_LINK)
    probes = entry.probes - net.sysctl.neigh(device.name, "ucast_solicit")
    destination = entry.mac if probes < 0 else BROADCAST_MAC
    if 0 <= probes < net.sysctl.neigh(device.name, "app_solicit"):
        # A program was to ask; none does.
        return
    message = build_arp(
        operation=ARPOP_REQUEST,
        sender_mac=device.mac,
        sender_ip=source,
        target_mac=ZERO_MAC,
        target_ip=target,
    )
    _arp_xmit(net, device, destination, message, skb.fate if skb is not None else None)


def arp_announce(net: Net, device: Device, address: bytes) -> None:
    """Tell everybody behind `device` that `address` is here (inetdev_send_gratuitous_arp)."""
    message = build_arp(
        operation=ARPOP_REQUEST,
        sender_mac=device.mac,
        sender_ip=address,
        target_mac=ZERO_MAC,
        target_ip=address,
    )
    _arp_xmit(net, device, BROADCAST_MAC, message, None)


def _announced_source(net: Net, device: Device, target: bytes, skb: Skb | None) -> bytes:
    """Return the waiting packet's source where arp_announce allows it, else empty."""
    announce = net.sysctl.conf_max(device.name, "arp_announce")
    if skb is None or announce == 2 or skb.protocol != ETH_P_IP:
        return b""
    source = IPv4(skb.data).src
    if inet_addr_type(net, source) != RouteType.LOCAL:
        return b""
    if announce == 1 and not inet_addr_onlink(net, device, target, source):
        return b""
    return source


def _arp_xmit(
    net: Net, device: Device, destination: bytes, message: bytearray, cause: Fate | None
) -> None:
    """Send a message through the ARP output hook (arp_send_dst)."""
    if device.noarp:
        return
    skb = Skb(message, protocol=ETH_P_ARP, fate=net.new_fate(parent=cause), device=device)
    skb.mac_header = ethernet_header(destination, device.mac, ETH_P_ARP)
    view = ARP(skb.data)
    target, sender = format_address(view.target_ip), format_address(view.sender_ip)
    if view.operation == ARPOP_REQUEST:
        skb_made(net, skb, f"arp who-has {target} tell {sender}")
    else:
        skb_made(net, skb, f"arp {sender} is-at {device.mac.hex(':')}")

    def send(skb: Skb) -> None:
        dev_queue_xmit(net, skb)

    nf_hook(net, Family.ARP, _OUT, skb, None, device, send)


def arp_rcv(net: Net, skb: Skb) -> None:
    """Take a received ARP frame."""
    device = skb.device
    assert device is not None
    if skb.pkt_type == PacketType.OTHERHOST:
        kfree_skb_reason(net, skb, "OTHERHOST")
        return
    if device.noarp or skb.pkt_type == PacketType.LOOPBACK:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", f"{device.name} does no ARP")
        return
    if len(skb.data) < LENGTH:
        kfree_skb_reason(net, skb, "PKT_TOO_SMALL", "the ARP message is cut short")
        return
    view = ARP(skb.data)
    if view.hlen != 6 or view.plen != 4:
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "address lengths are not those of Ethernet")
        return
    nf_hook(net, Family.ARP, _IN, skb, device, None, lambda taken: arp_process(net, taken))


def arp_process(net: Net, skb: Skb, *, delayed: bool = False) -> None:
    """Answer and learn; `delayed` says that a proxied request has served its waiting time."""
    device = skb.device
    assert device is not None
    message = _understand(skb)
    if message is None or _is_refused(net, device, message):
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "not an ARP message that is listened to")
        return
    if message.sip == IPV4_ANY:
        _answer_probe(net, skb, device, message)
        consume_skb(net, skb, "arp")
        return
    if message.is_request:
        failed = ip_route_input(net, skb, message.tip, message.sip, 0, device)
        route = skb_rtable(skb)
        skb.dst = None
        if not failed and route is not None:
            done = _answer(net, skb, device, message, route, delayed=delayed)
            if done:
                return
    _learn(net, skb, device, message)
    consume_skb(net, skb, "arp")


def _understand(skb: Skb) -> _Message | None:
    view = ARP(skb.data)
    if view.htype not in {ARPHRD_ETHER, ARPHRD_IEEE802} or view.ptype != ETH_P_IP:
        return None
    if view.operation not in {ARPOP_REQUEST, ARPOP_REPLY}:
        return None
    return _Message(
        operation=view.operation,
        sha=view.sender_mac,
        sip=view.sender_ip,
        tha=view.target_mac,
        tip=view.target_ip,
    )


def _is_refused(net: Net, device: Device, message: _Message) -> bool:
    """Return whether the message asks for nothing that ARP is for, or is an unwanted boast."""
    sysctl = net.sysctl
    tip = message.tip
    if ipv4_is_multicast(tip):
        return True
    if ipv4_is_loopback(tip) and not sysctl.conf_or(device.name, "route_localnet"):
        return True
    return message.sip == tip and sysctl.conf_or(device.name, "drop_gratuitous_arp")


def _answer_probe(net: Net, skb: Skb, device: Device, message: _Message) -> None:
    """Answer a duplicate address probe, whose sender has no address yet (RFC 2131)."""
    if not message.is_request or inet_addr_type(net, message.tip) != RouteType.LOCAL:
        return
    if not arp_ignore(net, device, message.sip, message.tip):
        _reply(net, skb, device, message)


def _answer(
    net: Net, skb: Skb, device: Device, message: _Message, route: Rtable, *, delayed: bool
) -> bool:
    """Answer a request for us or for those we stand in for; False when it is neither."""
    table = net.generic(NeighbourTable)
    if route.kind == RouteType.LOCAL:
        quiet = arp_ignore(net, device, message.sip, message.tip)
        if not quiet and net.sysctl.conf_or(device.name, "arp_filter"):
            quiet = arp_filter(net, message.sip, message.tip, device)
        if not quiet:
            table.event_ns(message.sip, message.sha, device, skb)
            _reply(net, skb, device, message)
        consume_skb(net, skb, "arp")
        return True
    if not net.sysctl.conf(device.name, "forwarding") or route.kind != RouteType.UNICAST:
        return False
    if not _stands_in(net, device, message, route):
        return False
    table.event_ns(message.sip, message.sha, device, skb)
    delay = net.sysctl.neigh(device.name, "proxy_delay")
    if delayed or skb.pkt_type == PacketType.HOST or not delay:
        _reply(net, skb, device, message)
        consume_skb(net, skb, "arp")
    else:
        _pneigh_enqueue(net, skb, device, delay)
    return True


def _stands_in(net: Net, device: Device, message: _Message, route: Rtable) -> bool:
    """Return whether we proxy for the target (arp_fwd_proxy, arp_fwd_pvlan)."""
    sysctl = net.sysctl
    if route.device is device:
        pvlan = sysctl.conf_or(device.name, "proxy_arp_pvlan")
        return pvlan and message.sip != message.tip
    if net.generic(ProxyQueue).lookup(message.tip, device):
        return True
    if not sysctl.conf_or(device.name, "proxy_arp"):
        return False
    medium = sysctl.conf(device.name, "medium_id")
    if medium in {0, -1}:
        return medium == 0
    return sysctl.conf(route.device.name, "medium_id") not in {medium, -1}


def _pneigh_enqueue(net: Net, skb: Skb, device: Device, delay: int) -> None:
    """Answer after a random time, so that the real owner comes first."""
    queue = net.generic(ProxyQueue)
    if queue.length > net.sysctl.neigh(device.name, "proxy_qlen"):
        kfree_skb_reason(net, skb, "NOT_SPECIFIED", "the proxy queue is full")
        return
    queue.length += 1
    jiffies = net.entropy.stream("neighbour").below(delay * net.clock.hz // USER_HZ)

    def redo() -> None:
        queue.length -= 1
        arp_process(net, skb, delayed=True)

    net.clock.call_later(net.clock.jiffies_to_ns(jiffies), redo)


def _reply(net: Net, skb: Skb, device: Device, message: _Message) -> None:
    answer = build_arp(
        operation=ARPOP_REPLY,
        sender_mac=device.mac,
        sender_ip=message.tip,
        target_mac=message.sha,
        target_ip=message.sip,
    )
    _arp_xmit(net, device, message.sha, answer, skb.fate)


def _learn(net: Net, skb: Skb, device: Device, message: _Message) -> None:
    """Update what we know of the sender, or take it up if arp_accept allows."""
    table = net.generic(NeighbourTable)
    entry = table.find(message.sip, device)
    accepts = arp_accept(net, device, message.sip)
    if entry is None and not accepts:
        return
    gratuitous = _is_garp(net, message)
    if entry is None:
        unicast = inet_addr_type(net, message.sip) == RouteType.UNICAST
        if not (gratuitous or (not message.is_request and unicast)):
            return
        entry = table.find_or_create(message.sip, device)
        if entry is None:
            return
    lock_ns = net.sysctl.neigh(device.name, "locktime") * NSEC_PER_SEC // USER_HZ
    override = net.clock.now_ns > entry.updated_ns + lock_ns or gratuitous
    # Requests and broadcast replies do not prove that the neighbour hears us.
    proves = not message.is_request and skb.pkt_type == PacketType.HOST
    new = Nud.REACHABLE if proves else Nud.STALE
    table.update(entry, message.sha, new, override=override, skb=skb)


def _is_garp(net: Net, message: _Message) -> bool:
    """Return whether the sender announces its own address (arp_is_garp)."""
    if message.tip != message.sip:
        return False
    if not message.is_request and message.tha != message.sha:
        return False
    return inet_addr_type(net, message.sip) == RouteType.UNICAST


def arp_accept(net: Net, device: Device, sip: bytes) -> bool:
    """Return whether a sender not known yet may be taken up."""
    accept = net.sysctl.conf_max(device.name, "arp_accept")
    if accept == 2:
        return bool(inet_confirm_addr(net, device, sip, IPV4_ANY, RT_SCOPE_LINK))
    return accept == 1


def arp_ignore(net: Net, device: Device, sip: bytes, tip: bytes) -> bool:
    """Return whether a request for our address `tip` stays unanswered."""
    ignore = net.sysctl.conf_max(device.name, "arp_ignore")
    if ignore == 1:
        return not inet_confirm_addr(net, device, IPV4_ANY, tip, RT_SCOPE_HOST)
    if ignore == 2:
        return not inet_confirm_addr(net, device, sip, tip, RT_SCOPE_HOST)
    if ignore == 3:
        return not inet_confirm_addr(net, None, IPV4_ANY, tip, RT_SCOPE_LINK)
    return ignore == 8


def arp_filter(net: Net, sip: bytes, tip: bytes, device: Device) -> bool:
    """Return whether a reply to the asker would leave by another device than the question's."""
    route = ip_route_output_key(net, Flowi4(daddr=sip, saddr=tip))
    return isinstance(route, Errno) or route.device is not device


def inet_confirm_addr(
    net: Net, device: Device | None, dst: bytes, local: bytes, scope: int
) -> bytes:
    """Return the address of `device`, or of any, that fits; empty when none does.

    It is `local` unless that is 0.0.0.0, in reach of `scope`, and shares a subnet with `dst`
    unless that is 0.0.0.0.
    """
    devices = list(net.devices.values()) if device is None else [device]
    for candidate in devices:
        found = _confirm_addr_indev(net, candidate, dst, local, scope)
        if found:
            return found
    return b""


def _confirm_addr_indev(net: Net, device: Device, dst: bytes, local: bytes, scope: int) -> bytes:
    localnet = net.sysctl.conf_or(device.name, "route_localnet")
    localnet_scope = RT_SCOPE_LINK if localnet else RT_SCOPE_HOST
    chosen = b""
    same = False
    for entry in net.generic(Addresses).of(device):
        in_reach = min(entry.scope, localnet_scope) <= scope
        if not chosen and in_reach and local in {entry.local, IPV4_ANY}:
            chosen = entry.local
            if same:
                break
        if same:
            continue
        same = (local == IPV4_ANY or entry.matches(local)) and (
            dst == IPV4_ANY or entry.matches(dst)
        )
        if same and chosen:
            if local != IPV4_ANY or dst == IPV4_ANY or entry.matches(chosen):
                break
            if in_reach:
                # The address found first is of another subnet than dst; this one fits better.
                chosen = entry.local
                break
            same = False
    return chosen if same else b""
