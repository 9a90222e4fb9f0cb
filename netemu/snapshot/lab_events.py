"""The time line of a lab: what an administrator, or misfortune, does while it runs.

Each event is made twice: as what netemu does, and as the commands that do the same in the live
kernel.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.ruleset import parse_ruleset
from netemu.ruleset.ipvsadm import apply_ipvs, parse_ipvs
from netemu.sim import admin
from netemu.sim.lab_spec import Command, Happening
from netemu.sim.node import Node
from netemu.sim.spec import AddressSpec, TextFile
from netemu.snapshot import lab_values as values
from netemu.snapshot.change import dotted, is_number, must_be_number
from netemu.snapshot.document import BadValueError
from netemu.snapshot.lab_build import LabBuilder
from netemu.snapshot.lab_shape import EventShape
from netemu.snapshot.read_rules import backend_of
from netemu.wire.address import format_address, format_mac

Do = Callable[[Node], None]
Made = tuple[str, Do, list[Command]]
"""What happens in words, how, and the commands."""

ReadRules = Callable[[str], TextFile]


def happening(builder: LabBuilder, event: EventShape, rules: ReadRules) -> Happening:
    """Return what an entry of the time line does. Raises BadValueError."""
    words = [word for word in _MAKERS if getattr(event, word) is not None]
    if len(words) != 1:
        shown = ", ".join("arp" if word == "announce_only" else word for word in _MAKERS)
        raise BadValueError(f"an event does one of {shown}", "")
    if words[0] == "rules":
        made = _rules(builder, event, rules)
    else:
        made = _MAKERS[words[0]](builder, event)
    text, do, commands = made
    at_ns = values.duration_ns(event.at)
    return Happening(at_ns=at_ns, text=text, do=do, commands=tuple(commands))


def _command(end: str, words: str) -> Command:
    """Return a command for a device; DEV in it stands for the device."""
    namespace, _, device = end.rpartition("/")
    return Command(
        namespace=namespace,
        words=tuple(device if word == "DEV" else word for word in words.split()),
    )


def _arp_command(end: str, address: bytes) -> Command:
    namespace, _, device = end.rpartition("/")
    return Command(namespace=namespace, words=(), announces=(device, address))


def _device(builder: LabBuilder, end: str, word: str) -> str:
    if not end:
        raise BadValueError(f"this event needs `{word}`, a device", "")
    where, name = builder.split(end)
    builder.device(where, name)
    return end


def _on(builder: LabBuilder, event: EventShape) -> str:
    if not event.on:
        raise BadValueError("this event needs `on`, a host or pod", "")
    builder.space(event.on)
    return event.on


def set_link(end: str, *, up: bool) -> Do:
    """Bring a device up or down."""

    def do(node: Node) -> None:
        space, device = node.find_device(end)
        admin.set_link(space.net, device, up=up)

    return do


def _down(builder: LabBuilder, event: EventShape) -> Made:
    end = _device(builder, event.down or "", "down")
    return f"{end} goes down", set_link(end, up=False), [_command(end, "ip link set DEV down")]


def _up(builder: LabBuilder, event: EventShape) -> Made:
    end = _device(builder, event.up or "", "up")
    return f"{end} comes up", set_link(end, up=True), [_command(end, "ip link set DEV up")]


def cut_cable(end: str, *, cut: bool) -> Do:
    """Cut a cable or mend it."""

    def do(node: Node) -> None:
        admin.cut_cable(node.find_device(end)[1], cut=cut)

    return do


def _cut(builder: LabBuilder, event: EventShape) -> Made:
    end = _device(builder, event.cut or "", "cut")
    return f"the cable of {end} is cut", cut_cable(end, cut=True), []


def _mend(builder: LabBuilder, event: EventShape) -> Made:
    end = _device(builder, event.mend or "", "mend")
    return f"the cable of {end} is mended", cut_cable(end, cut=False), []


def set_mac(end: str, mac: bytes) -> Do:
    """Change a device's MAC."""

    def do(node: Node) -> None:
        space, device = node.find_device(end)
        admin.set_mac(space.net, device, mac)

    return do


def _mac(builder: LabBuilder, event: EventShape) -> Made:
    end, mac = _device(builder, event.mac or "", "mac"), values.mac(event.to)
    command = _command(end, f"ip link set DEV address {format_mac(mac)}")
    return f"{end} becomes {format_mac(mac)}", set_mac(end, mac), [command]


def add_address(end: str, spec: AddressSpec, *, announce: bool) -> Do:
    """Give a device an address, and tell everybody if wanted."""

    def do(node: Node) -> None:
        space, device = node.find_device(end)
        admin.add_address(space.net, spec)
        if announce:
            admin.announce(space.net, device, spec.address)

    return do


def delete_address(end: str, address: bytes) -> Do:
    """Take an address from a device."""

    def do(node: Node) -> None:
        space, device = node.find_device(end)
        admin.delete_address(space.net, device, address)

    return do


