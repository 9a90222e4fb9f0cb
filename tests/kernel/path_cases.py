"""Hand-made cases of the whole path: services, refusals, errors through NAT, silent neighbours."""

from __future__ import annotations

from collections.abc import Iterator

from netemu.livekernel.case import Case, InputFrame
from netemu.livekernel.generate.packets import (
    ACK,
    FIN,
    MSS,
    PSH,
    RST,
    SYN,
    Header,
    arp_frame,
    icmp_packet,
    ip_frame,
    ip_packet,
    tcp_packet,
    udp_packet,
)
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
    TextFile,
)
from netemu.wire.address import parse_address, parse_mac

A = parse_address
CLIENT, GATEWAY, SILENT = A("192.0.2.9"), A("192.0.2.254"), A("192.0.2.66")
POD_1, POD_2, VIP = A("10.244.0.11"), A("10.244.0.12"), A("10.96.0.1")
UPLINK, BRIDGE = parse_mac("02:00:00:00:01:01"), parse_mac("02:00:00:00:02:01")
CLIENT_MAC, POD_1_MAC, POD_2_MAC = (parse_mac(f"02:00:00:00:09:0{n}") for n in (1, 2, 3))
OWN = A("192.0.2.1")

HEADS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}


def rules(**tables: str) -> TextFile:
    """Return whole tables, raw with TRACE."""
    tables = {"raw": "-A PREROUTING -j TRACE\n-A OUTPUT -j TRACE\n"} | tables
    parts = []
    for table, text in tables.items():
        heads = "".join(f":{chain} ACCEPT [0:0]\n" for chain in HEADS[table])
        parts.append(f"*{table}\n{heads}{text}COMMIT\n")
    return TextFile(name="iptables-save", text="".join(parts))


def node(text: TextFile, *, resolved: bool = True, **sysctls: str) -> NodeSpec:
    """Return a node with an uplink and two pods under a bridge."""
    lo = LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)
    links = [
        lo,
        LinkSpec(name="eth0", ifindex=2, mac=UPLINK),
        LinkSpec(name="cni0", ifindex=3, kind="bridge", mac=BRIDGE),
    ]
    links += [
        LinkSpec(
            name=f"veth{n}",
            ifindex=3 + n,
            kind="veth",
            mac=parse_mac(f"02:00:00:00:03:0{n}"),
            master="cni0",
            port={"hairpin": 1},
        )
        for n in (1, 2)
    ]
    known = [
        ("eth0", CLIENT, CLIENT_MAC),
        ("eth0", GATEWAY, CLIENT_MAC),
        ("cni0", POD_1, POD_1_MAC),
        ("cni0", POD_2, POD_2_MAC),
    ]
    main = NamespaceSpec(
        links=links,
        addresses=[
            AddressSpec(device="lo", address=A("127.0.0.1"), prefix_len=8, scope="host"),
            AddressSpec(device="eth0", address=OWN, prefix_len=24, broadcast=A("192.0.2.255")),
            AddressSpec(
                device="cni0",
                address=A("10.244.0.1"),
                prefix_len=24,
                broadcast=A("10.244.0.255"),
            ),
        ],
        routes=[
            RouteSpec(
                prefix=bytes(4),
                prefix_len=0,
                nexthops=(NexthopSpec(device="eth0", gateway=GATEWAY),),
            )
        ],
        neighbours=[
            NeighbourSpec(device=device, address=address, mac=mac, state="REACHABLE")
            for device, address, mac in known
            if resolved
        ],
        sysctls={"net.ipv4.ip_forward": "1"} | sysctls,
        rules4=text,
        sockets=[],
    )
    return NodeSpec(main=main)


def case(name: str, spec: NodeSpec, sent: list[tuple[int, str, bytes]], until_ms: int = 0) -> Case:
    """Return a case; frames are (ms, device, frame)."""
    inputs = [
        InputFrame(device=device, time_ns=at_ms * 1_000_000 + number * 1000, frame=frame)
        for number, (at_ms, device, frame) in enumerate(sent)
    ]
    return Case(node=spec, inputs=list(inputs), name=name, until_ns=until_ms * 1_000_000)


def from_client(packet: bytes) -> tuple[int, str, bytes]:
    return 0, "eth0", ip_frame(UPLINK, CLIENT_MAC, packet)


