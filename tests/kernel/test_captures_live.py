"""Public captures through a stateful rule set: netemu and the live kernel, frame by frame.

The captures are read where they lie. Each runs through a router: the first packet's source, and
all that it speaks with, are placed on either side by their addresses. Frames keep their bytes but
for the MAC addresses, bad checksums and cut ends included; their times are pressed together.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.errors import NetemuError
from netemu.livekernel.case import Case, InputFrame
from netemu.livekernel.verify import verify_case
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
from netemu.wire.capture import ethernet_of
from netemu.wire.capture_file import read_capture

ROUTER = (parse_mac("02:00:00:00:01:01"), parse_mac("02:00:00:00:01:02"))
GATEWAY_MAC = (parse_mac("02:00:00:00:0a:01"), parse_mac("02:00:00:00:0b:01"))
GATEWAY = (parse_address("198.18.0.2"), parse_address("198.19.0.2"))
MTU = 65535
"""The largest of a veth: captures of merged segments are taken whole."""

GAP_NS = 50_000

STATEFUL = """\
*raw
-A PREROUTING -p tcp --dport 21 -j CT --helper ftp
COMMIT
*mangle
-A PREROUTING -m conntrack --ctstate INVALID -j LOG --log-prefix "invalid "
-A PREROUTING -m conntrack --ctstate RELATED -j LOG --log-prefix "related "
-A PREROUTING -m conntrack --ctstate NEW
-A PREROUTING -m conntrack --ctstate ESTABLISHED
COMMIT
*filter
:FORWARD DROP [0:0]
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -m conntrack --ctstate NEW -j ACCEPT
-A INPUT -m conntrack --ctstate INVALID -j DROP
COMMIT
"""

MASQUERADED = """\
*nat
-A POSTROUTING -o eth1 -j MASQUERADE
COMMIT
"""


def sides_of(frames: list[bytes]) -> dict[bytes, int]:
    """Return the side of each address: whoever speaks with one side is on the other."""
    sides: dict[bytes, int] = {}
    for frame in frames:
        if frame[12:14] != b"\x08\x00" or len(frame) < 34:
            continue
        src, dst = frame[26:30], frame[30:34]
        if src in sides:
            sides.setdefault(dst, 1 - sides[src])
        else:
            sides[src] = 1 - sides[dst] if dst in sides else 0
            sides.setdefault(dst, 1 - sides[src])
    return sides


def router(sides: dict[bytes, int], rules: str) -> NodeSpec:
    """Return a router that knows the way to each address."""
    links = [LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, noarp=True)]
    links += [
        LinkSpec(name=f"eth{side}", ifindex=2 + side, mac=ROUTER[side], mtu=MTU) for side in (0, 1)
    ]
    ways = tuple(NexthopSpec(device=f"eth{side}", gateway=GATEWAY[side]) for side in (0, 1))
    routes = [RouteSpec(prefix=bytes(4), prefix_len=0, nexthops=(ways[0],))]
    routes += [
        RouteSpec(prefix=address, prefix_len=32, nexthops=(ways[1],))
        for address, side in sides.items()
        if side and 0 < address[0] < 224 and address[0] != 127
    ]
    addresses = [
        AddressSpec(device="lo", address=parse_address("127.0.0.1"), prefix_len=8, scope="host")
    ]
    addresses += [
        AddressSpec(
            device=f"eth{side}", address=parse_address(f"198.{18 + side}.0.1"), prefix_len=24,
            broadcast=parse_address(f"198.{18 + side}.0.255"),
        )
        for side in (0, 1)
    ]  # fmt: skip
    return NodeSpec(
        main=NamespaceSpec(
            links=links,
            addresses=addresses,
            routes=routes,
            neighbours=[
                NeighbourSpec(
                    device=f"eth{side}", address=GATEWAY[side], mac=GATEWAY_MAC[side],
                    state="PERMANENT",
                )
                for side in (0, 1)
            ],
            sysctls={
                "net.ipv4.ip_forward": "1",
                "net.netfilter.nf_conntrack_log_invalid": "255",
                "net.netfilter.nf_conntrack_acct": "1",
            },
            rules4=TextFile(name="rules", text=rules),
            sockets=[],
        )
    )  # fmt: skip


def case_of(path: Path, rules: str) -> Case:
    """Return a capture as a case."""
    with path.open("rb") as file:
        frames = [
            ethernet_of(frame, dst_mac=ROUTER[0], src_mac=GATEWAY_MAC[0])
            for frame in read_capture(file.read, path.name)
        ]
    frames = [frame for frame in frames if 14 <= len(frame) <= MTU]
    sides = sides_of(frames)
    inputs = []
    for number, frame in enumerate(frames):
        side = sides.get(frame[26:30], 0)
        target = frame[:6] if frame[0] & 1 else ROUTER[side]
        data = target + GATEWAY_MAC[side] + frame[12:]
        inputs.append(InputFrame(device=f"eth{side}", time_ns=number * GAP_NS, frame=data))
    return Case(node=router(sides, rules), inputs=list(inputs), name=path.name)


@pytest.mark.parametrize("rules", [STATEFUL, STATEFUL + MASQUERADED], ids=["plain", "nat"])
def test_captures_meet_the_same_fate(corpus_pcaps: Path, rules: str) -> None:
    """Frames, log lines, counters and conntrack rows of every capture are the kernel's."""
    rows = lines = 0
    for path in sorted(corpus_pcaps.iterdir()):
        try:
            case = case_of(path, rules)
        except NetemuError:
            continue  # not a capture of packets, such as one of netlink
        outcome = verify_case(case)
        assert outcome.difference is None, f"{path.name}: {outcome.difference}"
        rows += len(outcome.kernel.conntrack[""])
        lines += len(outcome.kernel.log)
    assert rows > 60, "captures without connections prove nothing"
    assert lines > 100, "nor do captures without invalid packets"
