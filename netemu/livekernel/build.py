"""Builds a node in real network namespaces.

Kernel: net/core/rtnetlink.c, net/ipv4/devinet.c, fib_frontend.c (the routes that addresses bring).
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable

from netemu.errors import KernelError
from netemu.livekernel import batch, conntrack_load
from netemu.livekernel.case import port_keys, split_device
from netemu.livekernel.namespace import (
    Namespace,
    disable_offloads,
    run_tool,
    sync_link,
    write_sysctl,
)
from netemu.livekernel.sets import commands_of, refill
from netemu.sim.spec import NamespaceSpec, NodeSpec, RouteSpec, SocketSpec
from netemu.sysctl import CONF_DEFAULTS
from netemu.wire.address import format_address, parse_prefix

QUIET = {
    "net.ipv6.conf.all.disable_ipv6": "1",
    "net.ipv6.conf.default.disable_ipv6": "1",
    "net.ipv4.igmp_link_local_mcast_reports": "0",
}
"""Keeps a namespace from sending what nobody asked for: router solicitations, IGMP reports."""

SO_BINDTODEVICE = 25
IP_TRANSPARENT = 19

_PER_DEVICE = re.compile(r"^net\.(?:ipv4|ipv6)\.(?:conf|neigh)\.([^.]+)\.")

_NEIGH_DEFAULT = re.compile(r"^net\.ipv4\.neigh\.default\.(\w+)$")


class BuiltNode:
    """A node's namespaces, the helper namespace of its ports, and its listening sockets."""

    def __init__(self, node: NodeSpec) -> None:
        """Make everything; on failure nothing is left behind."""
        self.node = node
        self.ports = port_keys(node)
        self.helper = Namespace()
        self.spaces: dict[str, Namespace] = {}
        self.sockets: list[socket.socket] = []
        self.notes: list[str] = []
        """What the kernel would not take, one sentence each."""
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give everything back to the kernel."""
        for sock in self.sockets:
            sock.close()
        self.helper.close()
        for space in self.spaces.values():
            space.close()

    def far_of_port(self) -> dict[str, str]:
        """Return the far end in the helper namespace of each port."""
        return {key: f"far{number}" for number, key in enumerate(self.ports)}

    def _build(self) -> None:
        for spec in self.node.namespaces():
            self.spaces[spec.name] = Namespace()
        paths = {name: space.path for name, space in self.spaces.items()}
        with self.helper.entered():
            _write_all(QUIET)
        for spec in self.node.namespaces():
            with self.spaces[spec.name].entered():
                self._early_sysctls(spec)
        lines = batch.device_lines(self.node, paths, self.helper.path)
        for name, made in lines.items():
            with self.spaces[name].entered():
                _ip(made)
        for name, made in batch.upper_lines(self.node, paths).items():
            with self.spaces[name].entered():
                _ip(made)
        with self.helper.entered():
            _ip(batch.far_lines(self.node))
        for spec in self.node.namespaces():
            with self.spaces[spec.name].entered():
                self._configure(spec)
        for spec in self.node.namespaces():
            with self.spaces[spec.name].entered():
                for link in spec.links:
                    if link.kind not in {"bridge", "dummy"}:
                        sync_link(link.name)
        with self.helper.entered():
            for far in self.far_of_port().values():
                sync_link(far)
        for spec in self.node.namespaces():
            with self.spaces[spec.name].entered():
                self._finish(spec)

    def load_state(self) -> None:
        """Load what grows old, neighbours and connections: the case begins now."""
        for spec in self.node.namespaces():
            with self.spaces[spec.name].entered():
                _ip(batch.neighbour_lines(spec.neighbours))
                if spec.conntrack is not None:
                    for command in conntrack_load.insert_commands(spec.conntrack.text):
                        run_tool(command)

    def _early_sysctls(self, spec: NamespaceSpec) -> None:
        """Set what new devices copy; a fresh namespace copies it from the machine's own."""
        _write_all(QUIET)
        for name, value in CONF_DEFAULTS.items():
            for group in ("all", "default"):
                write_sysctl(f"net.ipv4.conf.{group}.{name}", str(value))
        early = {
            key: value
            for key, value in spec.sysctls.items()
            if (found := _PER_DEVICE.match(key)) is not None and found[1] in {"all", "default"}
        }
        # ip_forward first: it sets all, default and every device (inet_forward_change).
        forward = spec.sysctls.get("net.ipv4.ip_forward", "0")
        write_sysctl("net.ipv4.ip_forward", forward)
        _write_all(early)

    def _configure(self, spec: NamespaceSpec) -> None:
        _ip(
            [
                *batch.set_up(spec),
                *batch.bridges_with_mac(spec),
                *batch.address_lines(spec),
            ]
        )
        self._sysctls(spec)

    def _sysctls(self, spec: NamespaceSpec) -> None:
        names = {link.name for link in spec.links}
        # Outside the first namespace neigh.default does not exist: give it to each device.
        values = {
            f"net.ipv4.neigh.{name.replace('.', '/')}.{found[1]}": value
            for key, value in spec.sysctls.items()
            if (found := _NEIGH_DEFAULT.match(key)) is not None
            for name in names
        }
        for key, value in (values | spec.sysctls).items():
            if not key.startswith("net.") or key in QUIET or key == "net.ipv4.ip_forward":
                continue
            found = _PER_DEVICE.match(key)
            if found is not None and (
                found[1] in {"all", "default"} or found[1].replace("/", ".") not in names
            ):
                continue
            if key.startswith("net.ipv6."):
                continue
            write_sysctl(key, value)

    def _finish(self, spec: NamespaceSpec) -> None:
        for link in spec.links:
            # Bridges after all: their carrier follows from that of their ports.
            if link.kind == "bridge":
                sync_link(link.name)
        for key in self.ports:
            name, device = split_device(key)
            if name == spec.name:
                disable_offloads(device)
        _ip(
            [
                *_route_changes(spec),
                *batch.rule_lines(spec),
                *batch.proxy_lines(spec),
            ]
        )
        for lines in (
            batch.bridge_vlan_lines(spec),
            batch.fdb_lines(spec),
            batch.vxlan_fdb_lines(spec),
            batch.mdb_lines(spec),
        ):
            if lines:
                run_tool(["bridge", "-batch", "-"], "\n".join(lines) + "\n")
        if spec.ipset is not None:
            run_tool(["ipset", "restore"], commands_of(spec.ipset.text))
        if spec.rules4 is not None:
            restore = f"iptables-{spec.backend}-restore"
            run_tool([restore, "-c"], spec.rules4.text)
        if spec.ipvs is not None and spec.ipvs.text.strip():
            run_tool(["ipvsadm", "-R"], spec.ipvs.text)
        for listener in spec.sockets or []:
            if listener.program:
                continue  # the lab's own programs open their sockets themselves
            transparent = spec.rules4 is not None and "-j TPROXY" in spec.rules4.text
            self.sockets.append(_listen(listener, transparent=transparent))

    def refresh_sets(self) -> None:
        """Fill sets with timeouts anew, so that their time begins with the case's."""
        for spec in self.node.namespaces():
            if spec.ipset is not None and (again := refill(spec.ipset.text)):
                with self.spaces[spec.name].entered():
                    run_tool(["ipset", "restore"], again)


