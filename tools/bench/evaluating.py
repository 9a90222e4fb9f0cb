"""How many packets a second pass a node with the rules of few and of many Services.

    .venv/bin/python tools/bench/evaluating.py                 10 and 5,000 Services
    .venv/bin/python tools/bench/evaluating.py --services 200 --packets 20000

The node is one of rules alone: packets come in by the uplink, are bound to an endpoint of a
Service, and leave by the uplink. Timed in processor time of this process are the building of the
node, packets that each open a connection to some Service (every chain was made ready before), and
packets of one established connection in both directions. Then `netemu replay` runs whole, on a
capture of that connection.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from reading import kube_proxy

from netemu.netfilter.xtables.table import XtTables
from netemu.sim.node import Node, build_node
from netemu.sim.spec import TextFile
from netemu.skb import Fate
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.wire.address import format_address
from netemu.wire.packet_text import parse_packet
from netemu.wire.pcap import PcapWriter

ROOT = Path(__file__).resolve().parents[2]

RULES_OF_A_SERVICE = 11

FILTER = """\
*filter
:KUBE-FORWARD - [0:0]
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""

UPLINK = "eth0"
CLIENT = "192.0.2.9"
NODE_MAC = bytes((2, 0, 0, 1, 0, 2))
CLIENT_MAC = bytes((2, 0, 0, 0, 0, 1))


def rules_of(services: int) -> str:
    """Return the rules of a node with so many Services."""
    return kube_proxy(services * RULES_OF_A_SERVICE) + FILTER


def frame(text: str) -> bytes:
    """Return a packet as a frame for the node."""
    return parse_packet(text).frame(dst_mac=NODE_MAC, src_mac=CLIENT_MAC)


def to_service(number: int, port: int, rest: str) -> bytes:
    """Return a frame to a Service of `reading.kube_proxy`."""
    address = f"10.{96 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
    return frame(f"tcp {CLIENT}:{port} > {address}:{80 + number % 1000} {rest}")


def build(services: int) -> Node:
    """Build the node, with every neighbour known."""
    rules = TextFile(name="rules", text=rules_of(services))
    node = build_node(bare_node(rules, Changes(addresses=(), routes=(), sysctls=())))
    node.assume_neighbours()
    return node


def send(node: Node, packet: bytes) -> Fate:
    """Send one frame and let a moment pass."""
    fate = node.receive(UPLINK, packet)
    node.run_until(node.clock.now_ns + 1000)
    return fate


def established(node: Node) -> list[bytes]:
    """Open a connection to Service 0; return its three frames, then one of each direction."""
    opening = to_service(0, 40_000, "S")
    pod = format_address(send(node, opening).frames[-1].frame[30:34])
    answer = f"tcp {pod}:8080 > {CLIENT}:40000"
    frames = [frame(f"{answer} SA seq=1 ack=2"), to_service(0, 40_000, "A seq=2 ack=2")]
    for each in frames:
        send(node, each)
    there = to_service(0, 40_000, "A seq=2 ack=2 payload=" + "x" * 400)
    return [opening, *frames, there, frame(f"{answer} A seq=2 ack=402 payload=" + "y" * 400)]


def microseconds(node: Node, frames: Sequence[bytes]) -> float:
    """Return processor time per frame."""
    start = time.process_time()
    for packet in frames:
        fate = node.receive(UPLINK, packet)
        assert fate.frames, (fate.verdict, fate.reason)
    return (time.process_time() - start) / len(frames) * 1e6


def measure(services: int, packets: int, runs: int) -> Iterator[tuple[str, list[float]]]:
    """Yield what was measured and its figures, microseconds."""
    building, opening, both = [], [], []
    for _ in range(runs):
        start = time.process_time()
        node = build(services)
        building.append((time.process_time() - start) * 1e6)
        for table in node.main.net.generic(XtTables).by_name.values():
            for name, chain in table.model.chains.items():
                if chain.policy is None:
                    table.head(name)
        gc.freeze()
        send(node, to_service(0, 39_999, "S"))
        draw = random.Random(services)
        fresh = [to_service(draw.randrange(services), 40_001 + n, "S") for n in range(packets)]
        opening.append(microseconds(node, fresh))
        both.append(microseconds(node, established(node)[-2:] * (packets // 2)))
    yield "building the node", building
    yield "a packet that opens a connection", opening
    yield "a packet of an established one", both


def replay_seconds(services: int, packets: int) -> float:
    """Return processor time of `netemu replay` with a capture of one connection."""
    with tempfile.TemporaryDirectory() as directory:
        rules, capture = Path(directory, "rules"), Path(directory, "capture.pcap")
        rules.write_text(rules_of(services), encoding="ascii")
        with capture.open("wb") as file:
            writer = PcapWriter(file.write)
            frames = established(build(services))
            for number, packet in enumerate((*frames[:3], *frames[-2:] * (packets // 2))):
                writer.write(number * 1_000_000, packet)
        netemu = [sys.executable, "-m", "netemu", "replay", str(rules), "--no-follow"]
        netemu += ["--in", f"{UPLINK}={capture}", "--assume-neighbours"]
        started = os.times()
        subprocess.run(
            netemu, cwd=ROOT, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        ended = os.times()
    return sum(ended[2:4]) - sum(started[2:4])


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description="How fast packets pass a node.")
    parser.add_argument("--services", type=int, nargs="*", default=[10, 5000])
    parser.add_argument("--packets", type=int, default=5000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    print(f"{'':<50}   minimum    median   maximum")
    for services in chosen.services:
        for name, figures in measure(services, chosen.packets, chosen.runs):
            found = (min(figures), statistics.median(figures), max(figures))
            row = "".join(f"{figure:10.0f}" for figure in found)
            print(f"{services:>5} Services, {name:<34}{row} us")
        seconds = replay_seconds(services, chosen.packets)
        print(f"{services:>5} Services, netemu replay of {chosen.packets} frames: {seconds:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
