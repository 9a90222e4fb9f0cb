"""Random talk of FTP and TFTP with helpers and NAT: netemu against the live kernel."""

from __future__ import annotations

import random

import pytest

from netemu.livekernel.case import Case, InputFrame
from netemu.livekernel.verify import verify_case
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NodeSpec,
    TextFile,
)
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

CLIENT, SERVER = parse_address("10.1.0.2"), parse_address("10.2.0.2")
NEAR, FAR = parse_address("10.1.0.1"), parse_address("10.2.0.1")
ROUTER = (parse_mac("02:00:00:00:01:01"), parse_mac("02:00:00:00:01:02"))
HOSTS = (parse_mac("02:00:00:00:0a:01"), parse_mac("02:00:00:00:0b:01"))
GAP_NS = 30_000

HEAD = """\
*raw
-A PREROUTING -p tcp --dport 21 -j CT --helper ftp
-A PREROUTING -p udp --dport 69 -j CT --helper tftp
COMMIT
*mangle
-A PREROUTING -m conntrack --ctstate RELATED -j LOG --log-prefix "related "
-A PREROUTING -m helper --helper ftp
-A PREROUTING -m helper --helper tftp -j CONNMARK --set-mark 3
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -p tcp --dport 21 -j ACCEPT
-A FORWARD -p udp --dport 69 -j ACCEPT
COMMIT
"""

NATS = {
    "": (CLIENT, SERVER),
    "-A POSTROUTING -o eth1 -j MASQUERADE": (FAR, SERVER),
    "-A POSTROUTING -o eth1 -j SNAT --to-source 10.2.100.200": (
        parse_address("10.2.100.200"),
        SERVER,
    ),
    "-A POSTROUTING -p tcp -o eth1 -j SNAT --to-source 10.2.0.7:1000": (
        parse_address("10.2.0.7"),
        SERVER,
    ),
    "-A PREROUTING -d 10.1.0.1 -j DNAT --to-destination 10.2.0.2": (CLIENT, NEAR),
    "-A PREROUTING -d 10.1.0.1 -j DNAT --to-destination 10.2.0.2\n"
    "-A POSTROUTING -o eth1 -j MASQUERADE": (FAR, NEAR),
}
"""Rules -> the client as the server sees it, the server as the client does."""

COMMANDS = (
    "USER x\r\n",
    "PASV\r\n",
    "EPSV\r\n",
    "NOOP",
    "\r\n",
    "PORT {me},{hi},{lo}\r\n",
    "port {me},{hi},{lo}\r\n",
    "PORT {me},{hi},{lo}",
    "PORT {me},{hi}\r\n",
    "PORT 10,1,0,99,{hi},{lo}\r\n",
    "EPRT |1|{dots}|{port}|\r\n",
    "EPRT !1!{dots}!{port}!\r\n",
    "EPRT |2|{dots}|{port}|\r\n",
    "EPRT",
    "POR",
)
ANSWERS = (
    "200 ok\r\n",
    "227 Passive ({me},{hi},{lo})\r\n",
    "227 {me},{hi},{lo}\r\n",
    "227 none\r\n",
    "229 Extended (|||{port}|)\r\n",
    "229 Extended |||{port}|\r\n",
    "22",
    "150-go\r\n 227 (1,2,3,4,5,6)\r\n",
)


