"""Record the scenes of rulesets/ and captures/ again, from the live kernel.

    sudo .venv/bin/python tools/record_scenes.py [NAME...]

rulesets/NAME/ is the node's snapshot before the traffic, captures/NAME.pcapng what came in and went
out at its ports, captures/NAME/ what it held afterwards and what it logged. Needs Linux, root and
the tools that `netemu verify` needs.
"""

from __future__ import annotations

import shutil
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from scene_bench import Bench, Host, Recorded, fetch  # noqa: E402 - found beside this file
from scene_rules import (  # noqa: E402
    DOCKER,
    GATEWAY,
    HOST_FIREWALL,
    SET_FIREWALL,
    SETS,
    ServicePort,
    kube_proxy,
)

from netemu.livekernel.runner import LogPhase  # noqa: E402 - found above this file
from netemu.wire.capture import Direction  # noqa: E402
from netemu.wire.pcapng_writer import PcapngWriter  # noqa: E402

SYSCTLS = ("net.ipv4.", "net.bridge.", "net.netfilter.")
"""What a scene keeps of sysctl -a: the machine's other parameters are nobody's business."""

LEFT_OUT = ("ip6tables", "iptables-nft", "iptables-save", "ipvsadm", "bridge_-j_mdb")
"""What would be empty, or would say the same once more."""

IPSET = "ipset_save"
"""Left out where it is empty."""

IPVS_ROW = (
    "| `ipvs` | the Service of `clusterip` in kube-proxy's ipvs mode: virtual servers, ipsets, "
    "rules; recorded by `tools/record_ipvs_scene.py` |"
)
"""In the index: the scene that needs another kernel."""

CLIENT = "192.0.2.9"
PAGE = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"hello from a pod\n" * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One scene: what it shows, and how the node comes to be."""

    name: str
    about: str
    build: Callable[[Bench], Callable[[], None]]
    """Builds the node and returns what makes the traffic."""
    also: Callable[[Bench], dict[str, str]] = lambda bench: {}
    """Further files about the node afterwards."""
    left_out: tuple[str, ...] = LEFT_OUT
    """Files of the snapshot that say nothing."""


def uplink(bench: Bench) -> Host:
    """Give the node its eth0 and a client beyond it."""
    client = bench.host(
        "eth0", "52:54:00:00:02:01", far_mac="52:54:00:00:02:09", address=f"{CLIENT}/24",
        gateway="192.0.2.1", node_address="192.0.2.1/24",
    )  # fmt: skip
    bench.ip("route add default via 192.0.2.254")
    bench.sysctl("net.ipv4.ip_forward", "1")
    return client


def pod(bench: Bench, number: int, *, hairpin: bool = True) -> Host:
    """Give the node's cni0 a port with a pod 10.244.1.NUMBER that serves a page."""
    port = f"veth{number:04x}"
    host = bench.host(
        port, f"0a:58:00:00:00:{number:02x}", far_mac=f"0a:58:0a:f4:01:{number:02x}",
        address=f"10.244.1.{number}/24", gateway="10.244.1.1", master="cni0",
    )  # fmt: skip
    if hairpin:
        bench.ip(f"link set {port} type bridge_slave hairpin on")
    bench.serve(host, 8080, PAGE)
    return host


def clusterip(bench: Bench) -> Callable[[], None]:
    """A Service with three endpoints, reached from outside and from a pod."""
    bench.bridge("cni0", "0a:58:0a:f4:01:01", "10.244.1.1/24")
    client = uplink(bench)
    pods = [pod(bench, number) for number in (5, 6, 7)]
    web = ServicePort(
        name="default/web:http", address="10.96.0.10", port=80, node_port=30080,
        endpoints=("10.244.1.5:8080", "10.244.1.6:8080", "10.244.1.7:8080"),
    )  # fmt: skip
    api = ServicePort(
        name="default/kubernetes:https", address="10.96.0.1", port=443,
        endpoints=("192.0.2.1:6443",),
    )  # fmt: skip
    bench.rules(kube_proxy((api, web), pods="10.244.0.0/16"))
    for known in ("10.244.1.5", "10.244.1.6", CLIENT):  # the third pod is found by ARP
        Host(bench.node).ping(known, identifier=1)

    def traffic() -> None:
        for source_port in range(40001, 40005):
            assert fetch(client, "10.96.0.10", 80, source_port=source_port) == PAGE
        assert fetch(client, "192.0.2.1", 30080, source_port=40011) == PAGE
        for source_port in range(41001, 41003):
            assert fetch(pods[0], "10.96.0.10", 80, source_port=source_port) == PAGE
        pods[1].ping(CLIENT, identifier=7, count=2)

    return traffic


