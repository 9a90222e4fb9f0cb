"""What is run, and what can be seen afterwards: the same values for netemu and for the kernel."""

from __future__ import annotations

from dataclasses import dataclass, field

from msgspec import Struct

from netemu.clock import UPTIME_NS
from netemu.sim.spec import NodeSpec
from netemu.sim.wiring import (
    Wire,
    device_key,
    find_lowers,
    find_vxlans,
    find_wires,
    port_keys,
    split_device,
)

NSEC_PER_SEC = 1_000_000_000

__all__ = [
    "NSEC_PER_SEC",
    "Case",
    "InputFrame",
    "LocalPacket",
    "OutputFrame",
    "Result",
    "Wire",
    "device_key",
    "find_lowers",
    "find_vxlans",
    "find_wires",
    "port_keys",
    "split_device",
]


class InputFrame(Struct, frozen=True, kw_only=True):
    """A frame that enters the node."""

    device: str
    """DEV, or NS/DEV for a port in another namespace than the main one."""
    time_ns: int
    """Since the start of the case."""
    frame: bytes


class LocalPacket(Struct, frozen=True, kw_only=True):
    """An IP packet that the node itself sends through a raw socket (IP_HDRINCL)."""

    namespace: str
    time_ns: int
    packet: bytes
    mark: int = 0


class OutputFrame(Struct, frozen=True, kw_only=True):
    """A frame that left the node."""

    time_ns: int
    """Since the start of the case."""
    frame: bytes


class Case(Struct, kw_only=True):
    """A node and what happens to it."""

    node: NodeSpec
    inputs: list[InputFrame | LocalPacket]
    name: str = ""
    until_ns: int = 0
    """How long after the last input the state is looked at."""


@dataclass(slots=True, kw_only=True)
class Result:
    """All that can be seen of a case; keys of the dicts are devices or namespaces ("" = main)."""

    frames: dict[str, list[OutputFrame]] = field(default_factory=dict)
    """By port (DEV or NS/DEV), in order."""
    log: list[str] = field(default_factory=list)
    """Kernel log lines about packets, in order."""
    rules: dict[str, str] = field(default_factory=dict)
    """iptables-save -c, without comment lines, tables in the order of the input."""
    sets: dict[str, list[str]] = field(default_factory=dict)
    """Lines of ipset save."""
    conntrack: dict[str, list[str]] = field(default_factory=dict)
    """Rows of conntrack -L."""
    neighbours: dict[str, list[str]] = field(default_factory=dict)
    """Rows of ip neigh."""
    fdb: dict[str, list[str]] = field(default_factory=dict)
    """Rows of bridge fdb show."""
    mdb: dict[str, list[str]] = field(default_factory=dict)
    """Rows of bridge mdb show about IPv4 groups."""
    inputs: list[InputFrame | LocalPacket] = field(default_factory=list, compare=False)
    """What really entered, and when; empty where nobody noted it."""
    disturbed: bool = field(default=False, compare=False)
    """Whether something kept the kernel from dealing with a frame at once."""
    collecting_ns: int = field(default=0, compare=False)
    """How long it took to look at all that: a timer may have fired meanwhile."""
    waited_ns: int = field(default=0, compare=False)
    """How much later than the case says it was looked at: something left just then."""
    uptime_ns: int = UPTIME_NS
    """How long the machine had been up when the case began: the kernel's jiffies hang on it."""
