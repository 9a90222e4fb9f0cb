"""What is remembered of hosts that errors are sent to: one token bucket each.

Kernel: net/ipv4/inetpeer.c, net/ipv4/icmp.c (icmp_global_allow).

ICMP errors, route-failure errors and redirects draw on the same bucket of a host, in jiffies.
"""

from __future__ import annotations

from netemu.net import Net

XRLIM_BURST_FACTOR = 6
"""A host that got nothing for long may get six errors at once (net/ipv4/inetpeer.c)."""


class InetPeer:
    """One remote host (struct inet_peer)."""

    __slots__ = ("n_redirects", "rate_last", "rate_tokens")

    def __init__(self, rate_last: int) -> None:
        """Start as inet_getpeer does: the last message was a minute ago."""
        self.rate_last = rate_last
        self.rate_tokens = 0
        self.n_redirects = 0

    def xrlim_allow(self, now: int, timeout_jiffies: int) -> bool:
        """Take `timeout_jiffies` tokens if they are there (inet_peer_xrlim_allow).

        Tokens are added, and cut to the burst, only once a jiffy has passed.
        """
        delta = now - self.rate_last
        if delta:
            self.rate_last = now
            burst = XRLIM_BURST_FACTOR * timeout_jiffies
            self.rate_tokens = min(self.rate_tokens + delta, burst)
        if self.rate_tokens < timeout_jiffies:
            return False
        self.rate_tokens -= timeout_jiffies
        return True


class InetPeers:
    """The hosts of a namespace, and the limit over all of them."""

    __slots__ = ("_credit", "_net", "_peers", "_stamp")

    def __init__(self, net: Net) -> None:
        """Start without peers; the first message refills the global credit."""
        self._net = net
        self._peers: dict[bytes, InetPeer] = {}
        self._credit = 0
        self._stamp = -net.clock.hz

    def get(self, address: bytes) -> InetPeer:
        """Return the entry of a host, made on first use (inet_getpeer_v4)."""
        found = self._peers.get(address)
        if found is None:
            clock = self._net.clock
            found = self._peers[address] = InetPeer(clock.jiffies - 60 * clock.hz)
        return found

    def global_allow(self) -> bool:
        """Return whether one more ICMP message may be sent at all (icmp_global_allow)."""
        if self._credit > 0:
            return True
        hz = self._net.clock.hz
        now = self._net.clock.jiffies
        delta = min(now - self._stamp, hz)
        if delta < hz // 50:
            return False
        sysctl = self._net.sysctl
        increment = sysctl.get("net.ipv4.icmp_msgs_per_sec") * delta // hz
        if not increment:
            return False
        self._stamp = now
        burst = sysctl.get("net.ipv4.icmp_msgs_burst")
        self._credit = min(self._credit + increment, burst)
        return True

    def global_consume(self) -> None:
        """Take 0, 1 or 2 credits at random (icmp_global_consume)."""
        self._credit -= self._net.entropy.stream("icmp").below(3)
