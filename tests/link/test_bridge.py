"""The bridge: learning, forwarding, flooding, going up the stack.

The order of flooding, the treatment of 01:80:c2 and the text of the FDB were asked of Linux 6.18.
"""

from __future__ import annotations

import pytest

from netemu.errors import InputError
from netemu.link.bridge import Bridge
from netemu.link.device import dev_queue_xmit, receive_frame
from netemu.link.port import Port
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, HookState, Verdict
from netemu.sim.spec import FdbSpec
from netemu.skb import Fate, PacketType, Skb
from netemu.wire.address import format_mac
from netemu.wire.checksum import internet_checksum
from netemu.wire.ipv4 import build_ipv4

BRIDGE_MAC = bytes.fromhex("0200000000ff")
ALICE, BOB, EVE = (bytes.fromhex(f"02aa0000000{n}") for n in (1, 2, 3))
ALL = b"\xff" * 6


class Lab:
    """A bridge br0 with ports p1, p2, p3 and a stack that notes what reaches it."""

    def __init__(self, options: dict[str, int] | None = None, **ports: dict[str, int]) -> None:
        self.net = Net()
        self.bridge = Bridge(self.net, name="br0", ifindex=2, mac=BRIDGE_MAC, options=options)
        for number in (1, 2, 3):
            mac = bytes.fromhex(f"02000000000{number}")
            port = Port(self.net, name=f"p{number}", ifindex=2 + number, mac=mac)
            self.bridge.add_port(port, ports.get(f"p{number}"))
        self.up: list[Skb] = []
        for ethertype in (0x0800, 0x88CC, 0x88B5):
            self.net.packet_handlers[ethertype] = self.up.append

    def frame(
        self, port: str, dst: bytes, src: bytes, body: bytes = b"\x88\xb5" + bytes(46)
    ) -> Fate:
        fate = self.net.new_fate()
        receive_frame(self.net, self.net.devices[port], dst + src + body, fate=fate)
        self.net.clock.run_soon()
        return fate

    def send(self, dst: bytes, body: bytes = bytes(46)) -> Fate:
        skb = Skb(body, protocol=0x88B5, fate=self.net.new_fate(), device=self.bridge)
        skb.mac_header = dst + BRIDGE_MAC + b"\x88\xb5"
        dev_queue_xmit(self.net, skb)
        return skb.fate


def ports(fate: Fate) -> list[str]:
    return [sent.device for sent in fate.frames]


def test_unknown_address_is_flooded_newest_port_first() -> None:
    """All ports but the ingress one get a frame to an unknown address, not the node itself."""
    lab = Lab()
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p3", "p2"]
    assert not lab.up


def test_learnt_address_gets_the_frame_alone() -> None:
    """After Bob has spoken, frames to him leave by his port only."""
    lab = Lab()
    lab.frame("p2", ALL, BOB)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p2"]


def test_broadcast_goes_everywhere_and_up() -> None:
    """The node's own stack hears a broadcast as coming from the bridge."""
    lab = Lab()
    assert ports(lab.frame("p1", ALL, ALICE)) == ["p3", "p2"]
    assert [(skb.device, skb.pkt_type) for skb in lab.up] == [(lab.bridge, PacketType.BROADCAST)]


def test_own_addresses_go_up_only() -> None:
    """The bridge's MAC is HOST; a port's MAC goes up too, as somebody else's."""
    lab = Lab()
    assert lab.frame("p1", BRIDGE_MAC, ALICE).frames == []
    assert lab.frame("p1", bytes.fromhex("020000000002"), ALICE).frames == []
    assert [skb.pkt_type for skb in lab.up] == [PacketType.HOST, PacketType.OTHERHOST]


def test_a_station_moves() -> None:
    """The port that an address was heard on last wins."""
    lab = Lab()
    lab.frame("p2", ALL, BOB)
    lab.frame("p3", ALL, BOB)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p3"]


def test_static_entries_move_but_never_age() -> None:
    """A static entry follows the station as a learnt one does (Linux 6.18)."""
    lab = Lab()
    lab.bridge.load_fdb([FdbSpec(bridge="br0", device="p2", mac=BOB, state="static")])
    lab.net.clock.run_until(10**12)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p2"]
    lab.frame("p3", ALL, BOB)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p3"]


def test_entries_age_out_after_300_seconds() -> None:
    """The entry is used up to its expiry, gone after it; a refresh starts anew."""
    lab = Lab()
    lab.frame("p2", ALL, BOB)
    lab.net.clock.run_until(200 * 10**9)
    lab.frame("p2", ALL, BOB)
    lab.net.clock.run_until(500 * 10**9 - 1)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p2"]
    lab.net.clock.run_until(500 * 10**9)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p3", "p2"]


def test_ageing_time_zero_never_learns() -> None:
    """With ageing_time 0 the bridge is a hub."""
    lab = Lab({"ageing_time": 0})
    lab.frame("p2", ALL, BOB)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p3", "p2"]


