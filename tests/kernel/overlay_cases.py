"""Nodes and frames for VXLAN overlays and macvlans.

p1 (Alice) -- br0 [10.0.0.254/24] -- vx1 ==== hosts 192.0.2.9, 192.0.2.8 ==== eth0 [192.0.2.1/24]
vx0 [10.244.1.0/32]: routes to 10.244.2.0/24 through the host 192.0.2.9, as flannel makes them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from netemu.livekernel.case import Case, LocalPacket
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    MacvlanSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
    TextFile,
    VxlanFdbSpec,
    VxlanSpec,
)
from netemu.wire.address import parse_address as ip
from netemu.wire.address import parse_mac as mac
from netemu.wire.ipv4 import IPv4
from tests.kernel.link_cases import (
    ALICE,
    ALL,
    BOB,
    BRIDGE,
    CAROL,
    ETH0,
    LOGS,
    UMA,
    ZERO,
    Sent,
    arp,
    case,
    frame,
    tagged,
    udp,
)

VX0, VX1 = mac("02:00:00:00:01:00"), mac("02:00:00:00:01:01")
FAR = mac("02:cc:00:00:00:02")
"""VXLAN device of the other host."""

HOSTS = {"192.0.2.9": UMA, "192.0.2.8": mac("02:bb:00:00:00:08")}
PORT = 8472


def overlay_node(
    spec: VxlanSpec | None = None,
    *,
    fdb: Sequence[VxlanFdbSpec] = (),
    mtu: int = 1450,
    up: bool = True,
    rules: str = LOGS,
    more: Sequence[LinkSpec] = (),
    sysctls: Mapping[str, str] | None = None,
) -> NodeSpec:
    """Make a host with a routed overlay (vx0, network 1) and a bridged one (vx1, network 2)."""
    flannel = VxlanSpec(vni=1, local=ip("192.0.2.1"), learning=False, port=PORT)
    links = [
        LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
        LinkSpec(
            name="br0", ifindex=2, kind="bridge", mac=BRIDGE, mtu=mtu, bridge={"mcast_snooping": 0}
        ),
        LinkSpec(name="p1", ifindex=3, kind="veth", mac=mac("02:00:00:00:00:01"), master="br0"),
        LinkSpec(name="eth0", ifindex=4, kind="veth", mac=ETH0),
        LinkSpec(name="vx0", ifindex=5, kind="vxlan", mac=VX0, mtu=1450, vxlan=flannel),
        LinkSpec(
            name="vx1",
            ifindex=6,
            kind="vxlan",
            mac=VX1,
            mtu=mtu,
            master="br0",
            up=up,
            vxlan=spec or VxlanSpec(vni=2, remote=ip("192.0.2.9"), port=PORT),
        ),
        *more,
    ]
    addresses = [
        AddressSpec(device="lo", address=ip("127.0.0.1"), prefix_len=8, scope="host"),
        AddressSpec(
            device="br0", address=ip("10.0.0.254"), prefix_len=24, broadcast=ip("10.0.0.255")
        ),
        AddressSpec(
            device="eth0", address=ip("192.0.2.1"), prefix_len=24, broadcast=ip("192.0.2.255")
        ),
        AddressSpec(device="vx0", address=ip("10.244.1.0"), prefix_len=32),
    ]
    way = NexthopSpec(device="vx0", gateway=ip("10.244.2.0"), onlink=True)
    neighbours = [
        NeighbourSpec(device="vx0", address=ip("10.244.2.0"), mac=FAR, state="PERMANENT"),
        NeighbourSpec(device="br0", address=ip("10.0.0.2"), mac=ALICE, state="PERMANENT"),
    ]
    neighbours += [
        NeighbourSpec(device="eth0", address=ip(text), mac=each, state="PERMANENT")
        for text, each in HOSTS.items()
    ]
    main = NamespaceSpec(
        links=links,
        addresses=addresses,
        routes=[RouteSpec(prefix=ip("10.244.2.0"), prefix_len=24, nexthops=(way,))],
        neighbours=neighbours,
        vxlan_fdb=[
            VxlanFdbSpec(device="vx0", mac=FAR, dst=ip("192.0.2.9"), state="permanent"),
            *fdb,
        ],
        sysctls={"net.ipv4.ip_forward": "1", **(sysctls or {})},
        rules4=TextFile(name="rules", text=rules),
        sockets=[],
    )
    return NodeSpec(main=main)


def outer(
    inner: bytes,
    vni: int = 2,
    host: str = "192.0.2.9",
    *,
    header: bytes | None = None,
    port: int = PORT,
    tos: int = 0,
) -> Sent:
    """Wrap a frame as another host does."""
    head = header if header is not None else b"\x08\0\0\0" + vni.to_bytes(3, "big") + b"\0"
    packet = bytearray(udp(host, 4001, "192.0.2.1", port, head + inner))
    if tos:
        view = IPv4(packet)
        view.tos = tos
        view.update_check()
    return "eth0", frame(ETH0, HOSTS[host], packet)


def with_tos(packet: bytes, tos: int) -> bytes:
    changed = bytearray(packet)
    view = IPv4(changed)
    view.tos = tos
    view.update_check()
    return bytes(changed)


PLAIN = udp("10.0.0.2", 1, "10.0.0.3", 2)
BACK = udp("10.0.0.3", 2, "10.0.0.2", 1)
TWO = VxlanSpec(vni=2, port=PORT)
BOTH = [VxlanFdbSpec(device="vx1", mac=ZERO, dst=ip(text), state="permanent") for text in HOSTS]


def routed_cases() -> Iterator[Case]:
    """An overlay as flannel makes it: static table, static neighbours, no learning."""
    out = frame(BRIDGE, ALICE, udp("10.0.0.2", 1, "10.244.2.7", 2))
    back = frame(VX0, FAR, udp("10.244.2.7", 2, "10.0.0.2", 1))
    talk: list[Sent] = [("p1", out), outer(back, 1), ("p1", out)]
    yield case("routed overlay", overlay_node(), talk)
    other = frame(VX0, CAROL, udp("10.244.2.7", 2, "10.0.0.2", 1))
    yield case("nothing is learnt", overlay_node(), [outer(other, 1), ("p1", out)])
    asks = arp(1, FAR, "10.244.2.0", ZERO, "10.244.1.0")
    yield case("ARP through the overlay", overlay_node(), [outer(asks, 1)])
    marked = LOGS.replace(
        "-A PREROUTING -j", "-A PREROUTING -i br0 -j MARK --set-xmark 0x7/0xf\n-A PREROUTING -j", 1
    )
    yield case("the mark goes outside", overlay_node(rules=marked), talk)


def bridged_cases() -> Iterator[Case]:
    """An overlay as a bridge port: flooding, learning, moving, static entries."""
    plain, all_ = frame(BOB, ALICE, PLAIN), frame(ALL, ALICE, PLAIN)
    heard = frame(ALICE, BOB, BACK)
    for name, node in (
        ("one host", overlay_node()),
        ("two hosts", overlay_node(TWO, fdb=BOTH)),
        ("no host", overlay_node(TWO)),
    ):
        sent: list[Sent] = [("p1", plain), ("p1", all_), outer(heard), ("p1", plain)]
        yield case(f"unknown, then learnt, {name}", node, sent)
        moved: list[Sent] = [
            outer(heard),
            ("p1", plain),
            outer(heard, host="192.0.2.8"),
            ("p1", plain),
            outer(frame(ALL, BOB, BACK)),
            ("p1", plain),
        ]
        yield case(f"a MAC moves to another host, {name}", node, moved)
    static = [
        VxlanFdbSpec(device="vx1", mac=BOB, dst=ip("192.0.2.9"), state="permanent"),
        VxlanFdbSpec(
            device="vx1", mac=CAROL, dst=ip("192.0.2.9"), port=4789, vni=77, state="static"
        ),
        VxlanFdbSpec(device="vx1", mac=UMA, dst=ip("192.0.2.8"), via="eth0", state="permanent"),
    ]
    fixed: list[Sent] = [
        ("p1", plain),
        ("p1", frame(CAROL, ALICE, PLAIN)),
        ("p1", frame(UMA, ALICE, PLAIN)),
        outer(heard, host="192.0.2.8"),
        outer(heard),
        ("p1", plain),
    ]
    yield case("static entries", overlay_node(fdb=static), fixed)
    quiet = replace(TWO, learning=False, remote=ip("192.0.2.8"))
    yield case("no learning", overlay_node(quiet), [outer(heard), ("p1", plain)])
    good = b"\x08\0\0\0\0\0\2\0"
    headers = {
        "no flag": b"\0" + good[1:],
        "another network": good[:6] + b"\3\0",
        "reserved octet": good[:7] + b"\1",
        "reserved flag": b"\x18" + good[1:],
        "reserved bits": good[:3] + b"\1" + good[4:],
        "cut short": good[:7],
        "right": good,
    }
    for name, header in headers.items():
        inner = b"" if len(header) < 8 else heard
        yield case(f"header: {name}", overlay_node(), [outer(inner, header=header)])
    sources = (VX1, ZERO, mac("01:00:00:00:00:05"), BRIDGE, ALICE)
    odd = [outer(frame(ALICE, each, BACK)) for each in sources]
    yield case("odd sources inside", overlay_node(), [*odd, outer(heard[:10]), outer(heard[:14])])
    bad = bytearray(outer(heard)[1])
    bad[41] ^= 1
    none = bytearray(outer(heard)[1])
    none[40:42] = b"\0\0"
    yield case("outer checksums", overlay_node(), [("eth0", bytes(bad)), ("eth0", bytes(none))])
    yield case("wrong port", overlay_node(), [outer(heard, port=4789)])
    yield case("device down", overlay_node(up=False), [outer(heard), ("p1", plain)])
    tags: list[Sent] = [
        ("p1", tagged(plain)),
        outer(tagged(heard)),
        outer(tagged(heard, "88a80005")),
    ]
    yield case("tags inside", overlay_node(), tags)
    long = frame(BOB, ALICE, udp("10.0.0.2", 1, "10.0.0.3", 2, bytes(1472)))
    yield case("too long for the path", overlay_node(mtu=1500), [("p1", long)])


def header_cases() -> Iterator[Case]:
    """What the outer headers take from the packet inside, and the other way round."""
    base = VxlanSpec(vni=2, remote=ip("192.0.2.9"), port=PORT)
    kinds = {
        "as it is": base,
        "TOS inherited": replace(base, tos=1),
        "TOS fixed": replace(base, tos=0x28),
        "TTL fixed": replace(base, ttl=9),
        "TTL inherited": replace(base, ttl_inherit=True),
        "DF set": replace(base, df="set"),
        "DF inherited": replace(base, df="inherit"),
        "no checksum": replace(base, checksum=False),
        "source port fixed": replace(base, src_ports=(5000, 5001)),
        "local address": replace(base, local=ip("10.0.0.254")),
    }
    packets = [with_tos(PLAIN, tos) for tos in (0, 0x10, 1, 2, 3, 0xB8)]
    packets += [udp("10.0.0.2", 1, "10.0.0.3", 2, ttl=3, df=1)]
    sent: list[Sent] = [("p1", frame(BOB, ALICE, packet)) for packet in packets]
    sent.append(("p1", arp(1, ALICE, "10.0.0.2", ZERO, "10.0.0.3")))
    for name, spec in kinds.items():
        yield case(f"outer headers, {name}", overlay_node(spec), sent)
    ecn = [
        outer(frame(ALICE, BOB, with_tos(BACK, inner)), tos=tos)
        for inner in range(4)
        for tos in range(4)
    ]
    yield case("congestion marks inside and outside", overlay_node(), ecn)
    second = LinkSpec(
        name="vx9",
        ifindex=7,
        kind="vxlan",
        mac=mac("02:00:00:00:01:09"),
        vxlan=VxlanSpec(vni=2, port=4789),
    )
    own = overlay_node(
        TWO,
        fdb=[
            VxlanFdbSpec(device="vx1", mac=BOB, dst=ip("192.0.2.1"), port=4789, state="permanent"),
            VxlanFdbSpec(device="vx1", mac=CAROL, dst=ip("192.0.2.1"), vni=5, state="permanent"),
        ],
        more=[second],
    )
    own.main.addresses.append(AddressSpec(device="vx9", address=ip("10.99.0.1"), prefix_len=24))
    local: list[Sent] = [
        ("p1", frame(BOB, ALICE, PLAIN)),
        ("p1", frame(CAROL, ALICE, PLAIN)),
    ]
    yield case("to a VXLAN device of the host itself", own, local)


ONE, OTHER = mac("02:00:00:00:0a:01"), mac("02:00:00:00:0a:02")


def macvlan_node(one: str = "bridge", other: str = "bridge", *, other_up: bool = True) -> NodeSpec:
    """Make a host with eth0 and two pods, each with a macvlan of it."""
    main = NamespaceSpec(
        links=[
            LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
            LinkSpec(name="eth0", ifindex=2, kind="veth", mac=ETH0),
        ],
        addresses=[
            AddressSpec(device="lo", address=ip("127.0.0.1"), prefix_len=8, scope="host"),
            AddressSpec(
                device="eth0", address=ip("192.0.2.1"), prefix_len=24, broadcast=ip("192.0.2.255")
            ),
        ],
        sysctls={"net.ipv4.ip_forward": "0"},
        rules4=TextFile(name="rules", text=LOGS),
        sockets=[],
        netns_ids={0: "pod1", 1: "pod2"},
    )
    pods = [
        NamespaceSpec(
            name=f"pod{number}",
            links=[
                LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
                LinkSpec(
                    name=f"mv{number}",
                    ifindex=10 + number,
                    kind="macvlan",
                    mac=each,
                    up=up,
                    peer_ifindex=2,
                    peer_netnsid=0,
                    macvlan=MacvlanSpec(mode=mode),
                ),
            ],
            addresses=[
                AddressSpec(
                    device=f"mv{number}",
                    address=ip(f"192.0.2.1{number}"),
                    prefix_len=24,
                    broadcast=ip("192.0.2.255"),
                )
            ],
            sysctls={"net.ipv4.ip_forward": "0"},
            rules4=TextFile(name="rules", text=LOGS),
            sockets=[],
            netns_ids={0: ""},
        )
        for number, mode, each, up in ((1, one, ONE, True), (2, other, OTHER, other_up))
    ]
    return NodeSpec(main=main, others=pods)


def macvlan_cases() -> Iterator[Case]:
    """Who gets what: by MAC, by broadcast, from a sister."""
    outside: list[Sent] = [
        ("eth0", arp(1, UMA, "192.0.2.9", ZERO, "192.0.2.11")),
        ("eth0", arp(1, UMA, "192.0.2.9", ZERO, "192.0.2.12")),
        ("eth0", arp(1, UMA, "192.0.2.9", ZERO, "192.0.2.1")),
        ("eth0", frame(ONE, UMA, udp("192.0.2.9", 1, "192.0.2.11", 2))),
        ("eth0", frame(OTHER, UMA, udp("192.0.2.9", 1, "192.0.2.12", 2))),
        ("eth0", frame(ETH0, UMA, udp("192.0.2.9", 1, "192.0.2.11", 2))),
        ("eth0", frame(CAROL, UMA, udp("192.0.2.9", 1, "192.0.2.11", 2))),
        ("eth0", frame(ALL, UMA, udp("192.0.2.9", 1, "192.0.2.255", 2))),
        ("eth0", frame(mac("01:00:5e:00:00:01"), UMA, udp("192.0.2.9", 1, "224.0.0.1", 2))),
        ("eth0", frame(ALL, ONE, udp("192.0.2.11", 1, "192.0.2.255", 2))),
        ("eth0", frame(OTHER, ONE, udp("192.0.2.11", 1, "192.0.2.12", 2))),
        ("eth0", tagged(frame(ONE, UMA, udp("192.0.2.9", 1, "192.0.2.11", 2)))),
    ]
    for mode in ("bridge", "private", "vepa"):
        yield case(f"macvlans in {mode} mode", macvlan_node(mode, mode), outside)
    yield case("a bridge and a vepa macvlan", macvlan_node("bridge", "vepa"), outside)
    yield case("a macvlan that is down", macvlan_node(other_up=False), outside)
    for mode in ("bridge", "private", "vepa"):
        sisters = macvlan_node(mode, mode)
        talk = case(f"a macvlan asks its sister in {mode} mode", sisters, [])
        yield replace(
            talk,
            inputs=[
                LocalPacket(
                    namespace="pod1",
                    time_ns=10_000_000 * number,
                    packet=udp("192.0.2.11", 1, target, 2),
                )
                for number, target in enumerate(
                    ("192.0.2.12", "192.0.2.1", "192.0.2.255", "192.0.2.12"), 1
                )
            ],
        )


def all_cases() -> list[Case]:
    makers = (routed_cases, bridged_cases, header_cases, macvlan_cases)
    return [item for maker in makers for item in maker()]
