"""Random nodes below IP: bridges with odd ports, ARP settings, VLANs, VXLAN, macvlans; odd frames.

Stations with a MAC and an address each send from whichever port the dice say, so they move.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec.structs import replace

from netemu.livekernel.case import Case
from netemu.livekernel.generate.dice import Dice
from netemu.sim.spec import (
    AddressSpec,
    BridgeVlanSpec,
    FdbSpec,
    LinkSpec,
    MacvlanSpec,
    MdbSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    TextFile,
    VlanSpec,
    VxlanFdbSpec,
    VxlanSpec,
)
from netemu.wire.address import parse_address as ip
from netemu.wire.address import parse_mac as mac
from tests.kernel.link_cases import (
    ALL,
    BRIDGE,
    ETH0,
    LOGS,
    TRACKED,
    ZERO,
    Sent,
    arp,
    asks_groups,
    case,
    dnat,
    frame,
    igmp,
    igmp_frame,
    tagged,
    udp,
)

STATIONS = [(mac(f"02:aa:00:00:00:0{n}"), f"10.0.0.{n}") for n in range(2, 7)]
OUTSIDE = [(mac(f"02:bb:00:00:00:0{n}"), f"192.0.2.{n}") for n in (8, 9)]
GROUPS = ("239.1.1.1", "239.2.2.2", "224.0.0.5")
VIDS = (1, 10, 20)
VXLAN_PORT = 8472
WIRED = 3
"""A node has so many ports at least."""


@dataclass(slots=True)
class LinkWorld:
    """A node and where frames may enter."""

    node: NodeSpec
    bridged: list[str] = field(default_factory=list)
    vlans: bool = False
    overlay: bool = False
    queried: bool = False
    """Whether a querier is heard: then hooks are off, as members have no order that is known."""


def switch(dice: Dice, percent: int) -> int:
    return int(dice.chance(percent))


def random_node(dice: Dice, *, vlans: bool) -> LinkWorld:
    queried = dice.chance(30)
    world = LinkWorld(
        NodeSpec(main=NamespaceSpec()), vlans=vlans and dice.chance(80), queried=queried
    )
    options = {
        "ageing_time": dice.pick((30000, 30000, 0)),
        "mcast_snooping": switch(dice, 70),
        "no_linklocal_learn": switch(dice, 20),
        "group_fwd_mask": dice.pick((0, 0, 0x4008, 0xFFF8)),
        "nf_call_iptables": switch(dice, 20),
    }
    if world.vlans:
        options |= {
            "vlan_filtering": switch(dice, 80),
            "vlan_protocol": dice.pick((0x8100, 0x8100, 0x88A8)),
        }
    links = [
        LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
        LinkSpec(name="br0", ifindex=2, kind="bridge", mac=BRIDGE, bridge=options),
        LinkSpec(name="eth0", ifindex=3, kind="veth", mac=ETH0),
    ]
    for number in range(1, dice.between(WIRED, WIRED + 2)):
        name = f"p{number}"
        flags = {
            flag: switch(dice, percent)
            for flag, percent in (
                ("hairpin", 20),
                ("isolated", 25),
                ("learning", 85),
                ("flood", 85),
                ("mcast_flood", 85),
                ("bcast_flood", 85),
                ("fastleave", 20),
            )
        }
        flags["multicast_router"] = dice.pick((0, 1, 1, 2))
        links.append(
            LinkSpec(
                name=name,
                ifindex=3 + number,
                kind="veth",
                mac=mac(f"02:00:00:00:00:0{number}"),
                master="br0",
                port=flags if dice.chance(60) else {},
            )
        )
        world.bridged.append(name)
    main = world.node.main
    main.links = links
    main.addresses = [
        AddressSpec(device="lo", address=ip("127.0.0.1"), prefix_len=8, scope="host"),
        AddressSpec(
            device="br0", address=ip("10.0.0.254"), prefix_len=24, broadcast=ip("10.0.0.255")
        ),
        AddressSpec(
            device="eth0", address=ip("192.0.2.1"), prefix_len=24, broadcast=ip("192.0.2.255")
        ),
    ]
    main.sysctls = random_sysctls(dice, queried=queried)
    rules = dice.pick((LOGS, TRACKED, dnat("10.0.0.3:8080"), dnat("192.0.2.9:8080")))
    main.rules4 = TextFile(name="rules", text=rules)
    main.sockets = []
    _add_entries(dice, world)
    if vlans and not world.vlans:
        # A kernel with VLANs has everything in the first one, filtering or not.
        main.bridge_vlans = [
            BridgeVlanSpec(device=device, vid=1, pvid=True, untagged=True)
            for device in (*world.bridged, "br0")
        ]
        main.fdb = [replace(entry, vlan=1) for entry in main.fdb]
    if world.vlans:
        _add_vlans(dice, world)
    elif dice.chance(40) and not vlans:
        _add_overlay(dice, world)
    elif dice.chance(40):
        _add_macvlans(dice, world)
    return world


def random_sysctls(dice: Dice, *, queried: bool) -> dict[str, str]:
    found = {
        "net.ipv4.ip_forward": str(switch(dice, 70)),
        "net.bridge.bridge-nf-call-iptables": "0" if queried else str(switch(dice, 70)),
        "net.bridge.bridge-nf-filter-vlan-tagged": str(switch(dice, 30)),
    }
    for device in ("br0", "eth0", "all"):
        for name, values in (
            ("arp_ignore", "0012"),
            ("arp_announce", "0012"),
            ("arp_accept", "0012"),
            ("arp_filter", "001"),
            ("proxy_arp", "001"),
            ("rp_filter", "0012"),
        ):
            if dice.chance(30):
                found[f"net.ipv4.conf.{device}.{name}"] = dice.pick(values)
    for device in ("br0", "eth0"):
        found[f"net.ipv4.neigh.{device}.proxy_delay"] = "0"
    return found


def _add_entries(dice: Dice, world: LinkWorld) -> None:
    main = world.node.main
    for device, stations in (("br0", STATIONS), ("eth0", OUTSIDE)):
        main.neighbours += [
            NeighbourSpec(
                device=device,
                address=ip(text),
                mac=each,
                state=dice.pick(("STALE", "PERMANENT", "REACHABLE")),
            )
            for each, text in dice.some(stations, 40)
        ]
    # Without ageing time a learnt entry goes within 10 ms, as soon as a busy kernel gets to it.
    ageing = main.links[1].bridge["ageing_time"]
    states = ("static", "permanent", "") if ageing else ("static", "permanent", "static")
    for each, _ in dice.some(STATIONS, 20):
        main.fdb.append(
            FdbSpec(
                bridge="br0",
                device=dice.pick(world.bridged),
                mac=each,
                state=dice.pick(states),
            )
        )
    if world.queried and main.links[1].bridge["mcast_snooping"]:
        main.mdb = [
            MdbSpec(bridge="br0", device=dice.pick(world.bridged), group=ip(group), permanent=True)
            for group in dice.some(GROUPS[:2], 30)
        ]


def _add_vlans(dice: Dice, world: LinkWorld) -> None:
    main = world.node.main
    main.bridge_vlans = []
    for device in (*world.bridged, "br0"):
        pvid = dice.pick((*VIDS, 0))
        main.bridge_vlans += [
            BridgeVlanSpec(device=device, vid=vid, pvid=vid == pvid, untagged=dice.chance(40))
            for vid in VIDS
            if vid == pvid or dice.chance(50)
        ]
    # An entry that is set without a VLAN is put into all those of its port.
    main.mdb = []
    joined = {(entry.device, entry.vid) for entry in main.bridge_vlans}
    tried = [replace(entry, vlan=dice.pick(VIDS)) for entry in main.fdb]
    main.fdb = [entry for entry in tried if (entry.device, entry.vlan) in joined]
    for number, (lower, index, vid) in enumerate((("br0", 2, 10), ("eth0", 3, 20), ("p1", 4, 20))):
        if dice.chance(40):
            link = LinkSpec(
                name=f"{lower}.{vid}",
                ifindex=20 + number,
                kind="vlan",
                mac={"br0": BRIDGE, "eth0": ETH0}.get(lower, mac("02:00:00:00:00:01")),
                peer_ifindex=index,
                vlan=VlanSpec(vid=vid, protocol=dice.pick((0x8100, 0x8100, 0x88A8))),
            )
            main.links.append(link)
            text = f"10.{vid}.{number}.254"
            main.addresses.append(AddressSpec(device=link.name, address=ip(text), prefix_len=24))


def _add_overlay(dice: Dice, world: LinkWorld) -> None:
    main = world.node.main
    world.overlay = True
    spec = VxlanSpec(
        vni=2,
        remote=ip(dice.pick(OUTSIDE)[1]) if dice.chance(60) else b"",
        port=VXLAN_PORT,
        learning=dice.chance(70),
        tos=dice.pick((0, 1, 0x10)),
        ttl=dice.pick((0, 9)),
        df=dice.pick(("unset", "set", "inherit")),
        checksum=dice.chance(70),
    )
    main.links.append(
        LinkSpec(
            name="vx1",
            ifindex=15,
            kind="vxlan",
            mac=mac("02:00:00:00:01:01"),
            mtu=1450,
            master="br0",
            vxlan=spec,
        )
    )
    # A bridge of ports with several MTUs has the least one.
    main.links[1] = replace(main.links[1], mtu=1450)
    main.vxlan_fdb = [
        VxlanFdbSpec(device="vx1", mac=each, dst=ip(dice.pick(OUTSIDE)[1]), state="permanent")
        for each, _ in dice.some([*STATIONS, (ZERO, "")], 25)
    ]


def _add_macvlans(dice: Dice, world: LinkWorld) -> None:
    main = world.node.main
    main.netns_ids = {0: "pod1", 1: "pod2"}
    mode = dice.pick(("bridge", "bridge", "private", "vepa"))
    for number in (1, 2):
        name = f"mv{number}"
        link = LinkSpec(
            name=name,
            ifindex=10 + number,
            kind="macvlan",
            mac=mac(f"02:00:00:00:0a:0{number}"),
            peer_ifindex=3,
            peer_netnsid=0,
            macvlan=MacvlanSpec(mode=mode),
        )
        address = AddressSpec(
            device=name,
            address=ip(f"192.0.2.1{number}"),
            prefix_len=24,
            broadcast=ip("192.0.2.255"),
        )
        world.node.others.append(
            NamespaceSpec(
                name=f"pod{number}",
                links=[LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536), link],
                addresses=[address],
                rules4=TextFile(name="rules", text=LOGS),
                sockets=[],
                netns_ids={0: ""},
            )
        )


def random_frames(dice: Dice, world: LinkWorld) -> list[Sent]:
    return [random_frame(dice, world) for _ in range(dice.between(12, 24))]


def random_frame(dice: Dice, world: LinkWorld) -> Sent:
    if dice.chance(25):
        return _outside_frame(dice, world)
    port = dice.pick(world.bridged)
    made = _station_frame(dice, world)
    if dice.chance(40 if world.vlans else 10):
        tag = dice.pick(("8100", "8100", "88a8")) + f"{dice.pick((0, 0x6000, 1, 10, 20, 30)):04x}"
        made = tagged(made, tag)
    return port, made, 5


def _station_frame(dice: Dice, world: LinkWorld) -> bytes:
    source, text = dice.pick(STATIONS)
    target, other = dice.pick([*STATIONS, (BRIDGE, "10.0.0.254")])
    kind = dice.weighted(((40, "udp"), (25, "arp"), (15, "group"), (10, "raw"), (10, "vip")))
    if kind == "arp":
        operation = dice.pick((1, 1, 2))
        destination = dice.pick((ALL, ALL, target))
        asked = dice.pick((other, "192.0.2.1", "192.0.2.9", text, "0.0.0.0"))
        sender = dice.pick((text, text, text, "0.0.0.0"))
        return arp(operation, source, sender, target if operation > 1 else ZERO, asked, destination)
    if kind == "group":
        return _group_frame(dice, world, source, text)
    if kind == "raw":
        last = dice.pick((0, 1, 2, 3, 0x0E))
        reserved = mac(f"01:80:c2:00:00:{last:02x}")
        odd = dice.pick((source, source, BRIDGE, mac("01:00:00:00:00:07"), ZERO))
        return frame(dice.pick((reserved, target, ALL)), odd, bytes(46), 0x88B5)
    if kind == "vip":
        return frame(dice.pick((BRIDGE, target)), source, udp(text, 4000, "10.96.0.1", 80))
    destination = dice.pick((target, target, BRIDGE, ALL, mac("02:00:00:00:00:01")))
    return frame(destination, source, udp(text, 1, dice.pick((other, other, "192.0.2.9")), 2))


def _group_frame(dice: Dice, world: LinkWorld, source: bytes, text: str) -> bytes:
    group = dice.pick(GROUPS)
    if not world.queried or dice.chance(40):
        octets = b"\x01\x00\x5e" + ip(group)[1:]
        return frame(octets, source, udp(text, 1, group, 2))
    if dice.chance(40):
        return asks_groups(bytes(4), tenths=0 if dice.chance(0) else 1)
    kind = dice.pick((0x16, 0x16, 0x17, 0x12))
    return igmp_frame(ip(group), igmp(kind, ip(group)))


def _outside_frame(dice: Dice, world: LinkWorld) -> Sent:
    source, text = dice.pick(OUTSIDE)
    if world.overlay and dice.chance(60):
        header = b"\x08\0\0\0\0\0" + dice.pick((b"\2\0", b"\2\0", b"\2\0", b"\3\0", b"\2\1"))
        inner = _station_frame(dice, world)
        packet = udp(text, 4001, "192.0.2.1", VXLAN_PORT, header + inner)
        return "eth0", frame(ETH0, source, packet), 5
    pods = [mac(f"02:00:00:00:0a:0{n}") for n in (1, 2)] if world.node.others else []
    destination = dice.pick([ETH0, ALL, *pods])
    if dice.chance(40):
        asked = dice.pick(("192.0.2.1", "10.0.0.254", "10.0.0.3", "192.0.2.11", "192.0.2.12"))
        return "eth0", arp(dice.pick((1, 1, 2)), source, text, ZERO, asked, destination), 5
    target = dice.pick(("10.0.0.2", "10.0.0.3", "192.0.2.1", "10.96.0.1", "192.0.2.11"))
    made = frame(destination, source, udp(text, 1, target, dice.pick((2, 80))))
    if world.vlans and dice.chance(50):
        made = tagged(made, f"8100{dice.pick((0, 10, 20)):04x}")
    return "eth0", made, 5


def random_case(seed: int, *, vlans: bool = False) -> Case:
    world = random_node(Dice(seed, "links"), vlans=vlans)
    return case(f"random link {seed}", world.node, random_frames(Dice(seed, "frames"), world))
