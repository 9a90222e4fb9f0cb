"""Scapy packets at the edge: bytes to packets and back, and written expressions.

An expression is parsed with `ast` against an allow-list of layer constructors and literals; it is
never evaluated as Python. Scapy fills in what a packet leaves open from the machine that it runs
on (routes, ARP, DNS); here such fields must be given, or are filled in by netemu, so that the same
expression means the same frame everywhere.
"""

from __future__ import annotations

import ast
import warnings
from typing import Any, Protocol, cast

from netemu.errors import PacketTextError
from netemu.wire.address import parse_address, parse_mac
from netemu.wire.composed import BROADCAST, ComposedPacket

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers import dhcp, dns, inet, inet6, l2, sctp, vxlan
    from scapy.packet import NoPayload, Packet, Padding, Raw

ETH_P_8021Q = 0x8100
MAXIMUM_REPEAT = 65535
"""`b"x" * 1400` is welcome, an expression that fills memory is not."""


class ScapyPacket(Protocol):
    """What netemu relies on in a Scapy packet; any `scapy.packet.Packet` has it."""

    def __bytes__(self) -> bytes:
        """Build the packet."""
        ...

    def show(self) -> None:
        """Print the layers."""
        ...

    def summary(self) -> str:
        """Return one line."""
        ...


_HOMES = {
    dhcp: ("BOOTP", "DHCP"),
    dns: ("DNS", "DNSQR", "DNSRR"),
    inet: (
        "ICMP", "IP", "IPOption", "IPOption_EOL", "IPOption_LSRR", "IPOption_NOP", "IPOption_RR",
        "IPOption_Router_Alert", "IPOption_SSRR", "IPOption_Timestamp", "IPerror", "ICMPerror",
        "TCP", "TCPerror", "UDP", "UDPerror",
    ),
    inet6: ("IPv6",),
    l2: ("ARP", "Dot1AD", "Dot1Q", "Ether", "GRE", "LLC", "SNAP", "STP"),
    sctp: (
        "SCTP", "SCTPChunkAbort", "SCTPChunkCookieAck", "SCTPChunkCookieEcho", "SCTPChunkData",
        "SCTPChunkHeartbeatAck", "SCTPChunkHeartbeatReq", "SCTPChunkInit", "SCTPChunkInitAck",
        "SCTPChunkSACK", "SCTPChunkShutdown", "SCTPChunkShutdownAck",
        "SCTPChunkShutdownComplete",
    ),
    vxlan: ("VXLAN",),
}  # fmt: skip

LAYERS: dict[str, type] = {
    name: getattr(module, name)
    for module, names in _HOMES.items()
    for name in names
    if hasattr(module, name)
} | {"Padding": Padding, "Raw": Raw}
"""What an expression may call."""


def to_scapy(frame: bytes) -> ScapyPacket:
    """Return the Scapy packet of an Ethernet frame."""
    return cast("ScapyPacket", l2.Ether(frame))


def from_scapy(packet: ScapyPacket) -> bytes:
    """Return the bytes of a Scapy packet as it stands; Scapy fills in what is open."""
    return bytes(packet)


