"""Nodes and frames for what happens below IP: bridges, br_netfilter, ARP, neighbours.

    p1 (Alice) --+
    p2 (Bob) ----+-- br0 [10.0.0.254/24]   eth0 [192.0.2.1/24] --- Uma
    p3 ----------+

LOG rules in every chain show which hooks a frame meets, by which devices, with which link header.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from netemu.livekernel.case import Case, InputFrame, LocalPacket
from netemu.sim.spec import (
    AddressSpec,
    BridgeVlanSpec,
    FdbSpec,
    LinkSpec,
    MdbSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    ProxySpec,
    TextFile,
)
from netemu.wire.address import parse_address as ip
from netemu.wire.address import parse_mac as mac
from netemu.wire.arp import build_arp
from netemu.wire.checksum import internet_checksum
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

MS = 1_000_000
BRIDGE = mac("02:00:00:00:00:fe")
ALICE, BOB, CAROL = (mac(f"02:aa:00:00:00:0{n}") for n in (2, 3, 4))
UMA = mac("02:bb:00:00:00:09")
ETH0 = mac("02:00:00:00:00:e0")
ALL = b"\xff" * 6
ZERO = bytes(6)

Sent = tuple[str, bytes] | tuple[str, bytes, int]
"""Device, frame, and the ms since the one before (10 when left out)."""

LOGS = """*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
-A PREROUTING -j LOG --log-prefix "PRE "
-A INPUT -j LOG --log-prefix "IN "
-A FORWARD -j LOG --log-prefix "FWD "
-A FORWARD -m physdev --physdev-is-bridged -j LOG --log-prefix "BRIDGED "
-A FORWARD -m physdev ! --physdev-is-in -j LOG --log-prefix "NOT BY A PORT "
-A FORWARD -m physdev ! --physdev-is-out -j LOG --log-prefix "NOT TO A PORT "
-A POSTROUTING -m physdev --physdev-is-in --physdev-is-out -j LOG --log-prefix "BY BOTH "
-A OUTPUT -j LOG --log-prefix "OUT "
-A POSTROUTING -j LOG --log-prefix "POST "
COMMIT
"""


def filter_table(rule: str) -> str:
    chains = "".join(f":{name} ACCEPT [0:0]\n" for name in ("INPUT", "FORWARD", "OUTPUT"))
    return f"{LOGS}*filter\n{chains}{rule}\nCOMMIT\n"


def nat_table(*rules: str) -> str:
    names = ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")
    chains = "".join(f":{name} ACCEPT [0:0]\n" for name in names)
    lines = "".join(f"{rule}\n" for rule in rules)
    return f"{LOGS}*nat\n{chains}{lines}COMMIT\n"


TRACKED = filter_table("-A FORWARD -m conntrack --ctstate INVALID -j DROP")


def dnat(target: str, *more: str) -> str:
    return nat_table(
        f"-A PREROUTING -d 10.96.0.1/32 -p udp -m udp --dport 80 -j DNAT --to-destination {target}",
        *more,
    )


TO_BOB = dnat("10.0.0.3:8080")
KNOWS_BOB = (NeighbourSpec(device="br0", address=ip("10.0.0.3"), mac=BOB),)


def bridge_node(
    rules: str = TRACKED,
    *,
    forward: int = 1,
    bridge: Mapping[str, int] | None = None,
    ports: Mapping[str, Mapping[str, int]] | None = None,
    neighbours: Sequence[NeighbourSpec] = (),
    fdb: Sequence[FdbSpec] = (),
    mtus: tuple[int, int, int] = (1500, 1500, 1500),
    **sysctls: str,
) -> NodeSpec:
    """Make the node; a sysctl's name has __ for a dot and _ for a dash after `bridge`."""
    links = [
        LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
        LinkSpec(
            name="br0",
            ifindex=2,
            kind="bridge",
            mac=BRIDGE,
            mtu=min(mtus),
            bridge=dict(bridge or {}),
        ),
    ]
    for number, mtu in enumerate(mtus, 1):
        name = f"p{number}"
        links.append(
            LinkSpec(
                name=name,
                ifindex=2 + number,
                kind="veth",
                mac=mac(f"02:00:00:00:00:0{number}"),
                mtu=mtu,
                master="br0",
                port=dict((ports or {}).get(name, {})),
            )
        )
    links.append(LinkSpec(name="eth0", ifindex=6, kind="veth", mac=ETH0))
    addresses = [
        AddressSpec(device="lo", address=ip("127.0.0.1"), prefix_len=8, scope="host"),
        AddressSpec(
            device="br0", address=ip("10.0.0.254"), prefix_len=24, broadcast=ip("10.0.0.255")
        ),
        AddressSpec(
            device="eth0", address=ip("192.0.2.1"), prefix_len=24, broadcast=ip("192.0.2.255")
        ),
    ]
    settings = {"net.ipv4.ip_forward": str(forward), "net.bridge.bridge-nf-call-iptables": "1"}
    settings |= {f"net.bridge.bridge-nf-{k.replace('_', '-')}": v for k, v in sysctls.items()}
    main = NamespaceSpec(
        links=links,
        addresses=addresses,
        neighbours=list(neighbours),
        fdb=list(fdb),
        sysctls=settings,
        rules4=TextFile(name="rules", text=rules),
        sockets=[],
    )
    return NodeSpec(main=main)


