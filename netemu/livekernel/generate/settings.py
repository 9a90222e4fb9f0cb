"""Random parameters and sockets of a node."""

from __future__ import annotations

from collections.abc import Sequence

from netemu.livekernel.generate.dice import Dice
from netemu.sim.spec import LinkSpec, SocketSpec

DEVICE_SETTINGS = (
    ("rp_filter", "12", 22),
    ("route_localnet", "1", 10),
    ("accept_local", "1", 6),
    ("arp_ignore", "1238", 10),
    ("arp_announce", "12", 8),
    ("arp_accept", "12", 8),
    ("arp_filter", "1", 5),
    ("proxy_arp", "1", 8),
    ("drop_unicast_in_l2_multicast", "1", 5),
    ("accept_source_route", "1", 10),
    ("bc_forwarding", "1", 3),
    ("src_valid_mark", "1", 5),
    ("shared_media", "0", 4),
    ("drop_gratuitous_arp", "1", 4),
    ("proxy_arp_pvlan", "1", 3),
)
"""Name below net.ipv4.conf, values, and in how many of 100 nodes one device (or all) has it."""

SETTINGS = (
    ("net.ipv4.icmp_echo_ignore_all", ("1",), 4),
    ("net.ipv4.icmp_echo_ignore_broadcasts", ("0",), 8),
    ("net.ipv4.ip_default_ttl", ("128", "32"), 8),
    ("net.ipv4.icmp_errors_use_inbound_ifaddr", ("1",), 5),
    ("net.ipv4.fwmark_reflect", ("1",), 5),
    ("net.netfilter.nf_conntrack_tcp_loose", ("0",), 8),
    ("net.netfilter.nf_conntrack_tcp_be_liberal", ("1",), 8),
    ("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", ("1",), 3),
    ("net.netfilter.nf_conntrack_tcp_max_retrans", ("1", "0"), 3),
    ("net.netfilter.nf_conntrack_checksum", ("0",), 5),
    ("net.netfilter.nf_conntrack_log_invalid", ("255", "6", "1", "17"), 12),
    ("net.netfilter.nf_conntrack_udp_timeout", ("10", "77"), 5),
    ("net.netfilter.nf_conntrack_acct", ("1",), 4),
)

BRIDGE_SETTINGS = (
    ("net.bridge.bridge-nf-call-iptables", ("0",), 25),
    ("net.bridge.bridge-nf-filter-vlan-tagged", ("1",), 8),
    ("net.bridge.bridge-nf-pass-vlan-input-dev", ("1",), 3),
)


SINGLE_ACKS = {"net.ipv4.tcp_comp_sack_nr": "0"}
"""Else a timer of microseconds joins ACKs about early data: who is first, it or the next frame?"""


def random_settings(dice: Dice, links: Sequence[LinkSpec]) -> dict[str, str]:
    """Draw a node's sysctls; `links` begins with the loopback device."""
    names = [link.name for link in links[1:]]
    values = {"net.ipv4.ip_forward": "1" if dice.chance(90) else "0"} | SINGLE_ACKS
    if dice.chance(50):
        values["net.ipv4.conf.all.log_martians"] = "1"
    if dice.chance(5):
        values[f"net.ipv4.conf.{dice.pick(names)}.forwarding"] = dice.pick("01")
    if dice.chance(80):  # redirects come at most every 20 ms: that depends on the machine's mood
        values["net.ipv4.conf.all.send_redirects"] = "0"
        values["net.ipv4.conf.default.send_redirects"] = "0"
    for name, choices, percent in DEVICE_SETTINGS:
        if dice.chance(percent):
            group = dice.pick(["all", "default", *names])
            values[f"net.ipv4.conf.{group}.{name}"] = dice.pick(choices)
            if name.startswith("proxy_arp"):  # else the answer comes after a random time
                values["net.ipv4.neigh.default.proxy_delay"] = "0"
    others: tuple[tuple[str, tuple[str, ...], int], ...] = SETTINGS
    if any(link.kind == "bridge" for link in links):
        others += BRIDGE_SETTINGS
    for name, choice, percent in others:
        if dice.chance(percent):
            values[name] = dice.pick(choice)
    return values


TIMEOUTS = (
    "udp_timeout",
    "udp_timeout_stream",
    "icmp_timeout",
    "generic_timeout",
    "tcp_timeout_syn_sent",
    "tcp_timeout_syn_recv",
    "tcp_timeout_established",
    "tcp_timeout_fin_wait",
    "tcp_timeout_close_wait",
    "tcp_timeout_last_ack",
    "tcp_timeout_time_wait",
    "tcp_timeout_close",
    "tcp_timeout_max_retrans",
    "tcp_timeout_unacknowledged",
)
"""Names below net.netfilter.nf_conntrack_."""


def short_timeouts(dice: Dice) -> dict[str, str]:
    """Draw timeouts of 1 to 3 s for connections and fragments."""
    values = {
        f"net.netfilter.nf_conntrack_{name}": str(dice.between(1, 3))
        for name in dice.some(TIMEOUTS, 65)
    }
    if dice.chance(60):
        values["net.ipv4.ipfrag_time"] = str(dice.between(1, 2))
    return values


def random_listeners(dice: Dice, ports: Sequence[int]) -> list[SocketSpec]:
    """Draw what listens on all addresses."""
    return [
        SocketSpec(protocol=protocol, address=bytes(4), port=port)
        for port in ports
        for protocol in ("tcp", "udp")
        if dice.chance(25)
    ]
