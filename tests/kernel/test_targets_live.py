"""Hand-made rules with targets that change packets, through netemu and the live kernel."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from netemu.livekernel.case import Case
from netemu.livekernel.verify import verify_case
from netemu.sim.spec import NexthopSpec, NodeSpec, PolicyRuleSpec, RouteSpec, SocketSpec
from netemu.wire.address import parse_address
from netemu.wire.tcp import build_tcp
from tests.kernel.test_rules_live import PING, SYN, SYNACK, TRACE, UDP, inputs, node, table

# name: (rules, steps)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ttl": (
        TRACE
        + table(
            "mangle",
            "-A PREROUTING -p icmp -j TTL --ttl-set 9",
            "-A PREROUTING -p udp -m udp --dport 1 -j TTL --ttl-inc 250",
            "-A PREROUTING -p udp -m udp --dport 2 -j TTL --ttl-dec 70",
            "-A PREROUTING -p udp -m udp --dport 3 -j TTL --ttl-dec 63",
            "-A POSTROUTING -p tcp -j TTL --ttl-inc 1",
        ),
        (
            PING,
            "eth0 udp 10.1.0.2:1000 > 10.2.0.2:1",
            "eth0 udp 10.1.0.2:1000 > 10.2.0.2:2",
            "eth0 udp 10.1.0.2:1000 > 10.2.0.2:3",
            SYN,
        ),
    ),
    "tos-and-dscp": (
        TRACE
        + table(
            "mangle",
            "-A PREROUTING -p udp -m udp --dport 1 -j TOS --set-tos 0x10",
            "-A PREROUTING -p udp -m udp --dport 2 -j TOS --set-tos 0x10/0x3f",
            "-A PREROUTING -p udp -m udp --dport 3 -j TOS --xor-tos 0xff",
            "-A PREROUTING -p udp -m udp --dport 4 -j TOS --and-tos 0x0f",
            "-A PREROUTING -p udp -m udp --dport 5 -j DSCP --set-dscp-class EF",
            "-A PREROUTING -p udp -m udp --dport 6 -j DSCP --set-dscp 0",
            "-A PREROUTING -p udp -m udp --dport 7 -j TOS --or-tos 0x18",
            "-A FORWARD -p udp -j LOG",
        ),
        tuple(
            f"eth0 udp 10.1.0.2:1000 > 10.2.0.2:{port} tos={tos}"
            for port in range(1, 8)
            for tos in ("0", "0xb9", "0xff")
        ),
    ),
    "ecn": (
        TRACE
        + table(
            "mangle",
            "-A FORWARD -p tcp -m tcp --dport 1 -j ECN --ecn-tcp-remove",
            "-A FORWARD -p tcp -m tcp --dport 2 -j ECN --ecn-tcp-ece 1",
            "-A FORWARD -p tcp -m tcp --dport 3 -j ECN --ecn-tcp-cwr 1 --ecn-ip-ect 2",
            "-A FORWARD -p udp -j ECN --ecn-ip-ect 3",
            "-A FORWARD -p tcp -j ECN --ecn-tcp-ece 0",
        ),
        (
            "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:1 SEW tos=3",
            "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:2 SW tos=3",
            "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:3 SE tos=3",
            "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:4 SE tos=3",
            "eth0 udp 10.1.0.2:1000 > 10.2.0.2:4 tos=1",
        ),
    ),
    "classify-and-checksum": (
        TRACE
        + table(
            "mangle",
            "-A POSTROUTING -j CLASSIFY --set-class 1:2",
            "-A FORWARD -j CHECKSUM --checksum-fill",
        ),
        (SYN, UDP, PING),
    ),
    # No TRACE: the kernel does not copy the link header, so MAC= shows what was in that memory.
    "tee": (
        table(
            "mangle",
            "-A PREROUTING -p udp -j TEE --gateway 10.2.0.3",
            "-A FORWARD -p tcp -j TEE --gateway 10.1.0.3",
            "-A POSTROUTING -p icmp -j TEE --gateway 10.2.0.3 --oif eth1",
            "-A POSTROUTING -p icmp -j TEE --gateway 10.9.9.9",
            "-A OUTPUT -j TEE --gateway 10.1.0.3 --oif nosuch",
        )
        + table("filter", "-A OUTPUT -m state --state UNTRACKED", "-A FORWARD -p udp -j DROP"),
        (
            "eth0 udp 10.1.0.2:1000 > 10.2.0.2:53 df=0 tos=0x10",
            SYN,
            PING,
            "local udp 10.1.0.1:9 > 10.2.0.2:9 df=1",
        ),
    ),
    "nfqueue-and-records": (
        TRACE
        + table(
            "filter",
            "-A FORWARD -j NFLOG --nflog-group 3 --nflog-prefix x",
            "-A FORWARD -j NFLOG --nflog-size 20 --nflog-threshold 9",
            "-A FORWARD -j AUDIT --type accept",
            "-A FORWARD -p icmp -j NFQUEUE --queue-balance 1:2 --queue-cpu-fanout --queue-bypass",
            "-A FORWARD -p udp -j NFQUEUE --queue-num 5",
            "-A FORWARD -p tcp -j NFQUEUE --queue-balance 1:4 --queue-bypass",
            "-A FORWARD -p tcp -j DROP",
        )
        + table("security", "-A FORWARD -p tcp -j CONNSECMARK --save"),
        (UDP, SYN, SYNACK, PING),
    ),
    "hmark": (
        TRACE
        + table(
            "mangle",
            "-A FORWARD -p udp -j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 1000 --hmark-rnd 0xdeadbeef --hmark-offset 5",
            "-A FORWARD -p tcp -j HMARK --hmark-src-prefix 24 --hmark-dport-mask 0xff --hmark-dport 0x100 --hmark-mod 4000000000 --hmark-rnd 7",
            "-A FORWARD -p icmp -j HMARK --hmark-tuple src,dst,sport,dport,proto --hmark-mod 1000 --hmark-rnd 0xdeadbeef",
            "-A FORWARD -p esp -j HMARK --hmark-tuple src,dst,spi --hmark-mod 1000 --hmark-rnd 3",
            "-A FORWARD -p ah -j HMARK --hmark-spi-mask 0xffff --hmark-spi 0x10000 --hmark-mod 100000 --hmark-rnd 3",
            "-A POSTROUTING -j LOG",
            "-A POSTROUTING -j HMARK --hmark-tuple ct,src,dst,sport,dport,proto --hmark-mod 0xffffffff --hmark-rnd 3",
            "-A POSTROUTING -j LOG",
            "-A POSTROUTING -p udp -j HMARK --hmark-dst-prefix 8 --hmark-sport-mask 0xff00 --hmark-sport 1 --hmark-proto-mask 0xf --hmark-mod 5000 --hmark-rnd 9",
            "-A POSTROUTING -p tcp -j HMARK --hmark-src-prefix 0 --hmark-dst-prefix 31 --hmark-sport 0x8000 --hmark-proto-mask 0 --hmark-mod 7 --hmark-rnd 0",
            "-A POSTROUTING -j LOG",
        )
        + table("nat", "-A PREROUTING -d 10.9.0.9 -p udp -j DNAT --to-destination 10.2.0.2:99"),
        (
            "eth0 udp 10.1.0.2:1000 > 10.2.0.2:53",
            "eth1 udp 10.2.0.2:53 > 10.1.0.2:1000",
            "eth0 udp 10.1.0.2:1000 > 10.9.0.9:53",
            SYN,
            SYNACK,
            PING,
            "eth1 icmp 10.2.0.2 > 10.1.0.2 type=3 code=1 payload=0x4500001c0001000040110000"
            "0a0100020a02000203e8003500080000",
            "eth0 ip 10.1.0.2 > 10.2.0.2 proto=50 payload=0x1122334455667788",
            "eth0 ip 10.1.0.2 > 10.2.0.2 proto=51 payload=0x112233445566778899aabbcc",
        ),
    ),
    "rateest": (
        TRACE
        + table(
            "filter",
            "-A FORWARD -j RATEEST --rateest-name A --rateest-interval 250ms --rateest-ewmalog 500ms",
            "-A FORWARD -p udp -j RATEEST --rateest-name B --rateest-interval 250ms --rateest-ewmalog 1s",
            "-A FORWARD -m rateest --rateest A --rateest-eq --rateest-pps 0",
            "-A FORWARD -m rateest --rateest A ! --rateest-lt --rateest-bps 8bit",
            "-A FORWARD -m rateest --rateest-delta --rateest A --rateest-bps1 1kbit --rateest-gt --rateest-bps2 0",
            "-A FORWARD -m rateest --rateest1 A --rateest-gt --rateest2 B --rateest-pps --rateest-bps",
            "-A FORWARD -m rateest --rateest-delta --rateest1 A --rateest-lt --rateest-pps1 9 --rateest2 B --rateest-pps2 999",
        ),
        (*[UDP] * 20, PING, "wait 0.7", PING, "wait 9", PING),
    ),
    "idletimer": (
        TRACE + table("filter", "-A FORWARD -j IDLETIMER --timeout 5 --label netemu-ext2"),
        (UDP, SYN),
    ),
    "zones-of-one-direction": (
        TRACE
        + table(
            "raw",
            "-A PREROUTING -i eth0 -p udp -j CT --zone-orig 7",
            "-A PREROUTING -i eth1 -p udp -j CT --zone-reply 7",
            "-A PREROUTING -i eth0 -p tcp -j CT --zone-reply 9",
            "-A PREROUTING -i eth1 -p tcp -j CT --zone-reply 9",
        )
        + table(
            "filter",
            "-A FORWARD -m conntrack --ctstate NEW",
            "-A FORWARD -m conntrack --ctdir REPLY",
            "-A FORWARD -m conntrack --ctstate ESTABLISHED",
        ),
        (UDP, "eth1 udp 10.2.0.2:53 > 10.1.0.2:1000", UDP, SYN, SYNACK, SYN),
    ),
    "netmap": (
        TRACE
        + table(
            "nat",
            "-A PREROUTING -d 10.9.0.0/24 -j NETMAP --to 10.2.0.0/24",
            "-A PREROUTING -d 10.8.7.2 -j NETMAP --to 10.2.0.99/16",
            "-A POSTROUTING -s 10.1.0.0/24 -j NETMAP --to 10.77.5.0/25",
            "-A INPUT -j NETMAP --to 10.66.0.0/16",
        ),
        (
            "eth0 tcp 10.1.0.2:5 > 10.9.0.2:80 S",
            "eth1 tcp 10.2.0.2:80 > 10.77.5.2:5 SA ack=2",
            "eth0 udp 10.1.0.3:5 > 10.9.0.3:53",
            "eth0 udp 10.1.0.3:5 > 10.8.7.2:53",
            "eth0 icmp 10.1.0.3 > 10.9.0.3 echo id=3",
            "eth0 icmp 10.1.0.2 > 10.1.0.1 echo id=4",
        ),
    ),
}


@pytest.mark.kernel
@pytest.mark.parametrize("name", CASES)
def test_netemu_does_as_the_kernel(name: str) -> None:
    rules, steps = CASES[name]
    case = Case(node=node(rules), inputs=inputs(steps), name=name)
    outcome = verify_case(case)
    assert outcome.difference is None, str(outcome.difference)


def syn(options: str, flags: int = 2, port: int = 80, payload: bytes = b"") -> str:
    ends = parse_address("10.1.0.2"), parse_address("10.2.0.2")
    segment = build_tcp(
        src=ends[0],
        dst=ends[1],
        src_port=1000,
        dst_port=port,
        seq=1,
        ack=0,
        flags=flags,
        window=5000,
        options=bytes.fromhex(options),
        payload=payload,
    )
    return f"eth0 ip 10.1.0.2 > 10.2.0.2 proto=6 payload=0x{segment.hex()}"


def without_cookie(frame: bytes) -> bytes:
    """Hide sequence number, checksum and the clock's part of the time stamp."""
    hidden = bytearray(frame)
    hidden[38:42] = bytes(4)
    hidden[50:52] = bytes(2)
    at = frame.find(b"\x08\x0a", 54)
    if at > 0:
        hidden[at + 2 : at + 5] = bytes(3)
        hidden[at + 5] &= 0x3F
    return bytes(hidden)


