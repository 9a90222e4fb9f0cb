"""Hand-made rules with targets that change packets, through netemu and the live kernel."""

from __future__ import annotations

import pytest

from netemu.livekernel.case import Case
from netemu.livekernel.verify import verify_case
from tests.kernel.test_rules_live import PING, SYN, TRACE, UDP, inputs, node, table

LONG_SYN = "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:80 S options=mss:1460,sackok,ts:1:0,nop,wscale:7 id=5"

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
            "-A FORWARD -p udp -j LOG",
        ),
        tuple(
            f"eth0 udp 10.1.0.2:1000 > 10.2.0.2:{port} tos={tos}"
            for port in range(1, 7)
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
            "-A FORWARD -j AUDIT --type accept",
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