class Talk:
    """Frames of one conversation; each end keeps to the numbers that it sees."""

    def __init__(self, dice: random.Random, seen: tuple[bytes, bytes]) -> None:
        self.dice = dice
        self.seen = seen
        self.frames: list[tuple[int, bytes]] = []
        self.next = [100, 500]
        self.known = [0, 0]
        """What each end has got of the other, in the other's numbers as they arrive."""
        self.ports: list[int] = []

    def add(self, side: int, protocol: int, body: bytes, src: bytes, dst: bytes) -> None:
        packet = build_ipv4(src=src, dst=dst, protocol=protocol, payload=body, identification=9)
        frame = ROUTER[side] + HOSTS[side] + b"\x08\x00" + bytes(packet)
        self.frames.append((side, frame))

    def ends(self, side: int) -> tuple[bytes, bytes]:
        return (CLIENT, self.seen[1]) if not side else (SERVER, self.seen[0])

    def segment(self, side: int, flags: int, payload: bytes = b"", back: int = 0) -> None:
        src, dst = self.ends(side)
        ports = (1000, 21) if not side else (21, 1000)
        self.add(
            side, 6,
            bytes(build_tcp(
                src=src, dst=dst, src_port=ports[0], dst_port=ports[1],
                seq=(self.next[side] - back) & 0xFFFFFFFF, ack=self.known[side] & 0xFFFFFFFF,
                flags=flags, window=5000, payload=payload,
            )),
            src, dst,
        )  # fmt: skip
        if not back:
            self.next[side] += len(payload) + (flags & 3 != 0)
            grown = self.dice.choice((0, 0, 0, 4, 5, -2)) if len(payload) > 20 else 0
            self.known[1 - side] = self.known[1 - side] + len(payload) + (flags & 3 != 0) + grown

    def open(self) -> None:
        self.known = [0, 100]
        self.segment(0, 2)
        self.known = [500, 101]
        self.segment(1, 18)
        self.segment(0, 16)

    def line(self) -> None:
        dice, side = self.dice, self.dice.randrange(2)
        port = dice.choice((1025, 2000, 65535, 20, dice.randrange(1, 65536)))
        mine = self.ends(side)[0]
        text = dice.choice((COMMANDS, ANSWERS)[side]).format(
            me=",".join(map(str, mine)), dots=".".join(map(str, mine)),
            hi=port >> 8, lo=port & 255, port=port,
        )  # fmt: skip
        self.ports.append(port)
        payload = text.encode()
        self.segment(side, 24, payload)
        if dice.random() < 0.25:
            self.segment(side, 24, payload, back=len(payload))
        if dice.random() < 0.3:
            self.segment(1 - side, 16)

    def data(self) -> None:
        """Open a data connection to a port that was named, or another."""
        dice, side = self.dice, self.dice.randrange(2)
        src, dst = self.ends(side)
        ports = (dice.choice((20, 3000)), dice.choice([*self.ports[-2:], 4444]))
        tcp = {"src_port": ports[0], "dst_port": ports[1], "window": 900}
        self.add(side, 6, bytes(build_tcp(src=src, dst=dst, seq=9, **tcp)), src, dst)
        src, dst = self.ends(1 - side)
        tcp = {"src_port": ports[1], "dst_port": ports[0], "window": 900}
        answer = build_tcp(src=src, dst=dst, seq=5, ack=10, flags=18, **tcp)
        self.add(1 - side, 6, bytes(answer), src, dst)

    def tftp(self) -> None:
        dice = self.dice
        src, dst = self.ends(0)
        port = dice.choice((2000, 2001))
        opcode = dice.choice((b"\0\1f", b"\0\2f", b"\0\3", b"\0"))
        body = build_udp(src=src, dst=dst, src_port=port, dst_port=69, payload=opcode)
        self.add(0, 17, bytes(body), src, dst)
        src, dst = self.ends(1)
        body = build_udp(src=src, dst=dst, src_port=3000, dst_port=port, payload=b"d")
        self.add(1, 17, bytes(body), src, dst)
        src, dst = self.ends(0)
        body = build_udp(src=src, dst=dst, src_port=port, dst_port=3000, payload=b"a")
        self.add(0, 17, bytes(body), src, dst)


def case_of(seed: int) -> Case:
    """Return a random case."""
    dice = random.Random(seed)
    nat = dice.choice(list(NATS))
    talk = Talk(dice, NATS[nat])
    talk.open()
    for _ in range(dice.randrange(4, 16)):
        dice.choices((talk.line, talk.data, talk.tftp), (6, 2, 1))[0]()
    links = [LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)]
    links += [LinkSpec(name=f"eth{n}", ifindex=2 + n, mac=ROUTER[n]) for n in (0, 1)]
    main = NamespaceSpec(
        links=links,
        addresses=[
            AddressSpec(
                device=f"eth{n}", address=(NEAR, FAR)[n], prefix_len=16,
                broadcast=parse_address(f"10.{n + 1}.255.255"),
            )
            for n in (0, 1)
        ],
        neighbours=[
            NeighbourSpec(
                device=f"eth{n}", address=(CLIENT, SERVER)[n], mac=HOSTS[n], state="PERMANENT"
            )
            for n in (0, 1)
        ],
        sysctls={
            "net.ipv4.ip_forward": "1",
            "net.netfilter.nf_conntrack_log_invalid": dice.choice(("0", "255")),
        },
        rules4=TextFile(name="rules", text=f"{HEAD}*nat\n{nat}\nCOMMIT\n" if nat else HEAD),
        sockets=[],
    )  # fmt: skip
    inputs = [
        InputFrame(device=f"eth{side}", time_ns=number * GAP_NS, frame=frame)
        for number, (side, frame) in enumerate(talk.frames)
    ]
    return Case(node=NodeSpec(main=main), inputs=list(inputs), name=f"helpers-{seed}")


@pytest.mark.parametrize("seed", range(16))
def test_random_talk(seed: int) -> None:
    outcome = verify_case(case_of(seed))
    assert any(outcome.kernel.frames.values())
    assert outcome.difference is None, str(outcome.difference)
