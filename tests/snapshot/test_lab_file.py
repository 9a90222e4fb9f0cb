"""Lab files: what they become, and where a wrong one is wrong."""

from __future__ import annotations

import pytest

from netemu.errors import InputError, RulesetError
from netemu.sim.lab_spec import LabSpec
from netemu.snapshot.lab_file import read_lab
from netemu.snapshot.scan import looks_like_lab
from netemu.wire.address import parse_address

SMALL = """\
nodes:
  a:
    devices:
      eth0: {addresses: [10.0.0.1/24]}
      br0: {kind: bridge, addresses: [10.1.0.1/16]}
    pods:
      p: {address: 10.1.0.2/16, bridge: br0, port: {hairpin: on}}
  b: {}
links:
  - {ends: [a/eth0, b/eth0], delay: 2ms, loss: 1%, rate: 10mbit}
clients:
  - {from: a/p, ping: 10.0.0.2, at: 1.5}
"""


def lab(text: str, **files: str) -> LabSpec:
    def read(name: str) -> str:
        if name not in files:
            raise FileNotFoundError(2, "No such file or directory", name)
        return files[name]

    return read_lab("x.lab.yaml", text, read)


def test_pods_and_links_become_namespaces_and_pairs() -> None:
    found = lab(SMALL)
    spaces = {space.name: space for space in found.node.namespaces()}
    assert list(spaces) == ["a", "a/p", "b"]
    assert found.hosts == ["a", "b"]
    links = {link.name: link for link in spaces["a"].links}
    assert list(links) == ["lo", "eth0", "br0", "veth-p"]
    assert links["veth-p"].master == "br0"
    assert links["veth-p"].port == {"hairpin": 1}
    assert spaces["a"].netns_ids[links["veth-p"].peer_netnsid or 0] == "a/p"
    assert spaces["a/p"].routes[0].nexthops[0].gateway == parse_address("10.1.0.1")
    wire = found.node.wires[0]
    assert (wire.one, wire.other, wire.delay_ns) == ("a/eth0", "b/eth0", 2_000_000)
    assert (wire.loss, wire.rate_bps) == (0.01, 10_000_000)
    client = found.clients[0]
    assert (client.namespace, client.kind, client.start_ns) == ("a/p", "ping", 1_500_000_000)


def test_a_link_of_several_ends_is_a_switch() -> None:
    found = lab("nodes: {a: {}, b: {}, c: {}}\nlinks: [{name: lan, ends: [a/e, b/e, c/e]}]\n")
    switch = found.node.others[-1]
    assert switch.name == "lan"
    assert [link.name for link in switch.links] == ["lo", "switch", "p1", "p2", "p3"]
    assert found.hosts == ["a", "b", "c"]


def test_rules_stand_in_the_lab_or_beside_it() -> None:
    rules = "*filter\n-A INPUT -j DROP\nCOMMIT\n"
    text = "nodes:\n  a:\n    rules: |\n      *filter\n      -A INPUT -j DROP\n      COMMIT\n  b: {rules: b.rules}\n"
    found = lab(text, **{"b.rules": rules})
    inner, beside = (space.rules4 for space in found.node.namespaces())
    assert inner is not None
    assert beside is not None
    assert (inner.name, inner.text.splitlines()[4]) == ("x.lab.yaml", "-A INPUT -j DROP")
    assert beside.text == rules


def test_modules_are_those_of_a_host_and_its_pods() -> None:
    found = lab("nodes: {a: {modules: [ip_vs_ftp], pods: {p: {}}}, b: {}}\n")
    loaded = {space.name: space.modules for space in found.node.namespaces()}
    assert loaded == {"a": ("ip_vs_ftp",), "a/p": ("ip_vs_ftp",), "b": ()}


def test_labs_are_known_by_their_content() -> None:
    assert looks_like_lab(SMALL)
    assert not looks_like_lab("apiVersion: v1\nnodes: []\n")
    assert not looks_like_lab("*filter\nCOMMIT\n")


