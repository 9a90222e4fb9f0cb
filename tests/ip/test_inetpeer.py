"""Limits on ICMP errors; the figures were counted on Linux 6.18 (HZ 250)."""

from __future__ import annotations

from netemu.clock import Clock
from netemu.ip.inetpeer import InetPeer, InetPeers
from netemu.net import Net


def test_a_host_gets_six_errors_at_once_then_one_a_second() -> None:
    peer = InetPeer(rate_last=-60 * 250)
    assert sum(peer.xrlim_allow(0, 250) for _ in range(20)) == 6
    assert not peer.xrlim_allow(249, 250)
    assert peer.xrlim_allow(250, 250)


def test_a_limit_of_nought_empties_the_bucket_when_a_jiffy_has_passed() -> None:
    """On Linux 6.18 with icmp_ratelimit=0 a TTL error silences route errors, they not each other."""
    peer = InetPeer(rate_last=0)
    peer.rate_tokens = 1000
    assert peer.xrlim_allow(0, 0)
    assert peer.rate_tokens == 1000
    assert peer.xrlim_allow(1, 0)
    assert peer.rate_tokens == 0


def test_all_hosts_together_get_a_burst_that_is_paid_for_at_random() -> None:
    net = Net(clock=Clock())
    peers = InetPeers(net)
    sent = 0
    for _ in range(200):
        if peers.global_allow():
            sent += 1
            peers.global_consume()
    # 50 credits, 0 to 2 taken for each message.
    assert 25 <= sent <= 100
    assert not peers.global_allow()
    net.clock.run_until(20_000_000)
    assert peers.global_allow()


def test_a_peer_is_remembered() -> None:
    peers = InetPeers(Net(clock=Clock()))
    assert peers.get(b"\x0a\x01\x00\x02") is peers.get(b"\x0a\x01\x00\x02")
