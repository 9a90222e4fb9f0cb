"""Labs that are played both in netemu and in the live kernel."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from netemu.livekernel.lab import comparable
from netemu.sim.lab_spec import LabSpec
from netemu.snapshot.lab_file import read_lab
from netemu.snapshot.read import load_lab

ROOT = Path(__file__).parent.parent.parent

HASTE = 10
"""The ready labs are played so many times as fast as they are written."""

TWO_HOSTS = """
nodes:
  c: {devices: {eth0: {addresses: [10.0.0.1/24]}}}
  s:
    devices: {eth0: {addresses: [10.0.0.2/24]}}
    servers: [%s]
links: [{ends: [c/eth0, s/eth0]}]
clients:
%s
"""

SERVERS = {
    "echo": "{tcp: 7, udp: 7, answer: echo}",
    "http": "{tcp: 80, answer: http}",
    "dns": '{tcp: 53, udp: 53, answer: dns, text: "web=10.1.1.1"}',
    "silent": "{tcp: 9, udp: 9, answer: silent}",
    "reset": "{tcp: 10, answer: reset}",
}

CONVERSATIONS = {
    "tcp-echo": ("echo", '{from: c, tcp: "10.0.0.2:7", send: hello}'),
    "tcp-connect-only": ("echo", '{from: c, tcp: "10.0.0.2:7"}'),
    "http": ("http", '{from: c, http: "10.0.0.2:80"}'),
    "tcp-silent": ("silent", '{from: c, tcp: "10.0.0.2:9", send: hello, timeout: 0.2}'),
    "tcp-reset": ("reset", '{from: c, tcp: "10.0.0.2:10", send: hello}'),
    "tcp-refused": ("echo", '{from: c, tcp: "10.0.0.2:8", send: hello}'),
    "tcp-bound": ("echo", '{from: c, tcp: "10.0.0.2:7", send: hello, address: 10.0.0.1}'),
    "dns": ("dns", '{from: c, dns: "10.0.0.2:53", send: web}'),
    "dns-nxdomain": ("dns", '{from: c, dns: "10.0.0.2:53", send: mail.example}'),
    "udp-refused": ("echo", '{from: c, udp: "10.0.0.2:8", send: hello}'),
    "udp-two-tries": (
        "silent",
        '{from: c, udp: "10.0.0.2:9", send: hello, count: 2, timeout: 0.1}',
    ),
    "ping": ("echo", "{from: c, ping: 10.0.0.2, count: 3, interval: 0.05}"),
    "nobody-there": ("echo", "{from: c, udp: '10.0.0.77:9', send: hello, timeout: 0.2}"),
    "no-route": ("echo", "{from: c, udp: '10.9.0.1:9', send: hello, timeout: 0.1}"),
}
"""Name -> server and client; two hosts on one cable."""


CHANGES = {
    "vxlan-learns": """
nodes:
  n1:
    devices:
      eth0: {addresses: [192.0.2.1/24]}
      br0: {kind: bridge}
      vx0: {kind: vxlan, lower: eth0, master: br0, mtu: 1450, vxlan: {vni: 7, remote: 192.0.2.2}}
      va: {master: br0}
    pods: {a: {devices: {eth0: {addresses: [10.1.0.1/24], mtu: 1450}}}}
  n2:
    devices:
      eth0: {addresses: [192.0.2.2/24]}
      br0: {kind: bridge}
      vx0: {kind: vxlan, lower: eth0, master: br0, mtu: 1450, vxlan: {vni: 7, remote: 192.0.2.1}}
      vb: {master: br0}
    pods:
      b:
        devices: {eth0: {addresses: [10.1.0.2/24], mtu: 1450}}
        servers: [{tcp: 7, answer: echo}]
links:
  - {ends: [n1/eth0, n2/eth0]}
  - {ends: [n1/va, n1/a/eth0]}
  - {ends: [n2/vb, n2/b/eth0]}
clients:
  - {from: n1/a, ping: 10.1.0.2}
  - {from: n1/a, tcp: "10.1.0.2:7", send: hello, at: 0.1}
""",
    "link-down-and-up": """
nodes:
  c: {devices: {eth0: {addresses: [10.0.0.1/24]}}, routes: [default via 10.0.0.254]}
  s: {devices: {eth0: {addresses: [10.0.0.2/24]}}}
links: [{ends: [c/eth0, s/eth0]}]
clients:
  - {from: c, ping: 10.0.0.2}
  - {from: c, udp: "10.0.0.2:9", send: x, at: 0.2, timeout: 0.05}
  - {from: c, ping: 10.0.0.2, at: 0.4}
  - {from: c, udp: "10.9.9.9:9", send: x, at: 0.5, timeout: 0.05}
timeline:
  - {at: 0.1, down: c/eth0}
  - {at: 0.3, up: c/eth0}
""",
    "peer-down": """
nodes:
  c: {devices: {eth0: {addresses: [10.0.0.1/24]}}}
  s: {devices: {eth0: {addresses: [10.0.0.2/24]}}}
links: [{ends: [c/eth0, s/eth0]}]
clients:
  - {from: c, ping: 10.0.0.2}
  - {from: c, udp: "10.0.0.2:9", send: x, at: 1.3, timeout: 0.05}
  - {from: c, udp: "10.0.0.2:9", send: x, at: 1.6, timeout: 0.05}
