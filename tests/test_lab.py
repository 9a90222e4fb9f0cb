"""netemu.Lab: labs put together and changed from Python."""

from __future__ import annotations

from pathlib import Path

import pytest

import netemu
from netemu.events import Event, FrameSent, Stamp

ROOT = Path(__file__).parent.parent


def node_with_pods(*names: str) -> netemu.Lab:
    """One node, its bridge, and pods 10.1.0.2, 10.1.0.3, ..."""
    lab = netemu.Lab(seed=1)
    lab.add_node("n", sysctls={"net.ipv4.ip_forward": 1})
    lab.add_device("n", "br0", kind="bridge", addresses=["10.1.0.1/24"])
    for number, name in enumerate(names, 2):
        lab.add_pod("n", name, address=f"10.1.0.{number}/24", bridge="br0")
    return lab


def test_the_example_of_the_docstring() -> None:
    lab = node_with_pods("web", "app")
    lab.serve("n/web", "http", tcp=80)
    client = lab.client("n/app", "http", "10.1.0.2:80")
    assert client.ok is None
    lab.run()
    assert (client.ok, client.saw[-1]) == (True, "the other end closed")


def test_a_pod_that_comes_while_the_lab_runs() -> None:
    lab = node_with_pods("a")
    early = lab.client("n/a", "udp", "10.1.0.3:7", send="x", timeout="100ms")
    lab.run(1)
    assert early.ok is False
    lab.add_pod("n", "b", address="10.1.0.3/24", bridge="br0")
    lab.serve("n/b", "echo", udp=7)
    late = lab.client("n/a", "udp", "10.1.0.3:7", send="x")
    lab.run(5)
    assert late.ok is True
    assert late.saw == ["answer from 10.1.0.3:7, 1 octets: x"]


def test_a_pod_that_goes_and_comes_back_elsewhere() -> None:
    lab = node_with_pods("a", "b")
    lab.serve("n/b", "echo", tcp=7)
    first = lab.client("n/a", "tcp", "10.1.0.3:7", send="x")
    lab.run(1)
    lab.remove("n/b")
    second = lab.client("n/a", "tcp", "10.1.0.3:7", send="x")
    lab.run(9)
    lab.add_pod("n", "b", address="10.1.0.9/24", bridge="br0")
    lab.serve("n/b", "echo", tcp=7)
    third = lab.client("n/a", "tcp", "10.1.0.9:7", send="x")
    lab.run(2)
    assert [first.ok, second.ok, third.ok] == [True, False, True]
    assert second.saw == ["no connection within 5 s, gives up"]
    assert "veth-b" in lab.engine.namespaces["n"].net.devices


def test_rules_replaced_at_a_moment() -> None:
    lab = node_with_pods("a")
    lab.serve("n", "echo", udp=7)
    drop = "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"
    lab.at(2, lambda: lab.set_rules("n", drop))
    asked = [
        lab.client("n/a", "udp", "10.1.0.1:7", send="x", at=at, timeout="500ms") for at in (1, 3)
    ]
    lab.run()
    assert [client.ok for client in asked] == [True, False]
    assert ":INPUT DROP" in lab.state()["n/iptables-save"]


def test_two_nodes_and_what_happens_to_their_link() -> None:
    lab = netemu.Lab()
    for name, address in (("a", "10.0.0.1/24"), ("b", "10.0.0.2/24")):
        lab.add_node(name)
        lab.add_device(name, "eth0", addresses=[address])
    lab.link("a/eth0", "b/eth0", delay="1ms")
    frames: list[str] = []

    def sink(stamp: Stamp, event: Event) -> None:
        if isinstance(event, FrameSent):
            frames.append(f"{stamp.node}/{event.device}")

    lab.subscribe(sink)
    fate = lab.send("icmp 10.0.0.1 > 10.0.0.2 echo id=1 seq=1")
    assert fate.verdict == "ACCEPT"
    assert [frame.device for frame in fate.frames] == ["a/eth0", "b/eth0", "a/eth0", "b/eth0"]
    assert frames == ["a/eth0", "b/eth0", "a/eth0", "b/eth0"]
    lab.cut("b/eth0")
    lost = lab.client("a", "ping", "10.0.0.2", timeout=1)
    lab.run()
    assert lost.ok is False
    lab.cut("b/eth0", cut=False)
    lab.set_mac("b/eth0", "02:00:00:00:00:99")
    lab.move_address("10.0.0.2/24", "b/eth0", "b/lo", announce=False)
    lab.set_sysctl("b", "net.ipv4.conf.all.arp_ignore", 1)
    lab.set_link("a/eth0", up=False)
    assert lab.client("a", "ping", "10.0.0.2").saw == []
    assert "02:00:00:00:00:02" not in lab.state().get("a/neigh", "")


def test_a_lab_file_can_grow() -> None:
    lab = netemu.Lab.from_file(ROOT / "rulesets" / "two-nodes.lab.yaml")
    lab.run()
    lab.add_pod("n2", "c", address="10.244.2.99/24", bridge="cni0")
    ping = lab.client("n1/a", "ping", "10.244.2.99", name="again")
    lab.run()
    assert ping.ok
    assert any(note.who == "no such pod" for note in lab.notes)


def test_the_same_seed_gives_the_same_state() -> None:
    states = []
    for _ in range(2):
        lab = node_with_pods("a", "b")
        lab.serve("n/b", "echo", tcp=7)
        lab.client("n/a", "tcp", "10.1.0.3:7", send="x")
        lab.run()
        states.append(lab.state())
    assert states[0] == states[1]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda lab: lab.add_node("n"), "two of the name 'n'"),
        (lambda lab: lab.add_pod("m", "x"), "there is no 'm'"),
        (lambda lab: lab.add_device("n", "e", kind="bond"), "'bond' is not a kind of device"),
        (lambda lab: lab.link("n/br0", "n/e"), "is a bridge, which has no cable"),
        (lambda lab: lab.link("n/e"), "a switch, which needs a name"),
        (lambda lab: lab.link("n/a", "n/b", loss=2), "2 is not a chance"),
        (lambda lab: lab.serve("n", "smtp", tcp=25), "'smtp' is not one of echo"),
        (lambda lab: lab.client("n", "ftp", "1.1.1.1:21"), "'ftp' is not one of tcp"),
        (lambda lab: lab.client("n", "tcp", "1.1.1.1"), "is not ADDRESS:PORT"),
        (lambda lab: lab.client("n", "dns", "1.1.1.1:53"), "'' is not a name"),
        (lambda lab: lab.add_route("n", "10.0.0.0/8 dev e9"), "n has no device 'e9'"),
        (lambda lab: lab.remove("n"), "n came first and stays"),
        (lambda lab: (lab.run(0), lab.add_device("n", "e"), lab.run(0), lab.link("n/e", "n/f")),
         "n/e runs already"),
    ],
)  # fmt: skip
def test_wrong_values_are_usage_errors(wrong, message) -> None:
    with pytest.raises(netemu.UsageError) as caught:
        wrong(node_with_pods())
    assert message in str(caught.value)


def test_an_empty_lab_does_not_run() -> None:
    with pytest.raises(netemu.UsageError, match="no node yet"):
        netemu.Lab().run()
