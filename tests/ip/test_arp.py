"""ARP byte by byte; the rules of answering and learning are those of Linux 6.18.

tests/kernel/link_cases.py runs the whole table of sysctls against the live kernel; here stand the
frames themselves and what each rule comes to.
"""

from __future__ import annotations

import pytest

from netemu.ip.arp import arp_init, inet_confirm_addr
from netemu.ip.devinet import RT_SCOPE_HOST, RT_SCOPE_LINK
from netemu.ip.fib import Fib
from netemu.ip.neighbour import NeighbourTable, neigh_output
from netemu.link.device import receive_frame
from netemu.link.loopback import Loopback
from netemu.link.port import Port
from netemu.net import Net
from netemu.sim.spec import AddressSpec
from netemu.skb import Fate, Skb
from netemu.wire.address import parse_address as ip
from netemu.wire.arp import build_arp
from netemu.wire.ipv4 import build_ipv4

ETH1, ETH2 = bytes.fromhex("0200000000e1"), bytes.fromhex("0200000000e2")
ASKER = bytes.fromhex("02aa00000009")
ALL, ZERO = b"\xff" * 6, bytes(6)
S = 1_000_000_000


class Lab:
    """eth1 10.1.0.1/24, eth2 10.2.0.1/24."""

    def __init__(self, **conf: int) -> None:
        self.net = Net()
        for key, value in conf.items():
            self.net.sysctl.set(f"net.ipv4.conf.all.{key}", str(value))
            self.net.sysctl.set(f"net.ipv4.conf.default.{key}", str(value))
        Loopback(self.net)
        self.eth1 = Port(self.net, name="eth1", ifindex=2, mac=ETH1)
        self.eth2 = Port(self.net, name="eth2", ifindex=3, mac=ETH2)
        self.sent: list[tuple[str, str]] = []
        for port in (self.eth1, self.eth2):
            port.on_frame = self.note(port.name)
        arp_init(self.net)
        fib = self.net.generic(Fib)
        for device, address in (("eth1", "10.1.0.1"), ("eth2", "10.2.0.1")):
            fib.add_address(AddressSpec(device=device, address=ip(address), prefix_len=24))

    def note(self, name: str):
        return lambda _skb, frame: self.sent.append((name, frame.hex()))

    def hear(
        self,
        operation: int,
        sip: str,
        tip: str,
        *,
        sender: bytes = ASKER,
        dst: bytes = ALL,
        tha: bytes = ZERO,
    ) -> Fate:
        body = build_arp(
            operation=operation,
            sender_mac=sender,
            sender_ip=ip(sip),
            target_mac=tha,
            target_ip=ip(tip),
        )
        fate = self.net.new_fate()
        frame = dst + sender + b"\x08\x06" + bytes(body)
        receive_frame(self.net, self.eth1, frame, fate=fate)
        return fate

    def send(self, src: str, dst: str) -> None:
        packet = build_ipv4(src=ip(src), dst=ip(dst), protocol=17, payload=bytes(8))
        skb = Skb(packet, protocol=0x0800, fate=self.net.new_fate())
        neigh_output(self.net, skb, self.eth1, ip(dst))

    @property
    def neighbours(self) -> list[str]:
        return self.net.generic(NeighbourTable).text().splitlines()


KNOWN = "10.1.0.9 dev eth1 lladdr 02:aa:00:00:00:09 STALE "
REPLY = "02aa000000090200000000e1080600010800060400020200000000e1{tip}02aa00000009{sip}"


def test_the_answer_byte_by_byte() -> None:
    """42 octets to the asker, who is learnt as STALE on the way."""
    lab = Lab()
    fate = lab.hear(1, "10.1.0.9", "10.1.0.1")
    assert lab.sent == [("eth1", REPLY.format(tip="0a010001", sip="0a010009"))]
    assert lab.neighbours == [KNOWN]
    assert fate.delivered_to == "node"


