"""A lab file (`*.lab.yaml`) into a lab; every error points to its line and column.

The whole file is checked against `lab_shape` first, part by part, so that the place of a wrong
value is known; then the parts are handed to the builder, which knows what fits together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import TypeVar

import msgspec

from netemu.sim.lab_spec import ClientSpec, LabSpec
from netemu.sim.spec import TextFile, VxlanSpec
from netemu.snapshot import lab_values as values
from netemu.snapshot.change import dotted, is_number, must_be_number
from netemu.snapshot.document import BadValueError
from netemu.snapshot.lab_build import Cable, LabBuilder, Upper
from netemu.snapshot.lab_events import happening
from netemu.snapshot.lab_shape import (
    ClientShape,
    DeviceShape,
    HostShape,
    LabShape,
    LinkShape,
    PodShape,
    ServerShape,
    Setting,
    SpaceShape,
)
from netemu.snapshot.yaml_text import Path, YamlText

ReadText = Callable[[str], str]
"""Reads a file that the lab names; raises OSError."""

Part = TypeVar("Part")

_STEP = re.compile(r"\.([\w-]+)|\[(\d+|\.\.\.)\]")
_UNKNOWN = re.compile(r"Object contains unknown field `(.*?)`")

_TARGETS = ("tcp", "http", "udp", "dns", "ping")


def read_lab(name: str, text: str, read_text: ReadText) -> LabSpec:
    """Read a lab. Raises SnapshotError or RulesetError."""
    return read_builder(name, text, read_text).lab


def read_builder(name: str, text: str, read_text: ReadText) -> LabBuilder:
    """Read a lab that can grow. Raises as `read_lab` does."""
    reader = _Reader(YamlText(name, text), read_text)
    reader.read()
    return reader.builder


class _Reader:
    def __init__(self, document: YamlText, read_text: ReadText) -> None:
        self.document = document
        self.read_text = read_text
        self.builder = LabBuilder()

    def read(self) -> LabSpec:
        lab = self._shape()
        builder = self.builder
        builder.lab.node.source = self.document.name
        for name, host in lab.nodes.items():
            self._host(name, host)
        for number, link in enumerate(lab.links):
            with self._at("links", number):
                self._link(link, number)
        for name, host in lab.nodes.items():
            self._pods_and_routes(name, host)
        for number, client in enumerate(lab.clients):
            with self._at("clients", number):
                builder.lab.clients.append(self._client(client, number))
        for number, event in enumerate(lab.timeline):
            with self._at("timeline", number):
                found = happening(builder, event, partial(self._event_rules, number))
                builder.lab.timeline.append(found)
        if lab.until is not None:
            with self._at("until"):
                builder.lab.until_ns = values.duration_ns(lab.until)
        return builder.lab

    def _shape(self) -> LabShape:
        value = self.document.value
        if not isinstance(value, dict):
            raise self.document.error("a lab is a mapping with `nodes`", ())
        nodes = value.get("nodes")
        if isinstance(nodes, dict):
            for name, host in nodes.items():
                pods = host.get("pods") if isinstance(host, dict) else None
                for pod, inside in pods.items() if isinstance(pods, dict) else ():
                    self._devices(("nodes", name, "pods", pod), inside)
                    self._convert(inside, PodShape, ("nodes", name, "pods", pod))
                self._devices(("nodes", name), host)
                self._convert(host, HostShape, ("nodes", name))
        return self._convert(value, LabShape, ())

    def _devices(self, path: Path, space: object) -> None:
        devices = space.get("devices") if isinstance(space, dict) else None
        for name, device in devices.items() if isinstance(devices, dict) else ():
            self._convert(device, DeviceShape, (*path, "devices", name))

    def _convert(self, value: object, shape: type[Part], path: Path) -> Part:
        try:
            return msgspec.convert({} if value is None else value, shape)
        except msgspec.ValidationError as problem:
            message, _, where = str(problem).partition(" - at ")
            steps: Path = tuple(
                int(index) if index.isdecimal() else field or index
                for field, index in _STEP.findall(where.strip("`"))
            )
            unknown = _UNKNOWN.match(message)
            full = (*path, *steps, unknown[1]) if unknown else (*path, *steps)
            named = str(full[-1]) if full else "the lab"
            if unknown:
                known = ", ".join(_fields(shape, steps))
                text = f"there is no field {named!r} here; one of {known} would be right"
            else:
                text = f"{named}: {message[:1].lower()}{message[1:]}"
            raise self.document.error(text, full, at_key=bool(unknown)) from None

    @contextmanager
    def _at(self, *path: str | int) -> Iterator[None]:
        """Give what goes wrong inside its place in the file."""
        try:
            yield
        except BadValueError as problem:
            place = self._find(path, problem.value)
            raise self.document.error(str(problem), place) from None

    def _find(self, path: Path, value: str) -> Path:
        """Return the path below `path` of the wrong value, else `path`."""
        part: object = self.document.value
        for step in path:
            try:
                part = part[step]  # type: ignore[index]
            except (KeyError, IndexError, TypeError):
                return path
        return (*path, *(_search(part, value) or ()))

    def _host(self, name: str, host: HostShape) -> None:
        with self._at("nodes", name):
            self.builder.add_host(name, self._sysctls(host.sysctls, ("nodes", name, "sysctls")))
            self.builder.set_modules(name, host.modules)
        self._space_devices(name, host, ("nodes", name))
        for pod, inside in host.pods.items():
            path = ("nodes", name, "pods", pod)
            with self._at(*path):
                sysctls = self._sysctls(inside.sysctls, (*path, "sysctls"))
                full = self.builder.add_pod(name, pod, sysctls)
                self.builder.set_modules(full, host.modules)
            self._space_devices(full, inside, path)

    def _space_devices(self, where: str, space: SpaceShape, path: Path) -> None:
        for name, device in space.devices.items():
            with self._at(*path, "devices", name):
                self.builder.add_device(
                    where,
                    name,
                    kind=device.kind,
                    mac=device.mac,
                    mtu=device.mtu,
                    up=device.up,
                    master=device.master,
                    addresses=device.addresses,
                    bridge=_numbers(device.bridge),
                    port=_numbers(device.port),
                    upper=Upper(
                        lower=device.lower, vid=device.vid, mode=device.mode, vxlan=_tunnel(device)
                    ),
                )

    def _sysctls(self, given: Mapping[str, Setting], path: Path) -> dict[str, str]:
        found: dict[str, str] = {}
        for key, value in given.items():
            name = dotted(key)
            text = str(int(value)) if isinstance(value, bool) else str(value)
            if must_be_number(name) and not is_number(text):
                raise self.document.error(f"{key}: a whole number would be right", (*path, key))
            found[name] = text
        return found

    def _link(self, link: LinkShape, number: int) -> None:
        cable = Cable(
            delay=link.delay,
            jitter=link.jitter,
            loss=link.loss,
            duplicate=link.duplicate,
            reorder=link.reorder,
            rate=link.rate,
        )
        if len(link.ends) > 2 or link.name:
            self.builder.switch(link.name or f"switch{number}", link.ends, cable)
        else:
            self.builder.connect(link.ends[0], link.ends[1], cable)

    def _pods_and_routes(self, name: str, host: HostShape) -> None:
        for pod, inside in host.pods.items():
            path = ("nodes", name, "pods", pod)
            with self._at(*path):
                if bool(inside.address) != bool(inside.bridge):
                    raise BadValueError("address and bridge go together", "")
                if inside.bridge:
                    self.builder.attach_pod(
                        f"{name}/{pod}", inside.address, inside.bridge, _numbers(inside.port)
                    )
            self._rest(f"{name}/{pod}", inside, path)
        self._rest(name, host, ("nodes", name))

    def _rest(self, where: str, space: SpaceShape, path: Path) -> None:
        builder = self.builder
        for number, text in enumerate(space.routes):
            with self._at(*path, "routes", number):
                builder.add_route(where, text)
        for number, text in enumerate(space.fdb):
            with self._at(*path, "fdb", number):
                builder.add_fdb(where, text)
        for number, text in enumerate(space.neighbours):
            with self._at(*path, "neighbours", number):
                builder.add_neighbour(where, text)
        for number, server in enumerate(space.servers):
            with self._at(*path, "servers", number):
                self._serve(where, server)
        if space.rules:
            builder.set_rules(where, self._rules(space.rules, (*path, "rules")))
        if space.ipvs:
            builder.set_ipvs(where, self._rules(space.ipvs, (*path, "ipvs"), "ipvsadm -Sn"))

    def _serve(self, where: str, server: ServerShape) -> None:
        ports = [(word, port) for word, port in (("tcp", server.tcp), ("udp", server.udp)) if port]
        if not ports:
            raise BadValueError("a server needs its port: tcp or udp, or both", "")
        for protocol, port in ports:
            self.builder.serve(where, protocol, port, server.answer, server.text, server.address)

    def _rules(self, text: str, path: Path, tool: str = "iptables-save") -> TextFile:
        """Return rules that stand in the lab, or in the file that it names."""
        if "\n" in text:
            # Blank lines in front keep the numbers of the lines those of the file.
            before = self.document.line_of(path) - (not self.document.is_block(path))
            return TextFile(name=self.document.name, text="\n" * before + text)
        name = str(PurePath(self.document.name).parent / text)
        try:
            return TextFile(name=name, text=self.read_text(name))
        except (OSError, UnicodeDecodeError) as problem:
            why = getattr(problem, "strerror", None) or "not text"
            raise self.document.error(
                f"{text} cannot be read ({why}); {tool} text or its file is needed", path
            ) from None

    def _event_rules(self, number: int, text: str) -> TextFile:
        return self._rules(text, ("timeline", number, "rules"))

    def _client(self, client: ClientShape, number: int) -> ClientSpec:
        chosen = [(kind, getattr(client, kind)) for kind in _TARGETS]
        wanted = [(kind, target) for kind, target in chosen if target is not None]
        if len(wanted) != 1:
            raise BadValueError(f"a client does one of {', '.join(_TARGETS)}", "")
        kind, target = wanted[0]
        remote, port = (values.address(target), 0) if kind == "ping" else values.end_of(target)
        self.builder.space(client.source)
        if kind == "dns":
            values.dns_name(client.send)
        return ClientSpec(
            name=client.name or f"{client.source}#{number + 1}",
            namespace=client.source,
            kind=kind,
            remote=remote,
            port=port,
            local=values.address(client.address) if client.address else bytes(4),
            local_port=client.port,
            start_ns=values.duration_ns(client.at),
            text=client.send,
            count=client.count,
            interval_ns=values.duration_ns(client.interval),
            timeout_ns=values.duration_ns(client.timeout),
        )


def _numbers(options: Mapping[str, int | bool]) -> dict[str, int]:
    return {key: int(value) for key, value in options.items()}


def _tunnel(device: DeviceShape) -> VxlanSpec | None:
    tunnel = device.vxlan
    if tunnel is None:
        return None
    return VxlanSpec(
        vni=tunnel.vni,
        remote=values.address(tunnel.remote) if tunnel.remote else b"",
        local=values.address(tunnel.local) if tunnel.local else b"",
        port=tunnel.port,
        learning=tunnel.learning,
    )


def _fields(shape: type, steps: Path) -> list[str]:
    """Return the fields that a part of a shape may have."""
    info = msgspec.inspect.type_info(shape)
    for step in steps:
        if isinstance(info, msgspec.inspect.StructType):
            info = next(field.type for field in info.fields if field.encode_name == step)
        elif isinstance(info, msgspec.inspect.ListType):
            info = info.item_type
        elif isinstance(info, msgspec.inspect.DictType):
            info = info.value_type
        if isinstance(info, msgspec.inspect.Metadata):
            info = info.type
    if not isinstance(info, msgspec.inspect.StructType):
        return []
    return [field.encode_name for field in info.fields]


def _search(part: object, value: str) -> Path | None:
    """Return where in `part` a value stands that reads as `value`, or contains it."""
    if isinstance(part, dict | list):
        items = part.items() if isinstance(part, dict) else enumerate(part)
        for key, inner in items:
            below = _search(inner, value)
            if below is not None:
                return (key, *below)
        return None
    return () if value and value in str(part) else None
