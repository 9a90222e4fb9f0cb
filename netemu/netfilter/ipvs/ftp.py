r"""FTP through a virtual server: who the data connection goes to, and what the client is told.

Kernel: net/netfilter/ipvs/ip_vs_ftp.c. RFC 959, RFC 2428.

Theory of operation: the client's commands and the server's answers are read in established
connections to port 21 of masqueraded servers. The answer to PASV or EPSV names the real server's
port: a connection whose client port is not known yet waits for the client there, and the answer
is made to name the virtual server. PORT and EPRT name the client's port: a connection waits for
the server, which comes from port 20. The control connection controls both. The payload's change
of length is conntrack's to mend, so that FTP's connections keep their entries whatever
net.ipv4.vs.conntrack says.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, nf_ct_get
from netemu.netfilter.conntrack.expect import Expectation
from netemu.netfilter.conntrack.helper import Helpers, nf_ct_expect_related
from netemu.netfilter.conntrack.tuple import Tuple
from netemu.netfilter.helpers.mangle import nf_nat_mangle_tcp_packet
from netemu.netfilter.ipvs.app import App
from netemu.netfilter.ipvs.conn_table import control_add
from netemu.netfilter.ipvs.connection import (
    IP_VS_CONN_F_NFCT,
    IP_VS_CONN_F_NO_CPORT,
    IpvsConnection,
)
from netemu.netfilter.ipvs.service import FTPPORT
from netemu.netfilter.ipvs.table import Ipvs
from netemu.netfilter.ipvs.tcp import TcpState, listen
from netemu.skb import Skb
from netemu.wire.ipv4 import IPPROTO_TCP
from netemu.wire.tcp import MIN_HEADER_LEN


class Mode(IntEnum):
    """What the client asked for last (cp->app_data)."""

    ACTIVE = 0
    PASV = 1
    EPSV = 2


class Named(Struct, frozen=True):
    """An address and port in a payload, and where they stand."""

    address: bytes
    port: int
    start: int
    end: int


def _payload(skb: Skb, offset: int) -> bytes:
    header_len = (skb.data[offset + 12] >> 4) * 4
    return bytes(skb.data[offset + header_len :]) if header_len >= MIN_HEADER_LEN else b""


def _is_digit(octet: int) -> bool:
    return 48 <= octet <= 57


def _begin(data: bytes, pattern: bytes, skip: int, *, extended: bool) -> int | None:
    """Return where an endpoint may begin behind a pattern; `skip` stands before it.

    In the old form the parenthesis may lack: then the first digit is the beginning.
    """
    if data[: len(pattern)].upper() != pattern:
        return None
    at, found = len(pattern), False
    while at < len(data):
        if not found:
            if not extended and _is_digit(data[at]):
                return at
            found = data[at] == skip
        elif data[at] != skip:
            return at
        at += 1
    return None


def _old_form(data: bytes, start: int) -> Named | None:
    """Read `10,1,0,2,4,1`, which something must follow; each number counts modulo 256."""
    numbers = [0]
    for at in range(start, len(data)):
        octet = data[at]
        if _is_digit(octet):
            numbers[-1] = (numbers[-1] * 10 + octet - 48) & 0xFF
        elif octet == ord(",") and len(numbers) < 6:
            numbers.append(0)
        elif len(numbers) == 6:
            return Named(bytes(numbers[:4]), numbers[4] << 8 | numbers[5], start, at)
        else:
            return None
    return None


def in4_pton(data: bytes, at: int, delimiter: int) -> tuple[bytes, int] | None:
    """Read `10.1.0.2` up to a delimiter; return the address and the delimiter's place."""
    parts, number = bytearray(), -1
    while len(parts) < 4:
        octet = data[at] if at < len(data) else 0
        ends = octet in (delimiter, 0, ord(":"))
        if ends or octet == ord("."):
            if number < 0:
                return None
            parts.append(number)
            number = -1
            if ends:
                return (bytes(parts), at) if len(parts) == 4 else None
        elif _is_digit(octet):
            number = max(number, 0) * 10 + octet - 48
            if number > 255:
                return None
        else:
            return None
        at += 1
    return None


def _extended_form(data: bytes, start: int, own: bytes | None) -> Named | None:
    """Read `|1|10.1.0.2|1025|`; the answer to EPSV says `|||1025|` and means its sender."""
    delimiter = data[start]
    if not 33 <= delimiter <= 126 or len(data) < start + 2:
        return None
    address, at = own, start + 1
    if data[at] == delimiter:
        if own is None or data[at + 1 : at + 2] != data[start : start + 1]:
            return None
        at += 2
    else:
        if data[at : at + 2] != bytes((ord("1"), delimiter)) or len(data) <= at + 2:
            return None
        read = in4_pton(data, at + 2, delimiter)
        if read is None or data[read[1] : read[1] + 1] != bytes((delimiter,)):
            return None
        address, at = read[0], read[1] + 1
    port = 0
    while at < len(data) and _is_digit(data[at]):
        port = (port * 10 + data[at] - 48) & 0xFFFF
        at += 1
    if at >= len(data) or not port or data[at] != delimiter or address is None:
        return None
    return Named(address, port, start, at + 1)


