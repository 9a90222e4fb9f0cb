"""A node made of rules alone, as the contract has it, and what the command line changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.errors import UsageError
from netemu.sim.spec import NodeSpec, TextFile
from netemu.snapshot.bare import bare_node
from netemu.snapshot.change import Changes
from netemu.snapshot.read import read_node
from netemu.wire.address import format_address

DOCKER = """*nat
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 80 -j DNAT --to-destination 172.17.0.2:80
COMMIT
*filter
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
COMMIT
"""


def node(text: str, **changes: list[str]) -> NodeSpec:
    return bare_node(TextFile(name="r", text=text), Changes(**changes))


def addresses(spec: NodeSpec) -> list[str]:
    return [f"{a.device} {format_address(a.address)}/{a.prefix_len}" for a in spec.main.addresses]


def default_route(spec: NodeSpec) -> tuple[str, str]:
    way = next(route for route in spec.main.routes if not route.prefix_len).nexthops[0]
    return way.device, format_address(way.gateway) if way.gateway else ""


def test_no_rule_at_all() -> None:
    spec = node("*filter\nCOMMIT\n")
    assert [(link.name, link.kind, link.ifindex) for link in spec.main.links] == [
        ("lo", "loopback", 1),
        ("eth0", "", 2),
    ]
    assert addresses(spec) == ["lo 127.0.0.1/8", "eth0 192.0.2.1/24"]
    assert default_route(spec) == ("eth0", "192.0.2.254")
    sysctls = spec.main.sysctls
    assert sysctls["net.ipv4.ip_forward"] == "1"
    assert sysctls["net.ipv4.conf.all.rp_filter"] == "0"
    assert sysctls["net.bridge.bridge-nf-call-iptables"] == "1"
    assert spec.notes[0] == (
        "rules only: assumed are devices lo, eth0; addresses eth0 192.0.2.1/24; default route "
        "via 192.0.2.254; ip_forward=1, rp_filter=0, bridge-nf-call-iptables=1"
    )


def test_the_kernels_own_routes_are_there() -> None:
    shown = {
        (route.table, route.kind, format_address(route.prefix), route.prefix_len)
        for route in node("*filter\nCOMMIT\n").main.routes
    }
    assert {
        (255, "local", "127.0.0.1", 32),
        (255, "local", "127.0.0.0", 8),
        (255, "broadcast", "127.255.255.255", 32),
        (255, "local", "192.0.2.1", 32),
        (255, "broadcast", "192.0.2.255", 32),
        (254, "unicast", "192.0.2.0", 24),
        (254, "unicast", "0.0.0.0", 0),
    } == shown


def test_a_subnet_that_the_rules_tell() -> None:
    spec = node(DOCKER)
    assert [link.name for link in spec.main.links] == ["lo", "eth0", "docker0"]
    assert "docker0 172.17.0.1/16" in addresses(spec)


@pytest.mark.parametrize(
    "rule",
    [
        "-A INPUT -s 10.0.0.0/8 -i ppp0 -j DROP",  # spoofed: says who must not be there
        "-A INPUT -s 127.0.0.0/8 -i ppp0 -j ACCEPT",
        "-A FORWARD -d 224.0.0.0/4 -o ppp0 -j ACCEPT",
        "-A FORWARD ! -s 10.1.0.0/16 -i ppp0 -j ACCEPT",
        "-A FORWARD -s 10.1.0.0/16 -o ppp0 -j ACCEPT",
        "-A FORWARD -s 0.0.0.0/1 -i ppp0 -j ACCEPT",
    ],
)
def test_no_subnet_without_evidence(rule: str) -> None:
    assert addresses(node(rule)) == ["lo 127.0.0.1/8", "eth0 192.0.2.1/24"]


def test_a_disputed_subnet_goes_to_nobody() -> None:
    rules = "-A FORWARD -s 10.1.0.0/16 -i a0 -j ACCEPT\n-A FORWARD -s 10.1.2.0/24 -i b0 -j ACCEPT\n"
    assert len(addresses(node(rules))) == 2


def test_single_hosts_become_routes() -> None:
    spec = node("-A FORWARD -d 10.244.0.5/32 -o veth9 -j ACCEPT\n")
    assert ("veth9", 32) in {
        (route.nexthops[0].device, route.prefix_len)
        for route in spec.main.routes
        if route.table == 254
    }
    assert len(addresses(spec)) == 2


def test_an_address_replaces_what_was_assumed() -> None:
    spec = node(DOCKER, addresses=["docker0=10.5.0.1/24", "wg0=10.6.0.1/24"])
    assert addresses(spec)[2:] == ["docker0 10.5.0.1/24", "wg0 10.6.0.1/24"]
    assert spec.main.links[-1].name == "wg0"
    assert "docker0 10.5.0.1/24, wg0 10.6.0.1/24" in spec.notes[0]


def test_the_gateway_follows_the_uplink() -> None:
    spec = node("", addresses=["eth0=10.5.0.9/24"])
    assert default_route(spec) == ("eth0", "10.5.0.254")
    kept = node("", addresses=["eth0=192.0.2.77/24"])
    assert default_route(kept) == ("eth0", "192.0.2.254")


def test_routes_and_parameters() -> None:
    spec = node(
        DOCKER,
        routes=[
            "default,via=172.17.0.9",
            "10.0.0.0/8,via=192.0.2.7,dev=eth0",
            "10.9.1.7/16,dev=eth0",
        ],
        sysctls=["net.ipv4.ip_forward=0"],
    )
    assert default_route(spec) == ("docker0", "172.17.0.9")
    assert sum(not route.prefix_len for route in spec.main.routes) == 1
    assert "10.9.0.0" in {format_address(route.prefix) for route in spec.main.routes}
    assert spec.main.sysctls["net.ipv4.ip_forward"] == "0"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"addresses": ["eth0"]}, "DEV=IP/LEN would be right"),
        ({"addresses": ["=10.0.0.1/8"]}, "no device is named"),
        ({"addresses": ["eth0=10.0.0.1/40"]}, "prefix length 40 is not within 0-32"),
        ({"routes": ["10.0.0.0/8,gw=1.2.3.4"]}, r"PREFIX\[,via=IP\]\[,dev=DEV\] would be right"),
        ({"routes": ["10.0.0.0/8,via=10.2.3.4"]}, "no device has a subnet with that gateway"),
        ({"routes": ["10.0.0.0/8"]}, "no device has a subnet with that gateway"),
        ({"routes": ["10.0.0.0/8,dev=eth7"]}, "the node has no device eth7"),
        ({"routes": ["nonsense,dev=eth0"]}, "nonsense"),
        ({"sysctls": ["net.ipv4.ip_forward"]}, "KEY=VALUE would be right"),
    ],
)
def test_wrong_changes(changes: dict[str, list[str]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        node(DOCKER, **changes)


def test_an_ipv6_file() -> None:
    spec = node("# Generated by ip6tables-save v1.8.9 on Mon\n*filter\nCOMMIT\n")
    assert spec.main.rules4 is None and spec.main.rules6 is not None
    assert addresses(spec) == ["lo ::1/128", "eth0 2001:db8::1/64"]
    assert default_route(spec) == ("eth0", "2001:db8::fe")


def corpus() -> list[Path]:
    folder = Path(__file__).parents[3] / "shared"
    return sorted([*folder.glob("corpus/dumps/*.save*"), *folder.glob("examples/*/*/*-save.txt")])


def test_every_public_rule_file_makes_a_node() -> None:
    files = corpus()
    if not files:
        pytest.skip("no corpus beside the checkout")
    for path in files:
        spec = read_node(str(path))
        names = [link.name for link in spec.main.links]
        assert {"lo", "eth0"} <= set(names), path
        assert len(names) == len(set(names)) and all(len(name) < 16 for name in names), path
        if path.name.endswith(".save6"):
            assert spec.main.rules6 is not None, path
