"""The ready labs in rulesets/: each shows what its header says."""

from __future__ import annotations

from pathlib import Path

import pytest

from netemu.events import Event, FrameSent, Stamp
from netemu.sim.lab import Lab
from netemu.snapshot.read import load_lab
from netemu.wire.describe import describe_frame

ROOT = Path(__file__).parent.parent
LABS = sorted(
    path.name.removesuffix(".lab.yaml") for path in (ROOT / "rulesets").glob("*.lab.yaml")
)


class Played:
    """A lab that has run."""

    def __init__(self, name: str) -> None:
        self.lab = Lab(load_lab(str(ROOT / "rulesets" / f"{name}.lab.yaml")))
        self.frames: list[tuple[str, str]] = []

        def sink(stamp: Stamp, event: Event) -> None:
            if isinstance(event, FrameSent):
                self.frames.append((f"{stamp.node}/{event.device}", describe_frame(event.frame)))

        self.lab.subscribe(sink)
        self.lab.run()
        self.ends = {client.spec.name: client.ok for client in self.lab.clients}
        self.said = {note.who: note.text for note in self.lab.notes}

    def at(self, device: str, start: str) -> list[str]:
        """Return the frames of a device that begin so, each kind once."""
        found = [text for where, text in self.frames if where == device and text.startswith(start)]
        return list(dict.fromkeys(found))


@pytest.mark.parametrize("name", LABS)
def test_a_lab_is_listed_and_plays_the_same_twice(name: str) -> None:
    assert f"| `{name}.lab.yaml` |" in (ROOT / "rulesets" / "README.md").read_text()
    first, second = Played(name), Played(name)
    assert first.frames
    assert first.frames == second.frames


def test_docker0() -> None:
    played = Played("docker0")
    assert all(played.ends.values())
    assert played.at("host/eth0", "udp")[0].startswith("udp 192.0.2.1:")
    assert played.at("host/veth-app", "udp")[0].startswith("udp 192.0.2.9:53 > 172.17.0.3:")
    assert all("192.0.2.1:8080" in text for text in played.at("host/eth0", "tcp"))


def test_two_nodes() -> None:
    played = Played("two-nodes")
    assert played.ends == {
        "ping": True, "tcp echo": True, "nobody listens": False, "no such pod": False,
    }  # fmt: skip
    assert played.said["nobody listens"] == "refused: ECONNREFUSED"
    assert played.at("n2/eth0", "icmp 192.0.2.2")[0].startswith(
        "icmp 192.0.2.2 > 10.244.1.5 host unreachable"
    )


def test_vxlan() -> None:
    """Between the nodes there are only packets of the nodes, and nothing is flooded."""
    played = Played("vxlan")
    assert all(played.ends.values())
    outer = {text.rpartition(":")[2] for text in played.at("router/eth1", "udp")}
    assert outer == {"8472"}
    assert not played.at("router/eth1", "tcp")
    assert played.at("n1/flannel.1", "tcp")[0].startswith("tcp 10.244.1.5:")
    assert not any("10.244" in text for text in played.at("n1/flannel.1", "arp"))


def test_a_virtual_address_moves() -> None:
    played = Played("vip-moves")
    assert played.said["before"].endswith("who is 192.0.2.1")
    assert played.said["after the announced move"].endswith("who is 192.0.2.2")
    assert not played.ends["after the silent move"]


def test_bridge_nf_off_shows_the_pods_address() -> None:
    """What users report: the reply comes from the pod and is refused by the client."""
    played = Played("bridge-nf-0")
    assert not any(played.ends.values())
    [answer] = played.at("node/veth-client", "udp")
    assert answer.startswith("udp 10.244.1.7:53 > 10.244.1.5:")
    [refusal] = played.at("node/client/eth0", "icmp")
    assert refusal.startswith("icmp 10.244.1.5 > 10.244.1.7 port unreachable")
    assert played.at("node/client/eth0", "tcp 10.244.1.5:")[-1].endswith("> 10.244.1.7:80 R")


def test_bridge_nf_on_shows_the_services_address() -> None:
    played = Played("bridge-nf-1")
    assert all(played.ends.values())
    assert [text.split()[1] for text in played.at("node/veth-client", "udp")] == ["10.96.0.10:53"]
    assert {text.split()[1] for text in played.at("node/veth-client", "tcp")} == {"10.96.0.80:80"}


def test_hairpin() -> None:
    off, on = Played("hairpin-off"), Played("hairpin-on")
    assert off.ends == {"web to itself": False}
    assert not off.at("node/veth-web", "tcp")
    assert on.ends == {"web to itself": True}
    assert on.at("node/veth-web", "tcp")[0].startswith("tcp 10.244.1.1:")


def who(played: Played) -> dict[str, str]:
    """Return which pod answered each question, the last octet of its address."""
    return {
        name: text.rpartition(".")[2] if " is " in text else "nobody"
        for name, text in played.said.items()
        if name in played.ends
    }


def test_sticky_sessions() -> None:
    assert who(Played("ipvs-sticky")) == {
        "first": "6", "second": "6", "third": "6", "after ten minutes": "5",
    }  # fmt: skip


def test_a_drained_server() -> None:
    assert who(Played("ipvs-drained")) == {
        "green before": "6", "blue before": "5", "green goes on": "6", "new": "5", "newer": "5",
    }  # fmt: skip


def test_a_dead_server_with_and_without_expire_nodest_conn() -> None:
    kept, expired = who(Played("ipvs-dead-0")), who(Played("ipvs-dead-1"))
    assert kept == {"before": "6", "same port": "nobody", "new port": "5"}
    assert expired == {"before": "6", "same port": "5", "new port": "5"}
