"""Plays a random script against the live kernel and keeps it as a case.

Rules that iptables refuses are left out, one after another, until the rest loads.
"""

from __future__ import annotations

import re

from netemu.errors import KernelError
from netemu.livekernel.case import Case, Result
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.generate.rules import random_rules
from netemu.livekernel.generate.script import Script
from netemu.livekernel.generate.world import World, random_world
from netemu.livekernel.runner import LiveNode
from netemu.sim.spec import TextFile

_FAILED_LINE = re.compile(r"line:? (\d+) failed|Error occurred at line: (\d+)")
MOST_REFUSED = 60


def record_random(seed: int) -> tuple[Case, Result]:
    """Return the random case of `seed` and what the kernel did."""
    world = random_world(Dice(seed, "world"))
    text = random_rules(Dice(seed, "rules"), world)
    with _build(world, text) as live:
        live.start()
        Script(Dice(seed, "script"), world, live).play()
        last_ns = live.inputs[-1].time_ns if live.inputs else 0
        until_ns = live.now_ns() - last_ns if world.hasty else 0
        result = live.result()
        case = Case(node=world.node, inputs=live.inputs, name=f"random-{seed}", until_ns=until_ns)
    return case, result


def _build(world: World, text: str) -> LiveNode:
    for _ in range(MOST_REFUSED):
        world.main.rules4 = TextFile(name="iptables-save", text=text)
        try:
            return LiveNode(world.node)
        except KernelError as error:
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
