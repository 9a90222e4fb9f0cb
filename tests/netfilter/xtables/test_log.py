"""The kernel-log line, compared with what Linux 6.18 wrote for the same frames."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, HookState
from netemu.netfilter.xtables.log import (
    DEFAULT_MASK,
    LogFlags,
    nf_log_ip_packet,
    packet_text,
    syslog_net_init,
)
from netemu.skb import ETH_HLEN, ETH_P_IP, Device, Fate, NfBridge, Skb
from netemu.sysctl import Sysctl
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.udp import build_udp

RECORDED = Path(__file__).parents[2] / "oracle" / "nf_log_text.txt"


class Port(Device):
    def xmit(self, skb: Skb) -> None:
        raise AssertionError


def device(name: str, **more: bool) -> Device:
    return Port(name=name, ifindex=1, mac=bytes(6), **more)


XK0 = device("xk0")
MAC = bytes.fromhex("020000000a01020000000a020800")


def recorded() -> list[tuple[bytes, str, str, str]]:
    lines = [line for line in RECORDED.read_text().split("\n") if line[:1] not in {"#", ""}]
    return [
        (bytes.fromhex(lines[at]), lines[at + 1], lines[at + 2], lines[at + 3])
        for at in range(0, len(lines), 4)
    ]


def received(frame: bytes) -> Skb:
    """The frame as PREROUTING sees it: cut to the length that the IP header says."""
    packet = frame[ETH_HLEN:][: int.from_bytes(frame[16:18], "big")]
    skb = Skb(packet, protocol=ETH_P_IP, fate=Fate(packet_id=1), device=XK0)
    skb.mac_header = frame[:ETH_HLEN]
    return skb


def udp_skb(**header: int) -> Skb:
    src, dst = parse_address("10.0.0.1"), parse_address("10.0.0.2")
    segment = build_udp(src=src, dst=dst, src_port=7, dst_port=8, payload=b"x")
    packet = build_ipv4(src=src, dst=dst, protocol=17, payload=bytes(segment), **header)
    skb = Skb(packet, protocol=ETH_P_IP, fate=Fate(packet_id=1))
    skb.mac_header = MAC
    return skb


TAIL = (
    "SRC=10.0.0.1 DST=10.0.0.2 LEN=29 TOS=0x00 PREC=0x00 TTL=64 ID=0 PROTO=UDP SPT=7 DPT=8 LEN=9 "
)


@pytest.mark.parametrize("frame, decoded, full, usual", recorded())
def test_line_is_the_kernels(frame: bytes, decoded: str, full: str, usual: str) -> None:
    skb = received(frame)
    assert packet_text(skb, XK0, None, LogFlags.MACDECODE, "pre fix:") == decoded
    assert packet_text(skb, XK0, None, DEFAULT_MASK, "all") == full
    assert packet_text(skb, XK0, None, 0, "") == usual


def test_packet_without_input_device_has_no_mac_part() -> None:
    assert packet_text(udp_skb(), None, XK0, 0, "") == f"IN= OUT=xk0 {TAIL}"


def test_loopback_device_is_not_decoded() -> None:
    """ARPHRD_LOOPBACK is no ARPHRD_ETHER, so MACDECODE falls back to MAC=."""
    lo = device("lo", loopback=True)
    skb = udp_skb()
    skb.device = lo
    skb.mac_header = bytes(12) + b"\x08\x00"
    text = packet_text(skb, lo, None, LogFlags.MACDECODE, "")
    assert text == f"IN=lo OUT= MAC=00:00:00:00:00:00:00:00:00:00:00:00:08:00 {TAIL}"


def test_vlan_tag_is_shown_between_the_addresses_and_the_type() -> None:
    skb = udp_skb()
    skb.device = XK0
    skb.vlan_tci = 0x6005
    text = packet_text(skb, XK0, None, LogFlags.MACDECODE, "")
    assert "MACDST=02:00:00:00:0a:01 VPROTO=8100 VID=24581 MACPROTO=0800 " in text


def test_bridge_ports_are_named_when_they_are_not_the_devices() -> None:
    bridge, first, second = device("br0"), device("p1"), device("p2")
    skb = udp_skb()
    skb.nf_bridge = NfBridge(physindev=first, physoutdev=second)
    assert packet_text(skb, None, bridge, 0, "").startswith("IN= OUT=br0 PHYSIN=p1 PHYSOUT=p2 SRC=")
    assert packet_text(skb, first, second, 0, "").startswith("IN=p1 OUT=p2 MAC=")


def test_mark_ends_the_line() -> None:
    skb = udp_skb()
    skb.mark = 0x4000
    assert packet_text(skb, None, XK0, 0, "") == f"IN= OUT=xk0 {TAIL}MARK=0x4000 "


def test_owner_of_a_local_socket_is_shown_on_demand() -> None:
    class Sock:
        uid = 1000
        gid = 100

    skb = udp_skb()
    skb.sk = Sock()
    assert packet_text(skb, None, XK0, LogFlags.UID, "").endswith("LEN=9 UID=1000 GID=100 ")
    assert "UID" not in packet_text(skb, None, XK0, 0, "")


def test_line_goes_to_the_kernel_log() -> None:
    net = Net()
    nf_log_ip_packet(net, udp_skb(), None, XK0, 0, "p ")
    assert net.log == [f"p IN= OUT=xk0 {TAIL}"]


@pytest.mark.parametrize(
    "sysctl, lines",
    [
        ({}, 1),
        ({"net.netfilter.nf_log.2": "nf_log_ipv4"}, 1),
        ({"net.netfilter.nf_log.2": "NONE"}, 0),
    ],
)
def test_conntracks_messages_need_a_bound_logger(sysctl: dict[str, str], lines: int) -> None:
    net = Net(sysctl=Sysctl(sysctl))
    syslog_net_init(net)
    state = HookState(
        family=Family.IPV4,
        hook=Hook.PREROUTING,
        in_device=None,
        out_device=XK0,
        okfn=lambda _: None,
    )
    assert net.nf_log_packet is not None
    net.nf_log_packet(udp_skb(), state, "nf_ct_proto_17: bad ")
    assert len(net.log) == lines


def test_kernel_6_1_knows_no_accurate_ecn() -> None:
    """Linux 6.1 counts the bit before CWR among the reserved ones; the other line is 6.18.44's."""
    frame = bytes.fromhex(
        "020000000a01020000000a02080045000028000100004006663f0a4700020a470001000100020000000000000000"
        "5fff20006b520000"
    )
    for kernel, part in (("6.1", "RES=0x3c CWR"), ("6.18", "RES=0x38 AE CWR")):
        net = Net(kernel=kernel)
        nf_log_ip_packet(net, received(frame), XK0, None, 0, "")
        assert part in net.log[0]
