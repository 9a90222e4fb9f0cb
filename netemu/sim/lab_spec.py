"""What a lab is made of beside its namespaces: clients, and what happens when.

All moments are nanoseconds since the start of the lab's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from netemu.sim.spec import NodeSpec

if TYPE_CHECKING:
    from netemu.sim.node import Node

NSEC = 1_000_000_000


class ClientSpec(Struct, frozen=True, kw_only=True):
    """A program that asks something of somebody."""

    name: str
    namespace: str
    kind: str
    """One of `sim.clients.CLIENTS`."""
    remote: bytes
    port: int = 0
    local: bytes = bytes(4)
    """Source address; all zero: the route chooses."""
    local_port: int = 0
    """Source port, for ping the identifier; 0: drawn."""
    start_ns: int = 0
    text: str = ""
    """What it sends, or asks for."""
    site: str = ""
    """HOST/PATH of an HTTP request; empty: the address, and the text as path."""
    count: int = 1
    """How many echo requests, or how many times a datagram is tried."""
    interval_ns: int = NSEC
    timeout_ns: int = 5 * NSEC
    """How long an answer is waited for."""


class Command(Struct, frozen=True, kw_only=True):
    """A command line that an administrator gives in a namespace."""

    namespace: str
    words: tuple[str, ...]
    stdin: str = ""
    announces: tuple[str, bytes] | None = None
    """Instead of a command: device and address of a gratuitous ARP."""


class Happening(Struct, frozen=True, kw_only=True):
    """Something that is done to a running lab at a moment."""

    at_ns: int
    text: str
    """What happens, for the log."""
    do: Callable[[Node], None]
    commands: tuple[Command, ...] = ()
    """What does the same in the live kernel, in order; empty: nothing can."""


class LabSpec(Struct, kw_only=True):
    """A whole lab."""

    node: NodeSpec
    """Every namespace of every host; those of pods are named `HOST/POD`."""
    hosts: list[str] = field(default_factory=list)
    clients: list[ClientSpec] = field(default_factory=list)
    timeline: list[Happening] = field(default_factory=list)
    until_ns: int | None = None
    """How long it runs unless the caller says."""