def _write_all(values: dict[str, str]) -> None:
    for key, value in values.items():
        write_sysctl(key, value)


def _ip(lines: Iterable[str]) -> None:
    text = "\n".join(lines)
    if not text:
        return
    try:
        run_tool(["ip", "-batch", "-"], text + "\n")
    except KernelError as error:
        number = re.search(r"-:(\d+)", error.message)
        line = text.split("\n")[int(number[1]) - 1] if number else text
        raise KernelError(f"{error.message} in `{line}`") from None


def _listen(spec: SocketSpec, *, transparent: bool) -> socket.socket:
    kind = socket.SOCK_STREAM if spec.protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_INET, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if transparent:
        sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    if spec.device:
        sock.setsockopt(socket.SOL_SOCKET, SO_BINDTODEVICE, spec.device.encode())
    sock.bind((format_address(spec.address) if any(spec.address) else "", spec.port))
    if spec.protocol == "tcp":
        sock.listen(128)
    return sock


RouteKey = tuple[int, str, bytes, int, int, int]
"""Table, kind, prefix, length, metric, tos: what tells two routes of a table apart."""

_TABLES = {"local": 255, "main": 254, "default": 253}


def _route_changes(spec: NamespaceSpec) -> list[str]:
    """Return the lines that turn the routes which the addresses brought into those wanted.

    A namespace whose routes name none of table local leaves that table to the kernel.
    """
    present = _present_routes()
    wanted = {_key(route): route for route in spec.routes if len(route.prefix) == 4}
    tables = {key[0] for key in wanted}
    lines = [
        _delete_line(key)
        for key in present
        if key not in wanted and key[0] in tables and batch.TABLE_LOCAL in tables
    ]
    for route in spec.routes:
        if len(route.prefix) != 4:
            continue
        key = _key(route)
        if key in present:
            present.remove(key)  # of several that are told apart by their gateway, the first is it
        else:
            lines.append(batch.route_line(route, "append"))
    return lines


def _key(route: RouteSpec) -> RouteKey:
    return (route.table, route.kind, route.prefix, route.prefix_len, route.metric, route.tos)


def _present_routes() -> set[RouteKey]:
    keys: set[RouteKey] = set()
    for row in json.loads(run_tool(["ip", "-j", "-N", "-4", "route", "show", "table", "all"])):
        destination = "0.0.0.0/0" if row["dst"] == "default" else row["dst"]
        prefix, length = parse_prefix(destination)
        table = str(row.get("table", "254"))
        number = _TABLES.get(table) or int(table)
        kind = _kind(str(row.get("type", "unicast")))
        keys.add(
            (number, kind, prefix, length, int(row.get("metric", 0)), int(row.get("tos", "0"), 16))
        )
    return keys


_KINDS = {"1": "unicast", "2": "local", "3": "broadcast"}


def _kind(text: str) -> str:
    return _KINDS.get(text, text)


def _delete_line(key: RouteKey) -> str:
    table, kind, prefix, length, metric, tos = key
    words = f"route del {kind} {format_address(prefix)}/{length} table {table}"
    return words + (f" metric {metric}" if metric else "") + (f" tos {tos:#x}" if tos else "")
