"""Tables made by hand, and packets that walk through them."""

from __future__ import annotations

from collections.abc import Callable

from netemu.events import Event, Stamp
from netemu.net import Net
from netemu.netfilter.hook import Family, Hook, HookState, Verdict
from netemu.netfilter.xtables.model import (
    RETURN,
    BoundMatch,
    BoundTarget,
    Chain,
    Generic,
    Rule,
    Table,
)
from netemu.netfilter.xtables.param import XtParam
from netemu.netfilter.xtables.table import TABLES, register_table
from netemu.skb import ETH_P_IP, Device, Fate, Skb
from netemu.wire.address import mask_of, parse_address
from netemu.wire.ipv4 import build_ipv4


class Port(Device):
    def xmit(self, skb: Skb) -> None:
        raise AssertionError


ETH0 = Port(name="eth0", ifindex=2, mac=bytes(6))
ETH1 = Port(name="eth1", ifindex=3, mac=bytes(6))


def standard(name: str) -> BoundTarget:
    verdict = {"ACCEPT": Verdict.ACCEPT, "DROP": Verdict.DROP, "RETURN": RETURN}
    verdict |= {"QUEUE": Verdict.QUEUE}
    return BoundTarget(name=name, apply=lambda *_: None, standard=verdict[name])


def rule(
    target: str = "", *, goto: bool = False, matches: tuple[BoundMatch, ...] = (), **generic
) -> Rule:
    """A rule; `target` is a verdict or the name of a chain."""
    part = Generic(**generic)
    if target in {"ACCEPT", "DROP", "RETURN", "QUEUE"}:
        return Rule(generic=part, matches=matches, target=standard(target), text=f"-j {target}")
    return Rule(generic=part, matches=matches, jump=target, goto=goto)


def extension(apply: Callable[..., Verdict | None]) -> Rule:
    return Rule(target=BoundTarget(name="EXT", apply=apply))


def match(result: object, **more) -> BoundMatch:
    """A match that answers `result`, or what it returns."""

    def evaluate(settings: object, skb: Skb, param: XtParam) -> bool:
        return bool(result(settings, skb, param) if callable(result) else result)

    return BoundMatch(name="fixed", evaluate=evaluate, text="-m fixed", **more)


def filter_table(*rules: Rule, policy: Verdict = Verdict.ACCEPT, **chains: list[Rule]) -> Table:
    """A filter table with these rules in FORWARD, and user chains."""
    table = Table(name="filter")
    for hook in TABLES["filter"].hooks:
        table.chains[hook.name] = Chain(name=hook.name, policy=Verdict.ACCEPT)
    table.chains["FORWARD"] = Chain(name="FORWARD", policy=policy, rules=list(rules), line=9)
    for name, own in chains.items():
        table.chains[name] = Chain(name=name, rules=own)
    return table


def packet(source: str = "10.0.0.1", destination: str = "10.0.0.2", **header) -> Skb:
    header.setdefault("protocol", 17)
    data = build_ipv4(
        src=parse_address(source), dst=parse_address(destination), payload=bytes(20), **header
    )
    return Skb(data, protocol=ETH_P_IP, fate=Fate(packet_id=1))


class Run:
    """One table in a namespace, with or without a listener."""

    def __init__(self, table: Table, *, telling: bool = False, hook: Hook = Hook.FORWARD) -> None:
        self.net = Net()
        self.table = table
        self.hook = hook
        self.events: list[Event] = []
        register_table(self.net, table)
        if telling:
            self.net.sink = self._sink

    def _sink(self, stamp: Stamp, event: Event) -> None:
        self.events.append(event)

    def __call__(
        self, skb: Skb, in_device: Device | None = ETH0, out_device: Device | None = ETH1
    ) -> Verdict:
        state = HookState(
            family=Family.IPV4,
            hook=self.hook,
            in_device=in_device,
            out_device=out_device,
            okfn=lambda _: None,
        )
        ((_, function),) = self.net.hooks.functions(Family.IPV4, self.hook)
        return function(skb, state)

    def counts(self, chain: str = "FORWARD") -> list[int]:
        """Packets of the rules, then of the policy."""
        found = self.table.chains[chain]
        return [rule.packets for rule in found.rules] + [found.packets]


def network(text: str) -> dict[str, bytes]:
    address, _, length = text.partition("/")
    return {"source": parse_address(address), "source_mask": mask_of(int(length))}
