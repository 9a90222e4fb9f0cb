"""br_netfilter: what the IPv4 hooks see of bridged packets, and where DNAT sends them.

tests/kernel/link_cases.py holds the same things with real rules against Linux 6.18.
"""

from __future__ import annotations

from netemu.ip.br_netfilter import br_netfilter_init
from netemu.ip.fib import Fib
from netemu.ip.neighbour import NeighbourTable
from netemu.ip.stack import inet_init
from netemu.link.bridge import Bridge
from netemu.link.device import receive_frame
from netemu.link.loopback import Loopback
from netemu.link.port import Port
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, HookState, Verdict
from netemu.sim.spec import AddressSpec, NeighbourSpec
from netemu.skb import Fate, Skb
from netemu.wire.address import parse_address as ip
from netemu.wire.ipv4 import IPv4, build_ipv4

BRIDGE, ALICE, BOB = (bytes.fromhex(f"02000000000{digit}") for digit in "fab")
ALL = b"\xff" * 6
VIP = ip("10.96.0.1")


class Lab:
    """br0 10.0.0.254/24 with ports p1 and p2, and eth0 192.0.2.1/24; DNAT of the VIP by a hook."""

    def __init__(self, *, target: str = "", forward: int = 1, mtu: int = 1500) -> None:
        self.net = Net()
        self.net.sysctl.set("net.ipv4.ip_forward", str(forward))
        Loopback(self.net)
        self.bridge = Bridge(self.net, name="br0", ifindex=2, mac=BRIDGE)
        for number in (1, 2):
            mac = bytes.fromhex(f"02000000000{number}")
            port = Port(self.net, name=f"p{number}", ifindex=2 + number, mac=mac, mtu=mtu)
            self.bridge.add_port(port)
        Port(self.net, name="eth0", ifindex=5, mac=bytes.fromhex("0200000000e0"))
        inet_init(self.net)
        br_netfilter_init(self.net)
        br_netfilter_init(self.net)
        fib = self.net.generic(Fib)
        fib.add_address(AddressSpec(device="br0", address=ip("10.0.0.254"), prefix_len=24))
        fib.add_address(AddressSpec(device="eth0", address=ip("192.0.2.1"), prefix_len=24))
        self.seen: list[str] = []
        self.target = ip(target) if target else b""
        for hook in Hook:
            self.net.hooks.register(Family.IPV4, hook, 0, self.note)

    def note(self, skb: Skb, state: HookState) -> Verdict:
        info = skb.nf_bridge
        ports = (info.physindev, info.physoutdev) if info is not None else (None, None)
        devices = (state.in_device, state.out_device, *ports)
        names = " ".join(device.name if device else "-" for device in devices)
        self.seen.append(f"{state.hook.name} {names} {skb.pkt_type.name}")
        header = IPv4(skb.data)
        if self.target and state.hook == Hook.PREROUTING and header.dst == VIP:
            header.dst = self.target
            header.update_check()
        return Verdict.ACCEPT

    def frame(
        self, port: str, dst: bytes, src: bytes, body: bytes, ethertype: int = 0x0800
    ) -> Fate:
        fate = self.net.new_fate()
        frame = dst + src + ethertype.to_bytes(2, "big") + body
        receive_frame(self.net, self.net.devices[port], frame, fate=fate)
        self.net.clock.run_soon()
        return fate

    def knows_bob(self) -> None:
        self.net.generic(NeighbourTable).load(
            [NeighbourSpec(device="br0", address=ip("10.0.0.3"), mac=BOB)]
        )
        self.frame("p2", ALL, BOB, bytes(46), 0x88B5)


def packet(dst: str = "10.0.0.3", *, payload: int = 8, df: bool = False) -> bytes:
    return bytes(
        build_ipv4(
            src=ip("10.0.0.2"),
            dst=ip(dst),
            protocol=253,
            payload=bytes(payload),
            dont_fragment=df,
            identification=1,
        )
    )


def frames(fate: Fate) -> list[tuple[str, bytes]]:
    return [(sent.device, sent.frame[:12]) for sent in fate.frames]


