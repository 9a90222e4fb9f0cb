"""Cases made by hand: what needs time, a certain order or a certain setting."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from netemu.wire.address import parse_address
from netemu.wire.packet_text import parse_packet
from tests.kernel.ipvs_generator import Step, fragments, frame_at
from tests.kernel.ipvs_guest.runner import checksum, ip_packet

VIP = "10.96.0.10"
CLIENT = "192.168.50.2"
EMPTY = "".join(
    f"*{table}\n" + "".join(f":{chain} ACCEPT [0:0]\n" for chain in chains.split()) + "COMMIT\n"
    for table, chains in (
        ("raw", "PREROUTING OUTPUT"),
        ("mangle", "PREROUTING INPUT FORWARD OUTPUT POSTROUTING"),
        ("nat", "PREROUTING INPUT OUTPUT POSTROUTING"),
        ("filter", "INPUT FORWARD OUTPUT"),
    )
)
TRACKED = EMPTY.replace(
    "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n",
    "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
    "-A FORWARD -m conntrack --ctstate NEW\n",
)
SYN, ACK, FIN, RST = 2, 16, 1, 4


def udp(port: int, *, data: str = "q", to: str = f"{VIP}:53") -> Step:
    """Let the client send a datagram."""
    return frame_at("client", f"udp {CLIENT}:{port} > {to} payload={data}")


def tcp(port: int, flags: str, *, seq: int = 1, ack: int = 0, to: str = f"{VIP}:80") -> Step:
    """Let the client send a segment."""
    return frame_at("client", f"tcp {CLIENT}:{port} > {to} {flags} seq={seq} ack={ack}")


def in_parts(*sizes: int, df: bool = False, ident: int = 77, text: str = "") -> list[Step]:
    """Let the client send a packet in parts, the L4 header in the first."""
    text = text or f"udp {CLIENT}:1001 > {VIP}:53"
    header = 8 if text.startswith("udp") else 20
    data = "f" * (sum(sizes) - header)
    packet = parse_packet(f"{text} df=0 id={ident} payload={data}").network
    return fragments("client", packet, set(accumulate(sizes[:-1])), df=df)


def about(port: int, *, wrong: int = 0) -> Step:
    """Let the client complain, by port unreachable, about what the virtual server answered."""
    client, virtual = parse_address(CLIENT), parse_address(VIP)
    ports = (53).to_bytes(2, "big") + port.to_bytes(2, "big")
    quoted = ip_packet(virtual, client, 17, ports + bytes((0, 9, 0, 0, 1)))[:28]
    body = b"\x03\x03" + bytes(6) + quoted
    check = (checksum(body) ^ wrong).to_bytes(2, "big")
    packet = ip_packet(client, virtual, 1, body[:2] + check + body[4:])
    return {"at": "client", "hex": udp(port)["hex"][:28] + packet.hex()}


def answer(step: int, flags: int, *, seq: int = 1, ack: int = 2) -> Step:
    """Let the server answer."""
    return {"answer": step, "flags": flags, "seq": seq, "ack": ack, "data": ""}


def wait(seconds: float) -> Step:
    """Let time pass."""
    return {"wait": seconds}


def service(scheduler: str, *servers: str, name: str = f"-u {VIP}:53") -> str:
    """Return a service with its servers."""
    lines = [f"-A {name} -s {scheduler}"]
    return "\n".join(lines + [f"-a {name} -r {server}" for server in servers]) + "\n"


TWO = ("10.244.0.11:5353 -m -w 1", "10.244.0.12:5353 -m -w 1")
WEB = ("10.244.0.11:8080 -m -w 1", "10.244.0.12:8080 -m -w 1")
TCP_NAME = f"-t {VIP}:80"


def case(name: str, ipvs: str, steps: list[Step], **more: Any) -> dict[str, Any]:
    """Return a case; settings are net.ipv4.vs.NAME."""
    settings = {f"net.ipv4.vs.{key}": value for key, value in more.pop("settings", {}).items()}
    return {
        "name": name, "ipvs": ipvs, "steps": steps, "sysctl": settings, "saved": True,
        "iptables": more.pop("iptables", TRACKED), **more,
    }  # fmt: skip


def _fragment_cases() -> list[dict[str, Any]]:
    """Return cases of packets that come in parts: which of them leave as they came.

    Without conntrack the node's own stack puts them together, and the first one's buffer takes in
    what finds room.
    """
    masq = service("rr", "10.244.0.11:5353 -m -w 1")
    loose = {"iptables": EMPTY}
    tiny = f"tcp {CLIENT}:2001 > {VIP}:80 S seq=1"
    return [
        case("parts that found no room in the first buffer leave as they came", masq,
             in_parts(1400, 1408) + in_parts(1480, 1480, 48, ident=78), **loose),
        case("small parts are merged while there is room", masq,
             in_parts(*[160] * 14, 88) + in_parts(24, 24, 24, 24, 12, ident=78)
             + in_parts(184, 184, 184, 56, ident=79) + in_parts(8, 8, 192, ident=80)
             + in_parts(48, 8, 24, 16, 12, ident=81), **loose),
        case("the first part that comes last, and DF", masq,
             in_parts(144, 440, 24, df=True)[::-1] + in_parts(232, 376, df=True, ident=78)[::-1],
             **loose),
        case("parts in a GRE tunnel keep their sizes",
             service("rr", "172.16.0.2:53 -i -w 1 --tun-type gre"),
             in_parts(1352, 1352, 200) + in_parts(1400, 1408, ident=78), **loose),
        case("parts in a GRE tunnel with checksums, too",
             service("rr", "172.16.0.2:53 -i -w 1 --tun-type gre --tun-csum"),
             in_parts(1352, 1352, 200) + in_parts(800, 804, ident=78, df=True), **loose),
        case("parts in an IPIP tunnel are cut anew", service("rr", "172.16.0.2:53 -i -w 1"),
             in_parts(1352, 1352, 200) + in_parts(800, 804, ident=78, df=True), **loose,
             settings={"pmtu_disc": 0}),
        case("parts to a direct server", service("rr", "172.16.0.2:53 -g -w 1"),
             in_parts(1352, 1352, 200) + in_parts(200, 1480, ident=78), **loose),
        case("a TCP header in two parts is pulled into the first, which is then cut anew",
             service("rr", "10.244.0.11:8080 -m -w 1", name=TCP_NAME),
             in_parts(8, 480, 100, text=tiny) + in_parts(16, 8, 480, 40, text=tiny, ident=78)),
    ]  # fmt: skip


def all_cases() -> list[dict[str, Any]]:
    """Return every case."""
    return [*_fragment_cases(), *_timed_cases()]


def _timed_cases() -> list[dict[str, Any]]:
    """Return cases of what needs time, a certain order or a certain setting."""
    tracked = {"conntrack": 1}
    short = [900, 1, 1]
    return [
        case(
            "UDP connections end, and their conntrack entries with them",
            service("lc", *TWO),
            [udp(1001), udp(1002), udp(1003), wait(1.6), udp(1001), udp(1004)],
            settings=tracked, timeouts=short,
        ),
        case(
            "a FIN from the server, then the end of FIN_WAIT",
            service("wlc", *WEB, name=TCP_NAME),
            [
                tcp(2001, "S"), answer(0, SYN | ACK), tcp(2001, "A", seq=2, ack=2),
                answer(2, FIN | ACK, seq=2), wait(1.6), tcp(2001, "A", seq=2, ack=3),
                tcp(2002, "S"),
            ],
            settings=tracked, timeouts=short,
        ),
        case(
            "a template lives on while it controls, and ends behind its last connection",
            service("rr -p 1", *TWO),
            [udp(1001), udp(1002), wait(1.6), udp(1003), wait(0.5), udp(1003), wait(1.6),
             udp(1004)],
            timeouts=short,
        ),
        case(
            "a template that controls TCP is asked again in 60 seconds",
            service("rr -p 1", *WEB, name=TCP_NAME),
            [tcp(2001, "S"), answer(0, SYN | ACK), wait(1.6), tcp(2002, "S"), tcp(2001, "A")],
        ),
        case(
            "every third packet that wants a server is dropped",
            service("rr", *TWO),
            [udp(1000 + number) for number in range(9)],
            settings={"drop_packet": 3, "am_droprate": 3},
        ),
        case(
            "with conntrack a port that is used again waits for its second SYN",
            service("rr", *WEB, name=TCP_NAME),
            [
                tcp(2001, "S"), answer(0, SYN | ACK), tcp(2001, "R", seq=2),
                {**tcp(2001, "S", seq=900), "settle": 0.05},
                tcp(2001, "S", seq=900),
            ],
            settings={"conntrack": 1, "conn_reuse_mode": 1},
        ),
        case(
            "without conntrack it gets a server at once, and with mode 0 the old one",
            service("rr", *WEB, name=TCP_NAME),
            [
                tcp(2001, "S"), answer(0, SYN | ACK), tcp(2001, "R", seq=2),
                {**tcp(2001, "S", seq=900), "settle": 0.05}, tcp(2001, "R", seq=901),
                {"sysctl": {"net.ipv4.vs.conn_reuse_mode": 0}},
                {**tcp(2001, "S", seq=1900), "settle": 0.05},
            ],
            settings={"conn_reuse_mode": 1},
        ),
        case(
            "a server that is removed and comes back has its connections",
            service("lc", *TWO),
            [
                udp(1001), udp(1002), udp(1003),
                {"ipvs": f"-d -u {VIP}:53 -r 10.244.0.12:5353\n", "settle": 0.05},
                udp(1001), udp(1004),
                {"ipvs": f"-a -u {VIP}:53 -r 10.244.0.12:5353 -m -w 1\n", "settle": 0.05},
                udp(1001), udp(1005), udp(1006),
            ],
        ),
        case(
            "a service that is removed leaves its connections to the stack",
            service("rr", *TWO),
            [
                udp(1001), {"ipvs": f"-D -u {VIP}:53\n", "settle": 0.05}, udp(1001),
                {"ipvs": service("rr", *TWO), "settle": 0.05}, udp(1001), udp(1002),
            ],
            settings=tracked,
        ),
        case(
            "an FTP client's data connections go where its control connection goes",
            service("rr -p 300", "10.244.0.11:21 -m -w 1", "10.244.0.12:21 -m -w 1",
                    name=f"-t {VIP}:21"),
            [tcp(2001, "S", to=f"{VIP}:21"), tcp(2002, "S", to=f"{VIP}:3333"),
             tcp(2003, "S", to=f"{VIP}:20"), tcp(2004, "S", to=f"{VIP}:22")],
        ),
        case(
            "an FTP service turns conntrack on, and off when it goes",
            service("rr", "10.244.0.11:21 -m -w 1", name=f"-t {VIP}:21"),
            [tcp(2001, "S", to=f"{VIP}:21"), tcp(2001, "A", seq=2, to=f"{VIP}:21"),
             {"ipvs": f"-D -t {VIP}:21\n", "settle": 0.05}, tcp(2002, "S", to=f"{VIP}:21"),
             {"ipvs": service("rr", "10.244.0.11:21 -m -w 1", name=f"-t {VIP}:21")},
             tcp(2003, "S", to=f"{VIP}:21")],
            iptables=EMPTY.replace(
                ":OUTPUT ACCEPT [0:0]\nCOMMIT",
                ":OUTPUT ACCEPT [0:0]\n-A PREROUTING -j TRACE\nCOMMIT", 1),
            trace=True,
        ),
        case(
            "backup_only does nothing without the backup's daemon",
            service("rr", *TWO), [udp(1001)], settings={"backup_only": 1},
        ),
        case(
            "counters of a list with --stats",
            service("rr", *WEB, name=TCP_NAME) + service("rr", *TWO),
            [tcp(2001, "S"), answer(0, SYN | ACK), tcp(2001, "A", seq=2, ack=2), udp(1001),
             {"answer": 3, "flags": 0, "data": "616263"}],
            stats=True,
        ),
        case(
            "router's errors about a tunnel teach its path MTU",
            service("rr", "172.16.0.2:53 -i -w 1"),
            [udp(1001, data="q" * 1400),
             {"error": 0, "type": 3, "code": 4, "info": 1300, "quote": 100, "src": "172.16.0.9"},
             udp(1001, data="q" * 1400), udp(1001, data="q" * 1200),
             {"error": 3, "type": 3, "code": 4, "info": 1100, "quote": 100, "src": "172.16.0.9"},
             udp(1001, data="q" * 1200)],
        ),
        *(
            case(
                f"an error with a wrong checksum is dropped, method {method}",
                service("rr", f"{server}:53 {method} -w 1"),
                [udp(1001), about(1001), about(1001, wrong=0x101)],
            )
            for method, server in (
                ("-m", "10.244.0.11"), ("-g", "172.16.0.3"), ("-i", "172.16.0.3"),
                ("-i --tun-type gre", "172.16.0.3"),
            )
        ),
        case(
            "timeouts that are set hold for what comes next, 0 leaves one as it was",
            service("rr", *TWO) + service("rr", *WEB, name=TCP_NAME),
            [udp(1001), tcp(2001, "S"), {"ipvs": "--set 700 0 40\n"}, udp(1002),
             tcp(2001, "A", seq=2)],
        ),
        case(
            "scheduling flags are listed by number, and with sh and mh only their own",
            "".join(
                service(f"{scheduler} -b {flags}", name=f"-t {VIP}:{port}")
                for port, (scheduler, flags) in enumerate(
                    ((scheduler, flags) for scheduler in ("rr", "sh", "mh")
                     for flags in ("flag-1", "flag-2", "flag-3", "flag-1,flag-2,flag-3")), 1)
            ),
            [udp(1001)],
        ),
        *(
            case(
                f"of {kind} only the IP header is taken off the path MTU that the client is told",
                service("rr", f"{server}:53 -i -w 1 --tun-type {kind}"),
                [udp(1001, data="q" * 1300),
                 {"error": 0, "type": 3, "code": 4, "info": 1300, "quote": 100,
                  "src": "172.16.0.9"},
                 udp(1001, data="q" * 1300)],
            )
            for kind, server in (("gre", "172.16.0.7"), ("gre --tun-csum", "172.16.0.8"))
        ),
        case(
            "marks of 2^31 and more are listed as negative numbers",
            "".join(
                service("rr", "10.244.0.11:5353 -m -w 1", name=f"-f {mark}")
                for mark in (0x80000000, 0xFFFFFFFF)
            ),
            [udp(1001)],
            iptables=EMPTY.replace(
                ":POSTROUTING ACCEPT [0:0]\nCOMMIT\n*nat",
                ":POSTROUTING ACCEPT [0:0]\n-A PREROUTING -j MARK --set-mark 0x80000000\n"
                "COMMIT\n*nat"),
        ),
        # The question for the virtual server's neighbour goes on; the case behind builds anew.
        *(
            case(
                f"behind a change of the method all go by the route of who sends first, {who}",
                service("rr", "172.16.0.3:53 -g -w 1"),
                [udp(1001),
                 {"ipvs": f"-e -u {VIP}:53 -r 172.16.0.3:53 -m -w 1\n", "settle": 0.05},
                 *(udp(port) for port in ports)],
            )
            for who, ports in (("the old one", (1001, 1002, 1001)), ("the new one", (1002, 1001)))
        ),
        case(
            "a server's counters outlive its removal, not that of its service",
            service("rr", *WEB, name=TCP_NAME) + service("rr", *TWO),
            [
                tcp(2001, "S"), tcp(2002, "S"), udp(1001), udp(1002), wait(2.2),
                {"ipvs": f"-D {TCP_NAME}\n{service('rr', *WEB, name=TCP_NAME)}"
                         f"-d -u {VIP}:53 -r {TWO[0].split()[0]}\n"
                         f"-a -u {VIP}:53 -r {TWO[0]}\n"},
                tcp(2001, "A", seq=2), tcp(2002, "A", seq=2), udp(1001), udp(1002),
            ],
            stats=True,
        ),
    ]  # fmt: skip