def hairpin(bench: Bench) -> Callable[[], None]:
    """A pod that reaches itself through its own Service."""
    bench.bridge("cni0", "0a:58:0a:f4:01:01", "10.244.1.1/24")
    uplink(bench)
    web = pod(bench, 5)
    other = pod(bench, 6)
    service = ServicePort(
        name="default/web:http", address="10.96.0.10", port=80, endpoints=("10.244.1.5:8080",)
    )
    bench.rules(kube_proxy((service,), pods="10.244.0.0/16"))

    def traffic() -> None:
        assert fetch(web, "10.96.0.10", 80, source_port=41001) == PAGE
        assert fetch(other, "10.96.0.10", 80, source_port=41002) == PAGE
        other.ping("10.244.1.5", identifier=9)

    return traffic


def docker(bench: Bench) -> Callable[[], None]:
    """A container whose port 80 is published as 8080 of the host."""
    bench.bridge("docker0", "02:42:00:00:00:01", "172.17.0.1/16")
    client = uplink(bench)
    container = bench.host(
        "veth0a1b2c3", "02:42:00:00:01:02", far_mac="02:42:ac:11:00:02", address="172.17.0.2/16",
        gateway="172.17.0.1", master="docker0",
    )  # fmt: skip
    bench.rules(DOCKER)
    bench.serve(container, 80, PAGE)

    def traffic() -> None:
        assert fetch(client, "192.0.2.1", 8080, source_port=40001) == PAGE
        container.ping(CLIENT, identifier=3, count=2)
        with container.socket(socket.SOCK_DGRAM, bind=("", 5353)) as sender:
            sender.sendto(b"a question", (CLIENT, 53))
            with suppress(OSError):
                sender.recv(100)
        with client.socket(socket.SOCK_STREAM, bind=("", 40002)) as probe, suppress(OSError):
            probe.settimeout(0.3)
            probe.connect(("172.17.0.2", 81))

    return traffic


def firewall(bench: Bench) -> Callable[[], None]:
    """A host that refuses, logs, limits and traces."""
    client = uplink(bench)
    bench.rules(HOST_FIREWALL)

    def connect(port: int, source_port: int) -> None:
        with client.socket(socket.SOCK_STREAM, bind=("", source_port)) as probe:
            probe.settimeout(0.2)
            with suppress(OSError):
                probe.connect(("192.0.2.1", port))

    def traffic() -> None:
        for number in range(5):
            client.ping("192.0.2.1", identifier=40 + number)
        for number in range(5):
            connect(22, 40010 + number)
        connect(25, 40020)
        connect(8080, 40021)
        with client.socket(socket.SOCK_DGRAM, bind=("", 40030)) as sender:
            sender.connect(("192.0.2.1", 53))
            sender.send(b"a question")
            with suppress(OSError):
                sender.recv(100)

    return traffic


def idle(bench: Bench) -> Callable[[], None]:
    """A masquerading gateway that has forgotten a connection by the time it is used again."""
    outside = uplink(bench)
    inside = bench.host(
        "eth1", "52:54:00:00:03:01", far_mac="52:54:00:00:03:05", address="10.0.0.5/24",
        gateway="10.0.0.1", node_address="10.0.0.1/24",
    )  # fmt: skip
    bench.rules(GATEWAY)
    for key, value in (
        ("tcp_timeout_established", "2"), ("tcp_timeout_unacknowledged", "2"),
        ("tcp_loose", "0"), ("udp_timeout", "1"),
    ):  # fmt: skip
        bench.sysctl(f"net.netfilter.nf_conntrack_{key}", value)

    def traffic() -> None:
        listener = outside.socket(socket.SOCK_STREAM, bind=("", 80))
        listener.listen()
        resolver = outside.socket(socket.SOCK_DGRAM, bind=("", 53))
        with inside.socket(socket.SOCK_STREAM, bind=("", 40001)) as client, listener, resolver:
            client.connect((CLIENT, 80))
            server, _ = listener.accept()
            client.sendall(b"in time")
            server.recv(100)
            with inside.socket(socket.SOCK_DGRAM, bind=("", 40002)) as asking:
                asking.sendto(b"a question", (CLIENT, 53))
                _, asker = resolver.recvfrom(100)
                resolver.sendto(b"an answer", asker)
                asking.recv(100)
                time.sleep(2.5)
                resolver.sendto(b"a late answer", asker)
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.sendall(b"too late")
            time.sleep(0.1)
            server.close()

    return traffic


