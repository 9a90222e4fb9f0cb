"""How 10,000 IPVS services cost beside 100: loading them, and finding one for a new connection.

    .venv/bin/python tools/bench/services.py
    .venv/bin/python tools/bench/services.py --services N --runs 5

Each service has 5 servers (rr, masqueraded). A new connection is a SYN to a random service,
through the whole node; beside it the lookup alone. All is processor time, the best of the runs;
exits 1 if a new connection costs more than 1.5 times as much as among 100 services.
"""

from __future__ import annotations

import argparse
import gc
import random
import time

from netemu.netfilter.ipvs.table import Ipvs
from netemu.ruleset.ipvsadm import apply_ipvs
from netemu.sim.node import Node, build_node
from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec, NeighbourSpec, NodeSpec
from netemu.wire.address import format_address, parse_address, parse_mac
from netemu.wire.packet_text import parse_packet

FEW = 100
LIMIT = 1.5
SERVERS = 5
CONNECTIONS = 2000
MAC = parse_mac("02:00:00:00:00:01")


def virtual(number: int) -> bytes:
    """Return the address of a service."""
    return (0x0A600001 + number).to_bytes(4, "big")


def rules(services: int) -> str:
    """Return what ipvsadm -Sn prints of so many services."""
    lines = []
    for number in range(services):
        name = f"-t {format_address(virtual(number))}:80"
        lines.append(f"-A {name} -s rr")
        for server in range(number * SERVERS, (number + 1) * SERVERS):
            address = f"10.1.{server // 250 % 250}.{server % 250 + 1}"
            lines.append(f"-a {name} -r {address}:{8080 + server // 62500} -m -w 1")
    return "\n".join(lines)


def node_of(services: int) -> Node:
    """Return a node that is the services' address, without any yet."""
    node = build_node(
        NodeSpec(
            main=NamespaceSpec(
                links=[
                    LinkSpec(name="eth0", ifindex=2, mac=MAC),
                    LinkSpec(name="eth1", ifindex=3, mac=MAC),
                    LinkSpec(name="kube-ipvs0", ifindex=4, kind="dummy", up=False),
                ],
                addresses=[
                    _address("eth0", "192.0.2.1", 24),
                    _address("eth1", "10.1.255.1", 16),
                    *(
                        _address("kube-ipvs0", format_address(virtual(number)), 32)
                        for number in range(services)
                    ),
                ],
                neighbours=[
                    NeighbourSpec(
                        device="eth0",
                        address=parse_address("192.0.2.9"),
                        mac=MAC,
                        state="PERMANENT",
                    )
                ],
                sysctls={
                    "net.ipv4.ip_forward": "1",
                    # one network of 50,000 servers: no node could do with 1,024 neighbours
                    "net.ipv4.neigh.default.gc_thresh2": "100000",
                    "net.ipv4.neigh.default.gc_thresh3": "100000",
                },
                sockets=[],
            )
        )
    )
    node.assume_neighbours()
    return node


def _address(device: str, text: str, length: int) -> AddressSpec:
    return AddressSpec(device=device, address=parse_address(text), prefix_len=length)


def measure(services: int) -> tuple[float, float, float]:
    """Return seconds to load, seconds per new connection, seconds per lookup."""
    text, node = rules(services), node_of(services)
    net = node.main.net
    gc.collect()
    gc.freeze()
    start = time.process_time()
    apply_ipvs(net, text)
    load = time.process_time() - start
    dice = random.Random(services)
    chosen = [virtual(dice.randrange(services)) for _ in range(CONNECTIONS)]
    frames = [
        parse_packet(f"tcp 192.0.2.9:{1024 + port} > {format_address(address)}:80 S").frame(
            dst_mac=MAC
        )
        for port, address in enumerate(chosen)
    ]
    start = time.process_time()
    for frame in frames:
        node.receive("eth0", frame)
    connect = (time.process_time() - start) / CONNECTIONS
    find = net.generic(Ipvs).find
    start = time.process_time()
    for address in chosen:
        find(0, 6, address, 80)
    return load, connect, (time.process_time() - start) / CONNECTIONS


def main() -> int:
    """Measure and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    best = {}
    for services in (FEW, options.services):
        runs = [measure(services) for _ in range(options.runs)]
        load, connect, lookup = (min(column) for column in zip(*runs, strict=True))
        best[services] = connect
        print(
            f"{services:6} services: load {load:6.2f} s, new connection {connect * 1e6:6.1f} us, "
            f"lookup {lookup * 1e9:5.0f} ns"
        )
    ratio = best[options.services] / best[FEW]
    print(f"a new connection costs {ratio:.2f} times as much")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
