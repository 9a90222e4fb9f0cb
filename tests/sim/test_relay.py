"""The userspace proxy's datagrams: one socket to an endpoint for each client, while it speaks."""

from __future__ import annotations

import pytest

from netemu.ip.datagram import Waiters
from netemu.ip.sockets import Sockets
from netemu.sim.lab import Lab
from netemu.sim.lab_spec import ClientSpec, LabSpec
from netemu.sim.programs import Server
from netemu.sim.relay import Balancer, ProxyListener
from netemu.sim.spec import AddressSpec, LinkSpec, NamespaceSpec, NodeSpec, SocketSpec
from netemu.wire.ipv4 import IPPROTO_UDP

HERE = bytes((10, 0, 0, 1))
PORTS = (7001, 7002)
PROXY = 33000


@pytest.fixture
def lab() -> Lab:
    """Return a host with two servers, and a proxy before them."""
    link = LinkSpec(name="eth0", ifindex=2, mac=bytes((2, 0, 0, 0, 0, 1)))
    address = AddressSpec(device="eth0", address=HERE, prefix_len=24)
    made = Lab(
        LabSpec(node=NodeSpec(main=NamespaceSpec(links=[link], addresses=[address], sockets=[])))
    )
    net = made.node.main.net
    balancer = Balancer(net)
    balancer.set_endpoints([(HERE, port) for port in PORTS])
    sockets = net.generic(Sockets)
    for port in PORTS:
        spec = SocketSpec(protocol="udp", address=bytes(4), port=port)
        sockets.listen(spec, Server("http", str(port)))
    spec = SocketSpec(protocol="udp", address=bytes(4), port=PROXY)
    sockets.listen(spec, ProxyListener(net, balancer, PROXY))
    return made


def ask(lab: Lab, at_s: float, local_port: int) -> str:
    """Ask the proxy at a moment; return what came back."""
    lab.add_client(
        ClientSpec(
            name="client",
            namespace="",
            kind="udp",
            remote=HERE,
            port=PROXY,
            local_port=local_port,
            start_ns=round(at_s * 1e9),
            text="hello",
        )
    )
    lab.run_until(round(at_s * 1e9) + 1_000_000)
    return lab.notes[-1].text.rpartition(" ")[2]


def test_a_client_keeps_its_endpoint_while_it_speaks(lab: Lab):
    first = ask(lab, 1.0, 5000)
    assert int(first) in PORTS
    assert ask(lab, 1.2, 5000) == first
    assert ask(lab, 1.4, 5000) == first


def test_after_250_ms_of_silence_it_is_a_new_one(lab: Lab):
    first = ask(lab, 1.0, 5000)
    second = ask(lab, 1.3, 5000)
    assert {int(first), int(second)} == set(PORTS)


def test_two_clients_have_two_endpoints(lab: Lab):
    assert {int(ask(lab, 1.0, 5000)), int(ask(lab, 1.1, 5001))} == set(PORTS)


def test_nothing_is_kept_of_a_client_that_is_silent(lab: Lab):
    ask(lab, 1.0, 5000)
    waiters = lab.node.main.net.generic(Waiters)
    lab.run_until(2_000_000_000)
    assert not any(waiters.find(IPPROTO_UDP, port) for port in range(32768, 61000))
