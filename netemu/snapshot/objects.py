"""Kubernetes objects as `kubectl get -o yaml|json` prints them, read into a cluster.

Theory of operation: documents are decoded by libyaml (JSON is a part of YAML; a file that begins
with a brace takes msgspec's faster way) and converted into typed objects. Only what fails is read
a second time, as a tree of nodes with their places, to say file, line and column.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import yaml

from netemu.errors import InputError
from netemu.kube.cluster import Cluster
from netemu.kube.controllers.endpointslice import mirrored, slices_of
from netemu.kube.objects import KINDS, Endpoints, EndpointSlice, KubeObject
from netemu.kube.service_ports import SERVICE_NAME_LABEL, owner_of
from netemu.kube.validation import faults
from netemu.sim.spec import TextFile

SUFFIXES = (".yaml", ".yml", ".json")
_LOGS = re.compile(r"^==== START logs .*?^==== END logs .*?$", re.MULTILINE | re.DOTALL)
_STEP = re.compile(r"\.([\w-]+)|\[(\d+|\.\.\.)\]")
_Path = tuple[str | int, ...]


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """A safe loader that leaves times and dates as the text that they are."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def object_files(path: str) -> list[TextFile]:
    """Return the files of a path: itself, or those of a folder such as `cluster-info dump` makes.

    `-` is what comes in by standard input. Raises InputError for what cannot be read.
    """
    if path == "-":
        return [TextFile(name=path, text=sys.stdin.read())]
    top = Path(path)
    names = (
        sorted(item for item in top.rglob("*") if item.suffix in SUFFIXES)
        if top.is_dir()
        else [top]
    )
    if not names:
        raise InputError(f"no {', '.join(SUFFIXES)} file is in this folder", file=path)
    found = []
    for name in names:
        try:
            found.append(TextFile(name=str(name), text=name.read_text(encoding="utf-8")))
        except OSError as problem:
            raise InputError(f"cannot be read ({problem.strerror})", file=str(name)) from None
        except UnicodeDecodeError:
            raise InputError("this is no UTF-8 text", file=str(name)) from None
    return found


def read_cluster(files: Iterable[TextFile]) -> Cluster:
    """Return the cluster of some files' objects.

    Endpoints that the files lack are made of Endpoints objects or of selectors and pods, as the
    controllers do, and a note says so. Raises InputError naming object, field, file and line.
    """
    cluster = Cluster()
    names: list[str] = []
    for file in files:
        cluster.add(read_objects(file))
        names.append(file.name)
    if names and not cluster.objects:
        known = ", ".join(KINDS)
        raise InputError(
            f"no Kubernetes object of a known kind is in it; {known} are", file=names[0]
        )
    complete_endpoints(cluster)
    for service in cluster.services:
        for number, port in enumerate(service.spec.ports or ()):
            if not port.port:
                cluster.notes.append(
                    f"Service {service.key}, field spec.ports[{number}].port: there is none, which"
                    " the API server would refuse; rules are made for port 0"
                )
    return cluster


def complete_endpoints(cluster: Cluster) -> None:
    """Make the slices of Services that have none."""
    owned = set(map(owner_of, cluster.slices))
    rebuilt: list[str] = []
    for service in cluster.services:
        key = f"{service.metadata.namespace or 'default'}/{service.metadata.name}"
        if key in owned:
            continue
        given = [
            item
            for item in cluster.all(Endpoints)
            if f"{item.metadata.namespace or 'default'}/{item.metadata.name}" == key
        ]
        made: list[EndpointSlice] = [part for item in given for part in mirrored(item)]
        if not given and cluster.pods:
            made = slices_of(service, cluster.pods, cluster.nodes)
        if made:
            rebuilt.append(key)
            cluster.add(made)
    if rebuilt:
        cluster.notes.append(
            f"no EndpointSlices of {_some(rebuilt)}: they are made of Endpoints, or of selectors"
            " and ready pods"
        )
    lost = [item.key for item in cluster.slices if not owner_of(item)]
    if lost:
        cluster.notes.append(
            f"without label {SERVICE_NAME_LABEL}, so of no Service: EndpointSlice {_some(lost)}"
        )