def test_weak_host_answers_for_other_devices_unless_arp_ignore() -> None:
    """Any local address is answered on any device; arp_ignore 1 wants it on this one, 8 never."""
    assert Lab().hear(1, "10.1.0.9", "10.2.0.1").delivered_to
    for ignore, target, answered in (
        (0, "10.2.0.1", True),
        (1, "10.2.0.1", False),
        (1, "10.1.0.1", True),
        (3, "10.2.0.1", True),
        (5, "10.2.0.1", True),
        (8, "10.1.0.1", False),
    ):
        lab = Lab(arp_ignore=ignore)
        lab.hear(1, "10.1.0.9", target)
        assert bool(lab.sent) is answered
        assert bool(lab.neighbours) is answered


def test_arp_ignore_2_wants_the_asker_in_the_subnet() -> None:
    """An asker from elsewhere gets no answer."""
    lab = Lab(arp_ignore=2)
    lab.hear(1, "172.16.0.9", "10.1.0.1")
    assert lab.sent == []
    lab.hear(1, "10.1.0.9", "10.1.0.1")
    assert len(lab.sent) == 1


def test_arp_filter_wants_the_way_back() -> None:
    """With arp_filter only the device that routes to the asker answers."""
    lab = Lab(arp_filter=1)
    lab.hear(1, "10.2.0.9", "10.2.0.1")
    assert lab.sent == []
    lab.hear(1, "10.1.0.9", "10.2.0.1")
    assert len(lab.sent) == 1


def test_probe_for_duplicates() -> None:
    """A sender without an address is answered and not learnt; the answer names target 0.0.0.0."""
    lab = Lab()
    lab.hear(1, "0.0.0.0", "10.1.0.1")
    lab.hear(1, "0.0.0.0", "10.1.0.77")
    assert lab.sent == [("eth1", REPLY.format(tip="0a010001", sip="00000000"))]
    assert lab.neighbours == []


@pytest.mark.parametrize("tip", ["10.1.0.77", "127.0.0.1", "224.0.0.1", "10.1.0.255"])
def test_questions_for_others_teach_nothing(tip: str) -> None:
    """No answer and no entry."""
    lab = Lab()
    lab.hear(1, "10.1.0.9", tip)
    assert (lab.sent, lab.neighbours) == ([], [])


def test_unasked_replies_teach_nothing_but_with_arp_accept() -> None:
    """arp_accept 1 takes any unicast sender up, 2 only one of the device's subnets."""
    for accept, sip, taken in (
        (0, "10.1.0.9", False),
        (1, "10.1.0.9", True),
        (1, "172.16.0.9", True),
        (2, "10.1.0.9", True),
        (2, "172.16.0.9", False),
    ):
        lab = Lab(arp_accept=accept)
        lab.hear(2, sip, "10.1.0.1", dst=ETH1, tha=ETH1)
        assert bool(lab.neighbours) is taken


def test_gratuitous_arp() -> None:
    """arp_accept takes an announcement up; drop_gratuitous_arp refuses it."""
    lab = Lab(arp_accept=1)
    lab.hear(1, "10.1.0.9", "10.1.0.9")
    assert lab.neighbours == [KNOWN]
    lab = Lab(arp_accept=1, drop_gratuitous_arp=1)
    assert lab.hear(1, "10.1.0.9", "10.1.0.9").reason == "NOT_SPECIFIED"
    assert lab.neighbours == []


def test_the_lock_time_keeps_the_first_of_several_answers() -> None:
    """Within a second another MAC is ignored, after it taken; a gratuitous one is taken at once."""
    other = bytes.fromhex("02aa0000000a")
    lab = Lab()
    lab.hear(1, "10.1.0.9", "10.1.0.1")
    lab.hear(1, "10.1.0.9", "10.1.0.77", sender=other)
    assert lab.neighbours == [KNOWN]
    lab.hear(1, "10.1.0.9", "10.1.0.9", sender=other)
    changed = KNOWN.replace("00:09 ", "00:0a ")
    assert lab.neighbours == [changed]
    lab.net.clock.run_until(S + 1)
    lab.hear(1, "10.1.0.9", "10.1.0.77")
    assert lab.neighbours == [KNOWN]


