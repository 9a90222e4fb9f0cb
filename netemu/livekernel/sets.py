"""IP sets of a case: how the kernel gets them, and what of a listing can be compared.

Kernel: net/netfilter/ipset/ip_set_hash_gen.h (initval).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from netemu.ruleset.ipset import is_listing, listing_to_commands
from netemu.sim.spec import NodeSpec

_INITVAL = re.compile(r" initval 0x[0-9a-f]+")
_TIMEOUT = re.compile(r"^(add .*? timeout )(\d+)(.*)$")
_BITMASK = re.compile(r"( bitmask [^ /]+)/\d+")
"""ipset prints a prefix length behind a mask that it remembers from an element before."""

_CREATE = re.compile(r"^create (\S+) ")

TIMEOUT_TOLERANCE_S = 1


def commands_of(text: str) -> str:
    """Return the text as ipset restore takes it."""
    return listing_to_commands(text) if is_listing(text) else text


def refill(text: str) -> str:
    """Return commands that empty and fill the sets again; empty when no time runs in them.

    Only a text that makes and fills sets, as a saved one does, can be carried out twice.
    """
    lines = [line for line in commands_of(text).splitlines() if line.strip()]
    if " timeout " not in text or not all(line.startswith(("create ", "add ")) for line in lines):
        return ""
    names = [line.split()[1] for line in lines if line.startswith("create ")]
    adds = [line for line in lines if line.startswith("add ")]
    return "".join(f"{line}\n" for line in [*(f"flush {name}" for name in names), *adds])


def set_names(node: NodeSpec) -> set[str]:
    """Return the names of all sets of a node."""
    files = [space.ipset for space in node.namespaces() if space.ipset is not None]
    return {
        found[1]
        for file in files
        for line in commands_of(file.text).splitlines()
        if (found := _CREATE.match(line)) is not None
    }


def first_set_difference(
    kernel: Sequence[str],
    netemu: Sequence[str],
    text: str,
    translate: Callable[[str], str] = str,
) -> str:
    """Say where two listings differ; "" when they agree.

    Sets whose text names an initval are compared in the kernel's order, others sorted, as are sets
    with an element that `translate` changes: it holds a drawn number, which the order hangs on.
    """
    drawn = {row.split()[1] for row in kernel if row.startswith("add ") and translate(row) != row}
    kernel = [translate(row) for row in kernel]
    ordered = {
        found[1]
        for line in commands_of(text).splitlines()
        if (found := _CREATE.match(line)) is not None
        and (_INITVAL.search(line) or " hash:" not in line)
    } - drawn
    ours, theirs = _comparable(kernel, ordered), _comparable(netemu, ordered)
    for one, other in zip(ours, theirs, strict=False):
        if not _equal(one, other):
            return f"  kernel: {one}\n  netemu: {other}"
    if len(ours) != len(theirs):
        longer = max(ours, theirs, key=len)
        who = "kernel" if longer is ours else "netemu"
        return f"  only {who}: {longer[min(len(ours), len(theirs))]}"
    return ""


def _comparable(lines: Iterable[str], ordered: set[str]) -> list[str]:
    """Return the lines with what is random left out."""
    blocks: list[list[str]] = []
    for line in lines:
        if line.startswith("create "):
            blocks.append([line])
        else:
            blocks[-1].append(line)
    kept: list[str] = []
    for raw, *elements in blocks:
        head = _BITMASK.sub(r"\1", raw)
        if head.split()[1] in ordered:
            kept += [head, *elements]
        else:
            kept += [_INITVAL.sub("", head), *sorted(elements)]
    return kept


def _equal(one: str, other: str) -> bool:
    """Return whether two lines agree, timeouts within a second."""
    ours, theirs = _TIMEOUT.match(one), _TIMEOUT.match(other)
    if ours is None or theirs is None:
        return one == other
    if (ours[1], ours[3]) != (theirs[1], theirs[3]):
        return False
    left, other_left = int(ours[2]), int(theirs[2])
    return abs(left - other_left) <= TIMEOUT_TOLERANCE_S and bool(left) == bool(other_left)
