"""Services and connections as ipvsadm prints them.

ipvsadm 1.31: `-Ln`, `-Lnc`, `-Sn`, `--stats`, `--rate`, `--timeout`; libipvs sorts what it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.ipvs.connection import IpvsConnection
from netemu.netfilter.ipvs.protocol import state_name
from netemu.netfilter.ipvs.protocols import BY_NUMBER
from netemu.netfilter.ipvs.scheduler import PLAIN_FLAGS, scheduler_name, scheduler_of
from netemu.netfilter.ipvs.service import (
    FORWARD_WORDS,
    IP_VS_CONN_F_DROUTE,
    IP_VS_CONN_F_TUNNEL,
    PROTOCOL_WORDS,
    RealServer,
    ServiceFlag,
    TunnelType,
    VirtualServer,
)
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.ipvs.tcp import TCP, TcpState
from netemu.netfilter.ipvs.udp import UDP
from netemu.wire.address import format_address
from netemu.wire.fields import get32

VERSION = "IP Virtual Server version 1.2.1 (size=4096)"
HEADING = "Prot LocalAddress:Port Scheduler Flags"

TUNNEL_WORDS = {TunnelType.IPIP: "ipip", TunnelType.GUE: "gue", TunnelType.GRE: "gre"}

ANY_SCHED_FLAG = ServiceFlag.SCHED1 | ServiceFlag.SCHED2 | ServiceFlag.SCHED3

DEFAULT_NETMASK = b"\xff\xff\xff\xff"


class _Columns(Struct, frozen=True):
    """One of ipvsadm's lists: its heading line, and the figures of a service and of a server."""

    heading: str
    service: Callable[[Net, VirtualServer], str] | None
    server: Callable[[Net, RealServer], str]
    first: str = HEADING


def list_services(net: Net) -> str:
    """Return `ipvsadm -Ln`."""
    return _list(net, _PLAIN)


def list_stats(net: Net) -> str:
    """Return `ipvsadm -Ln --stats`."""
    return _list(net, _STATS)


def list_rates(net: Net) -> str:
    """Return `ipvsadm -Ln --rate`."""
    return _list(net, _RATE)


def list_connections(net: Net) -> str:
    """Return `ipvsadm -Lnc`, in order of creation; the kernel's order is by a random hash."""
    lines = ["IPVS connection entries"]
    lines.append("pro expire state       source             virtual            destination")
    now, hz = net.clock.jiffies, net.clock.hz
    for connection in net.generic(Ipvs).connections:
        seconds = max(connection.expires - now, 0) // hz
        lines.append(_connection_line(connection, seconds))
    return "".join(f"{line}\n" for line in lines)


def save_rules(net: Net) -> str:
    """Return `ipvsadm -Sn`, which does not save thresholds."""
    lines: list[str] = []
    for service in sort_services(net.generic(Ipvs).all_services()):
        name = _option_name(service)
        lines.append(f"-A {name} -s {scheduler_name(service)}{_service_options(service)}")
        lines += [
            f"-a {name} -r {_end(server.address, server.port)} {_server_options(server)}"
            for server in sort_servers(service.destinations)
        ]
    return "".join(f"{line}\n" for line in lines)


def list_timeouts(net: Net) -> str:
    """Return `ipvsadm -L --timeout`."""
    changed = net.generic(Ipvs).timeouts_s
    tcp = {**dict(enumerate(TCP.timeouts_s)), **changed.get(TCP.number, {})}
    udp = {**dict(enumerate(UDP.timeouts_s)), **changed.get(UDP.number, {})}
    return (
        f"Timeout (tcp tcpfin udp): {tcp[TcpState.ESTABLISHED]} {tcp[TcpState.FIN_WAIT]} {udp[0]}\n"
    )


def _list(net: Net, columns: _Columns) -> str:
    lines = [VERSION, columns.first, columns.heading]
    for service in sort_services(net.generic(Ipvs).all_services()):
        head = _service_head(service)
        if columns.service is None:
            lines.append(f"{head} {scheduler_name(service)}{_listed_options(service)}")
        else:
            lines.append(f"{head:<33}{columns.service(net, service)}")
        lines += [columns.server(net, server) for server in sort_servers(service.destinations)]
    return "".join(f"{line}\n" for line in lines)


def _service_head(service: VirtualServer) -> str:
    if service.fwmark:
        return f"FWM  {_signed(service.fwmark)}"
    word = PROTOCOL_WORDS[service.protocol]
    return f"{word:<4} {_end(service.address, service.port)}"


def _plain_server(net: Net, server: RealServer) -> str:
    return (
        f"  -> {_end(server.address, server.port):<28} {FORWARD_WORDS[server.forward]:<7} "
        f"{server.weight:<6} {server.activeconns:<10} {server.inactconns:<10}"
    )


def _large(count: int) -> str:
    """Print a counter in 8 columns, in thousands and more from 10^8 on (print_largenum)."""
    for limit, divisor, letter in (
        (100_000_000, 1, ""),
        (100_000_000_000, 1000, "K"),
        (100_000_000_000_000, 1_000_000, "M"),
        (100_000_000_000_000_000, 1_000_000_000, "G"),
    ):
        if count < limit:
            return f" {count:8d}" if not letter else f" {count // divisor:7d}{letter}"
    return f" {count // 1_000_000_000_000:7d}T"


def _stats_of(counts: Iterable[int]) -> str:
    return "".join(_large(count) for count in counts)


def _figures_line(server: RealServer, figures: str) -> str:
    return f"  -> {_end(server.address, server.port):<28}{figures}"


