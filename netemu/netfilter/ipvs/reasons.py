"""What traces say of a scheduler's choice: what it saw in each real server, and why one won.

Of several reasons why nobody may take a connection the first that holds for all is told.
"""

from __future__ import annotations

from collections.abc import Callable

from netemu.netfilter.ipvs.hashtable import ServerTable
from netemu.netfilter.ipvs.scheduler import Call, is_unavailable
from netemu.netfilter.ipvs.service import RealServer, ServiceFlag, VirtualServer

Load = Callable[[RealServer], tuple[int, int]]
"""What a scheduler compares, as a fraction."""

OVERLOADED = (
    "has more active connections than its weight while another has fewer than half of its own"
)
"""The is_overloaded of lblc and lblcr."""


def weight_figure(call: Call, server: RealServer) -> str:
    """Show the weight."""
    return marked(f"weight {server.weight}", server)


def load_figure(call: Call, server: RealServer) -> str:
    """Show what wlc compares: 256 for each active connection and 1 for each other, by weight."""
    return marked(f"{overhead_text(server)} / weight {server.weight}{_ratio(server)}", server)


def overhead_text(server: RealServer) -> str:
    """Show how the overhead comes about."""
    return f"overhead {server.overhead} ({server.activeconns} active, {server.inactconns} inactive)"


def expected_figure(call: Call, server: RealServer) -> str:
    """Show what sed and nq compare: active connections with the new one, by weight."""
    active, weight = server.activeconns, server.weight
    return marked(f"({active} active + 1) / weight {weight}{_ratio(server, active + 1)}", server)


def _ratio(server: RealServer, load: int | None = None) -> str:
    if server.weight <= 0:
        return ""
    hundredths = (server.overhead if load is None else load) * 100 // server.weight
    return f" = {hundredths // 100}.{hundredths % 100:02d}"


def marked(text: str, server: RealServer) -> str:
    """Add why a server takes no connection, if so."""
    if server.overload:
        return f"{text}, overloaded: {server.totalconns} connections of {server.u_threshold}"
    return text if server.weight > 0 else f"{text}, takes none"


def state_text(server: RealServer) -> str:
    """Say why a server may take no connection."""
    return "is overloaded" if server.overload else "has weight 0"


def nobody_takes(service: VirtualServer) -> str:
    """Say why no server may take a connection; empty when one may."""
    servers = service.destinations
    if not servers:
        return "the service has none"
    if not all(is_unavailable(server) for server in servers):
        return ""
    if not any(server.overload for server in servers):
        return "every weight is 0"
    if all(server.overload for server in servers):
        return "all have as many connections as their upper threshold allows"
    return "each has weight 0, or as many connections as its upper threshold allows"


def best_of(call: Call, chosen: RealServer | None, what: str, load: Load) -> str:
    """Say that a server was chosen for what was compared, and how many were as good."""
    others = [s for s in call.service.destinations if s is not chosen and not is_unavailable(s)]
    if chosen is None or not others:
        return "the only one that takes connections"
    mine, weight = load(chosen)
    equals = sum(mine * load(other)[1] == load(other)[0] * weight for other in others)
    return f"{what}, the first of {equals + 1} equals" if equals else what


def overhead_by_weight(server: RealServer) -> tuple[int, int]:
    """Return what wlc compares, as a fraction."""
    return server.overhead, server.weight


def expected_by_weight(server: RealServer) -> tuple[int, int]:
    """Return what sed compares, as a fraction."""
    return server.activeconns + 1, server.weight


def share_figure(call: Call, server: RealServer) -> str:
    """Show how much of a scheduler's table is a server's."""
    table = call.service.sched_data
    assert isinstance(table, ServerTable)
    share, size = table.share_of(server)
    return marked(f"weight {server.weight}, has {share} of {size}", server)


def place_reason(call: Call, place: str, bucket: int, fallback: str = "") -> str:
    """Say whose a bucket is and, where that one takes nothing, who else is asked."""
    table = call.service.sched_data
    assert isinstance(table, ServerTable)
    owner = table.get(bucket)
    if owner is None or not is_unavailable(owner):
        return place
    text = f"{place}, that of {owner}, which {state_text(owner)}"
    if not fallback:
        return text
    if not call.service.flags & ServiceFlag.SCHED1:
        return f"{text}; without {fallback} nobody else is asked"
    return f"{text}; {fallback} hashes again"