@pytest.mark.kernel
def test_synproxy_answers_syns() -> None:
    rules = table("raw", "-A PREROUTING -p tcp -j NOTRACK") + table(
        "filter",
        "-A FORWARD -p tcp -m tcp --dport 80 -j SYNPROXY --sack-perm --timestamp --wscale 7 --mss 1460 --ecn",
        "-A FORWARD -p tcp -m tcp --dport 81 -j SYNPROXY --sack-perm --wscale 7",
        "-A FORWARD -p tcp -m tcp --dport 82 -j SYNPROXY --timestamp --mss 5",
    )
    full = "020405b40402080a000000090000000001030307"
    steps = (
        syn(full),
        syn(full, flags=0xC2),
        syn("020405b4"),
        syn(full, port=81),
        syn(full, port=82),
        syn(""),
        *(syn(full, flags=flags) for flags in (0x10, 0x04, 0x12, 0x01)),
    )
    outcome = verify_case(Case(node=node(rules), inputs=inputs(steps), name="synproxy"))
    real, ours = outcome.kernel, outcome.netemu
    assert real.rules == ours.rules
    for device in ("eth0", "eth1"):
        assert [without_cookie(sent.frame) for sent in real.frames[device]] == [
            without_cookie(sent.frame) for sent in ours.frames[device]
        ]


