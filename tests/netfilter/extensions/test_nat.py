"""The targets DNAT, SNAT, MASQUERADE and REDIRECT: the ranges that they ask nf_nat for."""

from __future__ import annotations

import pytest

from netemu.netfilter.conntrack.connection import IPS_DST_NAT, IPS_SRC_NAT
from netemu.netfilter.conntrack.core import ConntrackHooks
from netemu.netfilter.hook import Hook, Verdict
from netemu.netfilter.nat.range import (
    MAP_IPS,
    PERSISTENT,
    PROTO_OFFSET,
    PROTO_RANDOM,
    PROTO_RANDOM_FULLY,
    PROTO_SPECIFIED,
    NatRange,
)
from netemu.wire.address import format_address, parse_address

PRE = {"table": "nat", "chain": "PREROUTING"}
POST = {"table": "nat", "chain": "POSTROUTING"}


def said(range_: NatRange) -> tuple[object, ...]:
    ends = tuple(format_address(end) for end in (range_.min_address, range_.max_address) if end)
    return range_.flags, ends, (range_.min_part, range_.max_part, range_.base_part)


BOTH = MAP_IPS | PROTO_SPECIFIED

RANGES = [
    (PRE, "DNAT --to-destination 10.9.0.1", (MAP_IPS, ("10.9.0.1",) * 2, (0, 0, 0))),
    (
        PRE,
        "DNAT --to-destination 10.9.0.1-10.9.0.9",
        (MAP_IPS, ("10.9.0.1", "10.9.0.9"), (0, 0, 0)),
    ),
    (PRE, "DNAT --to-destination 10.9.0.1:80", (BOTH, ("10.9.0.1",) * 2, (80, 80, 0))),
    (PRE, "DNAT --to-destination :80-90", (PROTO_SPECIFIED, (), (80, 90, 0))),
    (
        PRE,
        "DNAT --to-destination 10.9.0.1:8000-8009/80 --random --persistent",
        (BOTH | PROTO_OFFSET | PROTO_RANDOM | PERSISTENT, ("10.9.0.1",) * 2, (8000, 8009, 80)),
    ),
    (
        POST,
        "SNAT --to-source 10.9.0.1:1024-2047 --random-fully",
        (BOTH | PROTO_RANDOM_FULLY, ("10.9.0.1",) * 2, (1024, 2047, 0)),
    ),
    (
        POST,
        "SNAT --to-source 10.9.0.1:5-6/7",
        (BOTH | PROTO_OFFSET, ("10.9.0.1",) * 2, (5, 6, 0)),
    ),
    (POST, "MASQUERADE", (0, (), (0, 0, 0))),
    (
        POST,
        "MASQUERADE --to-ports 1000-2000 --random",
        (PROTO_SPECIFIED | PROTO_RANDOM, (), (1000, 2000, 0)),
    ),
    (POST, "MASQUERADE --random-fully", (PROTO_RANDOM_FULLY, (), (0, 0, 0))),
    (PRE, "REDIRECT", (0, (), (0, 0, 0))),
    (PRE, "REDIRECT --to-ports 80", (PROTO_SPECIFIED, (), (80, 80, 0))),
]


@pytest.mark.parametrize("place, target, expected", RANGES)
def test_range(bench, place: dict[str, str], target: str, expected: tuple[object, ...]) -> None:
    rule = bench.rule(f"-p tcp -j {target}", **place)
    assert said(rule.target.settings) == expected
    assert bench.net.generic(ConntrackHooks).users == 1


def test_dnat_binds_the_destination(bench, tracked, connection) -> None:
    entry = connection("tcp 10.0.0.1:1000 10.96.0.1:80")
    bench.hook = Hook.PREROUTING
    target = bench.target("-p tcp -j DNAT --to-destination 10.9.0.1:8080", **PRE)
    assert target(tracked(entry)) == Verdict.ACCEPT
    assert (format_address(entry.reply.src), entry.reply.src_part) == ("10.9.0.1", 8080)
    assert entry.status & IPS_DST_NAT


def test_snat_binds_the_source_and_keeps_its_port(bench, tracked, connection) -> None:
    entry = connection("tcp 10.0.0.1:1000 10.96.0.1:80")
    bench.hook = Hook.POSTROUTING
    target = bench.target("-j SNAT --to-source 192.0.2.1", **POST)
    assert target(tracked(entry)) == Verdict.ACCEPT
    assert (entry.reply.dst, entry.reply.dst_part) == (parse_address("192.0.2.1"), 1000)
    assert entry.status & IPS_SRC_NAT


def test_port_shift(bench, tracked, connection) -> None:
    """`:8000-8009/80`: 83 becomes 8003."""
    entry = connection("tcp 10.0.0.1:1000 10.96.0.1:83")
    bench.hook = Hook.PREROUTING
    bench.target("-p tcp -j DNAT --to-destination 10.9.0.1:8000-8009/80", **PRE)(tracked(entry))
    assert entry.reply.src_part == 8003


def test_redirect_of_our_own_packets_goes_to_loopback(bench, tracked, connection) -> None:
    entry = connection("tcp 10.0.0.1:1000 10.96.0.1:80")
    bench.hook = Hook.OUTPUT
    target = bench.target("-p tcp -j REDIRECT --to-ports 8080", table="nat", chain="OUTPUT")
    assert target(tracked(entry)) == Verdict.ACCEPT
    assert (format_address(entry.reply.src), entry.reply.src_part) == ("127.0.0.1", 8080)