def parse_expression(text: str) -> ComposedPacket:
    """Return the packet that a Scapy expression describes.

    >>> parse_expression("IP(src='10.0.0.1', dst='10.0.0.2')/UDP(sport=1, dport=2)").network.hex()
    '4500001c00010000401166ce0a0000010a000002000100020008ebd8'
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as problem:
        raise PacketTextError(
            f"this is no Scapy expression: {problem.msg}",
            file="<scapy>",
            line=1,
            column=problem.offset or 1,
            context=text,
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise PacketTextError("this is no Scapy expression", file="<scapy>", line=1) from None
    try:
        packet = _Reader(text.strip()).value(tree.body)
    except RecursionError:
        raise PacketTextError("the expression is nested too deep", file="<scapy>", line=1) from None
    if not isinstance(packet, Packet):
        raise PacketTextError(
            "the expression is no packet; one is IP(src='10.0.0.1', dst='10.0.0.2')/UDP()",
            file="<scapy>",
            line=1,
            column=1,
            context=text,
        )
    return compose(packet, text)


class _Reader:
    """Turns allowed syntax nodes into values."""

    def __init__(self, text: str) -> None:
        self.text = text

    def fail(self, node: ast.AST, message: str) -> PacketTextError:
        """Return an error at a node."""
        column = getattr(node, "col_offset", 0) + 1
        return PacketTextError(message, file="<scapy>", line=1, column=column, context=self.text)

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression node."""
        if isinstance(node, ast.Constant):
            if isinstance(node.value, int | float | str | bytes | None):
                return node.value
        elif isinstance(node, ast.List | ast.Tuple):
            items = [self.value(item) for item in node.elts]
            return items if isinstance(node, ast.List) else tuple(items)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            number = self.value(node.operand)
            if isinstance(number, int | float):
                return -number
        elif isinstance(node, ast.BinOp):
            return self.joined(node)
        elif isinstance(node, ast.Call):
            return self.layer(node)
        raise self.fail(node, "only layers, literals, lists, / and bytes * N may stand here")

    def joined(self, node: ast.BinOp) -> Any:
        """Return `layer / layer`, or `literal * N`."""
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Div) and isinstance(left, Packet):
            if isinstance(right, Packet | str | bytes):
                return left / right
        elif isinstance(node.op, ast.Mult) and isinstance(left, str | bytes):
            if isinstance(right, int) and 0 <= len(left) * right <= MAXIMUM_REPEAT:
                return left * right
        raise self.fail(node, "only LAYER / LAYER, LAYER / bytes and bytes * N can be joined")

    def layer(self, node: ast.Call) -> Packet:
        """Return the layer that a call makes."""
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in LAYERS:
            known = " ".join(sorted(LAYERS))
            raise self.fail(node, f"{ast.unparse(node.func)} is no layer that may be used: {known}")
        arguments = [self.value(argument) for argument in node.args]
        fields: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise self.fail(keyword.value, "** cannot be used here")
            fields[keyword.arg] = self.checked(name, keyword.arg, keyword.value)
        takes_bytes = name in {"Raw", "Padding"} and len(arguments) == 1
        if arguments and not (takes_bytes and isinstance(arguments[0], bytes | str)):
            raise self.fail(node, f"{name} takes its fields by name: {name}(field=value)")
        try:
            return LAYERS[name](*arguments, **fields)
        except AttributeError as problem:
            raise self.fail(node, f"{name} has no field {problem}") from None
        except Exception as problem:  # noqa: BLE001 - Scapy raises what it likes
            raise self.fail(node, f"{name}: {_first_line(problem)}") from None

    def checked(self, layer: str, field: str, node: ast.expr) -> Any:
        """Return a field's value; addresses must be addresses, as Scapy would ask DNS for names."""
        value = self.value(node)
        check = _ADDRESS_FIELDS.get((layer, field))
        if check is not None:
            try:
                check(value)
            except (ValueError, TypeError, AttributeError):
                raise self.fail(node, f"{layer}({field}=) {value!r} is no address") from None
        return value


_ADDRESS_FIELDS = {
    ("IP", "src"): parse_address,
    ("IP", "dst"): parse_address,
    ("IPerror", "src"): parse_address,
    ("IPerror", "dst"): parse_address,
    ("IPv6", "src"): parse_address,
    ("IPv6", "dst"): parse_address,
    ("ARP", "psrc"): parse_address,
    ("ARP", "pdst"): parse_address,
    ("ARP", "hwsrc"): parse_mac,
    ("ARP", "hwdst"): parse_mac,
    ("Ether", "src"): parse_mac,
    ("Ether", "dst"): parse_mac,
    ("ICMP", "gw"): parse_address,
    ("BOOTP", "ciaddr"): parse_address,
    ("BOOTP", "yiaddr"): parse_address,
    ("BOOTP", "siaddr"): parse_address,
    ("BOOTP", "giaddr"): parse_address,
}  # fmt: skip