def _some(names: Sequence[str]) -> str:
    """Return the first few of some names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" * (len(names) > 3))


def read_objects(file: TextFile) -> list[KubeObject]:
    """Return a file's objects of the kinds that netemu knows."""
    documents = _documents(file)
    found: list[KubeObject] = []
    for number, document in enumerate(documents):
        for path, item in _flattened(document, ()):
            place = _Place(file, number, path)
            if not isinstance(item, dict):
                raise place.error("", "this is no Kubernetes object; it needs apiVersion and kind")
            item = _configuration(item) or item
            kind = item.get("kind")
            if not isinstance(kind, str):
                raise place.error("", "an object without kind; write `kind: Service`, for one")
            if kind in KINDS:
                found.append(_convert(place, kind, item))
    return found


def _configuration(item: dict[str, object]) -> dict[str, object]:
    """Return kube-proxy's configuration out of the ConfigMap that kubeadm keeps it in."""
    data = item.get("data") if item.get("kind") == "ConfigMap" else None
    text = data.get("config.conf") if isinstance(data, dict) else None
    try:
        found = yaml.load(text, _Loader) if isinstance(text, str) else None  # noqa: S506 - a safe one
    except yaml.YAMLError:
        return {}
    if not isinstance(found, dict) or found.get("kind") != "KubeProxyConfiguration":
        return {}
    return found


def _documents(file: TextFile) -> list[object]:
    if file.text.lstrip()[:1] == "{":
        try:
            return [msgspec.json.decode(file.text)]
        except msgspec.DecodeError:
            pass  # several documents, or flow style YAML; else the place is found below
        dumped = _dumped(file.text)
        if dumped:
            return dumped
    try:
        return [item for item in yaml.load_all(file.text, _Loader) if item is not None]
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark
        raise InputError(
            f"this is no YAML: {problem.problem or 'it cannot be read'}",
            file=file.name,
            line=mark.line + 1 if mark else 0,
            column=mark.column + 1 if mark else 0,
        ) from None
    except yaml.YAMLError as problem:
        raise InputError(f"this is no YAML: {problem}", file=file.name) from None


def _dumped(text: str) -> list[object]:
    """Return the documents that `cluster-info dump` prints one after the other, without the logs.

    Empty for a text that is anything else.
    """
    decoder, found, start = json.JSONDecoder(), list[object](), 0
    text = _LOGS.sub("\n", text)
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        try:
            document, start = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            return []
        found.append(document)
    return found


def _flattened(document: object, path: _Path) -> Iterator[tuple[_Path, object]]:
    """Yield the objects of a document: itself, or the items of a list."""
    if isinstance(document, dict) and isinstance(document.get("items"), list):
        kind = str(document.get("kind", "List"))
        for number, item in enumerate(document["items"]):
            if isinstance(item, dict) and "kind" not in item and kind.endswith("List"):
                item = {**item, "kind": kind.removesuffix("List")}
            yield (*path, "items", number), item
    elif isinstance(document, list):
        for number, item in enumerate(document):
            yield (*path, number), item
    else:
        yield path, document


def _convert(place: _Place, kind: str, item: dict[str, object]) -> KubeObject:
    try:
        found = msgspec.convert(item, KINDS[kind])
    except msgspec.ValidationError:
        try:
            found = msgspec.convert(_without_nulls(item), KINDS[kind])
        except msgspec.ValidationError as problem:
            message, _, path = str(problem).partition(" - at ")
            raise place.error(path.strip("`"), in_words(message)) from None
    if any(faults(found)):
        found = msgspec.convert(_plain_addresses(_without_nulls(item)), KINDS[kind])
    for path, message in faults(found):
        raise place.error(f"$.{path}", message)
    return found


_TYPES = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "nothing",
}
_MISMATCH = re.compile(r"Expected `([^`]+)`, got `(\w+)`")
_MISSING = re.compile(r"Object missing required field `(\w+)`")


