"""A real cluster's objects, read and followed by kubectl.

Theory of operation: `kubectl get` prints all objects once. `kubectl get --watch` follows one kind
alone and prints the objects that are there before the changes, so there is one such process per
kind; a thread reads each, and what has come meanwhile is told together. kube-proxy's configuration
is the one that kubeadm keeps in a ConfigMap, where it can be read.
"""

from __future__ import annotations

import codecs
import json
import queue
import subprocess
import threading
from collections.abc import Iterator
from typing import IO

from msgspec import Struct, field

from netemu.errors import InputError
from netemu.kube.objects import KubeObject
from netemu.kube.store import EventType
from netemu.sim.spec import TextFile
from netemu.snapshot.objects import read_objects

RESOURCES = (
    "nodes",
    "pods",
    "services",
    "endpointslices.discovery.k8s.io",
    "ingresses.networking.k8s.io",
)
CONFIG_MAP = ("configmap", "kube-proxy", "--namespace=kube-system")
CONFIG_KIND = "kind: KubeProxyConfiguration"
BLOCK = 1 << 16
STOP_S = 5
"""How long a watch that was told to end may take."""


class Change(Struct, frozen=True, kw_only=True):
    """One event of a watch."""

    type: EventType
    object: KubeObject


class _End(Struct, frozen=True):
    """A watch that is over, and why."""

    resource: str
    reason: str


class Kubectl(Struct, frozen=True, kw_only=True):
    """How kubectl is called."""

    command: tuple[str, ...] = ("kubectl",)
    context: str = ""

    def objects(self, notes: list[str]) -> list[TextFile]:
        """Return what the cluster holds; `notes` takes what could not be read, and need not be.

        Raises InputError when kubectl cannot be run or is refused.
        """
        listed = self._get(",".join(RESOURCES), "--all-namespaces")
        files = [TextFile(name="kubectl get", text=listed)]
        try:
            found = self._get(*CONFIG_MAP, "--ignore-not-found")
        except InputError as problem:
            notes.append(f"kube-proxy's configuration is not read: {problem.message}")
            return files
        files += _configurations(found)
        if len(files) == 1:
            notes.append("the cluster has no ConfigMap kube-system/kube-proxy; defaults are taken")
        return files

    def watch(self) -> Iterator[list[Change]]:
        """Yield changes as they come, those that came together in one list.

        The objects that are there are told first, as added. Raises InputError when a watch ends.
        """
        arrived: queue.SimpleQueue[Change | _End | InputError] = queue.SimpleQueue()
        watches = [_Watch(self, resource, arrived) for resource in RESOURCES]
        try:
            for watch in watches:
                watch.start()
            while True:
                items = [arrived.get()]
                while not arrived.empty():
                    items.append(arrived.get())
                changes = [item for item in items if isinstance(item, Change)]
                if changes:
                    yield changes
                for item in items:
                    if isinstance(item, InputError):
                        raise item
                    if isinstance(item, _End):
                        why = f": {item.reason}" if item.reason else ""
                        raise InputError(f"kubectl get {item.resource} --watch has ended{why}")
        finally:
            for watch in watches:
                watch.stop()

    def arguments(self, *words: str) -> list[str]:
        """Return a `kubectl get` that prints JSON."""
        context = [f"--context={self.context}"] if self.context else []
        return [*self.command, *context, "get", *words, "--output=json"]

    def _get(self, *words: str) -> str:
        arguments = self.arguments(*words)
        try:
            done = subprocess.run(arguments, capture_output=True, check=False)
        except OSError as problem:
            raise cannot_run(self.command[0], problem) from None
        if done.returncode:
            reason = first_line(done.stderr) or f"exit code {done.returncode}"
            raise InputError(f"kubectl get {words[0]}: {reason}")
        return done.stdout.decode("utf-8", "replace")


def cannot_run(name: str, problem: OSError) -> InputError:
    """Return the error of a kubectl that cannot be started."""
    return InputError(
        f"{name} cannot be run ({problem.strerror}); say with --kubectl how kubectl is called"
    )


def first_line(text: bytes) -> str:
    """Return the first line of what kubectl complains of."""
    lines = text.decode("utf-8", "replace").strip().splitlines()
    return lines[0] if lines else ""


def _configurations(text: str) -> list[TextFile]:
    """Return the KubeProxyConfigurations in a ConfigMap that kubectl printed."""
    data = json.loads(text).get("data") or {} if text.strip() else {}
    return [
        TextFile(name=f"ConfigMap kube-system/kube-proxy, {key}", text=str(value))
        for key, value in data.items()
        if CONFIG_KIND in str(value)
    ]


class _Watch(Struct):
    """One process that follows one kind, and the thread that reads it."""

    kubectl: Kubectl
    resource: str
    arrived: queue.SimpleQueue[Change | _End | InputError]
    process: subprocess.Popen[bytes] | None = None
    thread: threading.Thread | None = None
    _text: str = ""
    _decoder: json.JSONDecoder = field(default_factory=json.JSONDecoder)

    def start(self) -> None:
        """Start both."""
        words = (self.resource, "--all-namespaces", "--watch", "--output-watch-events")
        try:
            self.process = subprocess.Popen(
                self.kubectl.arguments(*words),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except OSError as problem:
            raise cannot_run(self.kubectl.command[0], problem) from None
        self.thread = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """End both."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.thread is not None:
            self.thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            self._read_events(process.stdout)
        except InputError as problem:
            self.arrived.put(problem)
            return
        reason = first_line(process.stderr.read())
        code = process.wait()
        self.arrived.put(_End(self.resource, reason or (f"exit code {code}" if code else "")))

    def _read_events(self, stream: IO[bytes]) -> None:
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        read = getattr(stream, "read1", stream.read)
        while block := read(BLOCK):
            self._text += decode(block)
            for document in self._documents():
                self._take(document)

    def _documents(self) -> Iterator[object]:
        """Yield the whole JSON documents that have come."""
        while self._text:
            start = len(self._text) - len(self._text.lstrip())
            try:
                document, end = self._decoder.raw_decode(self._text, start)
            except json.JSONDecodeError:
                return  # the rest is to come yet
            self._text = self._text[end:]
            yield document

    def _take(self, document: object) -> None:
        """Tell one event; raises InputError for one that is none, or an error."""
        name = f"kubectl get {self.resource} --watch"
        if not isinstance(document, dict) or not isinstance(document.get("object"), dict):
            raise InputError(f"{name}: this is no watch event; kubectl 1.16 or later prints them")
        kind, item = str(document.get("type")), document["object"]
        if kind == "ERROR":
            raise InputError(f"{name}: {item.get('message') or 'the server reports an error'}")
        if kind in EventType.__members__:  # a BOOKMARK tells no change
            for found in read_objects(TextFile(name=name, text=json.dumps(item))):
                self.arrived.put(Change(type=EventType(kind), object=found))
