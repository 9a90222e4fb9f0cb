"""Makes a case that differs smaller, as long as it still differs in the same way.

Theory of operation: delta debugging with halves, quarters and so on: first inputs are left out,
then rules and user chains, then single sysctls, routes, neighbours, sockets of the node.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import TypeVar

from msgspec.structs import replace

from netemu.livekernel.case import Case
from netemu.sim.spec import NamespaceSpec, NodeSpec, TextFile

Item = TypeVar("Item")
Differs = Callable[[Case], bool]

LIST_FIELDS = ("routes", "neighbours", "fdb", "sockets", "policy_rules")


def minimise(case: Case, differs: Differs) -> Case:
    """Return a small case for which `differs` still holds."""
    size = -1
    while size != (size := _size(case)):
        case = _fewer_inputs(case, differs)
        case = _fewer_rules(case, differs)
        case = _smaller_node(case, differs)
    return case


def _size(case: Case) -> int:
    texts = [space.rules4.text for space in case.node.namespaces() if space.rules4 is not None]
    return len(case.inputs) + sum(text.count("\n") for text in texts)


def reduce_list(items: Sequence[Item], holds: Callable[[list[Item]], bool]) -> list[Item]:
    """Leave out parts of a list, large ones first, as long as `holds` of the rest.

    >>> reduce_list(list(range(20)), lambda rest: {3, 17} <= set(rest))
    [3, 17]
    """
    kept = list(items)
    step = max(1, len(kept) // 2)
    while kept:
        at = 0
        while at < len(kept):
            rest = kept[:at] + kept[at + step :]
            if holds(rest):
                kept = rest
            else:
                at += step
        if step == 1:
            break
        step //= 2
    return kept


def _fewer_inputs(case: Case, differs: Differs) -> Case:
    kept = reduce_list(case.inputs, lambda rest: differs(replace(case, inputs=rest)))
    return replace(case, inputs=kept)


def _fewer_rules(case: Case, differs: Differs) -> Case:
    for name in _names(case):
        space = _space(case, name)
        if space.rules4 is None:
            continue
        lines = space.rules4.text.splitlines(keepends=True)
        rules = [number for number, line in enumerate(lines) if " -A " in f" {line}" or _user(line)]
        change = partial(_with_rules, case, space, lines, set(rules))
        case = change(_reduced(rules, change, differs))
    return case


def _with_rules(
    case: Case, space: NamespaceSpec, lines: list[str], rules: set[int], kept: list[int]
) -> Case:
    gone = rules - set(kept)
    text = "".join(line for number, line in enumerate(lines) if number not in gone)
    return with_space(case, space, "rules4", TextFile(name="iptables-save", text=text))


def _reduced(
    items: list[Item], change: Callable[[list[Item]], Case], differs: Differs
) -> list[Item]:
    """Return as few items as the difference needs; `change` makes a case of them."""
    return reduce_list(items, lambda rest: differs(change(rest)))


def _user(line: str) -> bool:
    return line.startswith(":") and line.split()[1:2] == ["-"]


def _smaller_node(case: Case, differs: Differs) -> Case:
    for name in _names(case):
        for part in LIST_FIELDS:
            space = _space(case, name)
            items: list[object] = getattr(space, part) or []
            if items:
                change = partial(with_space, case, space, part)
                case = change(_reduced(items, change, differs))
        space = _space(case, name)
        keys = [key for key in space.sysctls if not _kept(key)]
        without = partial(_with_sysctls, case, space)
        case = without(_reduced(keys, without, differs))
    return case


def _with_sysctls(case: Case, space: NamespaceSpec, keys: list[str]) -> Case:
    values = {key: value for key, value in space.sysctls.items() if key in keys or _kept(key)}
    return with_space(case, space, "sysctls", values)


def _kept(key: str) -> bool:
    """Tell whether a parameter keeps chance out: answers after a random delay, redirects."""
    return key.endswith(("proxy_delay", "send_redirects"))


def _names(case: Case) -> list[str]:
    return [space.name for space in case.node.namespaces()]


def _space(case: Case, name: str) -> NamespaceSpec:
    return next(space for space in case.node.namespaces() if space.name == name)


def with_space(case: Case, space: NamespaceSpec, part: str, value: object) -> Case:
    """Return the case with one part of one namespace exchanged."""
    changed = copy(space)
    setattr(changed, part, value)
    node = NodeSpec(
        main=changed if space.name == "" else case.node.main,
        others=[changed if other.name == space.name else other for other in case.node.others],
        notes=case.node.notes,
        source=case.node.source,
    )
    return replace(case, node=node)