def from_pod(packet: bytes, number: int = 1, target: bytes = BRIDGE) -> tuple[int, str, bytes]:
    source = POD_1_MAC if number == 1 else POD_2_MAC
    return 0, f"veth{number}", ip_frame(target, source, packet)


def tcp(src: bytes, dst: bytes, ports: tuple[int, int], flags: int, **more: int) -> bytes:
    options = MSS if flags & SYN else b""
    seq, ack = more.get("seq", 1000), more.get("ack", 0)
    payload = bytes(more.get("size", 0))
    header = Header(src=src, dst=dst, ttl=more.get("ttl", 64))
    return tcp_packet(
        header, *ports, seq=seq, ack=ack, flags=flags, payload=payload, options=options
    )


SERVICE = """\
:SVC - [0:0]
:SEP-1 - [0:0]
:SEP-2 - [0:0]
:MARK-MASQ - [0:0]
:POST - [0:0]
-A PREROUTING -m comment --comment "service portals" -j SVC
-A OUTPUT -j SVC
-A POSTROUTING -j POST
-A MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A POST -m mark ! --mark 0x4000/0x4000 -j RETURN
-A POST -j MARK --set-xmark 0x4000/0x0
-A POST -j MASQUERADE
-A SVC -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -m statistic --mode nth --every 2 --packet 0 -j SEP-1
-A SVC -d 10.96.0.1/32 -p tcp -m tcp --dport 80 -j SEP-2
-A SEP-1 -s 10.244.0.11/32 -j MARK-MASQ
-A SEP-1 -p tcp -m tcp -j DNAT --to-destination 10.244.0.11:8080
-A SEP-2 -s 10.244.0.12/32 -j MARK-MASQ
-A SEP-2 -p tcp -m tcp -j DNAT --to-destination 10.244.0.12:8080
"""


def service_cases() -> Iterator[Case]:
    """ClusterIP from outside, from a pod to another and to itself, both ways until the end."""
    spec = node(rules(nat=SERVICE, filter="-A FORWARD -m conntrack --ctstate INVALID -j DROP\n"))
    ports = (40000, 80)
    yield case(
        "clusterip-from-outside",
        spec,
        [
            from_client(tcp(CLIENT, VIP, ports, SYN)),
            from_pod(tcp(POD_1, CLIENT, (8080, 40000), SYN | ACK, seq=500, ack=1001)),
            from_client(tcp(CLIENT, VIP, ports, ACK, seq=1001, ack=501)),
            from_client(tcp(CLIENT, VIP, ports, ACK | PSH, seq=1001, ack=501, size=100)),
            from_pod(tcp(POD_1, CLIENT, (8080, 40000), ACK | PSH, seq=501, ack=1101, size=900)),
            from_client(tcp(CLIENT, VIP, ports, FIN | ACK, seq=1101, ack=1401)),
            from_pod(tcp(POD_1, CLIENT, (8080, 40000), FIN | ACK, seq=1401, ack=1102)),
            from_client(tcp(CLIENT, VIP, ports, ACK, seq=1102, ack=1402)),
            from_client(tcp(CLIENT, VIP, (40001, 80), SYN)),
            from_client(tcp(CLIENT, VIP, (40002, 80), SYN)),
        ],
    )
    yield case(
        "clusterip-from-a-pod",
        spec,
        [
            from_pod(tcp(POD_2, VIP, ports, SYN), 2),
            from_pod(tcp(POD_1, POD_2, (8080, 40000), SYN | ACK, seq=500, ack=1001), 1, POD_2_MAC),
            from_pod(tcp(POD_2, VIP, ports, ACK, seq=1001, ack=501), 2),
            from_pod(tcp(POD_1, POD_2, (8080, 40000), RST, seq=501), 1, POD_2_MAC),
        ],
    )
    yield case(
        "clusterip-hairpin",
        spec,
        [
            from_pod(tcp(POD_1, VIP, ports, SYN)),
            from_pod(tcp(POD_1, A("10.244.0.1"), (8080, 40000), SYN | ACK, seq=500, ack=1001)),
            from_pod(tcp(POD_1, VIP, ports, ACK, seq=1001, ack=501)),
            from_pod(tcp(POD_1, A("10.244.0.1"), (8080, 40000), FIN | ACK, seq=501, ack=1001)),
        ],
    )


