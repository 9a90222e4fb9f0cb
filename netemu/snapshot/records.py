"""Records of iproute2's JSON, as declared shapes: what is not declared is not looked at.

Tool: iproute2 6.x with `-j`. A member that is printed as a bare word (`"not": null`) is typed
`object` and looked for by presence. The readers of text forms make the same records.
"""

from __future__ import annotations

import msgspec

Options = dict[str, object]


class LinkInfo(msgspec.Struct):
    """The `linkinfo` member."""

    info_kind: str = ""
    info_data: Options = {}
    info_slave_kind: str = ""
    info_slave_data: Options = {}


class LinkRecord(msgspec.Struct):
    """One device of `ip -j link` or `ip -j addr`."""

    ifname: str = ""
    ifindex: int = 0
    link: str | None = None
    link_index: int = 0
    link_netnsid: int | None = None
    flags: list[str] = []
    mtu: int = 1500
    master: str = ""
    link_type: str = ""
    address: str = ""
    linkinfo: LinkInfo = msgspec.field(default_factory=LinkInfo)


class AddressRecord(msgspec.Struct):
    """One member of `addr_info`."""

    family: str = ""
    local: str = ""
    address: str = ""
    prefixlen: int = 0
    broadcast: str = ""
    scope: str = "global"
    secondary: bool = False


class DeviceRecord(LinkRecord):
    """One device with its addresses."""

    addr_info: list[AddressRecord] = []


class NeighbourRecord(msgspec.Struct):
    """One neighbour entry."""

    dst: str = ""
    dev: str = ""
    lladdr: str = ""
    state: list[str] = []
    proxy: object = msgspec.UNSET


class VlanRecord(msgspec.Struct):
    """One membership, or a range of them (`bridge -c vlan show`)."""

    vlan: int = 0
    vlanEnd: int = 0  # noqa: N815 - the tool's own name
    flags: list[str] = []


class BridgeVlanRecord(msgspec.Struct):
    """The VLANs of one device."""

    ifname: str = ""
    vlans: list[VlanRecord] = []


class MdbEntryRecord(msgspec.Struct):
    """One membership."""

    dev: str = ""
    port: str = ""
    grp: str = ""
    state: str = ""
    vid: int = 0


class RouterRecord(msgspec.Struct):
    """One port with a router behind it."""

    port: str = ""


class MdbRecord(msgspec.Struct):
    """The one record of `bridge -j mdb show`."""

    mdb: list[MdbEntryRecord] = []
    router: dict[str, list[RouterRecord]] = {}


class FdbRecord(msgspec.Struct):
    """One forwarding entry."""

    mac: str = ""
    ifname: str = ""
    dev: str = ""
    """What iproute2 before 4.18 calls ifname."""
    flags: list[str] = []
    master: str = ""
    state: str = ""
    vlan: int = 0
    dst: str = ""
    port: int = 0
    vni: int = 0
    viaIf: str = ""  # noqa: N815 - the tool's own name


class Via(msgspec.Struct):
    """Gateway of another family."""

    host: str = ""


class NexthopRecord(msgspec.Struct):
    """One member of `nexthops`, and the same members of a route with one way."""

    gateway: str = ""
    via: Via | None = None
    dev: str = ""
    weight: int = 1
    flags: list[str] = []


class RouteRecord(NexthopRecord):
    """One route."""

    dst: str = ""
    type: str = "unicast"
    table: str | int = "main"
    protocol: str = ""
    scope: str = "global"
    prefsrc: str = ""
    metric: int = 0
    tos: str | int = "0"
    metrics: list[dict[str, object]] = []
    nexthops: list[NexthopRecord] = []
    encap: str = ""


class RuleRecord(msgspec.Struct):
    """One policy rule; a member that is printed as a bare word has the value null."""

    priority: int = 0
    src: str = "all"
    srclen: int | None = None
    dst: str = "all"
    dstlen: int | None = None
    iif: str = ""
    oif: str = ""
    fwmark: str | None = None
    fwmask: str | None = None
    tos: str | int = "0"
    ipproto: str = ""
    sport: int | None = None
    sport_start: int | None = None
    sport_end: int | None = None
    dport: int | None = None
    dport_start: int | None = None
    dport_end: int | None = None
    table: str | int | None = None
    action: str = ""
    goto: int | None = None
    suppress_prefixlen: int | None = None
    inverted: object = msgspec.field(default=msgspec.UNSET, name="not")
    nop: object = msgspec.UNSET
    uid_start: int | None = None
    l3mdev: object = msgspec.UNSET
    tun_id: str | int | None = None
    suppress_ifgroup: str | int | None = None


class NetnsRecord(msgspec.Struct):
    """One namespace id of `ip -j netns list-id`."""

    nsid: int = -1
    name: str = ""