def in_words(message: str) -> str:
    """Return what msgspec says of a value in words.

    >>> in_words("Expected `int`, got `str`")
    'this is text; a whole number is needed'
    >>> in_words("Expected `str | null`, got `float`")
    'this is a number; text is needed, so write it in quotes'
    >>> in_words("Object missing required field `addresses`")
    "'addresses' is missing"
    """
    missing = _MISSING.fullmatch(message)
    if missing:
        return f"{missing[1]!r} is missing"
    found = _MISMATCH.fullmatch(message)
    if not found:
        return message[:1].lower() + message[1:]
    wanted = [name for name in found[1].split(" | ") if name != "null"]
    needed = " or ".join(_TYPES.get(name, name) for name in wanted)
    quotes = ", so write it in quotes" * (
        wanted == ["str"] and found[2] in {"int", "float", "bool"}
    )
    return f"this is {_TYPES.get(found[2], found[2])}; {needed} is needed{quotes}"


def _without_nulls(value: object) -> object:
    """Return a value without fields that are null, which the API takes as not given."""
    if isinstance(value, dict):
        return {key: _without_nulls(part) for key, part in value.items() if part is not None}
    return [_without_nulls(part) for part in value] if isinstance(value, list) else value


_PADDING = re.compile(r"(?<!\d)0+(?=\d)")
_QUAD = re.compile(r"\s*\d+(?:\.\d+){3}(?:/\d+)?\s*")


def _plain_addresses(value: object) -> object:
    """Return a value whose IPv4 addresses and prefixes lack leading zeros, outside its metadata.

    The API server takes 10.96.0.010 and means 10.96.0.10, as kube-proxy does (ParseIPSloppy).
    """
    if isinstance(value, dict):
        return {
            key: part if key == "metadata" else _plain_addresses(part)
            for key, part in value.items()
        }
    if isinstance(value, list):
        return [_plain_addresses(part) for part in value]
    if isinstance(value, str) and _QUAD.fullmatch(value):
        return _PADDING.sub("", value)
    return value


class _Place:
    """Where an object stands in a file."""

    def __init__(self, file: TextFile, document: int, path: _Path) -> None:
        self.file = file
        self.document = document
        self.path = path

    def error(self, path: str, message: str) -> InputError:
        """Return an error about a field, such as `$.spec.ports[0].port`."""
        steps = tuple(
            name or (int(number) if number.isdigit() else 0) for name, number in _STEP.findall(path)
        )
        name, line, column = self._find(steps)
        field = path.removeprefix("$.").removeprefix("$")
        text = f"{name}, field {field}: {message}" if field else f"{name}: {message}"
        return InputError(text, file=self.file.name, line=line, column=column)

    def _find(self, steps: Sequence[str | int]) -> tuple[str, int, int]:
        """Return the object's kind and name, and line and column of the last step that is there."""
        try:
            documents = list(filter(None, yaml.compose_all(self.file.text, _Loader)))
        except yaml.YAMLError:  # what `cluster-info dump` prints is no YAML as a whole
            return "object", 0, 0
        node = documents[self.document]
        for step in self.path:
            node = _child(node, step) or node
        head = _scalar(node, "kind") or "object"
        meta = _child(node, "metadata")
        parts = [_scalar(meta, "namespace"), _scalar(meta, "name")] if meta is not None else []
        name = " ".join(filter(None, [head, "/".join(filter(None, parts))]))
        for step in steps:
            inner = _child(node, step)
            if inner is None:
                break
            node = inner
        return name, node.start_mark.line + 1, node.start_mark.column + 1


def _child(node: yaml.Node, step: str | int) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        pairs: list[tuple[yaml.Node, yaml.Node]] = node.value
        return next((value for key, value in pairs if key.value == step), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int):
        items: list[yaml.Node] = node.value
        return items[step] if step < len(items) else None
    return None


def _scalar(node: yaml.Node, key: str) -> str:
    found = _child(node, key)
    return str(found.value) if isinstance(found, yaml.ScalarNode) else ""
