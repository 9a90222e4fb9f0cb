"""What a router says about routes: unreachable destinations and better first hops.

Kernel: net/ipv4/route.c (ip_error, ip_rt_send_redirect).

Both draw on the token bucket of the host that is told (inetpeer.py), in jiffies.
"""

from __future__ import annotations

from netemu.ip.fib_table import Errno
from netemu.ip.icmp import icmp_send
from netemu.ip.inetpeer import InetPeers
from netemu.ip.rtable import Rtable, skb_rtable
from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net, kfree_skb_reason
from netemu.skb import Skb
from netemu.wire.address import format_address
from netemu.wire.icmp import IcmpType
from netemu.wire.ipv4 import IPv4

ERROR_COST_S = 1
ERROR_BURST_S = 5
"""A host gets five errors at once, then one a second (ip_rt_error_cost, ip_rt_error_burst)."""

REDIRECT_NUMBER = 9
"""After so many ignored redirects no more are sent (ip_rt_redirect_number)."""

ICMP_REDIR_HOST = 1

_CODES = {Errno.ENETUNREACH: 0, Errno.EHOSTUNREACH: 1, Errno.EACCES: 13}
"""Code of destination unreachable for each error of a lookup."""

_REASONS_OF_A_HOST = {
    Errno.EHOSTUNREACH: "IP_INADDRERRORS",
    Errno.ENETUNREACH: "IP_INNOROUTES",
}


def ip_error(net: Net, skb: Skb) -> None:
    """End a packet that has no route; a router tells its sender."""
    route = skb_rtable(skb)
    device = skb.device
    assert route is not None
    assert device is not None
    error = route.error
    assert error is not None
    if not net.sysctl.conf(device.name, "forwarding"):
        kfree_skb_reason(net, skb, _REASONS_OF_A_HOST.get(error, "NOT_SPECIFIED"))
        return
    reason = "IP_INNOROUTES" if error == Errno.ENETUNREACH else "NOT_SPECIFIED"
    code = _CODES.get(error)
    if code is not None and _error_allowed(net, IPv4(skb.data).src):
        icmp_send(net, skb, IcmpType.DEST_UNREACH, code, 0)
    kfree_skb_reason(net, skb, reason, f"no route: {error}")


def _error_allowed(net: Net, address: bytes) -> bool:
    peer = net.generic(InetPeers).get(address)
    now, hz = net.clock.jiffies, net.clock.hz
    tokens = min(peer.rate_tokens + now - peer.rate_last, ERROR_BURST_S * hz)
    peer.rate_last = now
    cost = ERROR_COST_S * hz
    allowed = tokens >= cost
    peer.rate_tokens = tokens - cost if allowed else tokens
    return allowed


def ip_rt_send_redirect(net: Net, skb: Skb) -> None:
    """Tell a neighbour of a better first hop, less and less often while it does not listen."""
    route = skb_rtable(skb)
    assert route is not None
    if not net.sysctl.conf_or(route.device.name, "send_redirects"):
        return
    header = IPv4(skb.data)
    peer = net.generic(InetPeers).get(header.src)
    now, hz = net.clock.jiffies, net.clock.hz
    load = hz // 50
    silence = load << (REDIRECT_NUMBER + 1)
    if now > peer.rate_last + silence:
        peer.rate_tokens = 0
        peer.n_redirects = 0
    if peer.n_redirects >= REDIRECT_NUMBER:
        peer.rate_last = now
        return
    if peer.n_redirects and now <= peer.rate_last + (load << peer.n_redirects):
        return
    gateway = route.nexthop(header.dst)
    icmp_send(net, skb, IcmpType.REDIRECT, ICMP_REDIR_HOST, int.from_bytes(gateway, "big"))
    peer.rate_last = now
    peer.n_redirects += 1
    if peer.n_redirects == REDIRECT_NUMBER:
        _log_ignored(net, skb, route, gateway)


def _log_ignored(net: Net, skb: Skb, route: Rtable, gateway: bytes) -> None:
    device = route.device
    if net.sysctl.conf_or(device.name, "log_martians") and net_ratelimit(net, skb):
        header = IPv4(skb.data)
        net.printk(
            skb,
            f"IPv4: host {format_address(header.src)}/if{route.iif} ignores redirects for "
            f"{format_address(header.dst)} to {format_address(gateway)}",
        )
