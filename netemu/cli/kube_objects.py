"""Where a command's Kubernetes objects come from: files, or a real cluster."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click
from msgspec import Struct

from netemu.errors import UsageError

if TYPE_CHECKING:
    from netemu.kube.cluster import Cluster
    from netemu.snapshot.kubectl import Kubectl

Command = Callable[..., int]


class ObjectSource(Struct, frozen=True, kw_only=True):
    """What a command was told of its objects."""

    paths: tuple[str, ...]
    live: bool
    kubectl: str
    context: str

    def read(self) -> Cluster:
        """Return the objects; files beside a real cluster's are added to it."""
        from netemu.snapshot.objects import object_files, read_cluster

        notes: list[str] = []
        files = self._kubectl().objects(notes) if self.live else []
        found = read_cluster(
            [*files, *(file for path in self.paths for file in object_files(path))]
        )
        found.notes[:0] = notes
        return found

    def changes(self, cluster: Cluster) -> Iterator[list[str]]:
        """Let a cluster follow the real one; yield in words what changed together."""
        from netemu.kube.store import EventType, Store, WatchEvent

        store = Store()
        store.cluster = cluster
        told: list[str] = []

        def note(event: WatchEvent) -> None:
            told.append(f"{event.object.kind} {event.object.key} {event.type}")

        store.watch(note)
        told.clear()
        for batch in self._kubectl().watch():
            for change in batch:
                if change.type == EventType.DELETED:
                    store.delete(change.object)
                else:
                    store.apply(change.object)
            if told:
                yield list(told)
                told.clear()

    def _kubectl(self) -> Kubectl:
        from netemu.snapshot.kubectl import Kubectl

        try:
            words = shlex.split(self.kubectl)
        except ValueError as problem:
            raise UsageError(f"--kubectl {self.kubectl}: {problem}") from None
        return Kubectl(command=tuple(words) or ("kubectl",), context=self.context)


_OPTIONS = (
    click.argument("paths", metavar="[OBJECTS...]", nargs=-1),
    click.option("--live", is_flag=True, help="Read a real cluster's objects by kubectl."),
    click.option(
        "--kubectl",
        metavar="CMD",
        default="kubectl",
        show_default=True,
        help="How kubectl is called.",
    ),
    click.option("--context", metavar="NAME", default="", help="kubectl's context [its own]."),
)


def object_source(function: Command) -> Command:
    """Add OBJECTS and --live, and hand them over as `objects`."""

    @functools.wraps(function)
    def called(
        *args: object, paths: tuple[str, ...], live: bool, kubectl: str, context: str, **how: object
    ) -> int:
        if not paths and not live:
            raise UsageError("OBJECTS are needed: files, folders, or --live")
        found = ObjectSource(paths=paths, live=live, kubectl=kubectl, context=context)
        return function(*args, objects=found, **how)

    wrapped: Command = called
    for decorate in reversed(_OPTIONS):
        wrapped = decorate(wrapped)
    return wrapped


watch_option = click.option(
    "--watch", is_flag=True, help="With --live: go on, and tell what changes."
)


def follow(objects: ObjectSource, cluster: Cluster, tell: Callable[[list[str]], None]) -> None:
    """Call `tell` after each change of a real cluster, until it is interrupted."""
    if not objects.live:
        raise UsageError("--watch follows a real cluster; add --live")
    try:
        for events in objects.changes(cluster):
            tell(events)
    except KeyboardInterrupt:
        return
