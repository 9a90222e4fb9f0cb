"""Classifying and confirming, beside what the scripts show."""

from __future__ import annotations

import pytest

from netemu.clock import Clock
from netemu.events import ConnectionConfirmed, ConnectionCreated, ConntrackLookup, Event, Stamp
from netemu.net import Net
from netemu.netfilter.conntrack.connection import (
    Connection,
    CtInfo,
    Status,
    Zone,
    nf_ct_get,
    nf_ct_set,
    nf_ct_set_untracked,
    nf_ct_tmpl_alloc,
    state_word,
)
from netemu.netfilter.conntrack.core import (
    nf_confirm,
    nf_conntrack_attach,
    nf_conntrack_in,
    nf_conntrack_tuple_taken,
    nf_ct_netns_get,
)
from netemu.netfilter.conntrack.table import Conntrack
from netemu.netfilter.conntrack.tcp import TcpState
from netemu.netfilter.conntrack.tuple import Tuple, inverse
from netemu.netfilter.hook import Family, Hook, HookState, Priority, Verdict
from netemu.skb import ETH_P_IP, Skb
from netemu.sysctl import Sysctl
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

A, B = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])


def hook_state(hook: Hook = Hook.PREROUTING) -> HookState:
    return HookState(
        family=Family.IPV4, hook=hook, in_device=None, out_device=None, okfn=lambda skb: None
    )


def make_net(kernel: str = "6.18") -> Net:
    return Net(clock=Clock(0, 250), kernel=kernel)


def udp(net: Net, src: bytes = A, dst: bytes = B, port: int = 1000) -> Skb:
    datagram = build_udp(src=src, dst=dst, src_port=port, dst_port=53)
    packet = build_ipv4(src=src, dst=dst, protocol=17, payload=bytes(datagram))
    return Skb(packet, protocol=ETH_P_IP, fate=net.new_fate())


def syn(net: Net) -> Skb:
    segment = build_tcp(src=A, dst=B, src_port=1000, dst_port=80, flags=2, window=100)
    packet = build_ipv4(src=A, dst=B, protocol=6, payload=bytes(segment))
    return Skb(packet, protocol=ETH_P_IP, fate=net.new_fate())


def tracked(net: Net, skb: Skb) -> Connection:
    assert nf_conntrack_in(net, skb, hook_state()) == Verdict.ACCEPT
    connection, _ = nf_ct_get(skb)
    assert connection is not None
    return connection


def test_not_confirmed_not_in_the_table() -> None:
    """A packet that is dropped on the way leaves nothing."""
    net = make_net()
    first = tracked(net, udp(net))
    assert len(net.generic(Conntrack)) == 0
    skb = udp(net)
    second = tracked(net, skb)
    assert second is not first
    assert nf_confirm(net, skb, hook_state(Hook.POSTROUTING)) == Verdict.ACCEPT
    assert list(net.generic(Conntrack)) == [second]
    assert skb.fate.connection is second


def test_seen_before_is_left_alone() -> None:
    """Over the loopback device a packet keeps what it got at OUTPUT."""
    net = make_net()
    skb = udp(net)
    connection = tracked(net, skb)
    nf_confirm(net, skb, hook_state(Hook.POSTROUTING))
    assert nf_conntrack_in(net, skb, hook_state()) == Verdict.ACCEPT
    assert nf_ct_get(skb) == (connection, CtInfo.NEW)


def test_untracked_stays_untracked() -> None:
    """NOTRACK is final."""
    net = make_net()
    skb = udp(net)
    nf_ct_set_untracked(skb)
    assert nf_conntrack_in(net, skb, hook_state()) == Verdict.ACCEPT
    connection, ctinfo = nf_ct_get(skb)
    assert state_word(connection, ctinfo) == "UNTRACKED"
    assert nf_confirm(net, skb, hook_state(Hook.POSTROUTING)) == Verdict.ACCEPT
    assert len(net.generic(Conntrack)) == 0


def test_later_fragments_are_invalid() -> None:
    """They have no ports; reassembly comes before."""
    net = make_net()
    data = build_ipv4(src=A, dst=B, protocol=17, payload=bytes(8), fragment_offset=3)
    skb = Skb(data, protocol=ETH_P_IP, fate=net.new_fate())
    nf_conntrack_in(net, skb, hook_state())
    assert state_word(*nf_ct_get(skb)) == "INVALID"


