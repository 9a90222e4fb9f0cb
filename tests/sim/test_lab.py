"""Labs that run: conversations of clients and servers, cables, and what an administrator does.

What TCP sends and when was asked of Linux 6.18 with sockets in two namespaces.
"""

from __future__ import annotations

from netemu.events import Event, FrameSent, Stamp
from netemu.sim.lab import Lab
from netemu.sim.lab_spec import ClientSpec, Happening
from netemu.sim.spec import TextFile
from netemu.sim.state import state_files
from netemu.snapshot.lab_build import Cable, LabBuilder
from netemu.snapshot.lab_events import add_address, cut_cable, delete_address, set_link, set_mac
from netemu.snapshot.lab_values import device_address
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.describe import describe_frame

SERVER = parse_address("10.0.0.2")


class World:
    """Two hosts on one cable: `c` 10.0.0.1 and `s` 10.0.0.2."""

    def __init__(self, cable: Cable | None = None) -> None:
        self.builder = LabBuilder()
        for name, address in (("c", "10.0.0.1/24"), ("s", "10.0.0.2/24")):
            self.builder.add_host(name)
            self.builder.add_device(name, "eth0", addresses=[address])
        self.builder.connect("c/eth0", "s/eth0", cable)
        self.frames: list[tuple[int, str, str]] = []

    def ask(self, kind: str, port: int = 0, text: str = "", at: int = 0, **more: object) -> None:
        self.builder.lab.clients.append(
            ClientSpec(
                name=f"{kind}{port}",
                namespace="c",
                kind=kind,
                remote=SERVER,
                port=port,
                text=text,
                start_ns=at,
                **more,  # type: ignore[arg-type]
            )
        )

    def happens(self, at: int, do: object) -> None:
        self.builder.lab.timeline.append(Happening(at_ns=at, text="", do=do))  # type: ignore[arg-type]

    def run(self, until: int | None = None) -> Lab:
        lab = Lab(self.builder.lab)

        def sink(stamp: Stamp, event: Event) -> None:
            if isinstance(event, FrameSent):
                self.frames.append((lab.now_ns, stamp.node, describe_frame(event.frame)))

        lab.subscribe(sink)
        if until is None:
            lab.run()
        else:
            lab.run_until(until)
        return lab

    def tcp(self) -> list[str]:
        """Return who sent which flags."""
        return [
            f"{node} {text.rpartition(' ')[2]}" for _, node, text in self.frames if "tcp" in text
        ]

    def times(self, wanted: str, node: str = "c") -> list[float]:
        """Return when a node sent what ends so, in seconds."""
        return [
            round(when / 1e9, 3)
            for when, who, text in self.frames
            if who == node and text.endswith(wanted)
        ]


def test_a_conversation_from_syn_to_the_last_ack() -> None:
    world = World()
    world.builder.serve("s", "tcp", 7, "echo")
    world.ask("tcp", 7, "hello")
    lab = world.run()
    assert world.tcp() == [
        "c S", "s S.", "c .", "c P.", "s .", "s P.", "c .", "c F.", "s F.", "c .",
    ]  # fmt: skip
    assert lab.clients[0].ok
    assert [note.text for note in lab.notes] == [
        "connected to 10.0.0.2:7", "received 5 octets: hello", "closed",
    ]  # fmt: skip


def test_a_server_that_closes() -> None:
    world = World()
    world.builder.serve("s", "tcp", 80, "http", "page")
    world.ask("http", 80)
    assert world.run().clients[0].ok
    assert world.tcp() == [
        "c S", "s S.", "c .", "c P.", "s .", "s P.", "c .", "s F.", "c F.", "s .",
    ]  # fmt: skip


def test_nobody_listens() -> None:
    world = World()
    world.builder.serve("s", "tcp", 81, "refusing")
    world.ask("tcp", 81)
    world.ask("udp", 82, "x", at=10**9)
    lab = world.run()
    assert [note.text for note in lab.notes] == [
        "cannot connect: ECONNREFUSED",
        "refused: ECONNREFUSED",
    ]


def test_a_server_that_resets() -> None:
    world = World()
    world.builder.serve("s", "tcp", 9, "reset")
    world.ask("tcp", 9, "hello")
    lab = world.run()
    assert lab.clients[0].ok is False
    assert lab.notes[-1].text == "the connection broke: ECONNRESET"
    assert world.tcp()[-1] == "s R."


def test_a_syn_is_repeated_every_second_at_first() -> None:
    """tcp_syn_linear_timeouts: four pauses of a second before they double."""
    world = World()
    drop = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp -j DROP\nCOMMIT\n"
    world.builder.set_rules("s", TextFile(name="rules", text=drop))
    world.ask("tcp", 7, timeout_ns=20 * 10**9)
    lab = world.run()
    assert world.times(" S") == [0, 1, 2, 3, 4, 5, 7, 11, 19]
    assert lab.notes[-1].text == "no connection within 20 s, gives up"


def test_data_is_repeated_while_the_cable_is_cut() -> None:
    """A loss probe after the time out, then pauses that double (asked of Linux 6.18)."""
    world = World(Cable(delay="1ms"))
    world.builder.serve("s", "tcp", 7, "echo")
    world.ask("tcp", 7, "hello", timeout_ns=10**10)
    world.happens(3_500_000, cut_cable("c/eth0", cut=True))
    world.happens(3 * 10**9, cut_cable("c/eth0", cut=False))
    lab = world.run()
    assert world.times(" P.") == [0.004, 0.208, 0.412, 0.82, 1.636, 3.268]
    assert lab.clients[0].ok


