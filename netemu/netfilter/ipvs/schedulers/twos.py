"""Two random choices: the less loaded of two servers that chance picks by weight.

Kernel: net/netfilter/ipvs/ip_vs_twos.c.

Theory of operation: each of two draws from 0 to the sum of the weights walks through the list,
subtracting weights, and stops where nothing is left. Loads are compared by cross-multiplying ints.

The kernel's draws cannot be foreseen, ours come from the seed. No kernel was asked about this
scheduler, since those at hand were built without it; the tests are worked examples of its rule.
"""

from __future__ import annotations

from netemu.hashing import reciprocal_scale
from netemu.netfilter.ipvs.reasons import load_figure
from netemu.netfilter.ipvs.scheduler import Call, Scheduler, is_unavailable
from netemu.netfilter.ipvs.service import RealServer


def ip_vs_twos_schedule(call: Call) -> RealServer | None:
    """Return the better one of two that are drawn; it is the first unless the second is better."""
    servers = [s for s in call.service.destinations if not is_unavailable(s)]
    if not servers:
        return None
    # The kernel draws from 0 up to and including the total weight.
    total = sum(server.weight for server in servers) + 1
    stream = call.net.entropy.stream("ipvs twos")
    first = _pick(servers, reciprocal_scale(stream.u32(), total))
    second = _pick(servers, reciprocal_scale(stream.u32(), total))
    better = _int(second.weight * first.overhead) > _int(first.weight * second.overhead)
    return second if better else first


def _int(number: int) -> int:
    """Keep what a signed int of 32 bits holds."""
    return ((number + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def _pick(servers: list[RealServer], draw: int) -> RealServer:
    for server in servers:
        draw -= server.weight
        if draw <= 0:
            return server
    return servers[-1]


TWOS = Scheduler(
    name="twos",
    kernel="ip_vs_twos.c",
    duty="Draws two servers by weight and takes the one with the lower overhead / weight.",
    schedule=ip_vs_twos_schedule,
    figure=load_figure,
    why=lambda call: "the lower overhead / weight of two that were drawn by weight",
)
