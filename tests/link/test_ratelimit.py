"""The limit on log messages, by itself; tests/ip/test_ratelimit.py shows it at work on martians."""

from __future__ import annotations

from netemu.link.ratelimit import net_ratelimit
from netemu.net import Net
from netemu.skb import Skb

S = 1_000_000_000


def test_ten_messages_in_five_seconds() -> None:
    """What was left out is counted when the next interval begins (lib/ratelimit.c)."""
    net = Net()
    skb = Skb(b"", protocol=0x0800, fate=net.new_fate())
    assert [net_ratelimit(net, skb) for _ in range(12)] == [True] * 10 + [False] * 2
    net.clock.run_until(5 * S)
    assert not net_ratelimit(net, skb)
    net.clock.run_until(5 * S + 1)
    assert net_ratelimit(net, skb)
    assert net.log == ["net_ratelimit: 3 callbacks suppressed"]