def ipset(bench: Bench) -> Callable[[], None]:
    """A host that keeps IP sets of whom it blocks, what is open and who scanned it."""
    client = uplink(bench)
    client.namespace.run(["ip", "addr", "add", "192.0.2.10/24", "dev", "eth0"])
    bench.sets(SETS)
    bench.rules(SET_FIREWALL)

    def connect(port: int, source: str, source_port: int) -> None:
        with client.socket(socket.SOCK_STREAM, bind=(source, source_port)) as probe:
            probe.settimeout(0.2)
            with suppress(OSError):
                probe.connect(("192.0.2.1", port))

    def traffic() -> None:
        client.ping("192.0.2.1", identifier=50)
        connect(443, CLIENT, 40000)
        connect(22, "192.0.2.10", 40001)
        connect(8080, CLIENT, 40002)
        connect(443, CLIENT, 40003)
        connect(2222, CLIENT, 40004)
        client.ping("192.0.2.1", identifier=51)

    return traffic


SCENES = (
    Scene(
        name="clusterip",
        about="kube-proxy's rules for a Service with three endpoints (statistic, masquerade mark): "
        "connections from outside to the ClusterIP and to the NodePort, and from a pod",
        build=clusterip,
    ),
    Scene(
        name="hairpin",
        about="pods on one bridge reach a Service whose only endpoint is one of them, itself too: "
        "hairpin port and masquerade",
        build=hairpin,
    ),
    Scene(
        name="docker",
        about="docker's rules: a published port from outside, and the container's own way out",
        build=docker,
    ),
    Scene(
        name="firewall",
        about="a plain host firewall: limit, recent, LOG, REJECT, a traced packet, a closed port",
        build=firewall,
    ),
    Scene(
        name="idle",
        about="a masquerading gateway with short timeouts: a TCP connection and a UDP question "
        "pass, rest until their entries expire, and their late packets meet nobody",
        build=idle,
    ),
    Scene(
        name="ipset",
        about="IP sets: networks with an exception, ports, a list of sets, and a set that a rule "
        "fills with whoever tries a closed port",
        build=ipset,
    ),
)


def record(scene: Scene, root: Path = ROOT) -> None:
    """Record one scene into rulesets/ and captures/ below `root`."""
    bench = Bench()
    try:
        traffic = scene.build(bench)
        bench.settle()
        bench.forget_connections()
        files = bench.snapshot(lambda name: not name.startswith(scene.left_out))
        with bench.recording() as (frames, lines):
            traffic()
        after = bench.after() | scene.also(bench)
    finally:
        bench.close()
    if not files.get(IPSET):
        files.pop(IPSET, None)
    files["sysctl_-a"] = "".join(
        line + "\n" for line in files["sysctl_-a"].splitlines() if line.startswith(SYSCTLS)
    )
    write_files(root / "rulesets" / scene.name, files)
    write_files(
        root / "captures" / scene.name,
        after | {"trace.log": "".join(f"{line}\n" for line in lines)},
    )
    write_capture(root / "captures" / f"{scene.name}.pcapng", scene, frames)
    print(f"{scene.name}: {len(frames)} frames, {len(lines)} log lines")


def write_files(directory: Path, files: dict[str, str]) -> None:
    """Write files into a fresh directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, text in files.items():
        (directory / name).write_text(text)


def write_capture(path: Path, scene: Scene, frames: list[Recorded]) -> None:
    """Write frames with their ports and directions."""
    with path.open("wb") as stream:
        comment = f"{scene.name}: {scene.about}"
        writer = PcapngWriter(stream.write, application="tools/record_scenes.py", comment=comment)
        ports = {name: writer.add_interface(name) for name in dict.fromkeys(f.port for f in frames)}
        for frame in frames:
            direction = Direction.INBOUND if frame.entered else Direction.OUTBOUND
            writer.write(ports[frame.port], frame.time_ns, frame.frame, direction=direction)


def write_index() -> None:
    """Write what each scene shows."""
    lines = [
        "# Scenes",
        "",
        "Small nodes, recorded from a live Linux kernel by `tools/record_scenes.py`.",
        "`rulesets/NAME/` is the node's snapshot before the traffic (`sysctl -a` cut to `net.*`),",
        "`captures/NAME.pcapng` what came in and went out at its ports, `captures/NAME/` holds its",
        "tables and log afterwards.",
        "",
        "| scene | what it shows |",
        "|---|---|",
        *(f"| `{scene.name}` | {scene.about} |" for scene in SCENES),
        IPVS_ROW,
        "",
        "    netemu replay rulesets/clusterip --in captures/clusterip.pcapng",
        "",
    ]
    (ROOT / "rulesets" / "README.md").write_text("\n".join(lines))


def main() -> int:
    """Record the scenes named, or all."""
    wanted = sys.argv[1:] or [scene.name for scene in SCENES]
    known = {scene.name: scene for scene in SCENES}
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"no scene {unknown[0]!r}; there are {' '.join(known)}", file=sys.stderr)
        return 2
    with closing(LogPhase()):
        for name in wanted:
            record(known[name])
    write_index()
    return 0


if __name__ == "__main__":
    sys.exit(main())