TCP_OPTIONS = (
    "",
    "020405b4",
    "02040064",
    "01020405b4010101",
    "020405b40402080a000000090000000001030307",
    "0402080a000000090000000001030307",
    "0000000001030300",
    "0103030702040500",
    "080a0000000900000000020405b4" + "01" * 26,
    "01" * 40,
)


@pytest.mark.kernel
def test_tcp_options_are_changed_as_by_the_kernel() -> None:
    rules = TRACE + table(
        "mangle",
        "-A PREROUTING -p tcp -m tcp --dport 83 -j TCPOPTSTRIP --strip-options 2,3,8",
        "-A PREROUTING -p tcp -m tcp --dport 84 -j TCPOPTSTRIP --strip-options sack-permitted,timestamp",
        "-A PREROUTING -p tcp -m tcp --dport 85 -j TCPOPTSTRIP",
        "-A FORWARD -p tcp -m tcp --dport 80 --syn -j TCPMSS --set-mss 1000",
        "-A FORWARD -p tcp -m tcp --dport 81 --syn -j TCPMSS --set-mss 100",
        "-A POSTROUTING -p tcp -m tcp --dport 82 --syn -j TCPMSS --clamp-mss-to-pmtu",
    )
    steps = [
        syn(options, port=port, payload=payload)
        for port in range(80, 86)
        for options in TCP_OPTIONS
        for payload in (b"", b"abc")
    ]
    steps.append("eth0 ip 10.1.0.2 > 10.2.0.2 proto=6 payload=0x03e80050000000010000000040021388")
    spec = node(rules)
    spec.main.links = [
        replace(link, mtu=1300) if link.name == "eth0" else link for link in spec.main.links
    ]
    outcome = verify_case(Case(node=spec, inputs=inputs(tuple(steps)), name="tcp options"))
    assert outcome.difference is None, str(outcome.difference)