REJECT_TYPES = (
    "icmp-net-unreachable",
    "icmp-host-unreachable",
    "icmp-port-unreachable",
    "icmp-proto-unreachable",
    "icmp-net-prohibited",
    "icmp-host-prohibited",
    "icmp-admin-prohibited",
)


def refused() -> list[tuple[int, str, bytes]]:
    """Return what a REJECT meets: each protocol, and what must not be answered."""
    header = Header(src=CLIENT, dst=POD_1)
    error = icmp_packet(header, 3, 1, 0, bytes(28))
    broken = bytearray(udp_packet(header, 40000, 53, b"bad"))
    broken[-1] ^= 1
    later = bytearray(ip_packet(header, 17, bytes(24)))
    later[6:8] = (0, 100)
    later[10:12] = bytes(2)
    big = Header(src=CLIENT, dst=POD_1, options=bytes((7, 7, 4, 0, 0, 0, 0, 0)))
    return [
        from_client(tcp(CLIENT, POD_1, (40000, 80), SYN)),
        from_client(tcp(CLIENT, POD_1, (40001, 80), ACK, ack=77)),
        from_client(udp_packet(header, 40000, 53, bytes(600))),
        from_client(icmp_packet(header, 8, 0, 1, b"ping")),
        from_client(error),
        from_client(bytes(broken)),
        from_client(udp_packet(big, 40000, 53, b"options")),
        from_client(tcp(CLIENT, POD_1, (40002, 80), RST)),
        from_client(udp_packet(Header(src=CLIENT, dst=OWN), 1, 2, b"to the node")),
        from_client(tcp(CLIENT, OWN, (40003, 22), SYN)),
    ]


def reject_cases() -> Iterator[Case]:
    """Every type of REJECT, in FORWARD and in INPUT."""
    for kind in REJECT_TYPES:
        rule = f"-j REJECT --reject-with {kind}\n"
        text = rules(filter=f"-A INPUT {rule}-A FORWARD {rule}")
        yield case(f"reject-{kind}", node(text), refused())
    rule = "-p tcp -j REJECT --reject-with tcp-reset\n"
    text = rules(filter=f"-A INPUT {rule}-A FORWARD {rule}")
    yield case("reject-tcp-reset", node(text), refused())
    tracked = rules(nat="", filter="-A FORWARD -j REJECT\n-A OUTPUT -j LOG\n")
    yield case("reject-with-conntrack", node(tracked), refused())


def error_cases() -> Iterator[Case]:
    """ICMP errors about translated packets, from either side and from a router between."""
    nat = "-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 10.244.0.11\n"
    nat += "-A POSTROUTING -s 10.244.0.0/24 -o eth0 -j SNAT --to-source 192.0.2.77\n"
    spec = node(rules(nat=nat))
    sent = udp_packet(Header(src=CLIENT, dst=VIP), 40000, 53, b"question")
    arrived = udp_packet(Header(src=CLIENT, dst=POD_1, ttl=63), 40000, 53, b"question")
    outward = udp_packet(Header(src=POD_1, dst=A("198.51.100.9")), 5000, 53, b"outward")
    left = udp_packet(
        Header(src=A("192.0.2.77"), dst=A("198.51.100.9"), ttl=63), 5000, 53, b"outward"
    )
    for kind, code, rest in ((3, 3, 0), (3, 4, 1280), (11, 0, 0), (5, 1, 1), (12, 0, 0)):
        yield case(
            f"error-{kind}-{code}-through-nat",
            spec,
            [
                from_client(sent),
                from_pod(icmp_packet(Header(src=POD_1, dst=CLIENT), kind, code, rest, arrived)),
                from_pod(
                    icmp_packet(Header(src=POD_2, dst=CLIENT), kind, code, rest, arrived[:28])
                ),
                from_pod(outward),
                from_client(
                    icmp_packet(
                        Header(src=A("203.0.113.1"), dst=A("192.0.2.77")), kind, code, rest, left
                    )
                ),
                from_client(
                    icmp_packet(
                        Header(src=A("198.51.100.9"), dst=A("192.0.2.77")),
                        kind,
                        code,
                        rest,
                        left[:28],
                    )
                ),
            ],
        )
    yield case(
        "ttl-ends-at-the-node",
        spec,
        [
            from_client(tcp(CLIENT, VIP, (40000, 80), SYN, ttl=1)),
            from_client(tcp(CLIENT, VIP, (40000, 80), SYN, ttl=2)),
            from_pod(udp_packet(Header(src=POD_1, dst=A("198.51.100.9"), ttl=1), 5000, 53, b"")),
        ],
    )