WRONG = [
    ("nodes:\n  a: {devices: {e: {mtu: many}}}\n", 2, 26, "mtu: expected `int`, got `str`"),
    ("nodes:\n  a: {device: {}}\n", 2, 7, "there is no field 'device' here; one of devices,"),
    (
        "nodes:\n  a: {devices: {e: {addresses: [10.0.0.1]}}}\n",
        2,
        33,
        "'10.0.0.1' is not an address with its prefix",
    ),
    ("nodes:\n  a: {devices: {e: {mac: 02}}}\n", 2, 26, "mac: expected `str`, got `int`"),
    ("nodes:\n  a: {devices: {e: {kind: vlam}}}\n", 2, 27, "kind: invalid enum value 'vlam'"),
    ("nodes:\n  a: {}\n  a: {}\n", 3, 3, "'a' stands here twice"),
    ("nodes: {a: {}}\nlinks:\n  - {ends: [a/e, c/e]}\n", 3, 18, "there is no 'c'; the lab has a"),
    (
        "nodes: {a: {}, b: {}}\nlinks:\n  - {ends: [a/e, b/e], loss: 200%}\n",
        3,
        30,
        "'200%' is not a chance",
    ),
    (
        "nodes: {a: {}, b: {}}\nlinks:\n  - {ends: [a/e, b/e], delay: 2 days}\n",
        3,
        31,
        "'2 days' is not a duration",
    ),
    (
        "nodes: {a: {}, b: {}}\nlinks:\n  - {ends: [a/e, b/e], reorder: 1%}\n",
        3,
        33,
        "reorder needs a delay",
    ),
    ("nodes: {a: {routes: [10.0.0.0/8 over 1.1.1.1]}}\n", 1, 22, "'over' is not one of via, dev"),
    (
        "nodes: {a: {routes: [10.0.0.0/8 via 1.1.1.1]}}\n",
        1,
        22,
        "needs `via` an address in a subnet",
    ),
    (
        "nodes: {a: {servers: [{tcp: 80, answer: ftp}]}}\n",
        1,
        41,
        "answer: invalid enum value 'ftp'",
    ),
    ("nodes: {a: {servers: [{answer: echo}]}}\n", 1, 23, "a server needs its port"),
    (
        "nodes: {a: {sysctls: {net.ipv4.ip_forward: yes please}}}\n",
        1,
        44,
        "a whole number would be right",
    ),
    ("nodes: {a: {pods: {p: {bridge: br0}}}}\n", 1, 23, "address and bridge go together"),
    (
        "nodes: {a: {pods: {p: {address: 10.0.0.2/8, bridge: br0}}}}\n",
        1,
        53,
        "a has no bridge 'br0' with an address",
    ),
    (
        "nodes: {a: {}}\nclients: [{from: a, ping: nobody}]\n",
        2,
        27,
        "'nobody' is not an IPv4 address",
    ),
    ("nodes: {a: {}}\nclients: [{from: a, tcp: 10.0.0.1}]\n", 2, 26, "is not ADDRESS:PORT"),
    ("nodes: {a: {}}\nclients: [{from: b, ping: 10.0.0.1}]\n", 2, 18, "there is no 'b'"),
    (
        "nodes: {a: {}}\nclients: [{from: a}]\n",
        2,
        11,
        "a client does one of tcp, http, udp, dns, ping",
    ),
    ("nodes: {a: {}}\ntimeline: [{at: 1}]\n", 2, 12, "an event does one of down, up, cut"),
    ("nodes: {a: {}}\ntimeline: [{at: 1, down: a/e}]\n", 2, 26, "a has no device 'e'; it has lo"),
    (
        "nodes: {a: {}}\ntimeline: [{at: soon, sysctl: a=1, on: a}]\n",
        2,
        17,
        "'soon' is not a duration",
    ),
    ("nodes: {a: {rules: none.rules}}\n", 1, 20, "none.rules cannot be read (No such file"),
    ("nodes: {a: {devices: {v: {kind: vlan, vid: 5}}}}\n", 1, 26, "a vlan needs `lower`"),
    ("nodes: {a: {devices: {v: {kind: vxlan}}}}\n", 1, 26, "says what a device of kind vxlan is"),
    ("nodes: {a: {fdb: [here]}}\n", 1, 19, "'here' is not MAC dev DEVICE dst HOST"),
    (
        'nodes: {a: {servers: [{udp: 53, answer: dns, text: "web=10.0.0"}]}}\n',
        1,
        52,
        "'10.0.0' is not an IPv4 address",
    ),
    (
        'nodes: {a: {}}\nclients: [{from: a, dns: "10.0.0.1:53", send: a..b}]\n',
        2,
        47,
        "'a..b' is not a name",
    ),
    ("nodes: {a: {modules: [ip_vs]}}\n", 1, 23, "ip_vs changes nothing here; ip_vs_ftp would"),
    ("nodes: {}\n", 1, 8, "nodes: expected `object` of length >= 1"),
    ("[1, 2]\n", 1, 1, "a lab is a mapping with `nodes`"),
    ("nodes: {a: [}\n", 1, 13, "YAML is needed"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), WRONG)
def test_a_wrong_lab_is_wrong_at_its_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(InputError) as caught:
        lab(text)
    assert (caught.value.file, caught.value.line, caught.value.column) == (
        "x.lab.yaml",
        line,
        column,
    )
    assert message in caught.value.message


def test_rules_of_the_time_line_are_read_before_it_runs() -> None:
    text = "nodes: {a: {}}\ntimeline:\n  - at: 1\n    on: a\n    rules: |\n      *filter\n      -A INPUT -j NOWHERE\n      COMMIT\n"
    with pytest.raises(RulesetError) as caught:
        lab(text)
    assert (caught.value.file, caught.value.line) == ("x.lab.yaml", 7)
