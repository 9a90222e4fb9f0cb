"""NE4xx and NE51x: a node's parameters, routes, backends and virtual servers."""

from __future__ import annotations

import pytest

from netemu.lint.engine import look
from netemu.lint.settings import LintSettings
from netemu.lint.subject import Subject
from netemu.sim.spec import (
    AddressSpec,
    LinkSpec,
    NamespaceSpec,
    NexthopSpec,
    NodeSpec,
    RouteSpec,
    TextFile,
)
from tests.lint.cases import expand

DNAT = "*nat; -A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 172.17.0.2"
NODEPORTS = "*nat; :KUBE-NODEPORTS; -A OUTPUT {} -j KUBE-NODEPORTS; -A KUBE-NODEPORTS -j RETURN"
BRIDGED = [
    LinkSpec(name="cni0", ifindex=2, kind="bridge"),
    LinkSpec(name="veth1", ifindex=3, kind="veth", master="cni0"),
    LinkSpec(name="veth2", ifindex=4, kind="veth", master="cni0"),
]
BR_OFF = {"net.bridge.bridge-nf-call-iptables": "0"}
LOCALNET = {"net.ipv4.conf.all.route_localnet": "1"}
NO_LOCALNET = {"net.ipv4.conf.all.route_localnet": "0"}
IPVS0 = [AddressSpec(device="kube-ipvs0", address=bytes((203, 0, 113, 10)), prefix_len=32)]


def default(device: str, metric: int) -> RouteSpec:
    hop = NexthopSpec(device=device, gateway=bytes((192, 0, 2, 254)))
    return RouteSpec(prefix=bytes(4), prefix_len=0, metric=metric, nexthops=(hop,))


def found(code: str, text: str = "", **parts: object) -> int:
    backends = parts.pop("backends", ())
    native = parts.pop("native", ())
    node = NodeSpec(main=NamespaceSpec(**parts))  # type: ignore[arg-type]
    subject = Subject(expand(text) if text else "", "x", make_node=lambda _: node, is_snapshot=True)
    subject.backends, subject.native_tables = backends, native  # type: ignore[assignment]
    return len(look(subject, LintSettings(select=(code,))).findings)


@pytest.mark.parametrize(
    "expected, code, parts",
    [
        (0, "NE401", {"text": DNAT, "sysctls": {"net.ipv4.ip_forward": "1"}}),
        (0, "NE401", {"text": DNAT, "sysctls": {}}),
        (
            0,
            "NE401",
            {"text": "-A INPUT -j ACCEPT", "sysctls": {"net.ipv4.ip_forward": "0"}},
        ),
        (1, "NE401", {"text": DNAT, "sysctls": {"net.ipv4.ip_forward": "0"}}),
        (
            1,
            "NE401",
            {"text": "-A FORWARD -j ACCEPT", "sysctls": {"net.ipv4.ip_forward": "0"}},
        ),
        (0, "NE402", {"text": DNAT, "links": BRIDGED, "sysctls": {}}),
        (0, "NE402", {"text": DNAT, "links": BRIDGED[:2], "sysctls": BR_OFF}),
        (0, "NE402", {"text": "-A INPUT -j ACCEPT", "links": BRIDGED, "sysctls": BR_OFF}),
        (1, "NE402", {"text": DNAT, "links": BRIDGED, "sysctls": BR_OFF}),
        (
            0,
            "NE403",
            {
                "routes": [default("eth0", 1), default("eth1", 2)],
                "sysctls": {"net.ipv4.conf.eth0.rp_filter": "1"},
            },
        ),
        (
            0,
            "NE403",
            {
                "routes": [default("eth0", 1), default("eth1", 2)],
                "sysctls": {
                    "net.ipv4.conf.eth1.rp_filter": "1",
                    "net.ipv4.conf.all.rp_filter": "2",
                },
            },
        ),
        (
            1,
            "NE403",
            {
                "routes": [default("eth0", 1), default("eth1", 2)],
                "sysctls": {"net.ipv4.conf.all.rp_filter": "1"},
            },
        ),
        (0, "NE404", {"text": "-A INPUT -j ACCEPT", "sysctls": NO_LOCALNET}),
        (
            0,
            "NE404",
            {"text": "-A INPUT ! -i lo -d 127.0.0.0/8 -j DROP", "sysctls": LOCALNET},
        ),
        (0, "NE404", {"text": ":INPUT DROP", "sysctls": LOCALNET}),
        (1, "NE404", {"text": "-A INPUT -j ACCEPT", "sysctls": LOCALNET}),
        (1, "NE404", {"text": "-A INPUT ! -d 127.0.0.0/8 -j DROP", "sysctls": LOCALNET}),
        (0, "NE405", {"backends": ("legacy",)}),
        (0, "NE405", {"native": ("inet firewalld",)}),
        (1, "NE405", {"backends": ("legacy", "nft")}),
        (1, "NE405", {"backends": ("nft",), "native": ("inet firewalld",)}),
        (0, "NE406", {"addresses": IPVS0, "sysctls": {}}),
        (
            0,
            "NE406",
            {
                "addresses": IPVS0,
                "sysctls": {
                    "net.ipv4.conf.all.arp_ignore": "1",
                    "net.ipv4.conf.all.arp_announce": "2",
                },
            },
        ),
        (0, "NE406", {"sysctls": {"net.ipv4.conf.all.arp_ignore": "0"}}),
        (
            1,
            "NE406",
            {"addresses": IPVS0, "sysctls": {"net.ipv4.conf.all.arp_ignore": "0"}},
        ),
        (0, "NE407", {"text": NODEPORTS.format("! -d 127.0.0.0/8"), "sysctls": NO_LOCALNET}),
        (0, "NE407", {"text": NODEPORTS.format("-p tcp"), "sysctls": LOCALNET}),
        (1, "NE407", {"text": NODEPORTS.format("-p tcp"), "sysctls": NO_LOCALNET}),
    ],
)
def test_parameters(expected: int, code: str, parts: dict[str, object]) -> None:
    assert found(code, **parts) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "expected, code, lines",
    [
        (0, "NE511", ["-A -t 10.96.0.20:80 -s rr", "-a -t 10.96.0.20:80 -r 10.0.0.1:80 -m"]),
        (0, "NE511", []),
        (1, "NE511", ["-A -t 10.96.0.20:80 -s rr"]),
        (1, "NE511", ["-A -t 10.96.0.20:80 -s rr", "-A -u 10.96.0.20:80 -s rr",
                      "-a -u 10.96.0.20:80 -r 10.0.0.1:80 -m"]),
        (0, "NE512", ["-A -t 10.96.0.20:80 -s rr"]),
        (0, "NE512", ["-A -t 10.96.0.20:80 -s rr", "-a -t 10.96.0.20:80 -r 10.0.0.1:80 -m -w 0",
                      "-a -t 10.96.0.20:80 -r 10.0.0.2:80 -m -w 1"]),
        (1, "NE512", ["-A -t 10.96.0.20:80 -s rr", "-a -t 10.96.0.20:80 -r 10.0.0.1:80 -m -w 0"]),
    ],
)  # fmt: skip
def test_virtual_servers(expected: int, code: str, lines: list[str]) -> None:
    ipvs = TextFile(name="ipvsadm_-Sn", text="".join(f"{line}\n" for line in lines))
    assert found(code, ipvs=ipvs) == expected