def test_a_bridged_packet_meets_three_hooks() -> None:
    """PREROUTING, FORWARD and POSTROUTING with the bridge as device, for a stranger as HOST."""
    lab = Lab()
    lab.knows_bob()
    fate = lab.frame("p1", BOB, ALICE, packet() + bytes(18))
    assert lab.seen == [
        "PREROUTING br0 - p1 - HOST",
        "FORWARD br0 br0 p1 p2 HOST",
        "POSTROUTING - br0 p1 p2 HOST",
    ]
    # What the sender padded is cut off, as br_validate_ipv4 does.
    assert fate.frames[0].frame == BOB + ALICE + b"\x08\x00" + packet()


def test_a_packet_for_the_node_meets_prerouting_once() -> None:
    """ip_sabotage_in skips the second PREROUTING; routing follows as usual."""
    lab = Lab()
    lab.frame("p1", BRIDGE, ALICE, packet("10.0.0.254"))
    assert lab.seen[:2] == ["PREROUTING br0 - p1 - HOST", "INPUT br0 - p1 - HOST"]
    lab = Lab()
    lab.frame("p1", BRIDGE, ALICE, packet("192.0.2.9"))
    assert lab.seen == [
        "PREROUTING br0 - p1 - HOST",
        "FORWARD br0 eth0 p1 - HOST",
        "POSTROUTING br0 eth0 p1 - HOST",
    ]


def test_a_flooded_packet_meets_forward_once_for_each_port() -> None:
    """Each copy has a way out of its own."""
    lab = Lab()
    lab.bridge.add_port(Port(lab.net, name="p3", ifindex=6, mac=bytes.fromhex("020000000003")))
    lab.frame("p1", BOB, ALICE, packet())
    assert [line for line in lab.seen if line.startswith("FORWARD")] == [
        "FORWARD br0 br0 p1 p3 HOST",
        "FORWARD br0 br0 p1 p2 HOST",
    ]


def test_switches() -> None:
    """The sysctl off means no hooks, unless the bridge's own option is on."""
    lab = Lab()
    lab.net.sysctl.set("net.bridge.bridge-nf-call-iptables", "0")
    lab.frame("p1", BOB, ALICE, packet())
    assert lab.seen == []
    lab.bridge.call_iptables = True
    lab.frame("p1", BOB, ALICE, packet())
    assert len(lab.seen) == 3


def test_tagged_frames_only_if_told() -> None:
    """filter-vlan-tagged 0 leaves tagged frames alone."""
    lab = Lab()
    body = bytes.fromhex("000a0800") + packet()
    lab.frame("p1", BOB, ALICE, body, 0x8100)
    assert lab.seen == []
    lab.net.sysctl.set("net.bridge.bridge-nf-filter-vlan-tagged", "1")
    fate = lab.frame("p1", BOB, ALICE, body, 0x8100)
    assert len(lab.seen) == 3
    assert fate.frames[0].frame == BOB + ALICE + b"\x81\x00" + body


def test_pppoe_only_if_told() -> None:
    """filter-pppoe-tagged hides the header from the hooks and puts it back."""
    lab = Lab()
    body = bytes.fromhex("11000001001e0021") + packet()
    lab.frame("p1", BOB, ALICE, body, 0x8864)
    assert lab.seen == []
    lab.net.sysctl.set("net.bridge.bridge-nf-filter-pppoe-tagged", "1")
    fate = lab.frame("p1", BOB, ALICE, body, 0x8864)
    assert len(lab.seen) == 3
    assert fate.frames[0].frame == BOB + ALICE + b"\x88\x64" + body


def test_dnat_to_a_known_neighbour_on_the_same_bridge() -> None:
    """The frame is addressed anew and bridged on; the sender's MAC stays."""
    for times in (1, 2):
        lab = Lab(target="10.0.0.3")
        lab.knows_bob()
        fates = [lab.frame("p1", BRIDGE, ALICE, packet("10.96.0.1")) for _ in range(times)]
        assert frames(fates[-1]) == [("p2", BOB + ALICE)]
        assert lab.seen[-2:] == ["FORWARD br0 br0 p1 p2 HOST", "POSTROUTING - br0 p1 p2 HOST"]


def test_dnat_to_an_unknown_neighbour_waits_for_arp() -> None:
    """The bridge asks, and sends on when the answer comes."""
    lab = Lab(target="10.0.0.3")
    fate = lab.frame("p1", BRIDGE, ALICE, packet("10.96.0.1"))
    assert fate.verdict == "STOLEN"
    answer = bytes.fromhex("0001080006040002") + BOB + ip("10.0.0.3") + BRIDGE + ip("10.0.0.254")
    lab.frame("p2", BRIDGE, BOB, answer, 0x0806)
    assert frames(fate) == [("p2", BOB + ALICE)]


