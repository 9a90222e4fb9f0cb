"""The match recent; results and lists are those of Linux 6.18 (tests/kernel/test_rules_live.py)."""

from __future__ import annotations

import pytest

from netemu.clock import INITIAL_JIFFIES, NSEC_PER_SEC
from netemu.errors import RulesetError
from netemu.net import Net
from netemu.netfilter.extensions.recent import RecentTables


def entries(bench, name: str = "DEFAULT") -> dict[str, tuple[int, int]]:
    """Address -> stamps, TTL, in order of last use."""
    table = bench.net.generic(RecentTables).by_name[name]
    return {
        ".".join(map(str, address)): (len(entry.stamps), entry.ttl)
        for address, entry in table.entries.items()
    }


def wait(bench, seconds: float) -> None:
    bench.net.clock.run_until(bench.net.clock.now_ns + int(seconds * NSEC_PER_SEC))


def test_set_adds_and_always_matches(bench, skb) -> None:
    match = bench.match("-m recent --set")
    assert [match(skb()), match(skb()), match(skb("10.0.0.9"))] == [True, True, True]
    assert entries(bench) == {"10.0.0.1": (2, 64), "10.0.0.9": (1, 64)}


def test_not_set_adds_and_never_matches(bench, skb) -> None:
    match = bench.match("-m recent ! --set")
    assert [match(skb()), match(skb())] == [False, False]
    assert entries(bench) == {"10.0.0.1": (2, 64)}


def test_rcheck_looks_without_a_stamp(bench, skb) -> None:
    check = bench.match("-m recent --rcheck")
    assert not check(skb())
    bench.match("-m recent --set")(skb())
    assert check(skb())
    assert bench.match("-m recent ! --rcheck")(skb("10.0.0.9"))
    assert entries(bench) == {"10.0.0.1": (1, 64)}


def test_update_stamps_when_it_matches(bench, skb) -> None:
    bench.match("-m recent --set")(skb())
    update = bench.match("-m recent --update --hitcount 3")
    assert [update(skb()) for _ in range(2)] == [False, False]
    assert entries(bench) == {"10.0.0.1": (1, 64)}
    assert bench.match("-m recent --update")(skb())
    assert bench.match("-m recent --update")(skb())
    assert update(skb())
    assert entries(bench) == {"10.0.0.1": (4, 64)}


def test_not_update_stamps_when_the_inverted_result_holds(bench, skb) -> None:
    bench.match("-m recent --set")(skb())
    assert bench.match("-m recent ! --update --hitcount 5")(skb())
    assert not bench.match("-m recent ! --update")(skb())
    assert entries(bench) == {"10.0.0.1": (2, 64)}


def test_remove(bench, skb) -> None:
    remove = bench.match("-m recent --remove")
    assert not remove(skb())
    bench.match("-m recent --set")(skb())
    assert remove(skb())
    assert entries(bench) == {}


def test_seconds_count_stamps_that_are_young_enough(bench, skb) -> None:
    bench.match("-m recent --set")(skb())
    check = bench.match("-m recent --rcheck --seconds 10")
    wait(bench, 10)
    assert check(skb())
    wait(bench, 0.004)
    assert not check(skb())


def test_hitcount_counts_young_stamps_only(bench, skb) -> None:
    add = bench.match("-m recent --set")
    check = bench.match("-m recent --rcheck --seconds 10 --hitcount 2")
    add(skb())
    wait(bench, 8)
    add(skb())
    assert check(skb())
    wait(bench, 8)
    assert not check(skb())


def test_destination_and_mask(bench, skb) -> None:
    bench.match("-m recent --set --rdest --name N --mask 255.255.255.0")(skb(dst="10.7.7.9"))
    check = bench.match("-m recent --rcheck --name N")
    assert list(entries(bench, "N")) == ["10.7.7.0"]
    assert check(skb("10.7.7.200")), "the mask is the list's, whatever later rules say"
    assert not check(skb("10.7.8.1"))


def test_rttl_asks_for_the_same_ttl(bench, skb) -> None:
    bench.match("-m recent --set")(skb(ttl=60))
    check = bench.match("-m recent --rcheck --rttl")
    assert check(skb(ttl=60))
    assert not check(skb(ttl=61))


def test_ttl_is_reckoned_as_before_forwarding(bench, skb, device) -> None:
    bench.out_device = device("eth1")
    bench.match("-m recent --set")(skb(ttl=63))
    assert entries(bench) == {"10.0.0.1": (1, 64)}
    own = skb(ttl=63)
    own.sk = object()
    bench.match("-m recent --set")(own)
    assert entries(bench) == {"10.0.0.1": (2, 63)}


def test_reap_removes_an_old_entry_other_than_the_updated_one(bench, skb) -> None:
    add = bench.match("-m recent --set")
    add(skb("10.0.0.1"))
    wait(bench, 11)
    add(skb("10.0.0.2"))
    assert bench.match("-m recent --rcheck --seconds 10 --reap")(skb("10.0.0.2"))
    assert list(entries(bench)) == ["10.0.0.2"]
    wait(bench, 11)
    assert not bench.match("-m recent --update --seconds 10 --reap")(skb("10.0.0.2"))
    assert list(entries(bench)) == []


def test_the_list_holds_100_addresses_and_drops_the_longest_unused(bench, skb) -> None:
    add = bench.match("-m recent --set")
    for number in range(101):
        add(skb(f"10.0.1.{number}"))
        if number == 50:
            add(skb("10.0.1.0"))
    held = entries(bench)
    assert len(held) == 100
    assert "10.0.1.0" in held
    assert "10.0.1.1" not in held


def test_ring_of_32_stamps(bench, skb) -> None:
    add = bench.match("-m recent --set")
    for _ in range(40):
        add(skb())
    assert entries(bench) == {"10.0.0.1": (32, 64)}
    table = bench.net.generic(RecentTables).by_name["DEFAULT"]
    assert next(iter(table.entries.values())).index == 8


def test_a_longer_ring_empties_the_list(bench, skb) -> None:
    bench.match("-m recent --set")(skb())
    bench.match("-m recent --rcheck --hitcount 32")
    assert len(entries(bench)) == 1
    bench.match("-m recent --rcheck --hitcount 33")
    assert entries(bench) == {}
    assert bench.net.generic(RecentTables).by_name["DEFAULT"].nstamps_max_mask == 63


def test_text_is_that_of_proc(bench, skb) -> None:
    add = bench.match("-m recent --set --name X")
    add(skb())
    wait(bench, 1)
    add(skb())
    first, second = INITIAL_JIFFIES, INITIAL_JIFFIES + 250
    assert bench.net.generic(RecentTables).by_name["X"].text() == (
        f"src=10.0.0.1 ttl: 64 last_seen: {second} oldest_pkt: 2 {first}, {second}\n"
    )


@pytest.mark.parametrize("name", ["X", "Y"])
def test_rules_share_a_list_by_name(bench, skb, name: str) -> None:
    bench.match("-m recent --set --name X")(skb())
    assert bench.match(f"-m recent --rcheck --name {name}")(skb()) is (name == "X")


def test_kernel_6_1_counts_to_255(bench) -> None:
    bench.net = Net(kernel="6.1")
    bench.match("-m recent --rcheck --hitcount 255")
    with pytest.raises(RulesetError, match=r"hitcount \(256\) is larger than allowed maximum"):
        bench.match("-m recent --rcheck --hitcount 256")