def case(name: str, node: NodeSpec, sent: Sequence[Sent], *, until_ms: int = 10) -> Case:
    time_ns = 0
    inputs: list[InputFrame | LocalPacket] = []
    for item in sent:
        time_ns += (item[2] if len(item) == 3 else 10) * MS
        inputs.append(InputFrame(device=item[0], time_ns=time_ns, frame=bytes(item[1])))
    return Case(node=node, inputs=inputs, name=name, until_ns=until_ms * MS)


def frame(dst: bytes, src: bytes, body: bytes | bytearray, ethertype: int = 0x0800) -> bytes:
    return dst + src + ethertype.to_bytes(2, "big") + bytes(body)


def tagged(untagged: bytes, tag: str = "8100000a") -> bytes:
    return untagged[:12] + bytes.fromhex(tag) + untagged[12:]


def udp(
    src: str, sport: int, dst: str, dport: int, payload: bytes = b"hello", **header: int
) -> bytes:
    segment = build_udp(src=ip(src), dst=ip(dst), src_port=sport, dst_port=dport, payload=payload)
    return bytes(
        build_ipv4(
            src=ip(src),
            dst=ip(dst),
            protocol=17,
            payload=segment,
            identification=7,
            ttl=header.get("ttl", 64),
            dont_fragment=bool(header.get("df", 0)),
        )
    )


def arp(
    operation: int, sender: bytes, sip: str, target: bytes, tip: str, dst: bytes = ALL
) -> bytes:
    body = build_arp(
        operation=operation,
        sender_mac=sender,
        sender_ip=ip(sip),
        target_mac=target,
        target_ip=ip(tip),
    )
    return frame(dst, sender, body, 0x0806)


def reply(sender: bytes, sip: str, port: str = "p1") -> Sent:
    """Answer a question of the bridge or of eth0."""
    own, address = (ETH0, "192.0.2.1") if port == "eth0" else (BRIDGE, "10.0.0.254")
    return port, arp(2, sender, sip, own, address, own)


PLAIN = udp("10.0.0.2", 1, "10.0.0.3", 2)
REQUEST = udp("10.0.0.2", 4000, "10.96.0.1", 80)
ANSWER = udp("10.0.0.3", 8080, "10.0.0.2", 4000)
HELLO: list[Sent] = [
    ("p2", arp(1, BOB, "10.0.0.3", ZERO, "10.0.0.77")),
    ("p1", arp(1, ALICE, "10.0.0.2", ZERO, "10.0.0.78")),
]
"""Both tell the bridge where they are."""