def _add(builder: LabBuilder, event: EventShape) -> Made:
    end = _device(builder, event.to, "to")
    spec = values.device_address(builder.split(end)[1], event.add or "")
    commands = _add_commands(end, spec, announce=event.announce)
    return f"{end} gets {event.add}", add_address(end, spec, announce=event.announce), commands


def _add_commands(end: str, spec: AddressSpec, *, announce: bool) -> list[Command]:
    text = f"{format_address(spec.address)}/{spec.prefix_len}"
    broadcast = f" broadcast {format_address(spec.broadcast)}" if spec.broadcast else ""
    commands = [_command(end, f"ip addr add {text}{broadcast} dev DEV")]
    return commands + [_arp_command(end, spec.address)] * announce


def _delete_command(end: str, address: str) -> Command:
    return _command(end, f"ip addr del {address} dev DEV")


def _remove(builder: LabBuilder, event: EventShape) -> Made:
    end = _device(builder, event.source, "from")
    address, _ = values.prefix(event.remove or "")
    command = _delete_command(end, event.remove or "")
    return f"{end} loses {event.remove}", delete_address(end, address), [command]


def _move(builder: LabBuilder, event: EventShape) -> Made:
    source, target = _device(builder, event.source, "from"), _device(builder, event.to, "to")
    spec = values.device_address(builder.split(target)[1], event.move or "")
    take = delete_address(source, spec.address)
    give = add_address(target, spec, announce=event.announce)

    def do(node: Node) -> None:
        take(node)
        give(node)

    commands = [
        _delete_command(source, event.move or ""),
        *_add_commands(target, spec, announce=event.announce),
    ]
    return f"{event.move} moves from {source} to {target}", do, commands


def _arp(builder: LabBuilder, event: EventShape) -> Made:
    end, address = _device(builder, event.source, "from"), values.address(event.announce_only or "")

    def do(node: Node) -> None:
        space, device = node.find_device(end)
        admin.announce(space.net, device, address)

    return f"{end} announces {event.announce_only}", do, [_arp_command(end, address)]


def _route(builder: LabBuilder, event: EventShape) -> Made:
    where = _on(builder, event)
    spec = values.route(event.route or "", builder.space(where).addresses)

    def do(node: Node) -> None:
        admin.add_route(node.namespaces[where].net, spec)

    command = Command(
        namespace=where, words=("ip", "route", "append", *(event.route or "").split())
    )
    return f"{where} adds the route {event.route}", do, [command]


def _unroute(builder: LabBuilder, event: EventShape) -> Made:
    where = _on(builder, event)
    spec = values.route(event.unroute or "", builder.space(where).addresses)

    def do(node: Node) -> None:
        admin.delete_route(node.namespaces[where].net, spec)

    command = Command(namespace=where, words=("ip", "route", "del", *(event.unroute or "").split()))
    return f"{where} removes the route {event.unroute}", do, [command]


def _sysctl(builder: LabBuilder, event: EventShape) -> Made:
    where = _on(builder, event)
    key, equals, value = (event.sysctl or "").partition("=")
    name = dotted(key.strip())
    if not equals or (must_be_number(name) and not is_number(value.strip())):
        raise BadValueError(f"{event.sysctl!r} is not KEY=VALUE", event.sysctl or "")

    def do(node: Node) -> None:
        node.namespaces[where].net.sysctl.set(name, value.strip())

    command = Command(namespace=where, words=("sysctl", "-qw", f"{key.strip()}={value.strip()}"))
    return f"{where} sets {event.sysctl}", do, [command]


def _rules(builder: LabBuilder, event: EventShape, read: ReadRules | None = None) -> Made:
    where = _on(builder, event)
    assert read is not None
    file = read(event.rules or "")
    # What would not load is said now, not in the midst of a run.
    parse_ruleset(file.text, file.name)
    restore = f"iptables-{backend_of(file.text)}-restore"
    command = Command(namespace=where, words=(restore, "-c"), stdin=file.text)
    return f"{where} loads new rules", lambda node: node.replace_rules(where, file), [command]


def _ipvs(builder: LabBuilder, event: EventShape) -> Made:
    where = _on(builder, event)
    text = event.ipvs or ""
    # As above; whether the servers exist shows only then.
    parse_ipvs(text, "ipvs")

    def do(node: Node) -> None:
        apply_ipvs(node.namespaces[where].net, text, "ipvs")

    command = Command(namespace=where, words=("ipvsadm", "-R"), stdin=f"{text.rstrip()}\n")
    return f"{where} runs ipvsadm {'; '.join(text.strip().splitlines())}", do, [command]


_MAKERS: dict[str, Callable[[LabBuilder, EventShape], Made]] = {
    "down": _down,
    "up": _up,
    "cut": _cut,
    "mend": _mend,
    "mac": _mac,
    "move": _move,
    "add": _add,
    "remove": _remove,
    "announce_only": _arp,
    "rules": _rules,
    "ipvs": _ipvs,
    "route": _route,
    "unroute": _unroute,
    "sysctl": _sysctl,
}
"""Everything that can happen, by the field that says so."""
