"""ipset text read by netemu and by the real ipset: the same is accepted, saved and said."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from netemu.errors import SetTextError
from netemu.livekernel.generate.dice import Dice
from netemu.livekernel.namespace import Namespace, missing_requirements
from netemu.livekernel.sets import first_set_difference
from netemu.net import Net
from netemu.netfilter.ipset.core import IpSets
from netemu.ruleset.ipset import print_listing, print_sets, read_sets
from tests.kernel.ipset_generator import COMMON, SetText

pytestmark = pytest.mark.skipif(bool(missing_requirements()), reason=missing_requirements())

CASES = int(os.environ.get("NETEMU_IPSET_TEXTS", "400"))
"""How many random texts; set the variable for a longer run."""

PER_TEST = 100

_PLACE = re.compile(r"^ipset v[\d.]+: (?:Error in line (\d+): )?")
HELP = "Try `ipset help' for more information."

OWN_WORDS = ("can be used with family", "is ignored. Please upgrade")
"""Where netemu says what is wrong and ipset loses its words."""


def kernel_answer(text: str) -> tuple[str, str, str]:
    """Return what ipset said, then `ipset save` and `ipset list`."""
    with Namespace() as namespace, namespace.entered():
        done = subprocess.run(
            ["ipset", "restore"], input=text, capture_output=True, text=True, check=False
        )
        said = [line for line in done.stderr.splitlines() if line != HELP]
        problem = said[-1] if done.returncode and said else ""
        assert bool(done.returncode) == bool(problem), (done.returncode, done.stderr)
        saved = _run("save")
        listed = _run("list")
    return _PLACE.sub("", problem), saved, listed


def _run(command: str) -> str:
    return subprocess.run(["ipset", command], capture_output=True, text=True, check=True).stdout


def netemu_answer(text: str) -> tuple[str, str, str]:
    """Return the same of netemu."""
    sets = Net().generic(IpSets)
    problem = ""
    try:
        read_sets(text, "text", sets)
    except SetTextError as error:
        problem = error.message
    return problem, print_sets(sets), print_listing(sets)


_LEFT_OUT = re.compile(r" timeout \d+|(?<= bitmask )\S+")
"""Of a listing: time passes, and ipset adds a prefix length that it remembers to a mask."""


def _kept(listed: str) -> list[str]:
    return _LEFT_OUT.sub("", listed).splitlines()


def difference(text: str) -> str:
    """Return how the answers differ; empty when they do not."""
    problem, saved, listed = kernel_answer(text)
    own_problem, own_saved, own_listed = netemu_answer(text)
    if any(words in own_problem for words in OWN_WORDS):
        return "" if problem or "ignored" in own_problem else "only netemu refuses: " + own_problem
    if problem != own_problem:
        return f"  ipset:  {problem}\n  netemu: {own_problem}"
    found = first_set_difference(saved.splitlines(), own_saved.splitlines(), text)
    if found:
        return found
    if not own_problem and _kept(listed) != _kept(own_listed):
        pairs = zip(_kept(listed), _kept(own_listed), strict=False)
        one, other = next((pair for pair in pairs if pair[0] != pair[1]), ("longer", "shorter"))
        return f"  ipset list: {one}\n  netemu: {other}"
    return ""


@pytest.mark.parametrize("first", range(0, CASES, PER_TEST))
def test_random_texts_are_read_as_ipset_reads_them(first):
    """Accepted or refused with the same words, and the sets are the same afterwards."""
    for seed in range(first, min(first + PER_TEST, CASES)):
        text = SetText(Dice(seed, "ipset"), COMMON).text()
        found = difference(text)
        assert not found, f"seed {seed}\n{text}{found}"
