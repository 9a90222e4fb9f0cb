"""Choosing a tuple that nobody else gets answers for."""

from __future__ import annotations

import pytest

from netemu.clock import Clock
from netemu.net import Net
from netemu.netfilter.conntrack.connection import DEFAULT_ZONE, Connection, Status, TcpTracking
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.conntrack.tcp import TcpState
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.nat.core import nf_nat_setup_info
from netemu.netfilter.nat.range import (
    MAP_IPS,
    PROTO_RANDOM,
    PROTO_RANDOM_FULLY,
    PROTO_SPECIFIED,
    Manip,
    NatRange,
)
from netemu.netfilter.nat.unique_tuple import find_best_ips_proto, get_unique_tuple

CLIENT, OTHER, SERVER = bytes([10, 1, 0, 2]), bytes([10, 1, 0, 3]), bytes([10, 2, 0, 2])
PUBLIC = bytes([192, 0, 2, 1])


def make_net(kernel: str = "6.18") -> Net:
    return Net(clock=Clock(0, 250), kernel=kernel)


def connection(
    src: bytes = CLIENT, port: int = 5000, *, protocol: int = 17, dst_port: int = 53
) -> Connection:
    original = Tuple(src, SERVER, protocol, port, dst_port)
    return Connection(original, inverse(original))


def confirmed(net: Net, made: Connection, timeout_s: int = 100) -> Connection:
    made.timeout = timeout_s * 250
    net.generic(Conntrack).insert(made)
    return made


def snat(low: int = 0, high: int = 0, flags: int = 0) -> NatRange:
    return NatRange(
        flags=flags | MAP_IPS | (PROTO_SPECIFIED if high else 0),
        min_address=PUBLIC, max_address=PUBLIC, min_part=low, max_part=high,
    )  # fmt: skip


def bind(net: Net, made: Connection, range_: NatRange, manip: Manip = Manip.SRC) -> Tuple:
    nf_nat_setup_info(net, made, range_, manip)
    return inverse(made.reply)


def test_port_is_kept_if_free() -> None:
    """And the client keeps the mapping towards other servers."""
    net = make_net()
    first = connection()
    assert bind(net, first, snat()) == Tuple(PUBLIC, SERVER, 17, 5000, 53)
    assert first.flags & Status.SRC_NAT
    confirmed(net, first)
    second = connection(dst_port=54)
    assert bind(net, second, snat()).src_part == 5000


@pytest.mark.parametrize(
    "port,low,high", [(80, 1, 511), (600, 600, 1023), (520, 600, 1023), (5000, 1024, 65535)]
)
def test_taken_port_stays_in_its_class(port: int, low: int, high: int) -> None:
    """Privileged ports stay privileged; 512 to 1023 become 600 to 1023."""
    net = make_net()
    first = connection(port=port)
    bind(net, first, snat())
    confirmed(net, first)
    second = bind(net, connection(OTHER, port), snat())
    assert second.src == PUBLIC
    assert second.src_part != port
    assert low <= second.src_part <= high


def test_random_draws_even_if_the_port_is_free() -> None:
    """--random and --random-fully, the same seed the same port."""
    ports = {
        bind(make_net(), connection(), snat(flags=flags)).src_part
        for flags in (PROTO_RANDOM, PROTO_RANDOM_FULLY)
    }
    assert len(ports) == 1
    assert ports != {5000}


def test_single_port_is_used_even_if_taken() -> None:
    """The clash shows at confirm."""
    net = make_net()
    first = connection()
    bind(net, first, snat(7, 7))
    confirmed(net, first)
    assert bind(net, connection(OTHER), snat(7, 7)).src_part == 7


def test_full_range_ends_with_the_last_one_tried() -> None:
    """Ten ports, ten clients; the eleventh clashes."""
    net = make_net()
    ports = set()
    for port in range(10):
        made = connection(port=5000 + port)
        ports.add(bind(net, made, snat(10, 19)).src_part)
        confirmed(net, made)
    assert ports == set(range(10, 20))
    assert bind(net, connection(port=6000), snat(10, 19)).src_part in ports


def test_reversed_range_is_turned() -> None:
    """The kernel swaps the ends."""
    net = make_net()
    assert 10 <= bind(net, connection(), snat(19, 10)).src_part <= 19


def dnat(low: int, high: int, flags: int = 0) -> NatRange:
    return NatRange(flags=flags | PROTO_SPECIFIED, min_part=low, max_part=high)


def test_dnat_range_starts_at_its_low_end() -> None:
    """Since 6.8; 6.1 begins anywhere, and so does --random."""
    assert bind(make_net(), connection(), dnat(8000, 8999), Manip.DST).dst_part == 8000
    old = bind(make_net("6.1"), connection(), dnat(8000, 8999), Manip.DST).dst_part
    drawn = bind(make_net(), connection(), dnat(8000, 8999, PROTO_RANDOM), Manip.DST).dst_part
    assert old == drawn != 8000
    assert 8000 <= old <= 8999


