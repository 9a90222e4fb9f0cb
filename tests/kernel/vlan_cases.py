"""Nodes and frames for VLANs: bridges that filter, 802.1Q devices, dummy devices.

p1 p2 p3 p4 -- br0 [10.0.0.254/24], br0.20 [10.20.0.254/24]
               p1: 10 untagged (PVID), 20 tagged    p2: 10 untagged (PVID)
               p3: 10, 20, 30 tagged                p4: 1 untagged (PVID), 20 untagged
eth0 [192.0.2.1/24], eth0.5 [10.5.0.1/24], eth0.6 (802.1ad) [10.6.0.1/24]
dummy0 [10.96.0.1/32]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netemu.livekernel.case import Case
from netemu.sim.spec import (
    AddressSpec,
    BridgeVlanSpec,
    FdbSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    TextFile,
    VlanSpec,
)
from netemu.wire.address import parse_address as ip
from netemu.wire.address import parse_mac as mac
from tests.kernel.link_cases import (
    ALICE,
    ALL,
    BOB,
    BRIDGE,
    CAROL,
    E2,
    ETH0,
    LOGS,
    UMA,
    XENIA,
    YVES,
    ZERO,
    Sent,
    arp,
    arp_node,
    case,
    frame,
    says,
    tagged,
    udp,
)

MEMBERS: tuple[tuple[str, int, str], ...] = (
    ("p1", 10, "pvid untagged"),
    ("p1", 20, ""),
    ("p2", 10, "pvid untagged"),
    ("p3", 10, ""),
    ("p3", 20, ""),
    ("p3", 30, ""),
    ("p4", 1, "pvid untagged"),
    ("p4", 20, "untagged"),
    ("br0", 1, "pvid untagged"),
    ("br0", 20, ""),
)


def vlan_node(
    members: Sequence[tuple[str, int, str]] = MEMBERS,
    *,
    bridge: Mapping[str, int] | None = None,
    ports: Mapping[str, Mapping[str, int]] | None = None,
    fdb: Sequence[FdbSpec] = (),
    vlan: VlanSpec | None = None,
    neighbours: Sequence[NeighbourSpec] = (),
    rules: str = LOGS,
    sysctls: Mapping[str, str] | None = None,
) -> NodeSpec:
    links = [
        LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
        LinkSpec(
            name="br0",
            ifindex=2,
            kind="bridge",
            mac=BRIDGE,
            bridge={"vlan_filtering": 1, "mcast_snooping": 0, **(bridge or {})},
        ),
    ]
    links += [
        LinkSpec(
            name=f"p{number}",
            ifindex=2 + number,
            kind="veth",
            mac=mac(f"02:00:00:00:00:0{number}"),
            master="br0",
            port=dict((ports or {}).get(f"p{number}", {})),
        )
        for number in (1, 2, 3, 4)
    ]
    links += [
        LinkSpec(name="eth0", ifindex=7, kind="veth", mac=ETH0),
        LinkSpec(
            name="br0.20",
            ifindex=8,
            kind="vlan",
            mac=BRIDGE,
            peer_ifindex=2,
            vlan=VlanSpec(vid=20),
        ),
        LinkSpec(
            name="eth0.5",
            ifindex=9,
            kind="vlan",
            mac=mac("02:00:00:00:05:e0"),
            peer_ifindex=7,
            vlan=vlan or VlanSpec(vid=5),
        ),
        LinkSpec(
            name="eth0.6",
            ifindex=10,
            kind="vlan",
            mac=ETH0,
            peer_ifindex=7,
            vlan=VlanSpec(vid=6, protocol=0x88A8),
        ),
        LinkSpec(
            name="eth0.5.7",
            ifindex=11,
            kind="vlan",
            mac=mac("02:00:00:00:05:e0"),
            peer_ifindex=9,
            vlan=VlanSpec(vid=7),
        ),
        LinkSpec(name="dummy0", ifindex=12, kind="dummy", mac=mac("02:00:00:00:00:d0"), noarp=True),
    ]
    nets = {
        "br0": "10.0.0.254",
        "eth0": "192.0.2.1",
        "br0.20": "10.20.0.254",
        "eth0.5": "10.5.0.1",
        "eth0.6": "10.6.0.1",
        "eth0.5.7": "10.7.0.1",
    }
    addresses = [AddressSpec(device="lo", address=ip("127.0.0.1"), prefix_len=8, scope="host")]
    addresses += [
        AddressSpec(
            device=device,
            address=ip(text),
            prefix_len=24,
            broadcast=ip(text.rpartition(".")[0] + ".255"),
        )
        for device, text in nets.items()
    ]
    addresses.append(AddressSpec(device="dummy0", address=ip("10.96.0.1"), prefix_len=32))
    main = NamespaceSpec(
        links=links,
        addresses=addresses,
        neighbours=list(neighbours),
        fdb=list(fdb),
        bridge_vlans=[
            BridgeVlanSpec(
                device=device, vid=vid, pvid="pvid" in flags, untagged="untagged" in flags
            )
            for device, vid, flags in members
        ],
        sysctls={"net.ipv4.ip_forward": "1", **(sysctls or {})},
        rules4=TextFile(name="rules", text=rules),
        sockets=[],
    )
    return NodeSpec(main=main)


def tag(vid: int, untagged: bytes, proto: str = "8100") -> bytes:
    return tagged(untagged, f"{proto}{vid:04x}")


PLAIN = udp("10.0.0.2", 1, "10.0.0.3", 2)
BOTH = [("to Bob", BOB), ("to all", ALL), ("to the bridge", BRIDGE)]


def filtering_cases() -> Iterator[Case]:
    """Who is let in, where a frame goes, and with which tag."""
    for name, dst in BOTH:
        body = PLAIN if dst != BRIDGE else udp("10.0.0.2", 1, "10.0.0.254", 2)
        plain = frame(dst, ALICE, body)
        every: list[Sent] = []
        for port in ("p1", "p2", "p3", "p4"):
            every.append((port, plain))
            every += [(port, tag(vid, plain)) for vid in (1, 10, 20, 30, 40)]
        yield case(f"{name}, every VLAN by every port", vlan_node(), every)
        odd = [
            tag(0, plain),
            tag(0x6000, plain),
            tag(0xA000 | 10, plain),
            tag(10, plain, "88a8"),
            tag(0, plain, "88a8"),
            tag(10, tag(20, plain)),
            tag(0, tag(20, plain)),
            tag(20, plain)[:15],
        ]
        sent: list[Sent] = [(port, item) for port in ("p1", "p4") for item in odd]
        yield case(f"{name}, odd tags", vlan_node(), sent)
        node = vlan_node(bridge={"vlan_filtering": 0})
        mixed: list[Sent] = [("p1", plain), ("p1", tag(20, plain)), ("p2", tag(77, plain))]
        yield case(f"{name}, filtering off", node, mixed)
        node = vlan_node(bridge={"vlan_protocol": 0x88A8})
        both = [plain, tag(20, plain), tag(20, plain, "88a8"), tag(0, plain)]
        yield case(f"{name}, 802.1ad bridge", node, [("p1", item) for item in both])
    nothing = vlan_node([row for row in MEMBERS if "pvid" not in row[2]])
    yield case(
        "no PVID", nothing, [("p1", frame(BOB, ALICE, PLAIN)), ("p4", frame(ALL, BOB, PLAIN))]
    )
    for pvid in (0, 1, 100):
        node = vlan_node(bridge={"vlan_default_pvid": pvid})
        node.main.bridge_vlans = None
        sent = [("p1", frame(ALL, ALICE, PLAIN)), ("p1", tag(100, frame(BOB, ALICE, PLAIN)))]
        yield case(f"default PVID {pvid}", node, sent)


def learning_cases() -> Iterator[Case]:
    """A station is known in each VLAN apart."""
    raw = bytes(46)
    sent: list[Sent] = [
        ("p1", tag(20, frame(ALL, ALICE, raw, 0x88B5))),
        ("p3", tag(20, frame(ALICE, BOB, raw, 0x88B5))),
        ("p3", tag(10, frame(ALICE, BOB, raw, 0x88B5))),
        ("p1", frame(ALL, ALICE, raw, 0x88B5)),
        ("p3", tag(10, frame(ALICE, BOB, raw, 0x88B5))),
        ("p3", tag(20, frame(ALL, ALICE, raw, 0x88B5))),
        ("p1", tag(20, frame(ALICE, CAROL, raw, 0x88B5))),
    ]
    yield case("learnt in each VLAN", vlan_node(), sent)
    entries = [
        FdbSpec(bridge="br0", device="p3", mac=CAROL, state="static", vlan=20),
        FdbSpec(bridge="br0", device="p3", mac=UMA, state="permanent", vlan=10),
    ]
    sent = [
        *(("p1", frame(dst, ALICE, raw, 0x88B5)) for dst in (CAROL, UMA)),
        *(("p1", tag(20, frame(dst, ALICE, raw, 0x88B5))) for dst in (CAROL, UMA)),
        ("p1", tag(20, frame(ALL, CAROL, raw, 0x88B5))),
    ]
    yield case("static entries of a VLAN", vlan_node(fdb=entries), sent)
    ageing = vlan_node(bridge={"ageing_time": 400})
    sent = [
        ("p1", tag(20, frame(ALL, ALICE, raw, 0x88B5))),
        ("p1", frame(ALL, ALICE, raw, 0x88B5), 3000),
        ("p3", tag(10, frame(ALICE, BOB, raw, 0x88B5)), 1200),
        ("p3", tag(20, frame(ALICE, BOB, raw, 0x88B5))),
    ]
    yield case("forgotten in each VLAN apart", ageing, sent)
    own: list[Sent] = [
        ("p1", tag(vid, frame(mac(f"02:00:00:00:00:0{n}"), ALICE, raw, 0x88B5)))
        for vid in (10, 20)
        for n in (1, 3, 4)
    ]
    yield case("MACs of the ports in VLANs", vlan_node(), own)
    lone = [("p1", tag(vid, frame(BOB, BRIDGE, raw, 0x88B5))) for vid in (10, 20)]
    yield case("own address as source in VLANs", vlan_node(), lone)
    for flag in ("isolated", "hairpin"):
        node = vlan_node(ports={"p1": {flag: 1}, "p3": {flag: 1}})
        again: list[Sent] = [
            ("p1", tag(20, frame(ALL, ALICE, raw, 0x88B5))),
            ("p1", tag(20, frame(ALICE, BOB, raw, 0x88B5))),
            ("p3", tag(10, frame(ALL, BOB, raw, 0x88B5))),
        ]
        yield case(f"{flag} in VLANs", node, again)
    reserved: list[Sent] = [
        ("p1", tag(vid, frame(mac("01:80:c2:00:00:0e"), ALICE, raw, 0x88CC)))
        for vid in (10, 20, 40)
    ]
    yield case("reserved address in VLANs", vlan_node(), [*reserved, ("p3", reserved[0][1])])


def device_cases() -> Iterator[Case]:
    """802.1Q devices on a bridge, on a port and on each other."""
    asks: list[Sent] = [
        ("p1", tag(20, arp(1, ALICE, "10.20.0.2", ZERO, "10.20.0.254"))),
        ("p1", tag(10, arp(1, ALICE, "10.20.0.3", ZERO, "10.20.0.254"))),
        ("p4", arp(1, BOB, "10.0.0.2", ZERO, "10.0.0.254")),
        ("p3", tag(20, arp(1, CAROL, "10.20.0.4", ZERO, "10.20.0.254"))),
        ("p1", tag(20, frame(BRIDGE, ALICE, udp("10.20.0.2", 1, "10.0.0.2", 2)))),
        ("p4", frame(BRIDGE, BOB, udp("10.0.0.2", 1, "10.20.0.4", 2))),
    ]
    yield case("a VLAN of the bridge is routed", vlan_node(), asks)
    lower = mac("02:00:00:00:05:e0")
    inner: list[Sent] = [
        ("eth0", tag(5, arp(1, UMA, "10.5.0.2", ZERO, "10.5.0.1"))),
        ("eth0", tag(6, arp(1, UMA, "10.6.0.2", ZERO, "10.6.0.1"), "88a8")),
        ("eth0", tag(6, arp(1, UMA, "10.6.0.3", ZERO, "10.6.0.1"))),
        ("eth0", tag(5, tag(7, arp(1, UMA, "10.7.0.2", ZERO, "10.7.0.1")))),
        ("eth0", tag(7, arp(1, UMA, "10.7.0.3", ZERO, "10.7.0.1"))),
        ("eth0", tag(0, arp(1, UMA, "192.0.2.9", ZERO, "192.0.2.1"))),
        ("eth0", tag(0, tag(5, arp(1, UMA, "10.5.0.4", ZERO, "10.5.0.1")))),
        ("eth0", tag(9, arp(1, UMA, "192.0.2.8", ZERO, "192.0.2.1"))),
        ("eth0", tag(5, frame(lower, UMA, udp("10.5.0.2", 1, "10.6.0.2", 2)))),
        ("eth0", tag(5, frame(ETH0, UMA, udp("10.5.0.2", 1, "10.6.0.2", 2)))),
        ("eth0", tag(6, frame(ETH0, UMA, udp("10.6.0.2", 1, "10.7.0.2", 2)), "88a8")),
        ("eth0", tag(5, frame(ALL, UMA, udp("10.5.0.2", 1, "10.5.0.255", 2)))),
    ]
    yield case("802.1Q devices on a port", vlan_node(), inner)
    qos = VlanSpec(vid=5, ingress_qos=((3, 6),), egress_qos=((2, 4), (6, 5)))
    known = [NeighbourSpec(device="eth0.5", address=ip("10.5.0.2"), mac=UMA, state="PERMANENT")]
    known.append(NeighbourSpec(device="eth0", address=ip("192.0.2.9"), mac=UMA, state="PERMANENT"))
    for tos in (0, 8, 16):
        packet = bytearray(udp("192.0.2.9", 1, "10.5.0.2", 2))
        packet[1] = tos
        packet[10:12] = (int.from_bytes(packet[10:12], "big") - tos).to_bytes(2, "big")
        back: list[Sent] = [
            ("eth0", frame(ETH0, UMA, packet)),
            ("eth0", tag(0x6005, frame(lower, UMA, udp("10.5.0.2", 1, "192.0.2.9", 2)))),
        ]
        yield case(f"priorities, TOS {tos}", vlan_node(vlan=qos, neighbours=known), back)
    plain = vlan_node(vlan=VlanSpec(vid=5, reorder_header=False))
    yield case("without REORDER_HDR", plain, inner)
    for value in "01":
        settings = {
            "net.bridge.bridge-nf-filter-vlan-tagged": "1",
            "net.bridge.bridge-nf-pass-vlan-input-dev": value,
        }
        frames = [
            ("p1", tag(20, frame(BRIDGE, ALICE, udp("10.20.0.2", 1, "10.20.0.254", 2)))),
            ("p1", tag(20, frame(ALL, ALICE, udp("10.20.0.2", 1, "10.20.0.255", 2)))),
            ("p1", tag(20, frame(CAROL, ALICE, udp("10.20.0.2", 1, "10.20.0.4", 2)))),
            ("p1", frame(BOB, ALICE, PLAIN)),
        ]
        yield case(
            f"hooks of tagged frames, VLAN device {value}", vlan_node(sysctls=settings), frames
        )
    dummy: list[Sent] = [
        ("eth0", arp(1, UMA, "192.0.2.9", ZERO, "10.96.0.1")),
        ("eth0", frame(ETH0, UMA, udp("192.0.2.9", 1, "10.96.0.1", 2))),
    ]
    yield case("a dummy's address is answered elsewhere", vlan_node(), dummy)
    for ignore in ("1", "2", "8"):
        node = vlan_node(sysctls={"net.ipv4.conf.all.arp_ignore": ignore})
        yield case(f"a dummy's address with arp_ignore {ignore}", node, dummy)
    routed = vlan_node()
    routed.main.addresses.append(
        AddressSpec(device="dummy0", address=ip("10.97.0.1"), prefix_len=24)
    )
    lost: list[Sent] = [("eth0", frame(ETH0, UMA, udp("192.0.2.9", 1, "10.97.0.9", 2)))]
    yield case("what goes out by a dummy is lost", routed, lost)


def collector_cases() -> Iterator[Case]:
    """A neighbour table that is too full: what makes room, what is refused."""
    lower = {"gc_thresh1": 1, "gc_thresh2": 2, "gc_thresh3": 4}
    known = [NeighbourSpec(device="eth2", address=ip("10.2.0.9"), mac=YVES, state="PERMANENT")]
    for limits in (lower, lower | {"gc_thresh3": 5}, lower | {"gc_thresh2": 4}):
        settings = {f"net.ipv4.neigh.default.{name}": str(n) for name, n in limits.items()}
        # Nothing more fails while a slow machine lists the entries.
        slow = {
            "net.ipv4.neigh.eth1.mcast_solicit": "1",
            "net.ipv4.neigh.eth1.retrans_time_ms": "3000",
        }
        node = arp_node(neighbours=known, sysctls=settings | slow)
        hops: list[Sent] = [
            ("eth2", frame(E2, YVES, udp("10.2.0.9", 1, f"10.1.0.{host}", 2)))
            for host in range(11, 18)
        ]
        # Failures 300 ms apart do not meet in one bucket of the timer wheel, at any HZ.
        apart: list[Sent] = [(port, body, 300) for port, body in (hop[:2] for hop in hops[:3])]
        heard = [says(f"10.1.0.{host}") for host in (11, 12)]
        later: list[Sent] = [
            (port, body, 3300 if not n else 10) for n, (port, body) in enumerate(hops)
        ]
        name = " ".join(map(str, limits.values()))
        yield case(f"thresholds {name}: all at once", node, hops)
        yield case(f"thresholds {name}: some answer", node, [*hops[:2], *heard, *hops[2:]])
        yield case(f"thresholds {name}: again after failure", node, [*apart, *later])
        stale = [
            NeighbourSpec(device="eth1", address=ip(f"10.1.0.{n}"), mac=XENIA, state="STALE")
            for n in (1, 2, 3)
        ]
        old = arp_node(neighbours=[*known, *stale], sysctls=settings)
        waits: list[Sent] = [(*hops[0][:2], 5600), *hops[1:4]]
        yield case(f"thresholds {name}: old entries", old, waits)


def all_cases() -> list[Case]:
    makers = (collector_cases, filtering_cases, learning_cases, device_cases)
    return [item for maker in makers for item in maker()]
