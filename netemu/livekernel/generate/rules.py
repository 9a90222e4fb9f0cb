"""Random rules over all tables, in iptables-save text, about the addresses of a world.

A rule that iptables refuses is left out again by the recorder.
"""

from __future__ import annotations

from collections.abc import Sequence

from netemu.livekernel.generate.context import RuleContext, SetSketch
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.matches import generic_part, random_match
from netemu.livekernel.generate.services import service_rules
from netemu.livekernel.generate.targets import random_target
from netemu.livekernel.generate.world import World

CHAINS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}

TABLE_PERCENT = {"raw": 100, "mangle": 45, "nat": 75, "filter": 85, "security": 10}


def random_rules(dice: Dice, world: World, sets: Sequence[SetSketch] = ()) -> str:
    """Return the text of a whole ruleset."""
    if not sets and dice.chance(30):
        return service_rules(dice, world)
    parts = [
        _table(dice, world, table, sets)
        for table, percent in TABLE_PERCENT.items()
        if dice.chance(percent)
    ]
    if dice.chance(50):
        parts.reverse()
    return "".join(parts)


HOOK_GROUPS = {
    "raw": (("PREROUTING", "OUTPUT"), ("PREROUTING",)),
    "mangle": (CHAINS["mangle"], ("PREROUTING",), ("FORWARD", "POSTROUTING"), ("OUTPUT",)),
    "nat": (("PREROUTING", "OUTPUT"), ("PREROUTING",), ("POSTROUTING",), ("POSTROUTING", "INPUT")),
    "filter": (CHAINS["filter"], ("FORWARD",), ("INPUT",), ("OUTPUT", "FORWARD")),
    "security": (CHAINS["security"],),
}
"""Built-in chains from which one user chain can be reached: that decides what it may hold."""


def _table(dice: Dice, world: World, table: str, sets: Sequence[SetSketch]) -> str:
    chains = CHAINS[table]
    users = {
        f"{dice.pick(('KUBE', 'USER', 'x'))}-{table}-{n}": frozenset(dice.pick(HOOK_GROUPS[table]))
        for n in range(dice.between(0, 3))
    }
    lines = [f"*{table}"]
    for chain in chains:
        policy = "DROP" if table in {"filter", "mangle"} and dice.chance(6) else "ACCEPT"
        lines.append(f":{chain} {policy} {_counters(dice)}")
    lines += [f":{user} - [0:0]" for user in users]
    if table == "raw":
        lines += [f"-A {chain} -j TRACE" for chain in chains if dice.chance(93)]
    for chain in chains:
        hooks = frozenset((chain,))
        context = RuleContext(world, table, chain, hooks, _callable_from(users, hooks), sets)
        lines += _rules(dice, context, dice.weighted([(2, 0), (3, 1), (3, 2), (2, 4)]))
        if table == "mangle" and world.main.policy_rules and dice.chance(35):
            number = dice.between(1, 2)
            lines.append(f"-A {chain} -p {dice.pick(('tcp', 'udp'))} -j MARK --set-mark {number}")
    for number, (user, hooks) in enumerate(users.items()):
        later = dict(list(users.items())[number + 1 :])
        context = RuleContext(world, table, user, hooks, _callable_from(later, hooks), sets)
        lines += _rules(dice, context, dice.between(1, 4))
    lines.append("COMMIT")
    return "\n".join(lines) + "\n"


def _callable_from(users: dict[str, frozenset[str]], hooks: frozenset[str]) -> list[str]:
    return [name for name, reached_from in users.items() if hooks <= reached_from]


def _rules(dice: Dice, context: RuleContext, count: int) -> list[str]:
    return [_rule(dice, context) for _ in range(count)]


def _rule(dice: Dice, context: RuleContext) -> str:
    context.protocol, context.has_ports = "", False
    counters = f"{_counters(dice)} " if dice.chance(15) else ""
    words = [f"{counters}-A {context.chain}"]
    words += generic_part(dice, context)
    for _ in range(dice.weighted([(4, 0), (5, 1), (2, 2)])):
        words.append(random_match(dice, context))
    words.append(random_target(dice, context))
    return " ".join(word for word in words if word)


def _counters(dice: Dice) -> str:
    if dice.chance(85):
        return "[0:0]"
    packets = dice.between(1, 9)
    return f"[{packets}:{packets * 60}]"
