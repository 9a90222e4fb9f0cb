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
