"""What is wrong with a node's rules, and which packet would show it."""

from __future__ import annotations

from enum import Enum, auto

from msgspec import Struct

NODE = ""
"""Destination of a probe: an address of the node itself."""


class Sender(Enum):
    """Who sends a packet that is to show a fault."""

    POD = auto()
    """A pod of this node."""
    OUTSIDE = auto()
    """Somebody beyond the uplink."""
    NODE = auto()
    """A process of the node itself."""


class Saying(Enum):
    """What a claim says of all that can become of a packet."""

    REACHES = auto()
    """It may be sent to `endpoint`."""
    MISSES = auto()
    """It is never sent to `endpoint`."""
    UNEVEN = auto()
    """It is sent to `endpoint` more or less often than to others."""
    UNTRANSLATED = auto()
    """It may go on without an endpoint."""
    TRANSLATED = auto()
    """It is sent to an endpoint."""
    UNMASQUERADED = auto()
    """It is sent to an endpoint (`endpoint`, if one is named) under its own source address."""
    MASQUERADED = auto()
    """It is sent to an endpoint (`endpoint`, if one is named) under the node's address."""
    STUCK = auto()
    """It is dropped."""
    REFUSED = auto()
    """It is refused or dropped."""
    PASSES = auto()
    """It is neither refused nor dropped."""
    UNSTEADY = auto()
    """A client that was sent to `endpoint` before is sent elsewhere."""
    MEETS = auto()
    """It may match the rule at `place`."""
    ENTERS = auto()
    """It may enter the chain of `place`."""
    AVOIDS = auto()
    """It never enters the chain of `place`."""
    UNMATCHED = auto()
    """No rule of the chain of `place` that does `action` matches it."""
    KEPT = auto()
    """The node takes it for itself, or refuses it."""


class Place(Struct, frozen=True, kw_only=True):
    """A chain of a table, or one of its rules."""

    table: str
    chain: str
    rule: int = 0
    """From 1; 0 is the chain."""


class Probe(Struct, frozen=True, kw_only=True):
    """One packet that may show a fault."""

    sender: Sender
    protocol: str
    """tcp, udp or sctp."""
    destination: str
    port: int
    source: str = ""
    """A certain address; empty: any of such a sender."""
    device: str = ""
    """Where it enters; empty: as the route to its source says."""
    known_client: bool = False
    """The client has had a connection to the same destination before."""


class Claim(Struct, frozen=True, kw_only=True):
    """What a packet shows."""

    saying: Saying
    endpoint: str = ""
    """`IP:port`."""
    place: Place | None = None
    """Of a packet that keeps its address: a chain of which a rule must have matched, too."""
    action: str = ""
    """Target or chain that a rule jumps to; empty: any."""
    by: Place | None = None
    """A rule that must have matched besides: the one to blame. With it, a packet need not go to an
    endpoint to be masqueraded."""


class Fault(Struct, frozen=True, kw_only=True):
    """One difference between what is and what should be."""

    code: str
    message: str
    file: str = "rules"
    """rules, ipvs, ipset or node: where `line` is."""
    place: Place | None = None
    line: int = 0
    """0 when it is about no line."""
    claim: Claim
    probes: tuple[Probe, ...] = ()
    covers: frozenset[str] = frozenset()
    """Chains whose own irregularities are this fault's doing."""
