"""read(write(spec)) == spec, over random nodes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from netemu.sim.spec import (
    AddressSpec,
    BridgeVlanSpec,
    FdbSpec,
    LinkSpec,
    MacvlanSpec,
    MdbSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    PolicyRuleSpec,
    ProxySpec,
    RouteSpec,
    SocketSpec,
    TextFile,
    VlanSpec,
    VxlanFdbSpec,
    VxlanSpec,
)
from netemu.snapshot.read import read_node
from netemu.snapshot.write import write_node

DEVICES = ("lo", "eth0", "br0", "veth1", "eth0.5")

ports = st.integers(0, 65535)
u32 = st.integers(1, 0xFFFFFFFF)
macs = st.binary(min_size=6, max_size=6)
v4 = st.binary(min_size=4, max_size=4)
v6 = st.binary(min_size=16, max_size=16)
addresses = st.one_of(v4, v6)
devices = st.sampled_from(DEVICES)


qos = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=2).map(tuple)
vlans = st.builds(
    VlanSpec,
    vid=st.integers(0, 4094),
    protocol=st.sampled_from([0x8100, 0x88A8]),
    reorder_header=st.booleans(),
    ingress_qos=qos,
    egress_qos=qos,
)
vxlans = st.builds(
    VxlanSpec,
    vni=st.integers(1, 0xFFFFFF),
    remote=st.sampled_from([b"", b"\xc0\x00\x02\x09", b"\xef\x01\x02\x03"]),
    local=st.just(b"") | v4,
    port=ports,
    src_ports=st.tuples(ports, ports),
    learning=st.booleans(),
    ageing_s=st.integers(0, 999),
    ttl=st.integers(0, 255),
    tos=st.integers(0, 255),
    df=st.sampled_from(["unset", "set", "inherit"]),
    checksum=st.booleans(),
    localbypass=st.booleans(),
)
tunnels = st.builds(
    VxlanFdbSpec,
    device=st.just("vx0"),
    mac=macs,
    dst=v4,
    port=ports,
    vni=st.integers(0, 0xFFFFFF),
    via=st.sampled_from(["", "eth0"]),
    state=st.sampled_from(["", "permanent", "static"]),
)
proxies = st.builds(ProxySpec, address=v4, device=devices)
groups = st.builds(
    MdbSpec,
    bridge=st.just("br0"),
    device=devices,
    group=v4,
    vlan=st.integers(0, 4094),
    permanent=st.booleans(),
)
bridge_vlans = st.builds(
    BridgeVlanSpec,
    device=st.just("br0"),
    vid=st.integers(1, 4094),
    pvid=st.booleans(),
    untagged=st.booleans(),
)


@st.composite
def links(draw: st.DrawFn) -> list[LinkSpec]:
    lo = LinkSpec(name="lo", ifindex=1, kind="loopback", mtu=65536, up=draw(st.booleans()))
    eth0 = LinkSpec(
        name="eth0",
        ifindex=2,
        mac=draw(macs),
        mtu=draw(st.integers(68, 9000)),
        up=draw(st.booleans()),
        carrier=draw(st.booleans()),
        noarp=draw(st.booleans()),
    )
    br0 = LinkSpec(
        name="br0",
        ifindex=3,
        kind="bridge",
        mac=draw(macs),
        bridge=draw(
            st.dictionaries(
                st.sampled_from(["ageing_time", "vlan_filtering", "group_fwd_mask"]),
                st.integers(0, 99),
            )
        ),
    )
    veth1 = LinkSpec(
        name="veth1",
        ifindex=7,
        kind="veth",
        mac=draw(macs),
        master=draw(st.sampled_from(["", "br0"])),
        peer_ifindex=draw(st.sampled_from([2, 44])),
        peer_netnsid=draw(st.none() | st.integers(0, 9)),
    )
    if veth1.master:
        options = {"state": 3, "hairpin": 1, "isolated": 0, "cost": 2}
        veth1 = replace(veth1, port=draw(st.sampled_from([{}, options])))
    vlan = LinkSpec(
        name="eth0.5",
        ifindex=9,
        kind="vlan",
        mac=draw(macs),
        peer_ifindex=2,
        vlan=draw(st.none() | vlans),
    )
    macvlan = LinkSpec(
        name="mv0",
        ifindex=10,
        kind="macvlan",
        mac=draw(macs),
        peer_ifindex=2,
        macvlan=MacvlanSpec(mode=draw(st.sampled_from(["bridge", "private", "vepa"]))),
    )
    vxlan = LinkSpec(
        name="vx0",
        ifindex=11,
        kind="vxlan",
        mac=draw(macs),
        peer_ifindex=draw(st.sampled_from([0, 2])),
        vxlan=draw(vxlans),
    )
    return [lo, eth0, br0, veth1, vlan, macvlan, vxlan]


@st.composite
def address_lists(draw: st.DrawFn) -> list[AddressSpec]:
    found = []
    for device in DEVICES:
        for address in draw(st.lists(addresses, max_size=2)):
            v4_only = len(address) == 4
            found.append(
                AddressSpec(
                    device=device,
                    address=address,
                    prefix_len=draw(st.integers(0, len(address) * 8)),
                    broadcast=draw(st.just(b"") | v4) if v4_only else b"",
                    scope=draw(st.sampled_from(["global", "link", "host", "50"])),
                    secondary=draw(st.booleans()),
                    peer=draw(st.just(b"") | v4) if v4_only else b"",
                )
            )
    return found


@st.composite
def routes(draw: st.DrawFn) -> RouteSpec:
    octets = draw(st.sampled_from([4, 16]))
    own = v4 if octets == 4 else v6
    gateways = st.just(b"") | own
    nexthop = st.builds(NexthopSpec, device=devices, gateway=gateways, onlink=st.booleans())
    ways = st.lists(nexthop, max_size=1) | st.lists(
        st.builds(
            NexthopSpec,
            device=devices,
            gateway=own,
            weight=st.integers(1, 9),
            onlink=st.booleans(),
        ),
        min_size=2,
        max_size=3,
    )
    length = draw(st.integers(1, octets * 8))
    return RouteSpec(
        prefix=draw(own),
        prefix_len=length,
        kind=draw(st.sampled_from(["unicast", "local", "blackhole", "broadcast"])),
        table=draw(st.sampled_from([254, 255, 253, 7, 100])),
        nexthops=tuple(draw(ways)),
        source=draw(st.just(b"") | own),
        metric=draw(st.integers(0, 2000)),
        scope=draw(st.sampled_from(["global", "link", "host"])),
        protocol=draw(st.sampled_from(["", "kernel", "static", "bird"])),
        tos=draw(st.sampled_from([0, 0x10])),
        mtu=draw(st.sampled_from([0, 1400])),
    )


@st.composite
def policy_rules(draw: st.DrawFn) -> PolicyRuleSpec:
    action = draw(st.sampled_from(["table", "goto", "nop", "blackhole", "prohibit"]))
    source, destination = draw(st.just(b"") | v4), draw(st.just(b"") | v4)
    mask = draw(st.just(0) | u32)
    ranges = st.none() | st.tuples(ports, ports)
    table = action == "table"
    return PolicyRuleSpec(
        priority=draw(st.integers(0, 40000)),
        source=source,
        source_len=draw(st.integers(0, 32)) if source else 0,
        destination=destination,
        destination_len=draw(st.integers(0, 32)) if destination else 0,
        iif=draw(st.just("") | devices),
        oif=draw(st.just("") | devices),
        fwmark=draw(u32) if mask else 0,
        fwmask=mask,
        tos=draw(st.sampled_from([0, 0x10])),
        action=action,
        table=draw(st.sampled_from([254, 255, 100])) if table else 254,
        goto=draw(st.integers(1, 40000)) if action == "goto" else 0,
        invert=draw(st.booleans()),
        protocol=draw(st.sampled_from([0, 6, 17, 99])),
        source_ports=draw(ranges),
        destination_ports=draw(ranges),
        suppress_prefix_len=draw(st.none() | st.just(0)) if table else None,
    )


neighbours = st.builds(
    NeighbourSpec,
    device=devices,
    address=addresses,
    mac=st.just(b"") | macs,
    state=st.sampled_from(["REACHABLE", "STALE", "PERMANENT", "FAILED", "NOARP"]),
)
fdb = st.builds(
    FdbSpec,
    bridge=st.just("br0"),
    device=devices,
    mac=macs,
    state=st.sampled_from(["", "permanent", "static", "stale"]),
    vlan=st.integers(0, 4094),
)
sockets = st.builds(
    SocketSpec,
    protocol=st.sampled_from(["tcp", "udp"]),
    address=addresses,
    port=ports,
    device=st.sampled_from(["", "lo", "eth0"]),
)
texts = st.none() | st.text("abc \n").map(lambda text: TextFile(name="x", text=f"x{text}"))


@st.composite
def namespaces(draw: st.DrawFn, name: str) -> NamespaceSpec:
    return NamespaceSpec(
        name=name,
        links=draw(links()),
        addresses=draw(address_lists()),
        routes=draw(st.lists(routes(), max_size=3)),
        policy_rules=draw(st.none() | st.lists(policy_rules(), max_size=3)),
        neighbours=draw(st.lists(neighbours, max_size=2)),
        fdb=draw(st.lists(fdb, max_size=2)),
        proxies=draw(st.lists(proxies, max_size=2)),
        vxlan_fdb=draw(st.lists(tunnels, max_size=2)),
        mdb=draw(st.lists(groups, max_size=2)),
        bridge_vlans=draw(st.none() | st.lists(bridge_vlans, max_size=2)),
        sysctls=draw(
            st.dictionaries(
                st.sampled_from(["net.ipv4.ip_forward", "net.ipv4.conf.eth0/5.rp_filter"]),
                st.integers(0, 5).map(str),
            )
        ),
        rules4=draw(texts),
        rules6=draw(texts),
        backend="legacy",
        ipset=draw(texts),
        ipvs=draw(texts),
        conntrack=draw(texts),
        sockets=draw(st.none() | st.lists(sockets, max_size=3)),
        netns_ids={} if name else {draw(st.integers(0, 9)): "pod"},
    )


def anonymous(space: NamespaceSpec) -> NamespaceSpec:
    """Return the namespace with file names (which say where it was read) taken away."""
    blank = {
        field: TextFile(name="x", text=file.text)
        for field in ("rules4", "rules6", "ipset", "ipvs", "conntrack")
        if (file := getattr(space, field)) is not None
    }
    return replace(space, **blank)


@settings(max_examples=60, deadline=None)
@given(main=namespaces(""), other=namespaces("pod"))
def test_what_is_written_is_read_back(main: NamespaceSpec, other: NamespaceSpec) -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_node(NodeSpec(main=main, others=[other]), folder)
        again = read_node(folder)
    for expected, actual in zip([main, other], again.namespaces(), strict=True):
        blank = anonymous(actual)
        for name in expected.__struct_fields__:
            assert getattr(expected, name) == getattr(blank, name)


def test_an_older_snapshot_is_replaced(tmp_path: Path) -> None:
    link = LinkSpec(name="lo", ifindex=1, kind="loopback")
    rich = NamespaceSpec(links=[link], rules4=TextFile(name="x", text="*filter\nCOMMIT\n"))
    write_node(NodeSpec(main=rich, others=[NamespaceSpec(name="old", links=[link])]), tmp_path)
    write_node(NodeSpec(main=NamespaceSpec(links=[link])), tmp_path)
    again = read_node(str(tmp_path))
    assert again.main.rules4 is None
    assert not again.others


@pytest.mark.parametrize("backend", ["legacy", "nft"])
def test_the_backend_survives(tmp_path: Path, backend: str) -> None:
    text = "*filter\n-A INPUT -j DROP\nCOMMIT\n"
    main = NamespaceSpec(
        links=[LinkSpec(name="lo", ifindex=1, kind="loopback")],
        rules4=TextFile(name="x", text=text),
        backend=backend,
    )
    write_node(NodeSpec(main=main), tmp_path)
    assert backend == read_node(str(tmp_path)).main.backend


def test_unnamed_ids_are_told_by_the_pair_of_veth_ends(tmp_path: Path) -> None:
    """The main namespace has no name: only the pair says that the pod's id 0 means it."""
    here = LinkSpec(name="veth1", ifindex=5, kind="veth", peer_ifindex=2, peer_netnsid=3)
    there = LinkSpec(name="eth0", ifindex=2, kind="veth", peer_ifindex=5, peer_netnsid=0)
    pod = NamespaceSpec(name="pod", links=[there], netns_ids={0: ""})
    write_node(NodeSpec(main=NamespaceSpec(links=[here]), others=[pod]), tmp_path)
    again = read_node(str(tmp_path))
    assert again.main.netns_ids == {3: "pod"}
    assert again.others[0].netns_ids == {0: ""}


def test_loaded_modules_are_those_of_all_namespaces(tmp_path: Path) -> None:
    link = LinkSpec(name="lo", ifindex=1, kind="loopback")
    main = NamespaceSpec(links=[link], modules=("ip_vs_ftp",))
    write_node(NodeSpec(main=main, others=[NamespaceSpec(name="pod", links=[link])]), tmp_path)
    again = read_node(str(tmp_path))
    assert [space.modules for space in again.namespaces()] == [("ip_vs_ftp",)] * 2
    (tmp_path / "lsmod").write_text(
        "Module                  Size  Used by\nip_vs_rr               12288  1\n"
    )
    assert read_node(str(tmp_path)).main.modules == ()