def test_dnat_without_ports_leaves_a_clash() -> None:
    """The destination port is what the client asked for."""
    net = make_net()
    address = NatRange(flags=MAP_IPS, min_address=OTHER, max_address=OTHER)
    first = connection()
    bind(net, first, address, Manip.DST)
    confirmed(net, first)
    direct = connection()
    direct.original = direct.original._replace(dst=PUBLIC)
    direct.reply = inverse(direct.original)
    assert bind(net, direct, address, Manip.DST) == inverse(first.reply)


def test_icmp_id_is_the_key() -> None:
    """Two pings with one id behind one address."""
    net = make_net()
    original = Tuple(CLIENT, SERVER, 1, 7, 0x0800)
    first = Connection(original, inverse(original))
    assert bind(net, first, snat()).src_part == 7
    confirmed(net, first)
    second_original = original._replace(src=OTHER)
    second = bind(net, Connection(second_original, inverse(second_original)), snat())
    assert second.src_part != 7
    assert second.dst_part == 0x0800


@pytest.mark.parametrize("protocol", [47, 50])
def test_nothing_to_change_in_other_protocols(protocol: int) -> None:
    """Two clients of one tunnel end clash."""
    net = make_net()
    original = Tuple(CLIENT, SERVER, protocol, 0, 0)
    first = Connection(original, inverse(original))
    bind(net, first, snat())
    confirmed(net, first)
    second_original = original._replace(src=OTHER)
    second = Connection(second_original, inverse(second_original))
    assert bind(net, second, snat()) == inverse(first.reply)


def test_confirmed_connection_is_left_alone() -> None:
    """Its binding is known to both ends."""
    net = make_net()
    made = confirmed(net, connection())
    nf_nat_setup_info(net, made, snat(), Manip.SRC)
    assert inverse(made.reply) == made.original
    assert not made.flags & Status.SRC_NAT_DONE


def test_unconfirmed_mappings_are_not_reused() -> None:
    """A packet that was dropped leaves no memory of its binding."""
    net = make_net()
    bind(net, connection(), snat(100, 200))
    assert not net.generic(Conntrack).by_source


def tcp(net: Net, src: bytes, state: TcpState, td_end: int) -> Connection:
    made = connection(src, protocol=6, dst_port=80)
    made.tcp = TcpTracking()
    made.tcp.state = state
    made.tcp.seen[0].td_end = td_end
    return made


@pytest.mark.parametrize(
    "kernel,state,td_end,evicted",
    [
        ("6.18", TcpState.TIME_WAIT, 100, True),
        ("6.18", TcpState.TIME_WAIT, 5000, False),
        ("6.18", TcpState.LAST_ACK, 100, False),
        ("6.1", TcpState.TIME_WAIT, 100, False),
    ],
)
def test_finished_connection_makes_room(
    kernel: str, state: TcpState, td_end: int, evicted: bool
) -> None:
    """In a range of few ports, if the newcomer's sequence numbers are further on."""
    net = make_net(kernel)
    old = tcp(net, CLIENT, state, td_end)
    bind(net, old, snat(700, 709))
    port = old.reply.dst_part
    for taken in set(range(700, 710)) - {port}:
        made = connection(OTHER, taken, protocol=6, dst_port=80)
        bind(net, made, snat(taken, taken))
        confirmed(net, made)
    confirmed(net, old)
    bind(net, tcp(net, OTHER, TcpState.SYN_SENT, 1000), snat(700, 709))
    assert bool(old.flags & Status.DYING) is evicted


def test_ipv6_range_is_chosen_word_by_word() -> None:
    """Only the words in which the ends differ are hashed into."""
    low = bytes.fromhex("20010db8000000000000000000000000")
    high = bytes.fromhex("20010db80000000000000000ffffffff")
    source = Tuple(bytes(15) + b"\x01", bytes(15) + b"\x02", 17, 1, 2)
    range_ = NatRange(flags=MAP_IPS, min_address=low, max_address=high)
    chosen = find_best_ips_proto(DEFAULT_ZONE, source, range_, Manip.SRC).src
    assert chosen[:12] == low[:12]
    assert low <= chosen <= high


def test_both_ends_at_once_are_left_to_confirm() -> None:
    """A UDP connection that is another one's reverse keeps its port; 6.1 changes it."""
    for kernel, kept in (("6.18", True), ("6.1", False)):
        net = make_net(kernel)
        there = confirmed(net, connection())
        back_original = there.reply
        back = Connection(back_original, inverse(back_original))
        address = back_original.src
        range_ = NatRange(flags=MAP_IPS, min_address=address, max_address=address)
        chosen = get_unique_tuple(net, back, back_original, range_, Manip.SRC)
        assert (chosen == back_original) is kept