def test_template_names_the_zone() -> None:
    """CT --zone 7; --zone mark takes the packet's mark."""
    net = make_net()
    skb = udp(net)
    nf_ct_set(skb, nf_ct_tmpl_alloc(Zone(7)), CtInfo.NEW)
    assert tracked(net, skb).zone == Zone(7)
    skb = udp(net)
    skb.mark = 0x30009
    nf_ct_set(skb, nf_ct_tmpl_alloc(Zone(0, 3, from_mark=True)), CtInfo.NEW)
    assert tracked(net, skb).zone == Zone(9)


def test_full_table_drops_and_says_so() -> None:
    """Assured entries are not sacrificed; 6.18 names the namespace."""
    net = make_net()
    net.sysctl.set("net.netfilter.nf_conntrack_buckets", "8")
    net.sysctl.set("net.netfilter.nf_conntrack_max", "1")
    skb = udp(net)
    connection = tracked(net, skb)
    nf_confirm(net, skb, hook_state(Hook.POSTROUTING))
    connection.status |= Status.ASSURED
    assert nf_conntrack_in(net, udp(net, port=2), hook_state()) == Verdict.DROP
    assert net.log == ["nf_conntrack: nf_conntrack: table full in init_net, dropping packet"]
    connection.status &= ~Status.ASSURED
    assert nf_conntrack_in(net, udp(net, port=2), hook_state()) == Verdict.ACCEPT
    assert len(net.generic(Conntrack)) == 0


def test_full_table_of_6_1() -> None:
    """6.1 does not say which namespace."""
    net = make_net("6.1")
    net.sysctl.set("net.netfilter.nf_conntrack_max", "1")
    skb = udp(net)
    tracked(net, skb).status |= Status.ASSURED
    nf_confirm(net, skb, hook_state(Hook.POSTROUTING))
    assert nf_conntrack_in(net, udp(net, port=2), hook_state()) == Verdict.DROP
    assert net.log == ["nf_conntrack: nf_conntrack: table full, dropping packet"]


@pytest.mark.parametrize(
    "cause,answer",
    [
        (CtInfo.NEW, CtInfo.RELATED_REPLY),
        (CtInfo.ESTABLISHED, CtInfo.RELATED_REPLY),
        (CtInfo.ESTABLISHED_REPLY, CtInfo.RELATED),
    ],
)
def test_errors_belong_to_their_cause(cause: CtInfo, answer: CtInfo) -> None:
    """A packet made about another one goes the other way."""
    net = make_net()
    original = Tuple(A, B, 17, 1, 2)
    connection = Connection(original, inverse(original))
    skb, made = udp(net), udp(net)
    nf_ct_set(skb, connection, cause)
    nf_conntrack_attach(net, made, skb)
    assert nf_ct_get(made) == (connection, answer)


def test_error_about_untracked_is_invalid() -> None:
    """It is not untracked itself (asked of 6.18 with NOTRACK and REJECT)."""
    net = make_net()
    skb, made = udp(net), udp(net)
    nf_ct_set_untracked(skb)
    nf_conntrack_attach(net, made, skb)
    assert state_word(*nf_ct_get(made)) == "INVALID"


def test_reset_by_a_rule_closes() -> None:
    """REJECT --reject-with tcp-reset leaves 10 seconds."""
    net = make_net()
    skb = syn(net)
    connection = tracked(net, skb)
    assert connection.tcp is not None
    nf_ct_netns_get(net)
    assert net.nf_ct_set_closing is not None
    net.nf_ct_set_closing(skb)
    assert connection.tcp.state == TcpState.SYN_SENT
    nf_confirm(net, skb, hook_state(Hook.POSTROUTING))
    net.nf_ct_set_closing(skb)
    assert connection.tcp.state == TcpState.CLOSE
    assert net.generic(Conntrack).expires_s(connection) == 10


def test_clash_of_the_same_connection_is_resolved() -> None:
    """Two packets of one UDP connection before the first is confirmed: the second joins."""
    net = make_net()
    first, second = udp(net), udp(net)
    winner, loser = tracked(net, first), tracked(net, second)
    assert winner is not loser
    nf_confirm(net, first, hook_state(Hook.POSTROUTING))
    assert nf_confirm(net, second, hook_state(Hook.POSTROUTING)) == Verdict.ACCEPT
    assert nf_ct_get(second) == (winner, CtInfo.NEW)
    assert list(net.generic(Conntrack)) == [winner]


