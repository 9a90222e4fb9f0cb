"""Matches that count or ask about sockets and connections, through netemu and the live kernel."""

from __future__ import annotations

import pytest

from netemu.livekernel.case import Case
from netemu.livekernel.verify import verify_case
from tests.kernel.test_rules_live import SYN, SYNACK, UDP, UDP_BACK, inputs, node, table

ACK = "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:80 . seq=2 ack=2"
FIN = "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:80 FA seq=2 ack=2"
FINACK = "eth1 tcp 10.2.0.2:80 > 10.1.0.2:1000 FA seq=2 ack=3"
LAST = "eth0 tcp 10.1.0.2:1000 > 10.2.0.2:80 . seq=3 ack=3"


def flood(count: int, host: int = 2, port: int = 53) -> tuple[str, ...]:
    return (f"eth0 udp 10.1.0.{host}:1000 > 10.2.0.2:{port}",) * count


def syns(count: int, host: int = 2, first: int = 2000) -> tuple[str, ...]:
    return tuple(f"eth0 tcp 10.1.0.{host}:{first + n} > 10.2.0.2:80 S" for n in range(count))


def spaced(*steps: str) -> tuple[str, ...]:
    """Leave jiffies between steps, so that none depends on where one ends."""
    return tuple(word for step in steps for word in (step, "wait 0.02"))


def forward(*matches: str) -> str:
    """One counting rule for each match."""
    return table("filter", *(f"-A FORWARD {match}" for match in matches))


WARM = ("eth1 tcp 10.2.0.2:9 > 10.1.0.2:9 R", "wait 1")
"""A packet that no rule looks at: what the first one waits for is done by then."""

LIMITS = "-m hashlimit --hashlimit-name"