_PLAIN = _Columns(
    "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn", None, _plain_server
)
_STATS = _Columns(
    "  -> RemoteAddress:Port",
    lambda net, service: _stats_of(service.stats.counts),
    lambda net, server: _figures_line(server, _stats_of(server.stats.counts)),
    "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes",
)
_RATE = _Columns(
    "  -> RemoteAddress:Port",
    lambda net, service: _stats_of(service.stats.rates(net.clock)),
    lambda net, server: _figures_line(server, _stats_of(server.stats.rates(net.clock))),
    "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS",
)


def _end(address: bytes, port: int) -> str:
    return f"{format_address(address)}:{port}"


def _flag_names(service: VirtualServer) -> list[str]:
    scheduler = scheduler_of(service)
    names = scheduler.flags if scheduler is not None else PLAIN_FLAGS
    bits = (ServiceFlag.SCHED1, ServiceFlag.SCHED2, ServiceFlag.SCHED3)
    return [name for name, bit in zip(names, bits, strict=False) if service.flags & bit]


def _listed_options(service: VirtualServer) -> str:
    """Return what follows the scheduler in a list."""
    text = ""
    if service.flags & ANY_SCHED_FLAG:
        text += f" ({','.join(_flag_names(service))})"
    if service.flags & ServiceFlag.PERSISTENT:
        text += f" persistent {service.timeout_s}"
        if service.netmask != DEFAULT_NETMASK:
            text += f" mask {format_address(service.netmask)}"
    if service.flags & ServiceFlag.ONEPACKET:
        text += " ops"
    return text


def _service_options(service: VirtualServer) -> str:
    """Return what follows the scheduler in a saved rule."""
    text = ""
    if service.flags & ServiceFlag.PERSISTENT:
        text += f" -p {service.timeout_s}"
        if service.netmask != DEFAULT_NETMASK:
            text += f" -M {format_address(service.netmask)}"
    if service.flags & ServiceFlag.ONEPACKET:
        text += " -o"
    if service.flags & ANY_SCHED_FLAG:
        text += f" -b {','.join(_flag_names(service))}"
    return text


_OPTION = {6: "-t", 17: "-u", 132: "--sctp-service"}


def _option_name(service: VirtualServer) -> str:
    if service.fwmark:
        return f"-f {_signed(service.fwmark)}"
    return f"{_OPTION[service.protocol]} {_end(service.address, service.port)}"


def _server_options(server: RealServer) -> str:
    method = {IP_VS_CONN_F_TUNNEL: "-i", IP_VS_CONN_F_DROUTE: "-g"}.get(server.forward, "-m")
    text = f"{method} -w {server.weight}"
    if server.forward == IP_VS_CONN_F_TUNNEL:
        text += _tunnel_options(server)
    return text


def _tunnel_options(server: RealServer) -> str:
    tunnel = server.tunnel
    text = f" --tun-type {TUNNEL_WORDS[tunnel.kind]}"
    if tunnel.kind == TunnelType.GUE:
        text += f" --tun-port {tunnel.port}"
    if tunnel.kind != TunnelType.IPIP:
        if tunnel.remote_checksum:
            text += " --tun-remcsum"
        else:
            text += " --tun-csum" if tunnel.checksum else " --tun-nocsum"
    return text


def _connection_line(connection: IpvsConnection, seconds: int) -> str:
    word = PROTOCOL_WORDS.get(connection.protocol, str(connection.protocol))
    state = state_name(BY_NUMBER.get(connection.protocol), connection)
    virtual = _end(connection.vaddr, connection.vport)
    source = _end(connection.caddr, connection.cport)
    expire = f"{seconds // 60:02d}:{seconds % 60:02d}"
    return (
        f"{word:<3} {expire:<6} {state:<11} {source:<18} {virtual:<18} "
        f"{_end(connection.daddr, connection.dport)}"
    )


# Sorting as libipvs does: qsort, which is a merge sort in glibc, with a comparison that is not
# quite an order: it takes the difference of two addresses as a signed number.

Row = TypeVar("Row")


def sort_services(services: list[VirtualServer]) -> list[VirtualServer]:
    """Sort services as ipvsadm lists them (ipvs_cmp_services)."""
    return _merge_sort(services, _compare_services)


def sort_servers(servers: list[RealServer]) -> list[RealServer]:
    """Sort real servers as ipvsadm lists them (ipvs_cmp_dests)."""
    return _merge_sort(servers, _compare_servers)


def _compare_services(one: VirtualServer, other: VirtualServer) -> int:
    return (
        _signed(one.fwmark - other.fwmark)
        or one.protocol - other.protocol
        or _signed(get32(one.address, 0) - get32(other.address, 0))
        or one.port - other.port
    )


def _compare_servers(one: RealServer, other: RealServer) -> int:
    return _signed(get32(one.address, 0) - get32(other.address, 0)) or one.port - other.port


def _signed(difference: int) -> int:
    """Take a number of 32 bits for a signed one; so ipvsadm prints marks, too."""
    difference &= 0xFFFFFFFF
    return difference - (1 << 32) if difference >> 31 else difference


def _merge_sort(rows: list[Row], compare: Callable[[Row, Row], int]) -> list[Row]:
    if len(rows) <= 1:
        return list(rows)
    half = len(rows) // 2
    left, right = _merge_sort(rows[:half], compare), _merge_sort(rows[half:], compare)
    merged: list[Row] = []
    at = to = 0
    while at < len(left) and to < len(right):
        if compare(left[at], right[to]) <= 0:
            merged.append(left[at])
            at += 1
        else:
            merged.append(right[to])
            to += 1
    return merged + left[at:] + right[to:]
