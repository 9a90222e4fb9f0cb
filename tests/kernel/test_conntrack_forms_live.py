"""Connections as conntrack(8) and /proc/net/nf_conntrack print them, and what ends masqueraded
ones, against the live kernel."""

from __future__ import annotations

import importlib.util
import re
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from netemu.livekernel.emulator import EmulatedNode
from netemu.livekernel.runner import LiveNode
from netemu.netfilter.conntrack.expect import Expectations
from netemu.netfilter.conntrack.table import Conntrack, Form
from netemu.sim.admin import add_address, delete_address, set_link
from netemu.sim.spec import AddressSpec
from netemu.wire.address import parse_address
from netemu.wire.ipv4 import build_ipv4

PROC = "/proc/thread-self/net/nf_conntrack"


def load_scripts() -> ModuleType:
    """Import the module that makes routers and packets of text."""
    path = Path(__file__).parent.parent / "netfilter" / "helpers" / "test_scripts.py"
    spec = importlib.util.spec_from_file_location("helper_scripts", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["helper_scripts"] = module
    spec.loader.exec_module(module)
    return module


scripts = load_scripts()

RULES = """\
*raw
-A PREROUTING -p tcp --dport 81 -j CT --zone 5
-A PREROUTING -p tcp --dport 82 -j CT --zone-orig 6
-A PREROUTING -p tcp --dport 83 -j CT --zone-reply 7
-A PREROUTING -p tcp --dport 21 -j CT --helper ftp
COMMIT
*nat
-A POSTROUTING -o eth1 -j MASQUERADE
COMMIT
*mangle
-A PREROUTING -p tcp --dport 80 -j CONNMARK --set-mark 9
COMMIT"""

TEXTS = [
    *(f"c tcp 10.1.0.2:1000 > 10.2.0.2:{port} S seq=1" for port in (80, 81, 82, 83, 21)),
    'c udp 10.1.0.2:1000 > 10.2.0.2:53 text="x"',
    's udp 10.2.0.2:53 > 10.2.0.1:1000 text="x"',
]

OTHERS = {
    47: bytes(8),
    99: b"x",
    33: bytes(16),
    132: bytes([0, 7, 0, 9, 0, 0, 0, 0, 0xDD, 0x1B, 0x6B, 0x1F, 1, 0, 0, 4]),
    136: bytes([0, 7, 0, 9, 0, 8, 0, 0]),
    1: bytes([8, 0, 0xF7, 0xF5, 0, 3, 0, 7]),
}
"""Protocol -> body of a packet."""


def frames() -> list[tuple[str, bytes]]:
    """Return what is sent: device and frame."""
    made = [scripts.build_frame(text) for text in TEXTS]
    head = scripts.ROUTER_MAC["c"] + scripts.HOST_MAC["c"] + b"\x08\x00"
    client, server = parse_address("10.1.0.2"), parse_address("10.2.0.2")
    for protocol, body in OTHERS.items():
        packet = build_ipv4(src=client, dst=server, protocol=protocol, payload=body, ttl=9)
        made.append(("c", head + bytes(packet)))
    return [(scripts.DEVICES[side], frame) for side, frame in made]


def lines(text: str) -> list[str]:
    """Return rows without their timeouts and ages, sorted."""
    hidden = re.sub(r"(?m)^((?:ipv4 +2 )?\S+ +\d+ )\d+|(?<=delta-time=)\d+", r"\1", text)
    return sorted(hidden.splitlines())


@pytest.mark.parametrize("accounting", ["0", "1"])
def test_every_form_is_the_tools_and_is_read_again(accounting: str) -> None:
    sysctls = {"acct": accounting, "timestamp": accounting}
    node = scripts.node_of(scripts.Case("forms", sysctls, RULES.splitlines()))
    emulated = EmulatedNode(node)
    with LiveNode(node) as live:
        live.start()
        for device, frame in frames():
            live.send(device, frame)
            emulated.send(device, frame)
        space = live._built.spaces[""]
        theirs = {
            Form.PROC: space.run(["cat", PROC]),
            Form.PLAIN: space.run(["conntrack", "-L"]),
            Form.EXTENDED: space.run(["conntrack", "-L", "-o", "extended"]),
        }
    table = emulated.node.main.net.generic(Conntrack)
    assert len(lines(theirs[Form.PLAIN])) >= 9
    for form, text in theirs.items():
        assert lines(table.dump(form)) == lines(text)
        again = EmulatedNode(scripts.node_of(scripts.Case("again", sysctls)))
        loaded = again.node.main.net.generic(Conntrack)
        loaded.load(text)
        if form is not Form.PROC:  # which shows no helper
            assert lines(loaded.dump(form)) == lines(text)


CHANGES = {
    "ip link set eth0 down": lambda net: set_link(net, net.devices["eth0"], up=False),
    "ip link set eth1 down": lambda net: set_link(net, net.devices["eth1"], up=False),
    "ip addr del 10.2.0.1/16 dev eth1": lambda net: delete_address(
        net, net.devices["eth1"], parse_address("10.2.0.1")
    ),
    "ip addr add 10.2.0.9/16 dev eth1": lambda net: add_address(
        net, AddressSpec(device="eth1", address=parse_address("10.2.0.9"), prefix_len=16)
    ),
    "ip addr del 10.2.0.9/16 dev eth1": lambda net: delete_address(
        net, net.devices["eth1"], parse_address("10.2.0.9")
    ),
}


@pytest.mark.parametrize(
    "target,commands",
    [
        ("MASQUERADE", ["ip link set eth0 down", "ip link set eth1 down"]),
        ("MASQUERADE", ["ip addr del 10.2.0.1/16 dev eth1"]),
        (
            "MASQUERADE",
            ["ip addr add 10.2.0.9/16 dev eth1", "ip addr del 10.2.0.9/16 dev eth1"],
        ),
        ("SNAT --to-source 10.2.0.1", ["ip link set eth1 down"]),
    ],
)
def test_a_lost_address_ends_what_was_masqueraded(target: str, commands: list[str]) -> None:
    rules = f"*nat\n-A POSTROUTING -o eth1 -j {target}\nCOMMIT"
    node = scripts.node_of(scripts.Case("masquerade", {}, rules.splitlines()))
    emulated = EmulatedNode(node)
    net = emulated.node.main.net
    texts = [
        'c udp 10.1.0.2:1000 > 10.2.0.2:53 text="x"',
        'c udp 10.1.0.3:1001 > 10.2.0.3:53 text="x"',
        's udp 10.2.0.2:7 > 10.1.0.2:9 text="x"',
        "c tcp 10.1.0.2:1000 > 10.2.0.2:80 S seq=1",
    ]
    with LiveNode(node) as live:
        live.start()
        for side, frame in map(scripts.build_frame, texts):
            live.send(scripts.DEVICES[side], frame)
            emulated.send(scripts.DEVICES[side], frame)
        space = live._built.spaces[""]
        for command in commands:
            space.run(command.split())
            CHANGES[command](net)
            time.sleep(0.1)  # the kernel removes them in the background
            theirs = lines(space.run(["conntrack", "-L"]))
            assert lines(net.generic(Conntrack).dump()) == theirs, command
    assert not net.generic(Expectations)
