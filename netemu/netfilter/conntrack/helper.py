"""Connection helpers: who reads what a connection says, to know which connections will follow.

Kernel: net/netfilter/nf_conntrack_helper.c.

Each helper is a declaration in `netfilter/helpers/`, registered by name and protocol. A connection
gets one from the CT target's template (`-j CT --helper ftp`); none is given by port alone, as in
Linux since 6.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec import Struct

from netemu.events import ExpectationCreated
from netemu.net import Net
from netemu.netfilter.conntrack.connection import Connection, CtInfo
from netemu.netfilter.conntrack.expect import Expectation, Expectations, Refusal
from netemu.netfilter.hook import Family, Hook, HookState, Verdict
from netemu.skb import Skb

HelpFunction = Callable[[Net, Skb, int, Connection, CtInfo], Verdict]
"""Net, packet, offset of its L4 header, its connection and what it is to that."""


class Helper(Struct, frozen=True, kw_only=True):
    """One helper (struct nf_conntrack_helper)."""

    name: str
    kernel: str
    protocol: int
    help: HelpFunction
    load: Callable[[], object] | None = None
    """Makes what is remembered of a connection that was loaded, not seen (from_nlattr)."""
    max_expected: int = 1
    """Expectations that one connection may have at a time (struct nf_conntrack_expect_policy)."""
    timeout_s: int = 300


class Helpers:
    """The helpers of a namespace."""

    __slots__ = ("_by_name",)

    def __init__(self, net: Net) -> None:
        """Start without; found by `net.generic(Helpers)`."""
        del net
        self._by_name: dict[tuple[str, int], Helper] = {}

    def register(self, helpers: Iterable[Helper]) -> None:
        """Make helpers known (nf_conntrack_helpers_register)."""
        self._by_name.update(((helper.name, helper.protocol), helper) for helper in helpers)

    def find(self, name: str, protocol: int) -> Helper | None:
        """Return a helper (__nf_conntrack_helper_find)."""
        return self._by_name.get((name, protocol))


def nf_ct_expect_related(net: Net, expectation: Expectation, skb: Skb) -> Refusal | None:
    """Add an expectation by the policy of its master's helper; say why if it cannot be."""
    master = expectation.master
    helper = net.generic(Helpers).find(master.helper, master.protocol)
    assert helper is not None
    refusal = net.generic(Expectations).relate(
        expectation, helper.max_expected, helper.timeout_s, skb
    )
    if refusal is None and net.sink is not None:
        net.tell(skb, ExpectationCreated(expectation=expectation.text(helper.timeout_s)))
    return refusal


def nf_ct_helper_log(net: Net, skb: Skb, connection: Connection, text: str) -> None:
    """Log why a helper drops a packet."""
    if net.nf_log_packet is None:
        return
    nowhere = HookState(
        family=Family.IPV4, hook=Hook.PREROUTING, in_device=None, out_device=None, okfn=_nothing
    )
    net.nf_log_packet(skb, nowhere, f"nf_ct_{connection.helper}: dropping packet: {text} ")


def _nothing(skb: Skb) -> None:
    """Do nothing: no packet goes on from a log line."""