def test_dnat_back_to_the_sender_needs_hairpin_mode() -> None:
    """Without it the frame is dropped at its own port."""
    lab = Lab(target="10.0.0.3")
    lab.knows_bob()
    assert lab.frame("p2", BRIDGE, BOB, packet("10.96.0.1")).verdict == "DROP"
    lab.bridge.ports[0].hairpin = True
    assert frames(lab.frame("p2", BRIDGE, BOB, packet("10.96.0.1"))) == [("p2", BOB + BOB)]


def test_dnat_elsewhere_goes_up_the_stack() -> None:
    """The destination MAC becomes the bridge's, and the packet is routed."""
    lab = Lab(target="192.0.2.9")
    lab.frame("p1", BOB, ALICE, packet("10.96.0.1"))
    assert lab.seen == [
        "PREROUTING br0 - p1 - HOST",
        "FORWARD br0 eth0 p1 - HOST",
        "POSTROUTING br0 eth0 p1 - HOST",
    ]


def test_dnat_without_forwarding_or_from_a_martian_is_the_end() -> None:
    """Neither is bridged on (Linux 6.18)."""
    lab = Lab(target="10.0.0.3", forward=0)
    lab.knows_bob()
    assert lab.frame("p1", BRIDGE, ALICE, packet("10.96.0.1")).verdict == "DROP"
    lab = Lab(target="127.0.0.1")
    assert lab.frame("p1", BRIDGE, ALICE, packet("10.96.0.1")).verdict == "DROP"


def test_broken_headers_are_dropped_before_the_hooks() -> None:
    """IPv4 and IPv6 headers are checked where the hooks would look at them."""
    lab = Lab()
    bad = bytearray(packet())
    bad[10] ^= 1
    assert lab.frame("p1", BOB, ALICE, bytes(bad)).reason == "IP_INHDR"
    assert lab.frame("p1", BOB, ALICE, packet()[:19]).reason == "IP_INHDR"
    assert lab.frame("p1", BOB, ALICE, packet()[:-1]).reason == "IP_INHDR"
    six = bytes.fromhex("6000000000040000") + bytes(36)
    assert lab.frame("p1", BOB, ALICE, six[:-1], 0x86DD).reason == "IP_INHDR"
    assert lab.frame("p1", BOB, ALICE, six + b"pad", 0x86DD).frames[0].frame[14:] == six
    assert lab.seen == []
    lab.net.sysctl.set("net.bridge.bridge-nf-call-ip6tables", "0")
    assert lab.frame("p1", BOB, ALICE, six[:-1], 0x86DD).verdict == "ACCEPT"


def test_a_packet_too_long_for_its_port_is_cut_or_dropped() -> None:
    """The bridge's own MTU says whether; with DF it is dropped in silence."""
    lab = Lab()
    lab.knows_bob()
    lab.net.devices["p2"].mtu = lab.bridge.mtu = 1000
    fate = lab.frame("p1", BOB, ALICE, packet(payload=1200))
    assert [len(sent.frame) for sent in fate.frames] == [14 + 20 + 976, 14 + 20 + 224]
    assert lab.frame("p1", BOB, ALICE, packet(payload=1200, df=True)).reason == "PKT_TOO_BIG"


def test_a_broadcast_is_confirmed_before_it_goes_up() -> None:
    """The copy for the stack puts the connection into the table when no port has done so."""
    lab = Lab()
    confirmed: list[Skb] = []

    def track(skb: Skb, state: HookState) -> Verdict:
        skb.nfct = object()
        return Verdict.ACCEPT

    def confirm(skb: Skb) -> Verdict:
        confirmed.append(skb)
        return Verdict.ACCEPT

    lab.net.hooks.register(Family.IPV4, Hook.PREROUTING, -200, track)
    lab.net.nf_ct_confirm = confirm
    lab.frame("p1", ALL, ALICE, packet("10.0.0.255"))
    lab.frame("p1", BRIDGE, ALICE, packet("10.0.0.254"))
    assert len(confirmed) == 1
