"""The shape of a lab file: every field, its type, and what it means.

The same declarations check a file (msgspec) and make its JSON schema (`netemu schema lab`).
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Duration = Annotated[str | int | float, Meta(description="2s, 1.5ms, 100us; a number: seconds")]
Chance = Annotated[str | int | float, Meta(description="1% or 0.01")]
Rate = Annotated[str | int | float, Meta(description="10mbit, 1gbit; a number: bits per second")]
Prefix = Annotated[str, Meta(description="ADDRESS/LENGTH")]
End = Annotated[str, Meta(description="HOST/DEVICE or HOST/POD/DEVICE")]
Port = Annotated[int, Meta(ge=1, le=65535)]
Setting = str | int | bool


class Shape(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Base of all parts: unknown fields are refused."""


class VxlanShape(Shape):
    """What a VXLAN device is."""

    vni: Annotated[int, Meta(ge=0, le=16777215)]
    remote: Annotated[str, Meta(description="where frames to unknown MACs go")] = ""
    local: Annotated[str, Meta(description="source address; empty: the route's")] = ""
    port: Port = 8472
    learning: bool = True


class DeviceShape(Shape):
    """One device."""

    kind: Annotated[
        Literal["veth", "bridge", "dummy", "vlan", "macvlan", "vxlan"],
        Meta(description="veth: one end of a link"),
    ] = "veth"
    addresses: list[Prefix] = []
    mac: str = ""
    mtu: Annotated[int, Meta(ge=68, le=65535)] = 1500
    up: bool = True
    lower: Annotated[str, Meta(description="device below a vlan, macvlan or vxlan")] = ""
    vid: Annotated[int, Meta(ge=0, le=4094, description="of a vlan")] = 0
    mode: Annotated[Literal["private", "vepa", "bridge"], Meta(description="of a macvlan")] = (
        "bridge"
    )
    vxlan: VxlanShape | None = None
    master: Annotated[str, Meta(description="bridge that it is a port of")] = ""
    port: Annotated[
        dict[str, int | bool],
        Meta(description="hairpin, isolated, learning, flood, ...: on or off"),
    ] = {}
    bridge: Annotated[
        dict[str, int | bool],
        Meta(description="ageing_time (1/100 s), mcast_snooping, nf_call_iptables, ..."),
    ] = {}


class ServerShape(Shape):
    """A program that listens."""

    answer: Annotated[
        Literal["echo", "http", "dns", "silent", "reset", "refusing"],
        Meta(description="refusing: nobody listens, the kernel answers"),
    ]
    tcp: Port | None = None
    udp: Port | None = None
    address: Annotated[str, Meta(description="what it is bound to; empty: every address")] = ""
    text: Annotated[str, Meta(description="page of http, NAME=ADDRESS ... of dns")] = ""


class SpaceShape(Shape):
    """What hosts and pods have in common."""

    devices: dict[str, DeviceShape] = {}
    routes: Annotated[list[str], Meta(description="PREFIX [via A] [dev D] [src A] ...")] = []
    fdb: Annotated[
        list[str], Meta(description="MAC dev VXLAN dst HOST: where a VXLAN device sends frames")
    ] = []
    neighbours: Annotated[list[str], Meta(description="ADDRESS lladdr MAC dev DEVICE")] = []
    sysctls: dict[str, Setting] = {}
    rules: Annotated[str, Meta(description="iptables-save text, or the name of its file")] = ""
    ipvs: Annotated[str, Meta(description="ipvsadm -Sn text, or the name of its file")] = ""
    servers: list[ServerShape] = []


class PodShape(SpaceShape):
    """A namespace of a host; with `bridge` it is plugged in and gets a default route."""

    address: Annotated[str, Meta(description="ADDRESS/LENGTH of its eth0")] = ""
    bridge: Annotated[str, Meta(description="bridge of the host, with an address")] = ""
    port: Annotated[dict[str, int | bool], Meta(description="hairpin, isolated, ...")] = {}


