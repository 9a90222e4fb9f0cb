"""Plays a random script against the live kernel and keeps it as a case.

Rules that iptables refuses, and elements that ipset refuses, are left out, one after another, until
the rest loads.
"""

from __future__ import annotations

import re

from netemu.errors import KernelError
from netemu.livekernel.case import Case, Result
from netemu.livekernel.generate.context import SetSketch
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.rules import random_rules
from netemu.livekernel.generate.script import Script
from netemu.livekernel.generate.sets import random_sets
from netemu.livekernel.generate.world import World, random_world
from netemu.livekernel.runner import LiveNode
from netemu.sim.spec import TextFile

_FAILED_LINE = re.compile(r"line:? (\d+) failed|Error occurred at line: (\d+)")
_REFUSED_ELEMENT = re.compile(r"^ipset restore: ipset v\S+: Error in line (\d+): ")
MOST_REFUSED = 60


SETS_PERCENT = 20
"""How many of 100 cases have IP sets."""


def record_random(seed: int, *, sets_percent: int = SETS_PERCENT) -> tuple[Case, Result]:
    """Return the random case of `seed` and what the kernel did."""
    world = random_world(Dice(seed, "world"))
    dice = Dice(seed, "sets")
    sets: list[SetSketch] = []
    if dice.chance(sets_percent):
        text, sets = random_sets(dice, world)
        world.main.ipset = TextFile(name="ipset_save", text=text)
    text = random_rules(Dice(seed, "rules"), world, sets)
    with _build(world, text) as live:
        live.start()
        Script(Dice(seed, "script"), world, live).play()
        last_ns = live.inputs[-1].time_ns if live.inputs else 0
        until_ns = live.now_ns() - last_ns if world.hasty else 0
        result = live.result()
        case = Case(node=world.node, inputs=live.inputs, name=f"random-{seed}", until_ns=until_ns)
    return case, result


EXPIRY_MOMENTS_NS = (0, 600_000_000, 1_400_000_000, 3_000_000_000)
"""When traffic runs: away from the moments at which what an earlier burst added expires."""

SHORT_TIMEOUTS_S = (0, 1, 2)


GROWING = frozenset({"hash:ip", "hash:ip,port", "hash:ip,port,ip", "bitmap:ip", "bitmap:port"})


def record_expiry(seed: int) -> tuple[Case, Result]:
    """Return a random case whose sets have timeouts of seconds, with pauses between the traffic."""
    world = random_world(Dice(seed, "world"))
    # Neighbours that nobody answers for neither fail nor are asked again meanwhile.
    world.main.sysctls["net.ipv4.neigh.default.retrans_time_ms"] = "60000"
    # When expired elements are collected is not known; what hangs on it is left out: their places
    # in the table, and the longest prefix of a network set, which a rule's add takes.
    text, sets = random_sets(Dice(seed, "expiry"), world, timeouts=SHORT_TIMEOUTS_S, seeded=0)
    sets = [sketch._replace(grows=sketch.kind in GROWING) for sketch in sets]
    world.main.ipset = TextFile(name="ipset_save", text=text)
    rules = random_rules(Dice(seed, "rules"), world, sets)
    for seconds in (30, 300):
        rules = rules.replace(f"--timeout {seconds}", f"--timeout {1 + seconds // 300}")
    with _build(world, rules) as live:
        live.start()
        for number, moment_ns in enumerate(EXPIRY_MOMENTS_NS):
            live.wait_until(moment_ns)
            Script(Dice(seed, f"script{number}"), world, live).play()
        result = live.result()
        case = Case(node=world.node, inputs=live.inputs, name=f"expiry-{seed}")
    return case, result


def _build(world: World, text: str) -> LiveNode:
    for _ in range(MOST_REFUSED):
        world.main.rules4 = TextFile(name="iptables-save", text=text)
        try:
            return LiveNode(world.node)
        except KernelError as error:
            refused = _REFUSED_ELEMENT.search(error.message)
            if refused is not None and world.main.ipset is not None:
                left = without_line(world.main.ipset.text, int(refused[1]))
                world.main.ipset = TextFile(name="ipset_save", text=left)
                continue
            found = _FAILED_LINE.search(error.message)
            if found is None:
                raise
            text = without_line(text, int(found[1] or found[2]))
    raise KernelError(f"iptables refuses too many rules: {text}")


def without_line(text: str, number: int) -> str:
    """Return `text` without line `number` (from 1); a failed COMMIT loses the rule before it."""
    lines = text.splitlines(keepends=True)
    if lines[number - 1].startswith("COMMIT"):
        number -= 1
    del lines[number - 1]
    return "".join(lines)
