"""A NodeSpec as a snapshot directory: the reverse of `read`.

Files look as the tools print them (iproute2 6.1 `-j`: one line, members in printed order), so that
`jq` and netemu read them alike. What the spec does not hold is not invented: members such as qdisc
are left out, and parts that are None are not written.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from netemu.sim.spec import (
    AddressSpec,
    BridgeVlanSpec,
    FdbSpec,
    LinkSpec,
    MdbSpec,
    NamespaceSpec,
    NeighbourSpec,
    NexthopSpec,
    NodeSpec,
    PolicyRuleSpec,
    ProxySpec,
    RouteSpec,
    SocketSpec,
    VlanSpec,
    VxlanFdbSpec,
    VxlanSpec,
)
from netemu.snapshot.items import ITEM
from netemu.snapshot.read_route import ALL_MARK_BITS
from netemu.snapshot.values import PROTOCOL_NAMES, STP_STATES, TABLE_NAMES, VLAN_PROTOCOLS
from netemu.wire.address import format_address, format_mac

Record = dict[str, object]

SWITCHES = frozenset(
    {
        "hairpin",
        "guard",
        "root_block",
        "fastleave",
        "learning",
        "flood",
        "proxy_arp",
        "proxy_arp_wifi",
        "mcast_flood",
        "bcast_flood",
        "mcast_to_unicast",
        "neigh_suppress",
        "vlan_tunnel",
        "isolated",
        "locked",
    }
)
"""Port options that ip(8) prints as true and false."""

FOREVER = 4294967295
"""INFINITY_LIFE_TIME of an address."""


def write_node(spec: NodeSpec, directory: str | Path) -> None:
    """Write the node's files into `directory`, which is made if it is not there.

    Files of an earlier snapshot in it are replaced, and those of parts the node lacks removed.
    """
    top = Path(directory)
    shutil.rmtree(top / "netns", ignore_errors=True)
    for space in spec.namespaces():
        _write_space(space, top / "netns" / space.name if space.name else top)


def files_of(space: NamespaceSpec) -> dict[str, str]:
    """Return file name -> content for one namespace."""
    index_names = {link.ifindex: link.name for link in space.links}
    found: dict[str, str] = {}

    def put(key: str, content: str) -> None:
        found[ITEM[key].name] = content

    put("link", _json([_link(link, index_names) for link in space.links]))
    put("addr", _json([_device(link, space, index_names) for link in space.links]))
    if space.routes:
        put("route", _json([_route(route) for route in space.routes]))
    if space.policy_rules is not None:
        put("rule", _json([_rule(rule) for rule in space.policy_rules]))
    put("neigh", _json([_neighbour(neighbour) for neighbour in space.neighbours]))
    if space.proxies:
        put("proxy", _json([_proxy(entry) for entry in space.proxies]))
    fdb = [_fdb(entry) for entry in space.fdb] + [_vxlan_fdb(entry) for entry in space.vxlan_fdb]
    put("fdb", _json(fdb))
    if space.mdb:
        put("bridge_mdb", _json([_mdb(space.mdb)]))
    if space.bridge_vlans is not None:
        put("bridge_vlan", _json(_bridge_vlans(space.bridge_vlans)))
    put("netns", _json([_netns(nsid, name) for nsid, name in space.netns_ids.items()]))
    if space.sysctls:
        put("sysctl", "".join(f"{key} = {value}\n" for key, value in space.sysctls.items()))
    texts = {
        f"{space.backend}4": space.rules4,
        f"{space.backend}6": space.rules6,
        "ipset": space.ipset,
        "ipvs": space.ipvs,
        "conntrack": space.conntrack,
    }
    for key, file in texts.items():
        if file is not None:
            put(key, file.text)
    if space.modules:
        rows = "".join(f"{module:<24}{0:>8}  0\n" for module in space.modules)
        put("modules", f"{'Module':<24}    Size  Used by\n{rows}")
    if space.sockets is not None:
        put("sockets", "".join(_socket(socket) for socket in space.sockets))
    return found


def _write_space(space: NamespaceSpec, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for item in ITEM.values():
        for name in item.names:
            (folder / name).unlink(missing_ok=True)
    for name, content in files_of(space).items():
        (folder / name).write_text(content)


def _json(records: list[Record]) -> str:
    return json.dumps(records, separators=(",", ":")) + "\n"


def _kept(**members: object) -> Record:
    """Return the members that are worth printing."""
    return {name: value for name, value in members.items() if value not in ("", b"", None)}


def _link(link: LinkSpec, index_names: Mapping[int, str]) -> Record:
    record = _link_head(link, index_names)
    info: Record = {}
    if link.kind and link.kind != "loopback":
        info["info_kind"] = link.kind
    if link.kind == "bridge" and link.bridge:
        info["info_data"] = {name: _bridge_option(name, v) for name, v in link.bridge.items()}
    if link.vlan is not None:
        info["info_data"] = _vlan(link.vlan)
    if link.macvlan is not None:
        info["info_data"] = {"mode": link.macvlan.mode}
    if link.vxlan is not None:
        info["info_data"] = _vxlan(link.vxlan, index_names.get(link.peer_ifindex, ""))
    if link.master and link.port:
        info["info_slave_kind"] = "bridge"
        info["info_slave_data"] = {name: _option(name, v) for name, v in link.port.items()}
    if info:
        record["linkinfo"] = info
    return record


def _bridge_option(name: str, value: int) -> object:
    if name == "vlan_protocol":
        return _protocol(value)
    return f"{value:#x}" if name == "group_fwd_mask" and value else value


def _protocol(ethertype: int) -> str:
    names = [name for name, number in VLAN_PROTOCOLS.items() if number == ethertype]
    return names[0] if names else f"[{ethertype:x}]"


def _vlan(vlan: VlanSpec) -> Record:
    return _kept(
        protocol=_protocol(vlan.protocol),
        id=vlan.vid,
        flags=["REORDER_HDR"] if vlan.reorder_header else [],
        ingress_qos=_qos(vlan.ingress_qos),
        egress_qos=_qos(vlan.egress_qos),
    )


def _vxlan(vxlan: VxlanSpec, lower: str) -> Record:
    low, high = vxlan.src_ports
    grouped = bool(vxlan.remote) and vxlan.remote[0] >> 4 == 14
    return _kept(
        id=vxlan.vni,
        **{"group" if grouped else "remote": format_address(vxlan.remote) if vxlan.remote else ""},
        local=format_address(vxlan.local) if vxlan.local else "",
        link=lower,
        port_range={"low": low, "high": high},
        port=vxlan.port,
        learning=vxlan.learning,
        tos=hex(vxlan.tos) if vxlan.tos else "",
        ttl="inherit" if vxlan.ttl_inherit else vxlan.ttl,
        df=vxlan.df,
        ageing=vxlan.ageing_s,
        udp_csum=vxlan.checksum,
        localbypass=vxlan.localbypass,
    )


def _vxlan_fdb(entry: VxlanFdbSpec) -> Record:
    record = _kept(
        mac=format_mac(entry.mac),
        ifname=entry.device,
        dst=format_address(entry.dst),
        port=entry.port or None,
        vni=entry.vni or None,
        viaIf=entry.via,
    )
    return record | {"flags": ["self"], "state": entry.state}


def _qos(pairs: tuple[tuple[int, int], ...]) -> object:
    return [{"from": one, "to": other} for one, other in pairs] or None


def _bridge_vlans(vlans: list[BridgeVlanSpec]) -> list[Record]:
    by_device: dict[str, list[Record]] = {}
    for entry in vlans:
        flags = ["PVID"] if entry.pvid else []
        flags += ["Egress Untagged"] if entry.untagged else []
        record: Record = {"vlan": entry.vid}
        by_device.setdefault(entry.device, []).append(record | ({"flags": flags} if flags else {}))
    return [{"ifname": device, "vlans": rows} for device, rows in by_device.items()]


def _mdb(entries: list[MdbSpec]) -> Record:
    routers: dict[str, list[Record]] = {}
    for entry in entries:
        if not entry.group:
            routers.setdefault(entry.bridge, []).append({"port": entry.device})
    rows: list[Record] = [
        {
            "dev": entry.bridge,
            "port": entry.device,
            "grp": format_address(entry.group),
            "state": "permanent" if entry.permanent else "temp",
            "flags": [],
            **({"vid": entry.vlan} if entry.vlan else {}),
        }
        for entry in entries
        if entry.group
    ]
    return {"mdb": rows, "router": routers}


def _option(name: str, value: int) -> object:
    if name == "state":
        return STP_STATES[value] if 0 <= value < len(STP_STATES) else value
    return bool(value) if name in SWITCHES else value


def _link_head(link: LinkSpec, index_names: Mapping[int, str]) -> Record:
    loopback = link.kind == "loopback"
    own = link.vxlan is not None  # its details name the device below
    near = link.peer_netnsid is None and link.peer_ifindex in index_names and not own
    return _kept(
        ifindex=link.ifindex,
        link=index_names[link.peer_ifindex] if near else None,
        link_index=None if near or own else link.peer_ifindex or None,
        ifname=link.name,
        flags=_flags(link),
        mtu=link.mtu,
        master=link.master,
        operstate=_operstate(link),
        link_type="loopback" if loopback else "ether",
        address=format_mac(link.mac),
        broadcast="00:00:00:00:00:00" if loopback else "ff:ff:ff:ff:ff:ff",
        link_netnsid=link.peer_netnsid,
    )


def _flags(link: LinkSpec) -> list[str]:
    flags = ["LOOPBACK"] if link.kind == "loopback" else ["BROADCAST", "MULTICAST"]
    if not link.carrier:
        flags.insert(0, "NO-CARRIER")
    if link.noarp:
        flags.append("NOARP")
    if link.up:
        flags.append("UP")
        if link.carrier:
            flags.append("LOWER_UP")
    return flags


def _operstate(link: LinkSpec) -> str:
    if link.kind == "loopback" and link.up:
        return "UNKNOWN"
    return "UP" if link.up and link.carrier else "DOWN"


def _device(link: LinkSpec, space: NamespaceSpec, index_names: Mapping[int, str]) -> Record:
    record = _link_head(link, index_names)
    record["addr_info"] = [
        _address(address) for address in space.addresses if address.device == link.name
    ]
    return record


def _address(address: AddressSpec) -> Record:
    return _kept(
        family="inet" if len(address.address) == 4 else "inet6",
        local=format_address(address.address),
        address=format_address(address.peer) if address.peer else "",
        prefixlen=address.prefix_len,
        broadcast=format_address(address.broadcast) if address.broadcast else "",
        scope=address.scope,
        secondary=True if address.secondary else None,
        label=address.device if len(address.address) == 4 else "",
        valid_life_time=FOREVER,
        preferred_life_time=FOREVER,
    )


def _prefix(address: bytes, length: int) -> str:
    if not length and not any(address):
        return "default"
    text = format_address(address)
    return text if length == len(address) * 8 else f"{text}/{length}"


def _table(number: int) -> str:
    return TABLE_NAMES.get(number, str(number))


def _route(route: RouteSpec) -> Record:
    ipv6 = len(route.prefix) == 16
    record = _kept(
        type=route.kind if route.kind != "unicast" else "",
        dst=_prefix(route.prefix, route.prefix_len),
        tos=hex(route.tos) if route.tos else "",
    )
    if len(route.nexthops) == 1:
        record |= _nexthop(route.nexthops[0], ipv6=ipv6)
    record |= _kept(
        table=_table(route.table) if route.table != 254 else "",
        protocol=route.protocol,
        scope=route.scope if route.scope != "global" else "",
        prefsrc=format_address(route.source) if route.source else "",
        metric=route.metric or None,
        flags=record.pop("flags", []),
    )
    if route.mtu:
        record["metrics"] = [{"mtu": route.mtu}]
    if len(route.nexthops) > 1:
        record["nexthops"] = [
            _nexthop(way, ipv6=ipv6) | {"weight": way.weight} for way in route.nexthops
        ]
    if ipv6:
        record["pref"] = "medium"
    return record


def _nexthop(way: NexthopSpec, *, ipv6: bool) -> Record:
    foreign = bool(way.gateway) and (len(way.gateway) == 16) != ipv6
    return _kept(
        gateway=format_address(way.gateway) if way.gateway and not foreign else "",
        via={"family": "inet6", "host": format_address(way.gateway)} if foreign else None,
        dev=way.device,
        flags=["onlink"] if way.onlink else [],
    )


def _rule(rule: PolicyRuleSpec) -> Record:
    record: Record = {"priority": rule.priority}
    if rule.invert:
        record["not"] = None
    record["src"] = format_address(rule.source) if rule.source else "all"
    if rule.source and rule.source_len != len(rule.source) * 8:
        record["srclen"] = rule.source_len
    if rule.destination:
        record["dst"] = format_address(rule.destination)
        if rule.destination_len != len(rule.destination) * 8:
            record["dstlen"] = rule.destination_len
    if rule.tos:
        record["tos"] = hex(rule.tos)
    if rule.fwmask:
        record["fwmark"] = hex(rule.fwmark)
        if rule.fwmask != ALL_MARK_BITS:
            record["fwmask"] = hex(rule.fwmask)
    record |= _kept(iif=rule.iif, oif=rule.oif)
    if rule.protocol:
        record["ipproto"] = PROTOCOL_NAMES.get(rule.protocol, str(rule.protocol))
    record |= _ports("sport", rule.source_ports) | _ports("dport", rule.destination_ports)
    return record | _action(rule)


def _ports(name: str, ports: tuple[int, int] | None) -> Record:
    if ports is None:
        return {}
    low, high = ports
    return {name: low} if low == high else {f"{name}_start": low, f"{name}_end": high}


def _action(rule: PolicyRuleSpec) -> Record:
    if rule.action == "goto":
        return {"goto": rule.goto}
    if rule.action == "nop":
        return {"nop": None}
    if rule.action != "table":
        return {"action": rule.action}
    record: Record = {"table": _table(rule.table)}
    if rule.suppress_prefix_len is not None:
        record["suppress_prefixlen"] = rule.suppress_prefix_len
    return record


def _neighbour(neighbour: NeighbourSpec) -> Record:
    return _kept(
        dst=format_address(neighbour.address),
        dev=neighbour.device,
        lladdr=format_mac(neighbour.mac) if neighbour.mac else "",
        state=[neighbour.state],
    )


def _proxy(entry: ProxySpec) -> Record:
    return _kept(dst=format_address(entry.address), dev=entry.device) | {"proxy": None}


def _fdb(entry: FdbSpec) -> Record:
    record: Record = {"mac": format_mac(entry.mac), "ifname": entry.device}
    if entry.vlan:
        record["vlan"] = entry.vlan
    return record | {"flags": [], "master": entry.bridge, "state": entry.state}


def _netns(nsid: int, name: str) -> Record:
    return {"nsid": nsid, "name": name} if name else {"nsid": nsid}


def _socket(socket: SocketSpec) -> str:
    """Return a line as `ss -Htuln` prints it."""
    host = format_address(socket.address)
    if len(socket.address) == 16:
        host = f"[{host}]"
    device = f"%{socket.device}" if socket.device else ""
    anybody = "0.0.0.0:*" if len(socket.address) == 4 else "[::]:*"
    state, queue = ("LISTEN", 128) if socket.protocol == "tcp" else ("UNCONN", 0)
    return (
        f"{socket.protocol:<6}{state:<7}0      {queue:<6} {host}{device}:{socket.port} {anybody}\n"
    )
