"""The store: versions, watches, and one order for all watchers."""

from __future__ import annotations

from netemu.kube.objects import ObjectMeta, Service
from netemu.kube.store import EventType, Store


def service(name: str, **labels: str) -> Service:
    return Service(kind="Service", metadata=ObjectMeta(name=name, namespace="ns", labels=labels))


def test_every_write_has_a_version_and_no_change_is_no_write():
    store = Store()
    first = store.apply(service("a"))
    assert first.metadata.resource_version == "1"
    assert store.apply(service("a")).metadata.resource_version == "1"
    assert store.apply(service("a", x="y")).metadata.resource_version == "2"
    assert store.revision == 2


def test_a_watch_tells_what_is_there_then_what_changes():
    store = Store()
    store.apply(service("a"))
    told: list[tuple[EventType, str]] = []
    store.watch(lambda event: told.append((event.type, event.object.key)))
    store.apply(service("a", x="y"))
    store.delete(service("a"))
    store.delete(service("a"))
    assert told == [
        (EventType.ADDED, "ns/a"),
        (EventType.MODIFIED, "ns/a"),
        (EventType.DELETED, "ns/a"),
    ]


def test_writes_of_a_watcher_are_told_after_what_it_was_told():
    store = Store()
    told: list[str] = []

    def writes(event) -> None:
        if event.object.key == "ns/a":
            store.apply(service("b"))

    store.watch(writes)
    store.watch(lambda event: told.append(event.object.key))
    store.apply(service("a"))
    assert told == ["ns/a", "ns/b"]