class HostShape(SpaceShape):
    """A node."""

    modules: Annotated[list[str], Meta(description="kernel modules: ip_vs_ftp")] = []
    pods: dict[str, PodShape] = {}


class LinkShape(Shape):
    """A cable between two devices, or a switch between more; what is missing is made."""

    ends: Annotated[list[End], Meta(min_length=2)]
    name: Annotated[str, Meta(description="of the switch")] = ""
    delay: Duration = 0
    jitter: Duration = 0
    loss: Chance = 0
    duplicate: Chance = 0
    reorder: Chance = 0
    rate: Rate = 0


class ClientShape(Shape):
    """A program that asks."""

    source: Annotated[str, Meta(description="HOST or HOST/POD")] = msgspec.field(name="from")
    tcp: Annotated[str | None, Meta(description="ADDRESS:PORT")] = None
    http: Annotated[str | None, Meta(description="ADDRESS:PORT")] = None
    udp: Annotated[str | None, Meta(description="ADDRESS:PORT")] = None
    dns: Annotated[str | None, Meta(description="ADDRESS:PORT")] = None
    ping: Annotated[str | None, Meta(description="ADDRESS")] = None
    at: Duration = 0
    name: str = ""
    send: Annotated[str, Meta(description="text sent, path of http, name for dns")] = ""
    address: Annotated[str, Meta(description="source address")] = ""
    port: Annotated[int, Meta(ge=0, le=65535, description="source port, or id of ping")] = 0
    count: Annotated[int, Meta(ge=1, description="echo requests, tries of a datagram")] = 1
    interval: Duration = 1
    timeout: Duration = 5


class EventShape(Shape):
    """Something that happens; one of the words that say what."""

    at: Duration
    down: Annotated[End | None, Meta(description="the device goes down")] = None
    up: Annotated[End | None, Meta(description="the device comes up")] = None
    cut: Annotated[End | None, Meta(description="its cable loses all, unnoticed")] = None
    mend: Annotated[End | None, Meta(description="its cable works again")] = None
    mac: Annotated[End | None, Meta(description="the device's MAC becomes `to`")] = None
    move: Annotated[Prefix | None, Meta(description="an address goes from `from` to `to`")] = None
    add: Annotated[Prefix | None, Meta(description="the device `to` gets an address")] = None
    remove: Annotated[Prefix | None, Meta(description="the device `from` loses an address")] = None
    announce_only: Annotated[
        str | None, Meta(description="gratuitous ARP for an address, sent by `from`")
    ] = msgspec.field(name="arp", default=None)
    rules: Annotated[str | None, Meta(description="rules that the host `on` loads")] = None
    ipvs: Annotated[str | None, Meta(description="ipvsadm commands that `on` runs")] = None
    route: Annotated[str | None, Meta(description="route that the host `on` adds")] = None
    unroute: Annotated[str | None, Meta(description="route that the host `on` removes")] = None
    sysctl: Annotated[str | None, Meta(description="KEY=VALUE, set by the host `on`")] = None
    source: Annotated[End, Meta(description="device")] = msgspec.field(name="from", default="")
    to: Annotated[str, Meta(description="device, or MAC")] = ""
    on: Annotated[str, Meta(description="HOST or HOST/POD")] = ""
    announce: Annotated[bool, Meta(description="tell by gratuitous ARP")] = True


class LabShape(Shape):
    """A lab file."""

    nodes: Annotated[dict[str, HostShape], Meta(min_length=1)]
    links: list[LinkShape] = []
    clients: list[ClientShape] = []
    timeline: list[EventShape] = []
    until: Annotated[Duration | None, Meta(description="how long it runs")] = None
    about: Annotated[str, Meta(description="what the lab shows")] = ""


def lab_schema() -> dict[str, object]:
    """Return the JSON schema of a lab file."""
    return msgspec.json.schema(LabShape)
