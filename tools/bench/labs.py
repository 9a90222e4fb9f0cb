"""Time and memory of a large lab: every pod of every node pings one Service.

    .venv/bin/python tools/bench/labs.py            50 nodes with 20 pods each
    .venv/bin/python tools/bench/labs.py 10 5 3     10 nodes with 5 pods each, 3 pings a pod

Each node routes to the pods of all others, tracks connections, and has a Service whose endpoints
are the first pods of 20 nodes, chosen by `statistic`. The lab is built from Python.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import netemu

SERVICE = "10.96.0.10"
ENDPOINTS = 20


def rules(endpoints: list[str]) -> str:
    """Return kube-proxy's shape of rules for one Service without ports."""
    lines = ["*nat", ":PREROUTING ACCEPT [0:0]", ":POSTROUTING ACCEPT [0:0]"]
    lines += [":KUBE-SERVICES - [0:0]", ":KUBE-SVC - [0:0]"]
    lines += [f":KUBE-SEP-{number} - [0:0]" for number in range(len(endpoints))]
    lines += [
        "-A PREROUTING -j KUBE-SERVICES",
        f"-A KUBE-SERVICES -d {SERVICE}/32 -p icmp -j KUBE-SVC",
    ]
    for number in range(len(endpoints)):
        left = len(endpoints) - number
        chance = f"-m statistic --mode random --probability {1 / left:.11f} " if left > 1 else ""
        lines.append(f"-A KUBE-SVC {chance}-j KUBE-SEP-{number}")
    lines += [
        f"-A KUBE-SEP-{number} -p icmp -j DNAT --to-destination {address}"
        for number, address in enumerate(endpoints)
    ]
    # A pod that gets itself as endpoint needs this, and hairpin ports.
    lines += [
        f"-A POSTROUTING -s {address}/32 -d {address}/32 -j MASQUERADE" for address in endpoints
    ]
    return "\n".join([*lines, "COMMIT", ""])


def build(nodes: int, pods: int, pings: int) -> tuple[netemu.Lab, list]:
    """Return the lab and its clients."""
    lab = netemu.Lab()
    endpoints = [f"10.244.{number}.10" for number in range(min(nodes, ENDPOINTS))]
    text = rules(endpoints)
    clients = []
    for number in range(nodes):
        name = f"n{number}"
        lab.add_node(name, sysctls={"net.ipv4.ip_forward": 1})
        lab.add_device(name, "eth0", addresses=[f"192.168.{number // 200}.{number % 200 + 1}/16"])
        lab.add_device(name, "cni0", kind="bridge", addresses=[f"10.244.{number}.1/24"])
        for other in range(nodes):
            if other != number:
                gateway = f"192.168.{other // 200}.{other % 200 + 1}"
                lab.add_route(name, f"10.244.{other}.0/24 via {gateway}")
        lab.set_rules(name, text)
        for pod in range(pods):
            address = f"10.244.{number}.{10 + pod}/24"
            full = lab.add_pod(name, f"p{pod}", address=address, bridge="cni0", port={"hairpin": 1})
            at = (number * pods + pod) / 1000
            clients.append(lab.client(full, "ping", SERVICE, at=at, count=pings, interval="10ms"))
    lab.link(*[f"n{number}/eth0" for number in range(nodes)], name="lan")
    return lab, clients


def main() -> None:
    """Build, run, and say how long it took."""
    nodes, pods, pings = [int(word) for word in sys.argv[1:4]] + [50, 20, 1][len(sys.argv) - 1 :]
    start = time.process_time()
    lab, clients = build(nodes, pods, pings)
    described = time.process_time()
    lab.run(0)
    built = time.process_time()
    lab.run()
    done = time.process_time()
    sent = lab.engine.packet_ids.last
    answered = sum(client.ok is True for client in clients)
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{nodes} nodes with {pods} pods: {len(lab.engine.namespaces)} namespaces")
    print(f"described in {described - start:.1f} s, built in {built - described:.1f} s")
    print(
        f"{answered} of {len(clients)} pods answered, {sent} packets in {done - built:.1f} s"
        f" of processor time, {lab.now:.1f} s of simulated time"
    )
    print(f"{megabytes:.0f} MB at most")


if __name__ == "__main__":
    main()