def test_clash_of_tcp_drops() -> None:
    """TCP has no clash resolution: the client will try again."""
    net = make_net()
    first, second = syn(net), syn(net)
    tracked(net, first)
    tracked(net, second)
    nf_confirm(net, first, hook_state(Hook.POSTROUTING))
    assert nf_confirm(net, second, hook_state(Hook.POSTROUTING)) == Verdict.DROP


def test_clash_after_nat_lives_a_second_and_is_not_shown() -> None:
    """Same client, other server: only the answers of the loser are known, for a second."""
    net = make_net()
    first, second = udp(net), udp(net)
    winner, loser = tracked(net, first), tracked(net, second)
    for connection, server in ((winner, 7), (loser, 8)):
        connection.status |= Status.DST_NAT | Status.DST_NAT_DONE | Status.SRC_NAT_DONE
        connection.reply = Tuple(bytes([10, 0, 0, server]), A, 17, 53, 1000)
    nf_confirm(net, first, hook_state(Hook.POSTROUTING))
    assert nf_confirm(net, second, hook_state(Hook.POSTROUTING)) == Verdict.ACCEPT
    table = net.generic(Conntrack)
    assert list(table) == [winner]
    assert table.find(loser.original) == (winner, 0)
    assert table.find(loser.reply) == (loser, 1)
    assert loser.flags & Status.NAT_CLASH
    assert table.expires_s(loser) == 1


def test_tuple_taken() -> None:
    """By somebody else, unless it is the same connection once more."""
    net = make_net()
    skb = udp(net)
    taken = tracked(net, skb)
    nf_confirm(net, skb, hook_state(Hook.POSTROUTING))
    again = Connection(taken.original, taken.reply)
    other = Connection(Tuple(A, B, 17, 9, 9), taken.reply)
    assert not nf_conntrack_tuple_taken(net, taken.reply, taken)
    assert not nf_conntrack_tuple_taken(net, taken.reply, again)
    assert nf_conntrack_tuple_taken(net, taken.reply, other)


def test_hooks_are_registered_once() -> None:
    """By the first who wants to know; confirm runs last."""
    net = make_net()
    assert not net.hooks.functions(Family.IPV4, Hook.PREROUTING)
    nf_ct_netns_get(net)
    nf_ct_netns_get(net)
    assert {
        hook: [priority for priority, _ in net.hooks.functions(Family.IPV4, hook)] for hook in Hook
    } == {
        Hook.PREROUTING: [Priority.CONNTRACK_DEFRAG, Priority.CONNTRACK],
        Hook.INPUT: [Priority.LAST],
        Hook.FORWARD: [],
        Hook.OUTPUT: [Priority.CONNTRACK_DEFRAG, Priority.CONNTRACK],
        Hook.POSTROUTING: [Priority.LAST],
    }


def test_events_tell_a_connection_s_birth() -> None:
    """Created at lookup, confirmed at the end; each shows the entry as conntrack -L would."""
    net = make_net()
    told: list[Event] = []

    def sink(stamp: Stamp, event: Event) -> None:
        told.append(event)

    net.sink = sink
    skb = udp(net)
    tracked(net, skb)
    nf_confirm(net, skb, hook_state(Hook.POSTROUTING))
    entry = (
        "udp      17 30 src=10.0.0.1 dst=10.0.0.2 sport=1000 dport=53 [UNREPLIED] "
        "src=10.0.0.2 dst=10.0.0.1 sport=53 dport=1000 mark=0 use=1"
    )
    assert told == [
        ConntrackLookup(state="NEW", direction="ORIGINAL", connection=entry, note=""),
        ConnectionCreated(connection=entry),
        ConnectionConfirmed(connection=entry),
    ]


def test_events_say_why_a_packet_is_invalid() -> None:
    """In the words of log_invalid, whether that is on or not."""
    net = make_net()
    told: list[Event] = []
    net.sink = lambda stamp, event: told.append(event)
    skb = syn(net)
    skb.data[33] = 0
    skb.ip_summed = skb.ip_summed.UNNECESSARY
    nf_conntrack_in(net, skb, hook_state())
    assert told == [
        ConntrackLookup(
            state="INVALID", direction="", connection="", note="invalid tcp flag combination"
        )
    ]
    assert net.log == []


def test_the_older_name_of_the_table_size_counts() -> None:
    net = Net(sysctl=Sysctl({"net.nf_conntrack_max": "7"}))
    assert net.sysctl.get("net.netfilter.nf_conntrack_max") == 7
    net.sysctl.set("net.nf_conntrack_max", "9")
    assert net.sysctl.get("net.netfilter.nf_conntrack_max") == 9