def test_only_a_unicast_reply_proves_reachability() -> None:
    """A reply by broadcast leaves the entry STALE."""
    for dst, state in ((ETH1, "REACHABLE"), (ALL, "STALE")):
        lab = Lab()
        lab.send("10.1.0.1", "10.1.0.9")
        lab.hear(2, "10.1.0.9", "10.1.0.1", dst=dst, tha=ETH1)
        # The packet that waited uses a STALE entry at once, which makes it DELAY.
        assert lab.neighbours == [KNOWN.replace("STALE", "DELAY" if state == "STALE" else state)]


def test_the_question_byte_by_byte() -> None:
    """By broadcast, target MAC zero; the source is that of the waiting packet if it is ours."""
    head = "ffffffffffff0200000000e1080600010800060400010200000000e1"
    for announce, src, asked_by in (
        (0, "10.1.0.1", "0a010001"),
        (0, "10.2.0.1", "0a020001"),
        (0, "172.16.0.9", "0a010001"),
        (1, "10.2.0.1", "0a010001"),
        (2, "10.2.0.1", "0a010001"),
    ):
        lab = Lab(arp_announce=announce)
        lab.send(src, "10.1.0.9")
        assert lab.sent == [("eth1", head + asked_by + "000000000000" + "0a010009")]


def test_proxy_arp() -> None:
    """Forwarding and proxy_arp let us answer for hosts behind another device, after a while."""
    lab = Lab(proxy_arp=1)
    lab.hear(1, "10.1.0.9", "10.2.0.77")
    assert lab.sent == []
    lab.net.sysctl.set("net.ipv4.ip_forward", "1")
    lab.hear(1, "10.1.0.9", "10.2.0.77")
    assert lab.sent == []
    lab.net.clock.run_until(S)
    answer = ("eth1", REPLY.format(tip="0a02004d", sip="0a010009"))
    assert lab.sent == [answer]
    lab.hear(1, "10.1.0.9", "10.2.0.77", dst=ETH1)
    assert lab.sent == [answer] * 2
    lab.hear(1, "10.1.0.9", "10.1.0.77")
    assert lab.sent == [answer] * 2


def test_proxy_queue_is_limited() -> None:
    """More than proxy_qlen requests at once are dropped."""
    lab = Lab(proxy_arp=1, forwarding=1)
    lab.net.sysctl.set("net.ipv4.neigh.eth1.proxy_qlen", "1")
    fates = [lab.hear(1, "10.1.0.9", f"10.2.0.{number}") for number in range(70, 75)]
    assert [fate.verdict for fate in fates] == ["STOLEN"] * 2 + ["DROP"] * 3


def test_malformed_messages_are_dropped() -> None:
    """Wrong lengths, types and operations are nobody's business."""
    lab = Lab()
    assert lab.hear(3, "10.1.0.9", "10.1.0.1").verdict == "DROP"
    fate = lab.net.new_fate()
    receive_frame(lab.net, lab.eth1, ALL + ASKER + b"\x08\x06" + bytes(27), fate=fate)
    assert fate.reason == "PKT_TOO_SMALL"
    assert lab.hear(1, "10.1.0.9", "10.1.0.1", dst=ETH2).reason == "OTHERHOST"


def test_devices_and_addresses_that_need_no_question() -> None:
    """Multicast maps to a group MAC, broadcast to all, a NOARP device to its own."""
    lab = Lab()
    lab.send("10.1.0.1", "239.129.2.3")
    lab.send("10.1.0.1", "10.1.0.255")
    lab.eth1.noarp = True
    lab.send("10.1.0.1", "10.1.0.9")
    assert [frame[:12] for _, frame in lab.sent] == ["01005e010203", "ffffffffffff", ETH1.hex()]


def test_inet_confirm_addr_searches_a_fitting_address() -> None:
    """With a local address 0.0.0.0 the first one in the subnet of the other side is taken."""
    lab = Lab()
    net, eth1 = lab.net, lab.eth1
    zero = bytes(4)
    assert inet_confirm_addr(net, eth1, ip("10.1.0.7"), zero, RT_SCOPE_LINK) == ip("10.1.0.1")
    assert inet_confirm_addr(net, eth1, ip("10.2.0.7"), zero, RT_SCOPE_LINK) == b""
    assert inet_confirm_addr(net, None, zero, ip("10.2.0.1"), RT_SCOPE_HOST) == ip("10.2.0.1")