# name: (rules, steps)
CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "hashlimit-packets": (
        forward(
            f"! -p tcp {LIMITS} a --hashlimit-upto 30/min --hashlimit-burst 3 --hashlimit-mode srcip",
            f"! -p tcp {LIMITS} b --hashlimit-above 30/min --hashlimit-burst 3",
            f"! -p tcp {LIMITS} a --hashlimit-above 1/min --hashlimit-mode dstip",
            f"! -p tcp {LIMITS} c --hashlimit-upto 1/min --hashlimit-burst 1 "
            "--hashlimit-mode dstport,srcport,dstip",
            f"! -p tcp {LIMITS} d --hashlimit-upto 30/min --hashlimit-mode srcip "
            "--hashlimit-srcmask 31 --hashlimit-burst 2",
            f"! -p tcp {LIMITS} e --hashlimit-upto 30/min --hashlimit-mode dstip "
            "--hashlimit-dstmask 24 --hashlimit-burst 2",
        ),
        (
            *WARM,
            *flood(5),
            *flood(2, host=3),
            *flood(2, port=54),
            "wait 2.6",
            *flood(4),
            "eth0 icmp 10.1.0.2 > 10.2.0.2 echo",
            "eth0 icmp 10.1.0.2 > 10.2.0.2 echo",
        ),
    ),
    "hashlimit-octets": (
        forward(
            f"-p udp {LIMITS} a --hashlimit-upto 100b/s --hashlimit-mode srcip",
            f"-p udp {LIMITS} b --hashlimit-above 100b/s --hashlimit-burst 300b",
            f"-p udp {LIMITS} c --hashlimit-upto 1kb/s --hashlimit-burst 2kb "
            "--hashlimit-mode srcip",
        ),
        (*WARM, *flood(6), "wait 0.5", *flood(3), *flood(2, host=3)),
    ),
    "hashlimit-rates": (
        forward(
            f"-p udp {LIMITS} a --hashlimit-upto 1/sec --hashlimit-burst 2 --hashlimit-rate-match",
            f"-p udp {LIMITS} b --hashlimit-above 1/sec --hashlimit-burst 2 "
            "--hashlimit-rate-match --hashlimit-rate-interval 2",
            f"-p udp {LIMITS} c --hashlimit-upto 100b/s --hashlimit-rate-match",
        ),
        (*WARM, *flood(5), "wait 2.2", *flood(1), "wait 2.2", *flood(4)),
    ),
    "hashlimit-expiry-and-a-full-table": (
        forward(
            f"{LIMITS} a --hashlimit-upto 1/min --hashlimit-burst 1 --hashlimit-mode srcip "
            "--hashlimit-htable-expire 300 --hashlimit-htable-gcinterval 100",
            f"{LIMITS} b --hashlimit-upto 9/sec --hashlimit-mode srcport "
            "--hashlimit-htable-size 1 --hashlimit-htable-max 1",
        ),
        (*flood(2), "wait 1.5", *flood(2), *syns(2)),
    ),
    "connlimit": (
        forward(
            "-m connlimit --connlimit-above 2",
            "-m connlimit --connlimit-upto 2",
            "-m connlimit --connlimit-above 3 --connlimit-mask 24",
            "-m connlimit --connlimit-above 2 --connlimit-daddr",
            "-m connlimit --connlimit-above 2 --connlimit-saddr --connlimit-mask 31",
        ),
        spaced(*syns(3), *syns(2, host=3), SYN, SYNACK, ACK, *flood(2)),
    ),
    "connlimit-of-closed-connections": (
        forward("-m connlimit --connlimit-upto 1", "-m connlimit --connlimit-upto 0"),
        spaced(
            SYN,
            SYNACK,
            ACK,
            FIN,
            FINACK,
            LAST,
            LAST,
            "eth1 tcp 10.2.0.2:80 > 10.1.0.2:1000 . seq=3 ack=3",
            *syns(1),
            "eth1 tcp 10.2.0.2:80 > 10.1.0.2:2000 RA ack=2",
            *syns(2, first=2001),
        ),
    ),
    "connlimit-of-untracked-packets": (
        table("raw", "-A PREROUTING -p udp -j NOTRACK")
        + forward("-m connlimit --connlimit-upto 1"),
        spaced(*flood(2), *flood(1, port=54), *syns(2)),
    ),
    "connbytes": (
        forward(
            *(
                f"-m connbytes --connbytes {span} --connbytes-dir {direction} "
                f"--connbytes-mode {mode}"
                for direction in ("original", "reply", "both")
                for span, mode in (("2:3", "packets"), ("100:", "bytes"), (":45", "avgpkt"))
            ),
            "-m connbytes ! --connbytes 2:3 --connbytes-dir both --connbytes-mode packets",
            "-m connbytes ! --connbytes 3:3 --connbytes-dir both --connbytes-mode packets",
        ),
        (SYN, SYNACK, ACK, UDP, UDP_BACK, UDP, UDP),
    ),
    "connlabel-and-quota": (
        table(
            "mangle",
            "-A PREROUTING -m connlabel --label 3",
            "-A PREROUTING -p tcp -m connlabel --label 3 --set",
            "-A PREROUTING -m connlabel ! --label 3",
            "-A PREROUTING -p udp -m connlabel ! --label 127 --set",
            "-A PREROUTING -m connlabel --label 127",
        )
        + forward("-m quota --quota 100", "-m quota ! --quota 100", "-m quota --quota 0"),
        (SYN, SYNACK, UDP, UDP_BACK, UDP),
    ),
    "helper-without-helpers": (
        forward('-m helper --helper ""', "-m helper --helper ftp", "-m helper ! --helper ftp"),
        (SYN, UDP),
    ),
    "owner": (
        table(
            "mangle",
            *(
                f"-A {hook} -m owner {what}"
                for hook in ("OUTPUT", "POSTROUTING")
                for what in (
                    "--socket-exists",
                    "! --socket-exists",
                    "--uid-owner 0",
                    "! --uid-owner 0-9",
                    "! --uid-owner 7",
                    "--gid-owner 0",
                    "! --gid-owner 5 --suppl-groups",
                    "! --gid-owner 5 ! --uid-owner 5 ! --socket-exists",
                )
            ),
        ),
        (
            "local udp 10.1.0.1:9 > 10.1.0.2:9",
            UDP,
            "eth0 icmp 10.1.0.2 > 10.1.0.1 echo",
            "eth0 tcp 10.1.0.2:5 > 10.1.0.1:5 S",
        ),
    ),
    "cgroup-v2": (
        table(
            "mangle",
            '-A OUTPUT -m cgroup --path "/"',
            '-A POSTROUTING -m cgroup ! --path "/"',
        ),
        ("local udp 10.1.0.1:9 > 10.1.0.2:9", UDP),
    ),
    "cluster": (
        forward(
            *(
                f"-m cluster --cluster-total-nodes {total} --cluster-local-node {node_} "
                f"--cluster-hash-seed {seed}"
                for total, seed in ((2, 0), (3, "0xdeadbeef"), (32, 7))
                for node_ in range(1, total + 1)
            ),
            "-m cluster --cluster-total-nodes 4 ! --cluster-local-nodemask 6 --cluster-hash-seed 1",
        ),
        (UDP, UDP_BACK, *flood(1, host=3), SYN),
    ),
    "socket-without-sockets": (
        table(
            "mangle",
            "-A PREROUTING -m socket",
            "-A PREROUTING -m socket --nowildcard",
            "-A PREROUTING -m socket --restore-skmark",
            "-A PREROUTING -m socket --transparent",
        ),
        (UDP, SYN, "eth0 tcp 10.1.0.2:5 > 10.1.0.1:5 S"),
    ),
    "osf-without-fingerprints": (
        forward("-p tcp -m osf --genre Linux", "-p tcp -m osf ! --genre Linux"),
        (SYN,),
    ),
    "recent-in-both-directions": (
        forward(
            "-m recent --set --name s --mask 255.255.255.0",
            "-m recent --rcheck --name s --rdest",
            "-m recent --update --seconds 1 --hitcount 2 --name s",
        ),
        (UDP, UDP_BACK, *flood(1, host=3), "wait 1.2", UDP),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_netemu_does_as_the_kernel(name: str) -> None:
    rules, steps = CASES[name]
    outcome = verify_case(Case(node=node(rules), inputs=inputs(steps), name=name))
    assert outcome.difference is None, str(outcome.difference)