def test_hairpin_sends_back_out_of_the_same_port() -> None:
    """Without hairpin mode such a frame is dropped, with it it returns."""
    lab = Lab()
    lab.frame("p1", ALL, BOB)
    assert lab.frame("p1", BOB, ALICE).verdict == "DROP"
    lab = Lab(p1={"hairpin": 1})
    lab.frame("p1", ALL, BOB)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p1"]
    assert ports(lab.frame("p1", EVE, ALICE)) == ["p3", "p2", "p1"]


def test_isolated_ports_do_not_hear_each_other() -> None:
    """Isolated ports talk to the others and to the node only."""
    lab = Lab(p1={"isolated": 1}, p2={"isolated": 1})
    assert ports(lab.frame("p1", ALL, ALICE)) == ["p3"]
    assert ports(lab.frame("p3", ALL, EVE)) == ["p2", "p1"]
    assert ports(lab.send(ALL)) == ["p3", "p2", "p1"]


@pytest.mark.parametrize(
    ("flag", "destination"),
    [
        ("flood", BOB),
        ("mcast_flood", bytes.fromhex("3333000000aa")),
        ("bcast_flood", ALL),
    ],
)
def test_flood_flags_hold_back_one_kind_each(flag: str, destination: bytes) -> None:
    """A port without the flag misses that kind; what the node multicasts reaches it anyway."""
    lab = Lab(p3={flag: 0})
    assert ports(lab.frame("p1", destination, ALICE)) == ["p2"]
    expected = ["p2", "p1"] if flag == "flood" else ["p3", "p2", "p1"]
    assert ports(lab.send(destination)) == expected


def test_learning_off_leaves_addresses_unknown() -> None:
    """A port that does not learn leaves the FDB alone."""
    lab = Lab(p2={"learning": 0})
    lab.frame("p2", ALL, BOB)
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p3", "p2"]


def test_locked_port_takes_known_stations_only() -> None:
    """On a locked port an unknown sender is dropped, one with an entry passes."""
    lab = Lab(p1={"locked": 1})
    assert lab.frame("p1", BOB, ALICE).verdict == "DROP"
    lab.bridge.load_fdb([FdbSpec(bridge="br0", device="p1", mac=ALICE, state="static")])
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p3", "p2"]


@pytest.mark.parametrize(("state", "learnt"), [(0, False), (1, False), (2, True), (4, False)])
def test_only_a_forwarding_port_forwards(state: int, *, learnt: bool) -> None:
    """A LEARNING port learns and drops, the other states only drop."""
    lab = Lab(p1={"state": state})
    fate = lab.frame("p1", BOB, ALICE)
    assert fate.reason == "BRIDGE_INGRESS_STP_STATE"
    assert (f"{format_mac(ALICE)} dev p1 master br0 \n" in lab.bridge.fdb_text()) is learnt
    assert ports(lab.frame("p2", EVE, BOB)) == ["p3"]


@pytest.mark.parametrize("source", [bytes(6), bytes.fromhex("010000000001")])
def test_impossible_source_addresses_are_dropped(source: bytes) -> None:
    """Zero and group addresses cannot send."""
    assert Lab().frame("p1", ALL, source).reason == "MAC_INVALID_SOURCE"


def test_own_address_as_source_is_logged_and_not_learnt() -> None:
    """A frame that seems to come from us keeps the local entry and warns."""
    lab = Lab()
    lab.frame("p1", ALL, BRIDGE_MAC)
    assert lab.net.log == [
        (
            "br0: received packet on p1 with own address as source address "
            "(addr:02:00:00:00:00:ff, vlan:0)"
        )
    ]


def test_reserved_group_addresses() -> None:
    """PAUSE dies, LLDP and others stay on the port, spanning tree passes when STP is off."""
    lab = Lab()
    base = "0180c20000"
    pause, lldp = bytes.fromhex(base + "01"), bytes.fromhex(base + "0e")
    other, group = bytes.fromhex(base + "03"), bytes.fromhex(base + "00")
    assert lab.frame("p1", pause, ALICE).reason == "MAC_IEEE_MAC_CONTROL"
    assert lab.frame("p1", lldp, ALICE).frames == []
    assert lab.frame("p1", other, ALICE).frames == []
    assert [skb.device for skb in lab.up] == [lab.net.devices["p1"]] * 2
    assert ports(lab.frame("p1", group, ALICE)) == ["p3", "p2"]
    assert Lab({"stp_state": 1}).frame("p1", group, ALICE).frames == []
    lab = Lab({"group_fwd_mask": 1 << 14 | 1 << 3})
    assert ports(lab.frame("p1", lldp, ALICE)) == ["p3", "p2"]
    assert ports(lab.frame("p1", other, ALICE)) == ["p3", "p2"]