@pytest.mark.kernel
def test_tproxy_gives_packets_to_listeners() -> None:
    """A listener on port 9 of any address, one on 10.1.0.1:7, and marked packets routed to lo."""
    rules = TRACE + table(
        "mangle",
        "-A PREROUTING -p tcp -m tcp --dport 80 -j TPROXY --on-port 9 --tproxy-mark 1",
        "-A PREROUTING -p tcp -m tcp --dport 7 -j TPROXY --on-port 0 --tproxy-mark 0x1/0xff",
        "-A PREROUTING -p tcp -m tcp --dport 81 -j TPROXY --on-port 7 --on-ip 10.1.0.1 --tproxy-mark 1",
        "-A PREROUTING -p tcp -m tcp --dport 82 -j TPROXY --on-port 7 --on-ip 10.2.0.1 --tproxy-mark 1",
        "-A PREROUTING -p udp -m udp --dport 53 -j TPROXY --on-port 53 --tproxy-mark 1",
        "-A PREROUTING -p udp -m udp --dport 54 -j TPROXY --on-port 53",
        "-A INPUT -j LOG --log-uid",
    )
    spec = node(rules)
    spec.main.sockets = [
        SocketSpec(protocol="tcp", address=bytes(4), port=9),
        SocketSpec(protocol="tcp", address=parse_address("10.1.0.1"), port=7),
        SocketSpec(protocol="udp", address=bytes(4), port=53),
    ]
    steps = (
        "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:80 S",
        "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:80 S",
        "eth0 tcp 10.1.0.2:1001 > 10.2.0.2:7 S",
        "eth0 tcp 10.1.0.2:1002 > 10.2.0.2:81 S",
        "eth0 tcp 10.1.0.2:1003 > 10.2.0.2:82 S",
        "eth0 tcp 10.1.0.2:1004 > 10.2.0.2:80 R",
        "eth0 udp 10.1.0.2:1000 > 10.2.0.2:53",
        "eth0 udp 10.1.0.2:1000 > 10.2.0.2:54",
        "eth0 udp 10.1.0.2:1000 > 10.2.0.2:55",
    )
    with_routes(spec)
    outcome = verify_case(Case(node=spec, inputs=inputs(steps), name="tproxy"))
    assert outcome.difference is None, str(outcome.difference)


def with_routes(spec: NodeSpec) -> None:
    """Route what is marked 1 to this node."""
    spec.main.policy_rules = [
        PolicyRuleSpec(priority=0, table=255),
        PolicyRuleSpec(priority=100, fwmark=1, fwmask=0xFFFFFFFF, table=100),
        PolicyRuleSpec(priority=32766, table=254),
        PolicyRuleSpec(priority=32767, table=253),
    ]
    spec.main.routes = [
        RouteSpec(
            prefix=parse_address(f"10.{number}.0.0"),
            prefix_len=24,
            nexthops=(NexthopSpec(device=device),),
            source=parse_address(f"10.{number}.0.1"),
            scope="link",
            protocol="kernel",
        )
        for number, device in ((1, "eth0"), (2, "eth1"))
    ]
    spec.main.routes.append(
        RouteSpec(
            prefix=bytes(4),
            prefix_len=0,
            kind="local",
            table=100,
            nexthops=(NexthopSpec(device="lo"),),
            scope="host",
        )
    )