def fragments(size: int, step: int, *, df: bool) -> list[bytes]:
    body = udp("10.0.0.2", 5000, "10.0.0.3", 6000, bytes(range(250)) * (size // 250))[20:]
    return [
        bytes(
            build_ipv4(
                src=ip("10.0.0.2"),
                dst=ip("10.0.0.3"),
                protocol=17,
                payload=body[at : at + step],
                identification=99,
                more_fragments=at + step < len(body),
                fragment_offset=at // 8,
                dont_fragment=df,
            )
        )
        for at in range(0, len(body), step)
    ]


def dnat_cases() -> Iterator[Case]:
    """DNAT of bridged packets: to the same bridge, elsewhere, to nowhere."""
    talk: list[Sent] = [
        HELLO[0],
        ("p1", frame(BRIDGE, ALICE, REQUEST)),
        reply(BOB, "10.0.0.3", "p2"),
        ("p2", frame(ALICE, BOB, ANSWER)),
        ("p1", frame(BRIDGE, ALICE, REQUEST)),
        ("p2", frame(ALICE, BOB, ANSWER)),
    ]
    for forward in (0, 1):
        node = bridge_node(TO_BOB, forward=forward)
        yield case(f"same bridge, neighbour unknown, ip_forward {forward}", node, talk)
        node = bridge_node(TO_BOB, forward=forward, neighbours=KNOWS_BOB)
        yield case(f"same bridge, neighbour known, ip_forward {forward}", node, talk)
        for source in ("10.0.0.254", "192.0.2.77", "224.0.0.9", "0.0.0.5", "127.0.0.9"):
            odd = frame(BRIDGE, ALICE, udp(source, 4000, "10.96.0.1", 80))
            node = bridge_node(TO_BOB, forward=forward, neighbours=KNOWS_BOB)
            yield case(f"from {source}, ip_forward {forward}", node, [*HELLO, ("p1", odd)])
        for target in ("127.0.0.1", "10.0.0.255", "224.0.0.1", "10.0.0.254", "198.51.100.1"):
            node = bridge_node(dnat(f"{target}:8080"), forward=forward)
            sent: list[Sent] = [
                *HELLO,
                ("p1", frame(BRIDGE, ALICE, REQUEST)),
                reply(ALICE, "10.0.0.2"),
                ("p1", frame(CAROL, ALICE, udp("10.0.0.2", 4001, "10.96.0.1", 80))),
                ("p1", frame(ALL, ALICE, udp("10.0.0.2", 4002, "10.96.0.1", 80))),
            ]
            yield case(f"to {target}, ip_forward {forward}", node, sent)
        outside = dnat("192.0.2.9:8080", "-A POSTROUTING -o eth0 -j MASQUERADE")
        sent = [
            ("p1", frame(BRIDGE, ALICE, REQUEST)),
            reply(UMA, "192.0.2.9", "eth0"),
            ("eth0", frame(ETH0, UMA, udp("192.0.2.9", 8080, "192.0.2.1", 4000))),
            reply(ALICE, "10.0.0.2"),
            ("p1", frame(BOB, ALICE, REQUEST)),
        ]
        yield case(
            f"to a routed host, ip_forward {forward}", bridge_node(outside, forward=forward), sent
        )
    off = bridge_node(TO_BOB, call_iptables="0")
    yield case("call-iptables off: the answer is not translated back", off, talk)
    own = bridge_node(TO_BOB, bridge={"nf_call_iptables": 1}, call_iptables="0")
    yield case("nf_call_iptables of the bridge", own, talk)
    hairpin: list[Sent] = [("p2", frame(BRIDGE, BOB, udp("10.0.0.3", 4000, "10.96.0.1", 80)))] * 2
    yield case("to oneself", bridge_node(TO_BOB, neighbours=KNOWS_BOB), hairpin)
    node = bridge_node(TO_BOB, neighbours=KNOWS_BOB, ports={"p2": {"hairpin": 1}})
    yield case("to oneself with hairpin mode", node, hairpin)
    silent: list[Sent] = [*HELLO, ("p1", frame(BRIDGE, ALICE, REQUEST))]
    yield case("nobody answers", bridge_node(TO_BOB), silent, until_ms=3600)


def fragment_cases() -> Iterator[Case]:
    """Fragments are put together for conntrack and cut again; a port may be too narrow."""
    for name, rules in (("tracked", TRACKED), ("untracked", LOGS)):
        for df in (False, True):
            whole = fragments(3000, 1480, df=df)
            label = f"{name}, DF {df:d}"
            sent: list[Sent] = [*HELLO, *(("p1", frame(BOB, ALICE, piece)) for piece in whole)]
            yield case(f"fragments, {label}", bridge_node(rules), sent)
            yield case(f"fragments flooded, {label}", bridge_node(rules), sent[2:])
            narrow = bridge_node(rules, mtus=(1500, 1000, 1500))
            yield case(f"fragments to a narrow port, {label}", narrow, sent)
            mixed = [("p1", frame(BOB, ALICE, piece)) for piece in fragments(2000, 600, df=df)]
            yield case(
                f"fragments in disorder, {label}", bridge_node(rules), [*HELLO, *mixed[::-1]]
            )
            long = frame(BOB, ALICE, udp("10.0.0.2", 1, "10.0.0.3", 2, bytes(1100), df=df))
            yield case(f"too long for the port, {label}", narrow, [*HELLO, ("p1", long)])


def hook_cases() -> Iterator[Case]:
    """Which frames meet which hooks."""
    plain = frame(BOB, ALICE, PLAIN)
    yield case("flooded", bridge_node(), [("p1", plain)] * 2)
    yield case("flooded, hooks off", bridge_node(call_iptables="0"), [("p1", plain)] * 2)
    to_all = frame(ALL, ALICE, udp("10.0.0.2", 1, "10.0.0.255", 2))
    yield case("broadcast", bridge_node(), [("p1", to_all)] * 2)
    lonely = bridge_node(ports={"p2": {"bcast_flood": 0}, "p3": {"bcast_flood": 0}})
    yield case("broadcast that goes up only", lonely, [("p1", to_all)] * 2)
    unicast = frame(ALL, ALICE, udp("10.0.0.2", 1, "10.0.0.254", 2))
    yield case("unicast packet in a broadcast frame", bridge_node(), [("p1", unicast)])
    for group, octets in (("239.1.1.1", "01:00:5e:01:01:01"), ("224.0.0.1", "01:00:5e:00:00:01")):
        many = frame(mac(octets), ALICE, udp("10.0.0.2", 1, group, 2))
        yield case(f"multicast to {group}", bridge_node(), [("p1", many)] * 2)
    for value in "01":
        tags: list[Sent] = [
            ("p1", tagged(plain)),
            ("p1", tagged(frame(BRIDGE, ALICE, udp("10.0.0.2", 1, "10.0.0.254", 2)))),
            ("p1", tagged(frame(BRIDGE, ALICE, udp("10.0.0.2", 1, "10.0.0.254", 2)), "81000000")),
            ("p1", tagged(tagged(plain), "88a80005")),
            ("p1", tagged(to_all)),
        ]
        node = bridge_node(filter_vlan_tagged=value)
        yield case(f"VLAN tags, filter-vlan-tagged {value}", node, [*HELLO, *tags])
        node = bridge_node(TO_BOB, neighbours=KNOWS_BOB, filter_vlan_tagged=value)
        tags = [("p1", tagged(frame(BRIDGE, ALICE, REQUEST)))] * 2
        yield case(f"VLAN tags and DNAT, filter-vlan-tagged {value}", node, [*HELLO, *tags])
        session = bytes.fromhex("1100000100230021")
        ppp: list[Sent] = [
            ("p1", frame(BOB, ALICE, head + bytes(body), 0x8864))
            for head in (session, session[:6] + b"\x00\xff", session[:6] + b"\x00\x57")
            for body in (PLAIN, udp("10.0.0.2", 1, "10.0.0.3", 2, bytes(1464)))
        ]
        node = bridge_node(filter_pppoe_tagged=value)
        yield case(f"PPPoE, filter-pppoe-tagged {value}", node, [*HELLO, *ppp])
    bad_sum, too_long, version = bytearray(PLAIN), bytearray(PLAIN), bytearray(PLAIN)
    bad_sum[10] ^= 1
    too_long[2:4] = b"\x00\x64"
    version[0] = 0x65
    broken: list[bytes | bytearray] = [
        bad_sum,
        too_long,
        PLAIN + bytes(20),
        version,
        b"E\x00\x00",
        PLAIN[:19],
    ]
    six = bytes.fromhex("60000000000411ff") + bytes(32) + b"abcd"
    sixes = [six + bytes(20), six[:43], six[:39], b"\x50" + six[1:]]
    for value in "01":
        node = bridge_node(call_iptables=value, call_ip6tables=value)
        sent: list[Sent] = [("p1", frame(BOB, ALICE, body)) for body in broken]
        sent += [("p1", frame(BOB, ALICE, body, 0x86DD)) for body in sixes]
        yield case(f"malformed headers, hooks {value}", node, [*HELLO, *sent])
    edge = [udp("10.0.0.2", 1, "10.0.0.3", 2, ttl=ttl) for ttl in (1, 0)]
    sent = [*HELLO, *(("p1", frame(BOB, ALICE, body)) for body in edge)]
    yield case("TTL 1 and 0 cross a bridge", bridge_node(), sent)
    for kind in ("icmp-port-unreachable", "icmp-admin-prohibited"):
        node = bridge_node(filter_table(f"-A FORWARD -p udp -j REJECT --reject-with {kind}"))
        yield case(f"REJECT with {kind}", node, [*HELLO, ("p1", plain), reply(ALICE, "10.0.0.2")])
    syn = build_tcp(
        src=ip("10.0.0.2"), dst=ip("10.0.0.3"), src_port=5, dst_port=6, seq=1, flags=2, window=100
    )
    packet = build_ipv4(src=ip("10.0.0.2"), dst=ip("10.0.0.3"), protocol=6, payload=syn)
    node = bridge_node(filter_table("-A FORWARD -p tcp -j REJECT --reject-with tcp-reset"))
    yield case("REJECT with tcp-reset", node, [*HELLO, ("p1", frame(BOB, ALICE, packet))])
    node = bridge_node(nat_table("-A POSTROUTING -s 10.0.0.0/24 -o br0 -j MASQUERADE"))
    back = frame(BRIDGE, BOB, udp("10.0.0.3", 2, "10.0.0.254", 1))
    sent = [*HELLO, ("p1", plain), ("p2", back), reply(ALICE, "10.0.0.2")]
    yield case("MASQUERADE on a bridge", node, sent)
    sent = [
        *HELLO,
        ("eth0", frame(ETH0, UMA, udp("192.0.2.9", 1, "10.0.0.3", 2))),
        reply(BOB, "10.0.0.3", "p2"),
        ("p2", frame(BRIDGE, BOB, udp("10.0.0.3", 2, "192.0.2.9", 1))),
        reply(UMA, "192.0.2.9", "eth0"),
    ]
    yield case("routed into and out of the bridge", bridge_node(), sent)
    echo = build_icmp(icmp_type=8, code=0, rest=0x10001, payload=b"x" * 20)
    packet = build_ipv4(src=ip("10.0.0.2"), dst=ip("10.0.0.254"), protocol=1, payload=echo)
    sent = [*HELLO, ("p1", frame(BRIDGE, ALICE, packet)), reply(ALICE, "10.0.0.2")]
    yield case("echo to the bridge", bridge_node(), sent)


def igmp(kind: int, group: bytes, *, length: int = 8) -> bytes:
    message = bytearray(length)
    message[0], message[4:8] = kind, group
    message[2:4] = internet_checksum(message).to_bytes(2, "big")
    return bytes(message)


def igmp_frame(group: bytes, message: bytes) -> bytes:
    packet = build_ipv4(src=ip("10.0.0.2"), dst=group, protocol=2, payload=message, ttl=1)
    return frame(b"\x01\x00\x5e" + group[1:], ALICE, packet)


def bridge_cases() -> Iterator[Case]:
    """Learning, flooding, port flags, reserved addresses."""
    plain = frame(BOB, ALICE, PLAIN)
    other = frame(CAROL, ALICE, PLAIN)
    many = frame(mac("01:00:5e:01:01:01"), ALICE, udp("10.0.0.2", 1, "239.1.1.1", 2))
    to_all = frame(ALL, ALICE, udp("10.0.0.2", 1, "10.0.0.255", 2))
    mix: list[Sent] = [("p1", sent) for sent in (plain, other, many, to_all)]
    for port in ("p1", "p2"):
        for flag in ("isolated", "hairpin"):
            back: list[Sent] = [*HELLO, *mix, ("p1", frame(ALICE, ALICE, PLAIN))]
            yield case(f"{flag} {port}", bridge_node(ports={port: {flag: 1}}), back)
    node = bridge_node(ports={"p1": {"isolated": 1}, "p2": {"isolated": 1}})
    yield case("both isolated", node, [*HELLO, *mix])
    for flag in ("learning", "flood", "mcast_flood", "bcast_flood"):
        yield case(f"no {flag}", bridge_node(ports={"p2": {flag: 0}}), [*HELLO, *mix])
    reserved: list[Sent] = [
        ("p1", frame(mac(f"01:80:c2:00:00:{last:02x}"), ALICE, bytes(46), 0x88CC))
        for last in range(17)
    ]
    yield case("reserved addresses", bridge_node(), [*HELLO, *reserved])
    node = bridge_node(bridge={"group_fwd_mask": 0xFFF8})
    yield case("reserved addresses, group_fwd_mask", node, [*HELLO, *reserved])
    sources = (mac("01:00:00:00:00:01"), ZERO, BRIDGE, mac("02:00:00:00:00:01"))
    odd: list[Sent] = [("p1", frame(BOB, src, bytes(46), 0x88B5)) for src in sources]
    yield case("impossible sources", bridge_node(), [*HELLO, *odd])
    flood: list[Sent] = [("p1", frame(BOB, BRIDGE, bytes(46), 0x88B5), 1)] * 14
    yield case("own address as source, many times", bridge_node(), [*HELLO, *flood])
    own: list[Sent] = [
        ("p1", frame(mac(f"02:00:00:00:00:0{n}"), ALICE, udp("10.0.0.2", 1, "10.0.0.254", 2)))
        for n in (1, 2, 3)
    ]
    yield case("MACs of the ports", bridge_node(), [*HELLO, *own])
    entries = [
        FdbSpec(bridge="br0", device="p3", mac=CAROL, state="static"),
        FdbSpec(bridge="br0", device="p3", mac=UMA, state="permanent"),
    ]
    raw = bytes(46)
    moves: list[Sent] = [
        ("p3", frame(ALL, ALICE, raw, 0x88B5)),
        ("p2", frame(ALICE, BOB, raw, 0x88B5)),
        ("p1", frame(ALL, CAROL, raw, 0x88B5)),
        ("p2", frame(CAROL, BOB, raw, 0x88B5)),
        ("p1", frame(ALL, UMA, raw, 0x88B5)),
        ("p2", frame(UMA, BOB, PLAIN)),
    ]
    yield case("stations move", bridge_node(fdb=entries), [*HELLO, *moves])
    listed = bridge_node(
        fdb=[FdbSpec(bridge="br0", device="p3", mac=CAROL, state="static", vlan=1)]
    )
    listed.main.bridge_vlans = [
        BridgeVlanSpec(device=device, vid=1, pvid=True, untagged=True)
        for device in ("p1", "p2", "p3", "br0")
    ]
    yield case("VLANs of a bridge that does not filter", listed, [*HELLO, *moves])
    old: list[Sent] = [
        ("p1", frame(BOB, ALICE, b"\x42\x42\x03" + raw, 0x26)),
        ("p1", frame(ALL, ALICE, b"\xff\xff\x03" + raw, 0x26)),
    ]
    yield case("802.3 lengths", bridge_node(), [*HELLO, *old])
    group = ip("239.1.1.1")
    reports = [igmp(0x16, group), igmp(0x16, group)[:7], b"\x16" + bytes(7), igmp(0x55, group)]
    reports += [igmp(0x22, bytes(4)), igmp(0x22, bytes(4))[:7]]
    sent = [("p1", igmp_frame(group, message)) for message in reports]
    for value in "01":
        node = bridge_node(call_iptables=value)
        yield case(f"IGMP reports, hooks {value}", node, [*HELLO, *sent, ("p1", many)])
        bad: list[Sent] = [
            ("p1", igmp_frame(group, igmp(0x11, bytes(4)))),
            ("p1", igmp_frame(group, igmp(0x11, group, length=10))),
        ]
        yield case(
            f"IGMP queries that are dropped, hooks {value}", node, [*HELLO, *bad, ("p1", many)]
        )


def asks_groups(group: bytes, *, tenths: int = 1, source: str = "10.0.0.9") -> bytes:
    message = bytearray(igmp(0x11, group))
    message[1], message[2:4] = tenths, bytes(2)
    message[2:4] = internet_checksum(message).to_bytes(2, "big")
    target = group if any(group) else ip("224.0.0.1")
    packet = build_ipv4(src=ip(source), dst=target, protocol=2, payload=bytes(message), ttl=1)
    return frame(b"\x01\x00\x5e" + bytes((target[1] & 0x7F,)) + target[2:], CAROL, packet)


def snooping_cases() -> Iterator[Case]:
    """With a querier only members and routers get a group's frames."""
    one, two = ip("239.1.1.1"), ip("239.2.2.2")
    many = [
        frame(mac(f"01:00:5e:{last}"), BOB, udp("10.0.0.3", 1, group, 2))
        for last, group in (
            ("01:01:01", "239.1.1.1"),
            ("02:02:02", "239.2.2.2"),
            ("00:00:05", "224.0.0.5"),
        )
    ]
    data: list[Sent] = [("p2", each) for each in many]
    query: Sent = ("p3", asks_groups(bytes(4)))
    join: Sent = ("p1", igmp_frame(one, igmp(0x16, one)))
    leave: Sent = (
        "p1",
        frame(
            mac("01:00:5e:00:00:02"),
            ALICE,
            build_ipv4(
                src=ip("10.0.0.2"), dst=ip("224.0.0.2"), protocol=2, payload=igmp(0x17, one), ttl=1
            ),
        ),
    )
    soon: list[Sent] = [(data[0][0], data[0][1], 150), *data[1:]]
    quick = {
        "mcast_membership_intvl": 100,
        "mcast_querier_intvl": 150,
        "mcast_last_member_intvl": 20,
    }

    def node(ports: Mapping[str, Mapping[str, int]] | None = None, **bridge: int) -> NodeSpec:
        return bridge_node(call_iptables="0", bridge=bridge, ports=ports)

    yield case("snooping without a querier", node(), [join, *data])
    yield case("snooping with a querier", node(), [join, query, *data, *soon])
    yield case("a report before and after the query", node(), [query, *soon, join, *data])
    yield case("leaving under a querier", node(), [join, query, *soon, leave, *data])
    yield case("leaving without a querier", node(**quick), [join, leave, *data], until_ms=500)
    fast = node({"p1": {"fastleave": 1}})
    yield case("leaving fast", fast, [join, query, *soon, leave, *data])
    group: Sent = ("p3", asks_groups(one))
    asked: list[Sent] = [join, query, *soon, group, *data, (data[0][0], data[0][1], 350)]
    yield case("a query for one group", node(), asked)
    aged: list[Sent] = [
        join,
        query,
        *soon,
        (data[0][0], data[0][1], 1000),
        (data[0][0], data[0][1], 600),
    ]
    yield case("memberships and the querier age", node(**quick), aged)
    for value in (0, 2):
        routers = node({"p1": {"multicast_router": value}, "p3": {"multicast_router": value}})
        yield case(f"mcast_router {value} of ports", routers, [query, *soon, join, *data])
        yield case(f"mcast_router {value} of the bridge", node(mcast_router=value), [query, *soon])
    yield case("snooping off", node(mcast_snooping=0), [join, query, *soon])
    closed = node({"p1": {"mcast_flood": 0}, "p3": {"hairpin": 1, "isolated": 1}})
    yield case("port flags under a querier", closed, [join, query, *soon])
    records = [(4, one, 0), (3, two, 0), (1, two, 1), (6, one, 0), (9, two, 0)]
    for number in range(1, len(records) + 1):
        body = bytearray(b"\x22\0\0\0\0\0" + number.to_bytes(2, "big"))
        for kind, address, sources in records[:number]:
            body += bytes((kind, 0, 0, sources)) + address + ip("10.0.0.3") * sources
        body[2:4] = internet_checksum(body).to_bytes(2, "big")
        report: Sent = ("p1", igmp_frame(ip("224.0.0.22"), bytes(body)))
        yield case(f"version 3 report, {number} records", node(), [query, report, *soon])
    higher: list[Sent] = [query, ("p1", asks_groups(bytes(4), source="10.0.0.99")), *soon]
    yield case("a querier with a higher address", node(), higher)
    lower: list[Sent] = [query, ("p1", asks_groups(bytes(4), source="10.0.0.5")), *soon]
    yield case("a querier with a lower address", node(), lower)
    known = node()
    known.main.mdb = [
        MdbSpec(bridge="br0", device="p1", group=one, permanent=True),
        MdbSpec(bridge="br0", device="p1", group=two),
        MdbSpec(bridge="br0", device="br0", group=two),
    ]
    yield case("entries that were set", known, [*data, query, *soon, leave, *data])


E1, E2 = mac("02:00:00:00:00:e1"), mac("02:00:00:00:00:e2")
XENIA, YVES = mac("02:aa:00:00:00:09"), mac("02:aa:00:00:00:0a")


def arp_node(
    *,
    forward: int = 1,
    many: bool = False,
    neighbours: Sequence[NeighbourSpec] = (),
    sysctls: Mapping[str, str] | None = None,
) -> NodeSpec:
    """Make a router with two ports, eth1 and eth2; with `many` addresses of all scopes."""
    wide = ip("10.1.0.255")
    addresses = [
        AddressSpec(device="lo", address=ip("127.0.0.1"), prefix_len=8, scope="host"),
        AddressSpec(device="eth1", address=ip("10.1.0.1"), prefix_len=24, broadcast=wide),
        AddressSpec(
            device="eth2", address=ip("10.2.0.1"), prefix_len=24, broadcast=ip("10.2.0.255")
        ),
    ]
    if many:
        addresses += [
            AddressSpec(device="lo", address=ip("10.9.9.9"), prefix_len=32),
            AddressSpec(device="lo", address=ip("10.9.9.8"), prefix_len=32, scope="host"),
            AddressSpec(
                device="eth1", address=ip("10.1.0.2"), prefix_len=24, broadcast=wide, secondary=True
            ),
            AddressSpec(
                device="eth1",
                address=ip("10.3.0.1"),
                prefix_len=16,
                broadcast=ip("10.3.255.255"),
                scope="link",
            ),
        ]
    main = NamespaceSpec(
        links=[
            LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536),
            LinkSpec(name="eth1", ifindex=2, kind="veth", mac=E1),
            LinkSpec(name="eth2", ifindex=3, kind="veth", mac=E2),
        ],
        addresses=addresses,
        neighbours=list(neighbours),
        sysctls={"net.ipv4.ip_forward": str(forward), **(sysctls or {})},
        rules4=TextFile(name="rules", text=LOGS),
        sockets=[],
    )
    return NodeSpec(main=main)


def asks(sip: str, tip: str, sender: bytes = XENIA, dst: bytes = ALL) -> Sent:
    return "eth1", arp(1, sender, sip, ZERO, tip, dst)


def says(
    sip: str, tip: str = "10.1.0.1", sender: bytes = XENIA, dst: bytes = E1, tha: bytes = E1
) -> Sent:
    return "eth1", arp(2, sender, sip, tha, tip, dst)


ARP_FRAMES: list[Sent] = [
    asks("10.1.0.9", "10.1.0.1"),
    asks("10.1.0.9", "10.2.0.1", YVES),
    asks("10.1.0.8", "10.1.0.77"),
    *(asks("0.0.0.0", tip) for tip in ("10.1.0.1", "10.2.0.1", "10.1.0.5")),
    *(asks(sip, "10.1.0.1") for sip in ("172.16.0.9", "10.2.0.7", "10.1.0.1")),
    *(asks("10.1.0.9", t) for t in ("127.0.0.1", "224.0.0.1", "10.1.0.255", "255.255.255.255")),
    asks("10.1.0.9", "10.1.0.1", dst=E1),
    asks("10.1.0.10", "10.1.0.1", dst=E2),
    asks("10.1.0.11", "10.1.0.11", YVES),
    *(asks(s, "10.1.0.1") for s in ("224.0.0.9", "127.0.0.9", "255.255.255.255", "10.1.0.255")),
    says("10.1.0.12"),
    says("10.1.0.13", "10.1.0.13", dst=ALL, tha=XENIA),
    says("10.1.0.14", "10.1.0.14", dst=ALL, tha=ZERO),
    says("10.1.0.9", sender=YVES),
    asks("10.2.0.9", "10.2.0.5"),
    asks("10.1.0.9", "10.2.0.5"),
    asks("10.1.0.9", "10.2.0.5", dst=E1),
    asks("10.1.0.9", "198.51.100.1"),
    *(asks("10.1.0.9", tip) for tip in ("10.9.9.9", "10.9.9.8", "10.1.0.2", "10.3.0.1")),
    *(asks("10.3.0.9", tip) for tip in ("10.1.0.2", "10.3.0.1")),
]

ARP_SYSCTLS = {
    "arp_ignore": range(1, 10),
    "arp_filter": (1,),
    "arp_accept": (1, 2, 3),
    "drop_gratuitous_arp": (1,),
    "route_localnet": (1,),
    "rp_filter": (1, 2),
    "accept_local": (1,),
}
"""Those that change who is answered or learnt."""


def arp_cases() -> Iterator[Case]:
    """Who is answered, and what is learnt from whom, as the sysctls say."""
    for forward in (0, 1):
        yield case(f"ARP, ip_forward {forward}", arp_node(forward=forward), ARP_FRAMES)
    for name, values in ARP_SYSCTLS.items():
        for value in values:
            for device in ("all", "eth1"):
                key = f"net.ipv4.conf.{device}.{name}"
                node = arp_node(many=True, sysctls={key: str(value)})
                yield case(f"ARP, {device}.{name} {value}", node, ARP_FRAMES)
    proxy = {"net.ipv4.conf.eth1.proxy_arp": "1", "net.ipv4.neigh.eth1.proxy_delay": "0"}
    yield case("proxy ARP", arp_node(sysctls=proxy), ARP_FRAMES)
    yield case("proxy ARP, ip_forward 0", arp_node(forward=0, sysctls=proxy), ARP_FRAMES)
    for forward in (0, 1):
        node = arp_node(forward=forward, sysctls={"net.ipv4.neigh.eth1.proxy_delay": "0"})
        node.main.proxies = [
            ProxySpec(address=ip(text), device="eth1")
            for text in ("10.2.0.5", "10.1.0.77", "198.51.100.1")
        ]
        yield case(f"proxy entries, ip_forward {forward}", node, ARP_FRAMES)
    pvlan = {"net.ipv4.conf.eth1.proxy_arp_pvlan": "1", "net.ipv4.neigh.eth1.proxy_delay": "0"}
    yield case("proxy ARP on a private VLAN", arp_node(sysctls=pvlan), ARP_FRAMES)
    for medium in ("-1", "1", "2"):
        settings = proxy | {
            "net.ipv4.conf.eth1.medium_id": "1",
            "net.ipv4.conf.eth2.medium_id": medium,
        }
        yield case(f"proxy ARP to medium {medium}", arp_node(sysctls=settings), ARP_FRAMES)
    good = ARP_FRAMES[0][1]
    changes = [
        (0, "0006"),
        (0, "0002"),
        (2, "86dd"),
        (4, "07"),
        (5, "03"),
        (6, "0003"),
        (8, "ff" * 6),
    ]
    odd = [good[: 14 + at] + bytes.fromhex(x) + good[14 + at + len(x) // 2 :] for at, x in changes]
    sent: list[Sent] = [("eth1", item) for item in (*odd, good[:-1], good + bytes(18))]
    yield case("malformed ARP", arp_node(), sent)


def update_cases() -> Iterator[Case]:
    """What an entry of each state makes of each message, within and after the lock time."""
    messages = [
        says("10.1.0.9", sender=YVES),
        says("10.1.0.9"),
        says("10.1.0.9", sender=YVES, dst=ALL),
        asks("10.1.0.9", "10.1.0.44", YVES),
        asks("10.1.0.9", "10.1.0.9", YVES),
        says("10.1.0.9", "10.1.0.9", YVES, ALL, YVES),
        asks("10.1.0.9", "10.1.0.1", YVES),
        asks("10.1.0.9", "10.1.0.44"),
    ]
    for state in ("REACHABLE", "STALE", "PERMANENT", "DELAY", "PROBE"):
        entry = NeighbourSpec(device="eth1", address=ip("10.1.0.9"), mac=XENIA, state=state)
        for number, message in enumerate(messages):
            # In PROBE the next question comes after a second, which would disturb.
            for wait_ms in (10,) if state in {"DELAY", "PROBE"} else (10, 1100):
                name = f"{state} entry, message {number} after {wait_ms} ms"
                sent: list[Sent] = [(message[0], message[1], wait_ms)]
                yield case(name, arp_node(neighbours=[entry]), sent)


def timer_cases() -> Iterator[Case]:
    """What timers do: questions repeated, STALE entries checked after use, failure told."""
    quick = {
        "net.ipv4.neigh.eth1.delay_first_probe_time": "1",
        "net.ipv4.neigh.eth1.retrans_time_ms": "500",
        "net.ipv4.neigh.eth1.base_reachable_time_ms": "1000",
    }
    through: Sent = ("eth2", frame(E2, YVES, udp("10.2.0.9", 1, "10.1.0.9", 2)))
    yves = NeighbourSpec(device="eth2", address=ip("10.2.0.9"), mac=YVES, state="PERMANENT")
    known = NeighbourSpec(device="eth1", address=ip("10.1.0.9"), mac=XENIA, state="STALE")
    asked = says("10.1.0.9")
    node = arp_node(neighbours=[yves], sysctls=quick)
    yield case("nobody answers, told after three questions", node, [through] * 4, until_ms=1900)
    again: list[Sent] = [through, (*through[:2], 1900), asked]
    yield case("asked anew after failure", node, again, until_ms=300)
    yield case("answered after the second question", node, [through, (*asked[:2], 700)])
    node = arp_node(neighbours=[yves, known], sysctls=quick)
    yield case("a stale entry is used, then checked in vain", node, [through], until_ms=3200)
    answered: list[Sent] = [through, (*asked[:2], 1300)]
    yield case("a stale entry is used, then confirmed", node, answered, until_ms=200)
    moved: list[Sent] = [
        through,
        ("eth1", arp(1, YVES, "10.1.0.9", ZERO, "10.1.0.9"), 200),
        through,
    ]
    plain = frame(BOB, ALICE, PLAIN)
    ageing = bridge_node(bridge={"ageing_time": 100})
    later: list[Sent] = [*HELLO, ("p1", plain), ("p1", plain, 2200)]
    yield case("a station is forgotten", ageing, later)
    hub = bridge_node(bridge={"ageing_time": 0})
    yield case("a bridge that learns nothing", hub, [*HELLO, ("p1", plain)])
    yield case("a stale entry moves while it is used", node, moved, until_ms=1900)


def all_cases() -> list[Case]:
    makers = (
        *(dnat_cases, fragment_cases, hook_cases, bridge_cases, snooping_cases),
        *(arp_cases, update_cases, timer_cases),
    )
    return [item for maker in makers for item in maker()]
