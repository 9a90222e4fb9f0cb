"""A traced packet made by hand: the renderers are tested without the engine."""

from __future__ import annotations

import pytest

from netemu import events
from netemu.events import Event, Stamp
from netemu.trace.model import OutcomeShare, Passage, Trace
from netemu.wire.packet_text import parse_packet

DEVICE = bytes.fromhex("020000000099")
POD = bytes.fromhex("020000000088")
FRAME = parse_packet("tcp 192.0.2.9 > 10.96.0.10:80").frame(dst_mac=DEVICE)
CHANGED = parse_packet("tcp 192.0.2.9 > 10.244.1.5:8080 S ttl=63").frame(dst_mac=POD)
ASKED = parse_packet("arp who-has 10.244.1.5 tell 10.244.1.1").frame(dst_mac=POD)


def told(
    event: Event, hook: str = "", *, packet_id: int = 1, node: str = ""
) -> tuple[Stamp, Event]:
    """Return an event with its stamp."""
    stamp = Stamp(
        time_ns=5, node=node, packet_id=packet_id, parent_id=int(packet_id > 1), hook=hook
    )
    return stamp, event


def visited(chain: str, line: int, text: str, *, failed_on: str = "", value: str = "") -> Event:
    """Return a rule of the nat table that was tried."""
    return events.RuleVisited(
        table="nat",
        chain=chain,
        rule=line - 10,
        line=line,
        matched=not failed_on,
        text=text,
        target=text.rpartition(" ")[2],
        failed_on=failed_on,
        value=value,
    )


def clusterip_events() -> list[tuple[Stamp, Event]]:
    """Return what a frame to a ClusterIP sets off."""
    pre, post = "PREROUTING", "POSTROUTING"
    entry = "tcp      6 120 SYN_SENT src=192.0.2.9 dst=10.96.0.10 mark=0 use=1"
    return [
        told(events.FrameReceived(device="eth0", frame=FRAME, packet_type="HOST")),
        told(events.HookEntered(in_device="eth0", out_device="", packet=FRAME[14:]), pre),
        told(
            events.ConntrackLookup(state="NEW", direction="ORIGINAL", connection=entry, note=""),
            pre,
        ),
        told(events.ConnectionCreated(connection=entry), pre),
        told(events.ChainEntered(table="nat", chain="PREROUTING", by="hook"), pre),
        told(visited("PREROUTING", 13, '-m comment --comment "service portals" -j SERVICES'), pre),
        told(
            visited(
                "SERVICES",
                19,
                "-d 10.96.0.1/32 -j API",
                failed_on="-d 10.96.0.1/32",
                value="10.96.0.10",
            ),
            pre,
        ),
        told(visited("MARKER", 16, "-j MARK --or-mark 0x4000"), pre),
        told(events.MarkChanged(what="mark", before=0, after=0x4000), pre),
        told(
            events.ChanceDrawn(match="statistic", value=1 << 29, threshold=1 << 30, matched=True),
            pre,
        ),
        told(visited("WEB", 24, "-m statistic --mode random --probability 0.5 -j SEP"), pre),
        told(visited("SEP", 27, "-p tcp -j DNAT --to-destination 10.244.1.5:8080"), pre),
        told(events.NatBound(manip="dst", before="10.96.0.10:80", after="10.244.1.5:8080"), pre),
        told(
            events.HeaderRewritten(what="dnat", before="10.96.0.10:80", after="10.244.1.5:8080"),
            pre,
        ),
        told(
            events.RouteChosen(
                direction="input",
                destination="10.244.1.5",
                table="main",
                prefix="10.244.1.0/24",
                kind="unicast",
                device="cni0",
                gateway="",
                source="",
            )
        ),
        told(events.HeaderRewritten(what="ttl", before="64", after="63")),
        told(
            events.VerdictIssued(
                table="filter", chain="FORWARD", rule=1, line=None, verdict="ACCEPT", policy=True
            ),
            "FORWARD",
        ),
        told(events.ConnectionConfirmed(connection=entry), post),
        told(
            events.NeighbourStateChanged(
                device="cni0",
                address="10.244.1.5",
                before="NONE",
                after="INCOMPLETE",
                mac="",
                assumed=False,
            )
        ),
        told(events.PacketQueued(where="neighbour 10.244.1.5 on cni0")),
        told(events.PacketMade(what="arp request", packet=ASKED[14:]), packet_id=2),
        told(events.FrameSent(device="veth1", frame=ASKED, port=True), packet_id=2),
        told(
            events.NeighbourStateChanged(
                device="cni0",
                address="10.244.1.5",
                before="INCOMPLETE",
                after="REACHABLE",
                mac="02:00:00:00:00:88",
                assumed=True,
            )
        ),
        told(
            events.NeighbourUsed(
                device="cni0", address="10.244.1.5", state="REACHABLE", mac="02:00:00:00:00:88"
            )
        ),
        told(events.BridgeForwarded(bridge="cni0", how="fdb", devices=("veth1",))),
        told(events.FrameSent(device="veth1", frame=CHANGED, port=True)),
        told(events.KernelLogged(text="TRACE: nat:SEP:rule:1 IN=eth0")),
    ]


@pytest.fixture
def passage() -> Passage:
    """One packet that got through."""
    return Passage(
        packet_id=1,
        entered="eth0",
        packet=FRAME,
        verdict="ACCEPT",
        reason="",
        delivered_to="port:veth1",
        rules_visited=6,
        told=clusterip_events(),
    )


@pytest.fixture
def trace(passage: Passage) -> Trace:
    """Its trace."""
    share = OutcomeShare(
        probability="1/2",
        percent=50.0,
        verdict="ACCEPT",
        dnat="10.244.1.5:8080",
        snat="10.244.1.1:1024",
        masquerade=True,
        delivered_to="port:veth1",
    )
    return Trace(
        source="node1.snap",
        seed=7,
        kernel="6.18",
        passage=passage,
        outcomes=[share],
        notes=["no ss_-Htuln: nothing listens"],
    )