def find(
    data: bytes, pattern: bytes, skip: str, *, extended: bool, own: bytes | None = None
) -> Named | None:
    r"""Return the endpoint that a line names (ip_vs_ftp_get_addrport).

    >>> find(b"PORT 10,1,0,2,4,1\r\n", b"PORT", " ", extended=False).port
    1025
    """
    start = _begin(data, pattern, ord(skip), extended=extended)
    if start is None:
        return None
    return _extended_form(data, start, own) if extended else _old_form(data, start)


def ip_vs_ftp_out(net: Net, skb: Skb, connection: IpvsConnection, offset: int) -> bool:
    """Read a server's answer to PASV or EPSV, and let it name the virtual server."""
    if connection.state != TcpState.ESTABLISHED:
        return True
    skb.ensure_writable(len(skb.data))
    data = _payload(skb, offset)
    if connection.app_data == Mode.PASV:
        named = find(data, b"227 ", "(", extended=False)
    elif connection.app_data == Mode.EPSV:
        named = find(data, b"229 ", "(", extended=True, own=connection.daddr)
    else:
        return True
    if named is None:
        return True
    waiting = _wait_for_client(net, skb, connection, named)
    if connection.app_data == Mode.PASV:
        port = waiting.vport
        text = ",".join(map(str, (*waiting.vaddr, port >> 8, port & 0xFF)))
    else:
        text = f"|||{waiting.vport}|"
    # One answer to one question, even if it cannot be told.
    connection.app_data = Mode.ACTIVE
    entry, ctinfo = nf_ct_get(skb)
    told = entry is not None and nf_nat_mangle_tcp_packet(
        net, skb, entry, ctinfo, offset, named.start, named.end - named.start, text.encode()
    )
    if told and entry is not None:
        _expect(net, skb, entry, waiting)
    listen(net, waiting)
    net.generic(Ipvs).connections.put(waiting)
    return told


def _wait_for_client(
    net: Net, skb: Skb, connection: IpvsConnection, named: Named
) -> IpvsConnection:
    """Return the connection that the client will open from a port that nobody knows yet."""
    table = net.generic(Ipvs).connections
    client, real = (connection.caddr, 0), (named.address, named.port)
    found = table.out_get(IPPROTO_TCP, real, client)
    if found is not None:
        return found
    made = table.new(
        IPPROTO_TCP,
        client,
        (connection.vaddr, named.port),
        real,
        flags=IP_VS_CONN_F_NO_CPORT | IP_VS_CONN_F_NFCT,
        server=connection.server,
        fwmark=skb.mark,
    )
    control_add(made, connection)
    return made


def _expect(net: Net, skb: Skb, entry: Connection, waiting: IpvsConnection) -> None:
    """Let conntrack call the data connection related, if a helper reads along, too."""
    if not entry.helper or net.generic(Helpers).find(entry.helper, IPPROTO_TCP) is None:
        return
    tuple_ = Tuple(waiting.caddr, waiting.vaddr, IPPROTO_TCP, 0, waiting.vport)
    nf_ct_expect_related(net, Expectation(master=entry, tuple_=tuple_), skb)


def ip_vs_ftp_in(net: Net, skb: Skb, connection: IpvsConnection, offset: int) -> bool:
    """Read a client's command; one that names its port lets a connection wait for the server."""
    if connection.state != TcpState.ESTABLISHED:
        return True
    skb.ensure_writable(len(skb.data))
    data = _payload(skb, offset)
    if not data or _asks_passive(connection, data):
        return True
    named = find(data, b"PORT", " ", extended=False) or find(data, b"EPRT", " ", extended=True)
    if named is None:
        return True
    connection.app_data = Mode.ACTIVE
    table = net.generic(Ipvs).connections
    client = (named.address, named.port)
    virtual = (connection.vaddr, (connection.vport - 1) & 0xFFFF)
    waiting = table.in_get(IPPROTO_TCP, client, virtual)
    if waiting is None:
        waiting = table.new(
            IPPROTO_TCP,
            client,
            virtual,
            (connection.daddr, (connection.dport - 1) & 0xFFFF),
            flags=IP_VS_CONN_F_NFCT,
            server=connection.server,
            fwmark=skb.mark,
        )
        control_add(waiting, connection)
    listen(net, waiting)
    table.put(waiting)
    return True


def _asks_passive(connection: IpvsConnection, data: bytes) -> bool:
    """Look for PASV and EPSV anywhere in a payload; return whether that ends the search."""
    upper = data.upper()
    for at in range(len(data) - 5):
        if upper.startswith(b"PASV\r\n", at):
            connection.app_data = Mode.PASV
            return True
        if not upper.startswith((b"EPSV ", b"EPSV\r"), at):
            continue
        if data[at + 4] == ord(" ") and data[at + 5 : at + 7] != b"1\r":
            return True
        connection.app_data = Mode.EPSV
        return True
    return False


FTP = App(
    name="ftp",
    kernel="ip_vs_ftp.c",
    module="ip_vs_ftp",
    protocol=IPPROTO_TCP,
    port=FTPPORT,
    conn_flags=IP_VS_CONN_F_NFCT,
    pkt_in=ip_vs_ftp_in,
    pkt_out=ip_vs_ftp_out,
)

APPS = (FTP,)

MODULES = tuple(app.module for app in APPS)
"""Kernel modules that nothing loads by itself."""


def load_module(net: Net, module: str) -> None:
    """Let the applications of a kernel module read along from now on."""
    for app in APPS:
        if app.module == module:
            net.generic(Ipvs).connections.apps[app.protocol, app.port] = app