def neighbour_cases() -> Iterator[Case]:
    """Packets wait for an answer; without one they come back as errors after three seconds."""
    spec = node(rules(), resolved=False)
    question = udp_packet(Header(src=POD_1, dst=SILENT), 5000, 53, b"anyone?")
    waiting = [from_pod(question) for _ in range(4)]
    pod_asks = arp_frame(
        operation=1, sender_mac=POD_1_MAC, sender_ip=POD_1, target_ip=A("10.244.0.1")
    )
    learnt = (0, "veth1", pod_asks)
    yield case("neighbour-never-answers", spec, [learnt, *waiting], until_ms=3200)
    answer = arp_frame(
        operation=2,
        sender_mac=CLIENT_MAC,
        sender_ip=SILENT,
        target_mac=UPLINK,
        target_ip=OWN,
        frame_target=UPLINK,
    )
    yield case(
        "neighbour-answers-late",
        spec,
        [learnt, *waiting, (1500, "eth0", answer), (1600, "veth1", waiting[0][2])],
    )


def timeout_cases() -> Iterator[Case]:
    """A connection that has expired begins anew and asks the nat chains again."""
    nat = "-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 10.244.0.11\n"
    spec = node(rules(nat=nat), **{"net.netfilter.nf_conntrack_udp_timeout": "1"})
    packet = udp_packet(Header(src=CLIENT, dst=VIP), 40000, 53, b"again")
    first, again = from_client(packet), from_client(packet)
    yield case("udp-expires", spec, [first, (400, *again[1:]), (3500, *again[1:])])


def learning_cases() -> Iterator[Case]:
    """Errors about the node's echo replies: smaller path MTUs, better gateways."""
    far = A("198.51.100.9")
    ask = Header(src=far, dst=OWN, dont_fragment=False)
    small, large = (icmp_packet(ask, 8, 0, 7 << 16 | n, bytes(n)) for n in (10, 1400))
    answer = icmp_packet(Header(src=OWN, dst=far), 0, 0, 7 << 16 | 10, bytes(10))
    through = icmp_packet(Header(src=POD_1, dst=far, dont_fragment=False), 8, 0, 1, bytes(1300))
    fixed = icmp_packet(Header(src=POD_1, dst=far), 8, 0, 2, bytes(1300))
    router = Header(src=A("203.0.113.1"), dst=OWN)
    for mtu in (1300, 600, 500, 0, 1600):
        error = icmp_packet(router, 3, 4, mtu, answer)
        again = icmp_packet(router, 3, 4, mtu + 100, answer)
        asked = [from_client(packet) for packet in (small, error, large, again, large)]
        yield case(f"path-mtu-{mtu}", node(rules()), [*asked, from_pod(through), from_pod(fixed)])
    other = (CLIENT, CLIENT_MAC)
    for name, gateway, source in (
        ("known", other[0], GATEWAY),
        ("unknown", A("192.0.2.77"), GATEWAY),
        ("off-link", A("203.0.113.5"), GATEWAY),
        ("own", OWN, GATEWAY),
        ("not-from-the-gateway", other[0], CLIENT),
    ):
        redirect = icmp_packet(
            Header(src=source, dst=OWN), 5, 1, int.from_bytes(gateway, "big"), answer
        )
        sent = [from_client(packet) for packet in (small, redirect, small, large)]
        spec = node(rules())
        spec.main.sysctls["net.ipv4.ip_forward"] = "0"
        spec.main.neighbours[0] = NeighbourSpec(
            device="eth0", address=CLIENT, mac=POD_2_MAC, state="STALE"
        )
        yield case(f"redirect-{name}", spec, sent)


def all_cases() -> list[Case]:
    """Return every case."""
    makers = (
        service_cases,
        reject_cases,
        error_cases,
        neighbour_cases,
        timeout_cases,
        learning_cases,
    )
    return [made for maker in makers for made in maker()]