def test_bridge_hooks_see_the_frame_in_order() -> None:
    """From port to port: PREROUTING, FORWARD, POSTROUTING; from the node: OUTPUT, POSTROUTING."""
    lab = Lab()
    seen: list[str] = []

    def note(_skb: Skb, state: HookState) -> Verdict:
        names = [device.name if device else "-" for device in (state.in_device, state.out_device)]
        seen.append(f"{state.hook.name} {' '.join(names)}")
        return Verdict.ACCEPT

    for hook in Hook:
        lab.net.hooks.register(Family.BRIDGE, hook, 0, note)
    lab.frame("p2", BRIDGE_MAC, BOB)
    lab.frame("p1", BOB, ALICE)
    lab.send(BOB)
    assert seen == [
        "PREROUTING p2 -",
        "INPUT p2 -",
        "PREROUTING p1 -",
        "FORWARD p1 p2",
        "POSTROUTING - p2",
        "OUTPUT - p2",
        "POSTROUTING - p2",
    ]


def test_frames_over_the_mtu_of_the_outgoing_port_are_dropped() -> None:
    """MTU and room for a tag pass (is_skb_forwardable); no ICMP error says so."""
    lab = Lab()
    lab.net.devices["p2"].mtu = 1400
    lab.frame("p2", ALL, BOB)
    assert lab.frame("p1", BOB, ALICE, b"\x88\xb5" + bytes(1405)).reason == "PKT_TOO_BIG"
    assert ports(lab.frame("p1", BOB, ALICE, b"\x88\xb5" + bytes(1404))) == ["p2"]


def test_tagged_frames_cross_with_their_tag() -> None:
    """Without VLAN filtering the tag is carried along."""
    lab = Lab()
    body = bytes.fromhex("8100600a88b5") + bytes(46)
    fate = lab.frame("p1", BOB, ALICE, body)
    assert [sent.frame for sent in fate.frames] == [BOB + ALICE + body] * 2


def test_promiscuous_bridge_hears_everything() -> None:
    """A promiscuous bridge gets a copy of what passes."""
    lab = Lab({"promisc": 1})
    assert ports(lab.frame("p1", BOB, ALICE)) == ["p3", "p2"]
    assert [skb.pkt_type for skb in lab.up] == [PacketType.OTHERHOST]


def test_malformed_multicast_is_dropped_by_snooping() -> None:
    """IGMP with a wrong checksum is dropped; the right one is flooded and goes up."""
    lab = Lab()
    group = bytes.fromhex("01005e000016")
    message = bytearray(bytes.fromhex("22000000") + bytes(4))
    message[2:4] = internet_checksum(message).to_bytes(2, "big")
    address = bytes((10, 0, 0, 1)), bytes((224, 0, 0, 22))
    for payload, expected in ((bytes(message), ["p3", "p2"]), (b"\x22" + bytes(7), [])):
        packet = build_ipv4(src=address[0], dst=address[1], protocol=2, payload=payload)
        fate = lab.frame("p1", group, ALICE, b"\x08\x00" + bytes(packet))
        assert ports(fate) == expected


def test_fdb_text_is_that_of_bridge_fdb_show() -> None:
    """By device in order of index, newest first; the bridge's own entries name it as device."""
    lab = Lab()
    lab.bridge.load_fdb([FdbSpec(bridge="br0", device="p2", mac=EVE, state="static")])
    lab.frame("p1", ALL, ALICE)
    assert lab.bridge.fdb_text().splitlines() == [
        "02:00:00:00:00:ff dev br0 master br0 permanent",
        "02:aa:00:00:00:01 dev p1 master br0 ",
        "02:00:00:00:00:01 dev p1 master br0 permanent",
        "02:aa:00:00:00:03 dev p2 master br0 static",
        "02:00:00:00:00:02 dev p2 master br0 permanent",
        "02:00:00:00:00:03 dev p3 master br0 permanent",
    ]


def test_bridge_without_a_mac_takes_the_lowest_of_its_ports() -> None:
    """The bridge id follows the ports until a MAC is set."""
    net = Net()
    bridge = Bridge(net, name="br1", ifindex=2)
    for name, mac in (("a", BOB), ("b", ALICE), ("c", EVE)):
        bridge.add_port(Port(net, name=name, ifindex=3, mac=mac))
    assert bridge.mac == ALICE


@pytest.mark.parametrize(("options", "port"), [({}, {"proxy_arp": 1}), ({}, {"vlan_tunnel": 1})])
def test_what_is_not_emulated_is_refused(options: dict[str, int], port: dict[str, int]) -> None:
    """Proxy ARP and VLAN tunnels of a port are refused with a sentence."""
    with pytest.raises(InputError, match="does not emulate"):
        Lab(options, p1=port)


def test_a_bridge_that_is_down_forwards_nothing() -> None:
    """Ports of a bridge that is down are disabled."""
    lab = Lab()
    lab.bridge.up = False
    assert lab.frame("p1", BOB, ALICE).reason == "BRIDGE_INGRESS_STP_STATE"
    assert lab.send(ALL).reason == "DEV_READY"