def compose(packet: Any, text: str = "") -> ComposedPacket:
    """Return a Scapy packet as a packet whose open MAC addresses netemu fills in."""
    frame = packet.copy() if isinstance(packet, l2.Ether) else l2.Ether() / packet
    if isinstance(frame.payload, NoPayload):
        raise _incomplete("the packet is empty above Ether", text)
    src_mac, dst_mac = _mac_field(frame, "src"), _mac_field(frame, "dst")
    frame.fields.update(src="00:00:00:00:00:00", dst="00:00:00:00:00:00")
    arp = frame.getlayer(l2.ARP)
    arp_sender_open = arp is not None and _settle_arp(arp, src_mac, text)
    if arp is not None and arp.op == 1:
        dst_mac = dst_mac or BROADCAST
    _require_addresses(frame, text)
    octets = _build(frame, text)
    vlan, ethertype, network = _untag(octets)
    src, dst = _addresses(frame)
    return ComposedPacket(
        text=text or packet.summary(),
        network=network,
        ethertype=ethertype,
        src=src,
        dst=dst,
        vlan=vlan,
        src_mac=src_mac,
        dst_mac=dst_mac,
        arp_sender_open=arp_sender_open,
    )


def _incomplete(message: str, text: str) -> PacketTextError:
    return PacketTextError(message, file="<scapy>", line=1, column=1, context=text)


def _mac_field(ether: Any, name: str) -> bytes:
    given = ether.fields.get(name)
    return parse_mac(given) if given else b""


def _untag(octets: bytes) -> tuple[int | None, int, bytes]:
    """Take one 802.1Q tag off a frame; return its TCI, the ethertype and what follows."""
    ethertype = int.from_bytes(octets[12:14], "big")
    if ethertype != ETH_P_8021Q:
        return None, ethertype, octets[14:]
    return int.from_bytes(octets[14:16], "big"), int.from_bytes(octets[16:18], "big"), octets[18:]


def _settle_arp(arp: Any, src_mac: bytes, text: str) -> bool:
    """Fill an ARP's MAC fields; True when its sender's must be that of the frame."""
    for field in ("psrc", "pdst"):
        if field not in arp.fields:
            raise _incomplete(f"ARP needs {field}=, since Scapy would ask this machine", text)
    arp.fields.setdefault("hwdst", "00:00:00:00:00:00")
    if "hwsrc" in arp.fields:
        return False
    arp.fields["hwsrc"] = src_mac.hex(":") if src_mac else "00:00:00:00:00:00"
    return not src_mac


def _require_addresses(packet: Any, text: str) -> None:
    """Refuse an IP header without addresses."""
    layer = packet
    while not isinstance(layer, NoPayload):
        if isinstance(layer, inet.IP | inet6.IPv6):
            for field in ("src", "dst"):
                if field not in layer.fields:
                    name = type(layer).__name__
                    raise _incomplete(
                        f"{name} needs {field}=, since Scapy would ask this machine", text
                    )
        layer = layer.payload


def _addresses(packet: Any) -> tuple[bytes, bytes]:
    """Return source and destination of the outermost network header."""
    layer = packet.payload
    while isinstance(layer, l2.Dot1Q):
        layer = layer.payload
    if isinstance(layer, inet.IP | inet6.IPv6):
        return parse_address(layer.src), parse_address(layer.dst)
    if isinstance(layer, l2.ARP):
        return parse_address(layer.psrc), parse_address(layer.pdst)
    return b"", b""


def _build(packet: Any, text: str) -> bytes:
    try:
        return bytes(packet)
    except Exception as problem:  # noqa: BLE001 - Scapy raises what it likes
        raise _incomplete(f"Scapy cannot build this packet: {_first_line(problem)}", text) from None


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0].rstrip(":")