def test_lost_frames_do_not_stop_a_transfer() -> None:
    world = World(Cable(delay="2ms", loss="20%", duplicate="5%", reorder="10%"))
    world.builder.serve("s", "tcp", 7, "echo")
    world.ask("tcp", 7, "x" * 30_000, timeout_ns=600 * 10**9)
    lab = world.run()
    client = lab.clients[0]
    assert client.ok
    assert client.answer == b"x" * len(client.answer)  # type: ignore[attr-defined]


def test_everything_arrives_in_spite_of_losses() -> None:
    world = World(Cable(delay="2ms", loss="15%"))
    page = "".join(f"{number:05}" for number in range(8000))
    world.builder.serve("s", "tcp", 80, "http", page)
    world.ask("http", 80, timeout_ns=600 * 10**9)
    client = world.run().clients[0]
    assert client.ok
    assert client.answer.partition(b"\r\n\r\n")[2].decode() == page  # type: ignore[attr-defined]


def test_dns_over_udp_and_its_second_try() -> None:
    world = World()
    world.builder.serve("s", "udp", 53, "dns", "web=10.9.9.9")
    world.ask("dns", 53, "web")
    assert world.run().notes[-1].text == "answer from 10.0.0.2:53, web is 10.9.9.9"
    mute = World()
    mute.builder.serve("s", "udp", 53, "silent")
    mute.ask("dns", 53, "web", count=2, timeout_ns=2 * 10**9)
    lab = mute.run()
    assert sum("udp" in text for _, _, text in mute.frames) == 2
    assert lab.notes[-1].text == "no answer within 2 s, gives up"


def test_ping_counts_its_replies() -> None:
    world = World(Cable(delay="1ms"))
    world.ask("ping", count=3)
    lab = world.run()
    assert [note.text for note in lab.notes] == [
        "reply from 10.0.0.2 seq=1 time=4 ms",
        "reply from 10.0.0.2 seq=2 time=2 ms",
        "reply from 10.0.0.2 seq=3 time=2 ms",
        "3 of 3 answered",
    ]


def test_an_unresolved_neighbour_fails_a_connection() -> None:
    world = World()
    world.happens(0, delete_address("s/eth0", SERVER))
    world.ask("tcp", 7, at=1)
    lab = world.run()
    assert lab.notes[-1].text == "cannot connect: EHOSTUNREACH"
    assert lab.notes[-1].time_ns == 3 * 10**9 + 1


def test_a_device_that_goes_down_and_comes_back() -> None:
    """Its connected route goes and comes; the neighbour entries are gone."""
    world = World()
    world.ask("ping", at=0)
    world.happens(10**9, set_link("c/eth0", up=False))
    world.ask("udp", 9, "x", at=2 * 10**9)
    world.happens(3 * 10**9, set_link("c/eth0", up=True))
    world.ask("ping", at=4 * 10**9)
    lab = world.run()
    assert [client.ok for client in lab.clients] == [True, False, True]
    assert "cannot send: ENETUNREACH" in [note.text for note in lab.notes]
    assert len(world.times("who-has 10.0.0.2 tell 10.0.0.1")) == 2


def test_a_new_mac_is_not_known_until_it_speaks() -> None:
    world = World()
    world.ask("ping", at=0)
    world.happens(10**9, set_mac("s/eth0", parse_mac("02:00:00:00:99:99")))
    world.ask("udp", 9, "x", at=2 * 10**9, timeout_ns=10**9)
    lab = world.run()
    assert lab.clients[1].ok is False
    assert lab.notes[-1].text == "no answer within 1 s, gives up"


def test_an_announced_address_moves_the_client() -> None:
    builder = LabBuilder()
    for name, address in (("c", "10.0.0.1/24"), ("s", "10.0.0.2/24"), ("t", "10.0.0.3/24")):
        builder.add_host(name)
        builder.add_device(name, "eth0", addresses=[address])
    builder.switch("lan", ["c/eth0", "s/eth0", "t/eth0"])
    builder.add_address("s", "eth0", "10.0.0.100/32")
    lab = Lab(builder.lab)
    lab.run_until(0)
    vip = parse_address("10.0.0.100")
    entry = device_address("eth0", "10.0.0.100/32")
    spec = ClientSpec(name="c", namespace="c", kind="ping", remote=vip)
    lab.add_client(spec)
    lab.run_until(10**9)
    assert "10.0.0.100 dev eth0 lladdr 02:00:00:00:00:02" in _neighbours(lab)
    delete_address("s/eth0", vip)(lab.node)
    add_address("t/eth0", entry, announce=True)(lab.node)
    lab.run_until(2 * 10**9)
    assert "10.0.0.100 dev eth0 lladdr 02:00:00:00:00:03" in _neighbours(lab)


def _neighbours(lab: Lab) -> str:
    return state_files(lab.node)["c/neigh"]


def test_the_same_seed_gives_the_same_frames() -> None:
    runs = []
    for _ in range(2):
        world = World(Cable(delay="1ms", loss="10%", jitter="0.5ms"))
        world.builder.serve("s", "tcp", 7, "echo")
        world.ask("tcp", 7, "y" * 5000, timeout_ns=10**11)
        world.run()
        runs.append(world.frames)
    assert runs[0] == runs[1]


def test_a_datagram_that_no_packet_holds() -> None:
    world = World()
    world.ask("udp", 9, "x" * 65508)
    assert world.run().notes[-1].text == "cannot send: EMSGSIZE"
    fits = World()
    fits.builder.serve("s", "udp", 9, "echo")
    fits.ask("udp", 9, "x" * 65507)
    assert fits.run().clients[0].ok
