"""Ways of a multipath route: with a seed given, the kernel's hash chooses and so does netemu's."""

from __future__ import annotations

import random

import pytest

from netemu.livekernel.case import Case, InputFrame, LocalPacket
from netemu.livekernel.verify import verify_case
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
)
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.icmp import build_icmp
from netemu.wire.ipv4 import build_ipv4
from netemu.wire.tcp import build_tcp
from netemu.wire.udp import build_udp

HOST_MAC = parse_mac("02:00:00:00:0a:01")
WEIGHTS = (1, 3, 2)


def router(**sysctls: int) -> NodeSpec:
    """Return a router with one port in and three ways out."""
    links = [LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)]
    links += [
        LinkSpec(name=f"eth{n}", ifindex=2 + n, mac=parse_mac(f"02:00:00:00:01:0{n}"))
        for n in range(4)
    ]
    addresses = [
        AddressSpec(device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host")
    ]
    addresses += [
        AddressSpec(
            device=f"eth{n}", address=parse_address(f"10.{n}.0.1"), prefix_len=24,
            broadcast=parse_address(f"10.{n}.0.255"),
        )
        for n in range(4)
    ]  # fmt: skip
    ways = tuple(
        NexthopSpec(device=f"eth{n}", gateway=parse_address(f"10.{n}.0.2"), weight=WEIGHTS[n - 1])
        for n in (1, 2, 3)
    )
    return NodeSpec(
        main=NamespaceSpec(
            links=links,
            addresses=addresses,
            routes=[RouteSpec(prefix=parse_address("10.80.0.0"), prefix_len=16, nexthops=ways)],
            neighbours=[
                NeighbourSpec(
                    device=f"eth{n}", address=parse_address(f"10.{n}.0.2"), mac=HOST_MAC,
                    state="PERMANENT",
                )
                for n in range(4)
            ],
            sysctls={"net.ipv4.ip_forward": "1"}
            | {f"net.ipv4.fib_multipath_hash_{key}": str(value) for key, value in sysctls.items()},
            sockets=[],
        )
    )  # fmt: skip


def tunnelled(dice: random.Random) -> tuple[int, bytes]:
    """Return a tunnel's protocol and what it carries."""
    ends = [bytes((172, 16, dice.randrange(4), dice.randrange(1, 255))) for _ in range(2)]
    ports = {"src_port": dice.randrange(1, 65536), "dst_port": dice.randrange(1, 65536)}
    body = build_udp(src=ends[0], dst=ends[1], payload=b"inner", **ports)
    inner = bytes(build_ipv4(src=ends[0], dst=ends[1], protocol=17, payload=bytes(body)))
    inner6 = (
        (0x60000000 | dice.randrange(1 << 20)).to_bytes(4, "big") + len(body).to_bytes(2, "big")
        + b"\x11\x40" + dice.randbytes(32) + bytes(body)
    )  # fmt: skip
    gre_key = dice.randbytes(4)
    return dice.choice(
        (
            (4, inner),
            (41, inner6),
            (47, b"\0\0\x08\0" + inner),
            (47, b"\0\0\x86\xdd" + inner6),
            (47, b"\x20\0\x08\0" + gre_key + inner),
            (47, b"\xb0\0\x65\x58" + gre_key * 3 + bytes(12) + b"\x08\0" + inner),
            (47, b"\0\1\x08\0" + inner),
            (4, bytes(build_ipv4(src=ends[1], dst=ends[0], protocol=4, payload=inner))),
        )
    )


def packets(count: int, *, own: bool) -> list[bytes]:
    """Return packets of many flows."""
    dice = random.Random(7)
    made = []
    for _ in range(count):
        src = parse_address("10.0.0.1") if own else bytes((10, 0, 0, dice.randrange(2, 250)))
        dst = bytes((10, 80, dice.randrange(256), dice.randrange(1, 255)))
        ports = {"src_port": dice.randrange(1, 65536), "dst_port": dice.randrange(1, 65536)}
        kind = dice.randrange(5)
        if kind == 0:
            protocol, body = 6, build_tcp(src=src, dst=dst, **ports)
        elif kind == 1:
            protocol, body = 17, build_udp(src=src, dst=dst, payload=b"x", **ports)
        elif kind == 2:
            quoted = build_ipv4(src=dst, dst=src, protocol=17, payload=bytes(8))
            protocol, body = 1, build_icmp(icmp_type=3, code=1, rest=0, payload=bytes(quoted))
        elif kind == 3:
            protocol, body = 99, bytearray(b"12345678")
        else:
            protocol, body = tunnelled(dice)
        made.append(
            bytes(build_ipv4(src=src, dst=dst, protocol=protocol, payload=bytes(body), ttl=9))
        )
    return made


@pytest.mark.parametrize(
    "sysctls",
    [
        {"seed": 1},
        {"seed": 0xFEDCBA98, "policy": 1},
        {"seed": 5, "policy": 2},
        {"seed": 77, "policy": 3, "fields": 0x37},
        {"seed": 78, "policy": 3, "fields": 0x20},
        {"seed": 79, "policy": 3, "fields": 0x40},
        {"seed": 80, "policy": 3, "fields": 0xFFF},
        {"seed": 81, "policy": 3, "fields": 0xC00},
        {"seed": 82, "policy": 3, "fields": 0x203},
    ],
    ids=str,
)
def test_flows_go_the_kernels_way(sysctls: dict[str, int]) -> None:
    inputs: list[InputFrame | LocalPacket] = [
        InputFrame(
            device="eth0", time_ns=number * 10_000,
            frame=parse_mac("02:00:00:00:01:00") + HOST_MAC + b"\x08\x00" + packet,
        )
        for number, packet in enumerate(packets(120, own=False))
    ]  # fmt: skip
    # The kernel's raw socket names neither protocol nor ports when it asks for its route.
    count = 0 if sysctls.get("policy") in {1, 3} else 20
    inputs += [
        LocalPacket(namespace="", time_ns=1_000_000 + number * 10_000, packet=packet)
        for number, packet in enumerate(packets(count, own=True))
    ]
    outcome = verify_case(Case(node=router(**sysctls), inputs=inputs, name="multipath"))
    assert outcome.difference is None, str(outcome.difference)
    used = [len(outcome.kernel.frames[f"eth{n}"]) > 0 for n in (1, 2, 3)]
    assert all(used), "every way is taken"
