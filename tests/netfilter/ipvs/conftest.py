"""A namespace with virtual servers, and the frames that reach them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netemu.ruleset.ipvsadm import apply_ipvs
from netemu.sim.node import Node, build_node
from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec, NeighbourSpec, NodeSpec, TextFile
from netemu.wire.address import format_address, parse_address, parse_mac
from netemu.wire.packet_text import parse_packet

OUR_MAC = parse_mac("02:00:00:00:00:01")
THEIR_MAC = parse_mac("02:00:00:00:00:99")


class Balancer:
    """A node with eth0 (192.0.2.1/24, clients), eth1 (10.0.0.1/24, servers) and kube-ipvs0."""

    def __init__(self, ipvs: str, rules: str = "", **sysctls: str) -> None:
        """Build it; sysctls are net.ipv4.vs.NAME."""
        values = {f"net.ipv4.vs.{name}": value for name, value in sysctls.items()}
        addresses = {"eth0": ("192.0.2.1", 24), "eth1": ("10.0.0.1", 24),
                     "kube-ipvs0": ("10.96.0.1", 32)}  # fmt: skip
        self.node: Node = build_node(
            NodeSpec(
                main=NamespaceSpec(
                    links=[
                        LinkSpec(name="eth0", ifindex=2, mac=OUR_MAC),
                        LinkSpec(name="eth1", ifindex=3, mac=OUR_MAC),
                        LinkSpec(name="kube-ipvs0", ifindex=4, kind="dummy", up=False),
                    ],
                    addresses=[
                        AddressSpec(device=d, address=parse_address(a), prefix_len=n)
                        for d, (a, n) in addresses.items()
                    ],
                    neighbours=[
                        NeighbourSpec(device=device, address=parse_address(f"{net}.{i}"),
                                      mac=THEIR_MAC, state="PERMANENT")
                        for device, net in (("eth0", "192.0.2"), ("eth1", "10.0.0"))
                        for i in range(2, 20)
                    ],
                    sysctls={"net.ipv4.ip_forward": "1", **values},
                    ipvs=TextFile(name="ipvs", text=ipvs),
                    rules4=TextFile(name="rules", text=rules) if rules else None,
                    sockets=[],
                )
            ),
            kernel="6.1",
        )  # fmt: skip
        self.net = self.node.main.net

    def send(self, text: str, device: str = "eth0") -> list[str]:
        """Let a packet enter; return `DEVICE SOURCE > DESTINATION` of what leaves."""
        frame = parse_packet(text).frame(dst_mac=OUR_MAC, src_mac=THEIR_MAC)
        fate = self.node.receive(device, frame)
        return [f"{sent.device} {ends(sent.frame[14:])}" for sent in fate.frames]

    def do(self, text: str) -> None:
        """Change the servers."""
        apply_ipvs(self.net, text)

    def servers(self, count: int, start: int = 40000) -> list[str]:
        """Return the last octet of the server that each of some new connections gets."""
        found = []
        for port in range(start, start + count):
            sent = self.send(f"tcp 192.0.2.2:{port} > 10.96.0.1:80 S")
            found.append(sent[0].split(" > ")[1].split(":")[0].split(".")[-1] if sent else "-")
        return found


def ends(packet: bytes) -> str:
    """Return both ends of a packet."""
    at = (packet[0] & 15) * 4
    ports = [int.from_bytes(packet[at + i : at + i + 2], "big") for i in (0, 2)]
    src, dst = format_address(packet[12:16]), format_address(packet[16:20])
    return f"{src}:{ports[0]} > {dst}:{ports[1]}"


@pytest.fixture
def balancer() -> Callable[..., Balancer]:
    """Make a balancer."""
    return Balancer