timeline:
  - {at: 0.1, down: s/eth0}
  - {at: 1.5, up: s/eth0}
""",
    "new-mac": """
nodes:
  c: {devices: {eth0: {addresses: [10.0.0.1/24]}}}
  s: {devices: {eth0: {addresses: [10.0.0.2/24]}}}
links: [{ends: [c/eth0, s/eth0]}]
clients:
  - {from: c, ping: 10.0.0.2}
  - {from: c, udp: "10.0.0.2:9", send: x, at: 0.2, timeout: 0.05}
  - {from: s, udp: "10.0.0.1:9", send: x, at: 0.3, timeout: 0.05}
  - {from: c, udp: "10.0.0.2:9", send: x, at: 0.4, timeout: 0.05}
timeline:
  - {at: 0.1, mac: s/eth0, to: "02:00:00:00:99:99"}
""",
    "bridge-port-down": """
nodes:
  node:
    devices: {br0: {kind: bridge, addresses: [10.1.0.254/24]}}
    pods:
      a: {address: 10.1.0.1/24, bridge: br0}
      b: {address: 10.1.0.2/24, bridge: br0}
      c: {address: 10.1.0.3/24, bridge: br0}
clients:
  - {from: node/a, ping: 10.1.0.2}
  - {from: node/a, udp: "10.1.0.2:9", send: x, at: 0.2, timeout: 0.05}
  - {from: node/a, ping: 10.1.0.2, at: 0.4}
timeline:
  - {at: 0.1, down: node/veth-b}
  - {at: 0.3, up: node/veth-b}
""",
    "rules-replaced": """
nodes:
  c: {devices: {eth0: {addresses: [10.0.0.1/24]}}}
  s:
    devices: {eth0: {addresses: [10.0.0.2/24]}}
    servers: [{tcp: 7, answer: echo}]
links: [{ends: [c/eth0, s/eth0]}]
clients:
  - {from: c, tcp: "10.0.0.2:7", send: x}
  - {from: c, tcp: "10.0.0.2:7", send: x, at: 0.2}
  - {from: c, tcp: "10.0.0.2:70", send: x, at: 0.4}
timeline:
  - at: 0.1
    on: s
    rules: |
      *filter
      :INPUT ACCEPT [0:0]
      -A INPUT -p tcp -j REJECT
      COMMIT
  - at: 0.3
    on: s
    rules: |
      *filter
      :INPUT ACCEPT [0:0]
      COMMIT
      *nat
      :PREROUTING ACCEPT [0:0]
      -A PREROUTING -p tcp --dport 70 -j REDIRECT --to-ports 7
      COMMIT
""",
    "addresses-and-routes": """
nodes:
  c: {devices: {eth0: {addresses: [10.0.0.1/24]}}}
  s: {devices: {eth0: {addresses: [10.0.0.2/24]}}}
links: [{ends: [c/eth0, s/eth0]}]
clients:
  - {from: c, udp: "10.7.0.1:9", send: x, timeout: 0.05}
  - {from: c, udp: "10.7.0.1:9", send: x, at: 0.2, timeout: 0.05}
  - {from: c, udp: "10.7.0.1:9", send: x, at: 0.4, timeout: 0.05}
  - {from: c, udp: "10.0.0.2:9", send: x, at: 0.6, timeout: 0.05}
timeline:
  - {at: 0.1, add: 10.7.0.1/32, to: s/eth0, announce: false}
  - {at: 0.15, route: 10.7.0.0/16 via 10.0.0.2, on: c}
  - {at: 0.3, unroute: 10.7.0.0/16 via 10.0.0.2, on: c}
  - {at: 0.5, remove: 10.0.0.1/24, from: c/eth0}
  - {at: 0.55, add: 10.0.0.9/24, to: c/eth0}
""",
}
"""What an administrator does meanwhile."""


def all_cases() -> dict[str, LabSpec]:
    """Return every lab by name."""
    cases = {
        name: _lab(TWO_HOSTS % (SERVERS[server], f"  - {client}"))
        for name, (server, client) in CONVERSATIONS.items()
    }
    everything = "\n".join(
        f"  - {client[:-1]}, at: {number * 0.05}}}"
        for number, (server, client) in enumerate(CONVERSATIONS.values())
        if "timeout" not in client
    )
    cases["one-after-the-other"] = _lab(TWO_HOSTS % (", ".join(SERVERS.values()), everything))
    cases |= {name: _lab(text) for name, text in CHANGES.items()}
    for path in sorted((ROOT / "rulesets").glob("*.lab.yaml")):
        name = path.name.removesuffix(".lab.yaml")
        if name.startswith("ipvs-"):
            continue  # the live kernel has no IPVS; test_ipvs_live asks one that has
        cases[f"ready-{name}"] = _hasty(load_lab(str(path)))
    return {name: comparable(lab) for name, lab in cases.items()}


def _hasty(lab: LabSpec) -> LabSpec:
    """Play a lab faster than it is written."""
    lab.clients = [
        replace(
            client,
            start_ns=client.start_ns // HASTE,
            timeout_ns=min(client.timeout_ns, 250_000_000),
        )
        for client in lab.clients
    ]
    lab.timeline = [replace(entry, at_ns=entry.at_ns // HASTE) for entry in lab.timeline]
    return lab


def _lab(text: str) -> LabSpec:
    return read_lab("lab", text, lambda name: Path(name).read_text(encoding="utf-8"))
